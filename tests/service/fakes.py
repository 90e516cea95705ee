"""An engine without a model, and the service around it as its callers see it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import httpx
from fastapi import FastAPI

from model.bundle import FORMAT, DecoderSpec, Limits, Manifest, SpecialIds, language_groups
from model.vocabulary import Vocabulary
from service.app import create_app
from service.engine.jobs import EngineClosedError, FinishReason, Hypothesis, Job, QueueFullError, Ticket
from service.engine.loading import LoadedEngine
from service.engine.records import EncodeRecord, EngineReport, ScorerReport, StepRecord
from service.engine.scoring import Graph, Scorer
from service.settings import Settings

MANIFEST = Manifest(
    format=FORMAT,
    name="tiny",
    version="7",
    precision="fp32",
    languages=language_groups([("zh", "en"), ("fr", "en"), ("en", "fr"), ("en", "zh")]),
    decoder=DecoderSpec(state_kinds=()),
    special_ids=SpecialIds(pad=0, unk=1, bos=2, eos=3),
    vocabulary_size=500,
    source_vocabulary_size=500,
    limits=Limits(source_tokens=40, target_tokens=90),
    graphs={},
    states=(),
    architecture={},
    provenance={},
    agreement={},
    files={},
)


def echo(job: Job) -> tuple[Hypothesis, ...]:
    """The source as its translation; the r-th alternative is the source turned by r pieces, the longer the surer."""
    pieces = job.source_ids[1:-1]
    found = []
    for rank in range(job.options.num_hypotheses):
        turned = pieces[rank % len(pieces) :] + pieces[: rank % len(pieces)]
        limit = job.options.max_output_tokens
        reason: FinishReason = "eos" if len(turned) < limit else "length"
        tokens = min(len(turned) + 1, limit)
        each = (-rank / tokens,) * tokens
        found.append(Hypothesis(turned[:limit], -float(rank), -rank / len(pieces), reason, each))
    return tuple(found)


class FakeEngine:
    """Answers jobs one after another in a thread of its own."""

    def __init__(
        self,
        on_report: Callable[[EngineReport], None] = lambda record: None,
        answer: Callable[[Job], tuple[Hypothesis, ...]] = echo,
        delay: float = 0.0,
    ) -> None:
        self.submitted: list[Job] = []
        self.tickets: list[Ticket] = []
        self.refusal: Exception | None = None
        """What the next request is refused with."""
        self.dies = False
        self.is_full = False
        """Refuses at the door."""
        self.asked_for_room: list[tuple[int, int]] = []
        self._on_report = on_report
        self._answer = answer
        self._delay = delay
        self._queue: SimpleQueue[tuple[Job, Ticket] | None] = SimpleQueue()
        self._closed = self._aborted = False
        self._thread = threading.Thread(target=self._run, name="fake engine", daemon=True)
        self._thread.start()

    def submit(self, jobs: Sequence[Job], ticket: Ticket | None = None, *, bounded: bool = True) -> None:
        if self._closed:
            raise EngineClosedError
        if bounded and self.refusal is not None:
            raise self.refusal
        ticket = ticket or Ticket()
        ticket.queued = True
        self.tickets.append(ticket)
        self.submitted.extend(jobs)
        for job in jobs:
            self._queue.put((job, ticket))

    def check_room(self, fewest_tokens: int, most_tokens: int) -> None:
        self.asked_for_room.append((fewest_tokens, most_tokens))
        if self.is_full:
            raise QueueFullError("full", 3.2)

    def withdraw(self, ticket: Ticket) -> None:
        ticket.withdrawn = True

    def waiting_tokens(self) -> int:
        return sum(len(job.source_ids) for job in self.submitted if not job.future.done())

    def is_alive(self) -> bool:
        return not self.dies and self._thread.is_alive()

    def close(self) -> None:
        self._closed = True
        self._queue.put(None)
        self._thread.join()

    def abort(self) -> None:
        self._closed = self._aborted = True
        self._queue.put(None)

    def _run(self) -> None:
        while (queued := self._queue.get()) is not None:
            self._do(*queued)

    def _do(self, job: Job, ticket: Ticket) -> None:
        time.sleep(self._delay)
        if ticket.withdrawn:
            job.future.cancel()
        if not job.future.set_running_or_notify_cancel():
            return
        try:
            if self._aborted:
                raise EngineClosedError
            hypotheses = self._answer(job)
        except Exception as error:
            job.future.set_exception(error)
            return
        job.times.finished = time.monotonic()
        self._on_report(_record(job, hypotheses))
        job.future.set_result(hypotheses)


def _record(job: Job, hypotheses: Sequence[Hypothesis]) -> EngineReport:
    tokens = len(job.source_ids)
    return EngineReport(
        encodes=(EncodeRecord(tokens, 0.001),),
        steps=(StepRecord(job.options.beam_size, 0.002, 0.25),) * len(hypotheses[0].target_ids),
        queue_wait_seconds=(0.0,),
        finished={hypotheses[0].finish_reason: 1},
        cancelled={},
        running_rows=job.options.beam_size,
    )


def _no_graph() -> Graph:
    raise AssertionError("nobody asked for details")


@dataclasses.dataclass
class FakeLoader:
    """An engine factory; what it loads is a fake engine with a real vocabulary."""

    vocabulary: Vocabulary
    answer: Callable[[Job], tuple[Hypothesis, ...]] = echo
    delay: float = 0.0
    manifest: Manifest = MANIFEST
    provider: str = "CPUExecutionProvider"
    fallback: str | None = None
    device_memory: Callable[[], int] | None = None
    failure: Exception | None = None
    gate: threading.Event | None = None
    """Loading waits for it."""
    open_graph: Callable[[], Graph] = _no_graph
    """What the scorer asks for when it is first asked."""
    engine: FakeEngine = dataclasses.field(init=False)
    scorer: Scorer = dataclasses.field(init=False)

    def __call__(
        self,
        bundle: Path,
        /,
        *,
        on_report: Callable[[EngineReport], None],
        on_scorer_report: Callable[[ScorerReport], None],
        **sizes: Any,
    ) -> LoadedEngine:
        if self.gate is not None:
            self.gate.wait()
        if self.failure is not None:
            raise self.failure
        self.engine = FakeEngine(on_report, self.answer, self.delay)
        self.scorer = Scorer(self.open_graph, on_scorer_report)
        loaded = LoadedEngine(self.engine, self.manifest, self.vocabulary, self.provider, self.scorer)
        return dataclasses.replace(loaded, fallback=self.fallback, device_memory=self.device_memory)


def make_app(loader: FakeLoader, **settings: Any) -> FastAPI:
    return create_app(Settings(**settings), loader)


@contextlib.asynccontextmanager
async def running(app: FastAPI, *, until_ready: bool = True) -> AsyncIterator[httpx.AsyncClient]:
    """The app between start-up and shutdown, and a client for it."""
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://attend", timeout=10) as client,
    ):
        while until_ready and (await client.get("/health/ready")).status_code != 200:
            await asyncio.sleep(0.001)
        yield client


def ask(app: FastAPI, method: str, path: str, **request: Any) -> httpx.Response:
    """One request to a freshly started app."""

    async def scenario() -> httpx.Response:
        async with running(app) as client:
            return await client.request(method, path, **request)

    return asyncio.run(scenario())


def translate(app: FastAPI, body: Mapping[str, Any]) -> httpx.Response:
    """One POST /translate to a freshly started app."""
    return ask(app, "POST", "/translate", json=body)


def asking_metrics(app: FastAPI, *bodies: Mapping[str, Any]) -> str:
    """The metrics page after these translations."""

    async def scenario() -> str:
        async with running(app) as client:
            for body in bodies:
                await client.post("/translate", json=body)
            return (await client.get("/metrics")).text

    return asyncio.run(scenario())


def scope_of(path: bytes) -> dict[str, Any]:
    """What a server tells an app about a POST of JSON."""
    return {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "path": path.decode(),
        "raw_path": path, "query_string": b"", "root_path": "", "scheme": "http", "client": ("x", 1),
        "server": ("attend", 80), "headers": [(b"content-type", b"application/json")],
    }  # fmt: skip


def samples(text: str) -> dict[str, float]:
    """The lines of a Prometheus page: `name{labels}` to value."""
    lines = (line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}
