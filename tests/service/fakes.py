"""An engine without a model, and the service around it as its callers see it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import math
import threading
import time
import traceback
import types
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, cast

import httpx
from fastapi import FastAPI

from model.bundle import FORMAT, DecoderSpec, Limits, Manifest, SpecialIds, language_groups
from model.lexical import LexicalTable
from model.vocabulary import Vocabulary
from service.app import create_app
from service.engine.jobs import Watcher
from service.engine.loading import SCORING_BOUNDS, LoadedEngine, Observers
from service.engine.pool import Pool
from service.engine.scoring import Graph, ScoringEngine
from service.engine.types import (
    Answer,
    DeadlineError,
    EncodeRecord,
    EngineClosedError,
    EngineConfig,
    EngineKind,
    Failure,
    FinishReason,
    Hypothesis,
    Job,
    Observer,
    QueueFullError,
    Ready,
    Report,
    Setup,
    StepRecord,
    Times,
    error_of,
)
from service.settings import Settings
from tests.engine.links import in_thread

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


class FakePool:
    """Answers jobs one after another, each in a thread, as a `Pool` would."""

    def __init__(self, observer: Observer, answer: Callable[[Job], tuple[Hypothesis, ...]], delay: float) -> None:
        self.submitted: list[Job] = []
        self.deadlines: list[float] = []
        """One for each request."""
        self.cancelled: list[Job] = []
        """Jobs that nobody waited for any more."""
        self.refusal: Exception | None = None
        """What the next request is refused with."""
        self.dies = False
        self.is_full = False
        """Refuses before anything is done."""
        self.asked_for_room: list[tuple[int, int]] = []
        self.partials: Sequence[int] = ()
        """Lengths of what is told of a job that is streamed, before its answer."""
        self.observer = observer
        self._answer = answer
        self._delay = delay
        self._turn = asyncio.Lock()
        self._running: dict[asyncio.Future[list[Answer]], Sequence[Job]] = {}
        self._closed = False

    async def run(
        self,
        jobs: Sequence[Job],
        *,
        deadline: float = math.inf,
        is_further: bool = False,
        fail_fast: bool = True,
        watcher: Watcher | None = None,
    ) -> list[Answer]:
        if not jobs:
            return []
        if self._closed:
            raise EngineClosedError("closed")
        if not is_further and self.refusal is not None:
            raise self.refusal
        self.deadlines.append(deadline)
        self.submitted.extend(jobs)
        work = asyncio.ensure_future(self._answers(jobs, fail_fast, watcher))
        self._running[work] = jobs
        try:
            return await work
        except asyncio.CancelledError:
            if self._closed:
                raise EngineClosedError("closed") from None
            self.cancelled.extend(jobs)
            raise
        finally:
            del self._running[work]

    async def _answers(self, jobs: Sequence[Job], fail_fast: bool, watcher: Watcher | None) -> list[Answer]:
        answers = []
        for place, job in enumerate(jobs):
            async with self._turn:
                answers.append(await self._do(place, job))
            if watcher is not None:
                if answers[-1].result and job.streams:
                    for length in self.partials:
                        watcher.note_partial(place, answers[-1].result[0].target_ids[:length])
                watcher.note_answer(place, answers[-1])
            failure = answers[-1].failure
            if failure is not None and fail_fast:
                raise error_of(failure)
        return answers

    async def _do(self, place: int, job: Job) -> Answer:
        submitted = time.monotonic()
        await asyncio.sleep(self._delay)
        failure, hypotheses = None, None
        try:
            hypotheses = await asyncio.to_thread(self._answer, job)
            self.observer.observe_report(_report(job, hypotheses))
        except DeadlineError:
            failure = Failure("deadline")
        except Exception as error:
            failure = Failure("error", str(error), "".join(traceback.format_exception(error)))
        now = time.monotonic()
        answer = Answer(1, place, hypotheses, failure, Times(submitted, now, now, now))
        self.observer.observe_answer(answer)
        return answer

    def check_room(self, fewest_tokens: int, most_tokens: int) -> None:
        self.asked_for_room.append((fewest_tokens, most_tokens))
        if self.is_full:
            raise QueueFullError("full", 3.2)

    def waiting_tokens(self) -> int:
        return sum(job.tokens for jobs in self._running.values() for job in jobs)

    def running_rows(self) -> int:
        return 0

    def device_memory(self) -> int:
        return 77_000

    @property
    def processes(self) -> Any:
        return types.SimpleNamespace(pids=list)

    def is_ready(self) -> bool:
        return not self.dies and not self._closed

    async def close(self) -> None:
        self._closed = True
        if self._running:
            await asyncio.wait(self._running)

    def abort(self) -> None:
        self._closed = True
        for work in self._running:
            work.cancel()


def _report(job: Job, hypotheses: Sequence[Hypothesis]) -> Report:
    steps = (StepRecord(job.options.beam_size, 0.002, 0.25),) * len(hypotheses[0].target_ids)
    return Report((EncodeRecord(len(job.source_ids), 0.001),), steps, (0.0,))


def _no_graph() -> Graph:
    raise AssertionError("nobody asked for details")


@dataclasses.dataclass
class FakeLoader:
    """An engine factory; what it loads is a fake pool with a real vocabulary, and a real scorer with a fake graph."""

    vocabulary: Vocabulary
    answer: Callable[[Job], tuple[Hypothesis, ...]] = echo
    delay: float = 0.0
    manifest: Manifest = MANIFEST
    provider: str = "CPUExecutionProvider"
    fallback: str | None = None
    failure: Exception | None = None
    gate: threading.Event | None = None
    """Loading waits for it."""
    open_graph: Callable[[], Graph] = _no_graph
    """What the scorer asks for when it is first asked."""
    lexical: Mapping[str, LexicalTable] = dataclasses.field(default_factory=dict)
    """What it aligns with, by direction."""
    engine: FakePool = dataclasses.field(init=False)
    scorer: Pool = dataclasses.field(init=False)
    on_failure: Callable[[], None] = dataclasses.field(init=False)

    async def __call__(
        self, config: EngineConfig, observers: Observers, on_failure: Callable[[], None]
    ) -> LoadedEngine:
        if self.gate is not None:
            await asyncio.to_thread(self.gate.wait)
        if self.failure is not None:
            raise self.failure
        self.on_failure = on_failure
        self.engine = FakePool(observers.pool, self.answer, self.delay)
        setup = Setup(EngineKind.SCORE, config, 0)
        start = in_thread(lambda _: ScoringEngine(self.open_graph, lexical=self.lexical))
        self.scorer = Pool(setup, 1, SCORING_BOUNDS, observers.scorer, start)
        pool = cast(Pool, self.engine)
        return LoadedEngine(self.manifest, self.vocabulary, pool, self.scorer, Ready(self.provider, self.fallback))


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
