"""Several models without a network: bundles that are a manifest, and engines that answer as their version says."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any, cast

import httpx
from fastapi import FastAPI

from model.bundle import language_groups, read_manifest, write_manifest
from model.errors import BundleError
from model.vocabulary import Vocabulary
from service.api.admin import create_admin
from service.app import create_app
from service.engine.loading import SCORING_BOUNDS, LoadedEngine, Observers
from service.engine.pool import Pool
from service.engine.scoring import ScoringEngine
from service.engine.types import EngineConfig, EngineKind, FinishReason, Hypothesis, Job, Ready, Setup
from service.settings import Settings
from tests.engine.links import in_thread
from tests.service.fakes import MANIFEST, FakePool, _no_graph, running


def put(directory: Path, name: str, version: str = "1", *pairs: str, **changes: Any) -> Path:
    """A bundle of this name in the directory, replacing what it had there."""
    path = directory / name
    path.mkdir(exist_ok=True)
    groups = language_groups([(source, target) for source, _, target in (pair.partition("-") for pair in pairs)])
    manifest = MANIFEST.model_copy(update={"name": name, "version": version, "languages": groups, **changes})
    write_manifest(path, manifest)
    return path


def marked(version: str, always: Sequence[int] = ()) -> Callable[[Job], tuple[Hypothesis, ...]]:
    """The source, or `always` these pieces, with the first repeated as often as the version says: whose answer it is
    can be seen."""

    def answer(job: Job) -> tuple[Hypothesis, ...]:
        pieces = tuple(always) or job.source_ids[1:-1]
        ids = (*pieces[:1] * int(version), *pieces)[: job.options.max_output_tokens]
        reason: FinishReason = "eos" if len(ids) < job.options.max_output_tokens else "length"
        found = Hypothesis(ids, -1.0, -1.0, reason, (-0.1,) * (len(ids) + (reason == "eos")))
        return (found,) * job.options.num_hypotheses

    return answer


class ManyLoader:
    """An engine factory for bundles made by `put`."""

    def __init__(self, vocabulary: Vocabulary, delay: float = 0.0) -> None:
        self.vocabulary = vocabulary
        self.delay = delay
        self.loads: list[str] = []
        self.pools: dict[str, FakePool] = {}
        self.gate: asyncio.Event | None = None
        """Loading waits for it."""
        self.closed: list[str] = []

    async def __call__(
        self, config: EngineConfig, observers: Observers, on_failure: Callable[[], None]
    ) -> LoadedEngine:
        manifest = read_manifest(config.directory)
        key = f"{manifest.name}@{manifest.version}"
        self.loads.append(key)
        if self.gate is not None:
            await self.gate.wait()
        await asyncio.sleep(0)
        if manifest.extra.get("broken"):
            raise BundleError(f"{key}: the self-test of this bundle fails")
        # Chinese in an English text would come back as it is.
        always = self.vocabulary.encode("I like tea.") if manifest.name == "zh-en" else ()
        pool = FakePool(observers.pool, marked(manifest.version, always), self.delay)
        self.pools[key] = pool
        close = pool.close

        async def closing() -> None:
            self.closed.append(key)
            await close()

        pool.close = closing  # type: ignore[method-assign]
        start = in_thread(lambda _: ScoringEngine(_no_graph))
        scorer = Pool(Setup(EngineKind.SCORE, config, 0), 1, SCORING_BOUNDS, observers.scorer, start)
        return LoadedEngine(manifest, self.vocabulary, cast(Pool, pool), scorer, Ready("CPUExecutionProvider"))


@contextlib.asynccontextmanager
async def serving(
    directory: Path, loader: ManyLoader, **settings: Any
) -> AsyncIterator[tuple[FastAPI, httpx.AsyncClient, httpx.AsyncClient]]:
    """The app, and clients of it and of its port for operators."""
    app = create_app(Settings(models=directory, **settings), loader)
    admin = httpx.ASGITransport(create_admin(app.state.service))
    async with (
        running(app) as client,
        httpx.AsyncClient(transport=admin, base_url="http://127.0.0.1:1", timeout=20) as operator,
    ):
        yield app, client, operator


async def texts(client: httpx.AsyncClient, texts: Sequence[str], source: str, target: str, **more: Any) -> Any:
    """The reply to a request, which must succeed."""
    body = {"q": list(texts), "source": source, "target": target, **more}
    reply = await client.post("/translate", json=body)
    assert reply.status_code == 200, reply.text
    return reply.json()


def three(directory: Path) -> None:
    """Three models, which translate zh to en, en to fr and fr to en."""
    put(directory, "zh-en", "2", "zh-en")
    put(directory, "en-fr", "1", "en-fr")
    put(directory, "fr-en", "1", "fr-en")


async def listed(client: httpx.AsyncClient) -> dict[str, list[str]]:
    """The targets of each source, as `/languages` tells them."""
    return {each["code"]: each["targets"] for each in (await client.get("/languages")).json()}
