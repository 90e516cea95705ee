"""The models of a service from its settings, put together without anything of HTTP."""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from service.engine.cache import Cache
from service.engine.hosting import Hosts
from service.engine.loading import SILENT, LoadedEngine, engine_count, load_engine
from service.explain.inspector import Inspector
from service.models.making import EngineFactory, make_registry
from service.text.detection import detector
from service.text.languages import Directions
from service.text.reading import readers_of
from service.translator import Counts, Translator

if TYPE_CHECKING:
    from service.engine.types import EngineConfig, Observers
    from service.metrics import Metrics
    from service.model_names import ModelName
    from service.models.entry import Entry
    from service.models.registry import Registry
    from service.settings import Settings
    from service.text_work import TextWork


class CountedByModel:
    """Counts what a translator does, for the service and for its model."""

    def __init__(self, metrics: Metrics, model: ModelName) -> None:
        self._metrics = metrics
        self._model = model

    def observe_translation(self, *, source_tokens: int, target_tokens: int, split: int, cut: int) -> None:
        """See `Metrics.observe_translation`."""
        self._metrics.observe_translation(
            source_tokens=source_tokens, target_tokens=target_tokens, split=split, cut=cut
        )
        self._metrics.models.observe_tokens(self._model, source_tokens, target_tokens)
        self._metrics.models.count_problem(self._model, "truncated", cut)

    def count_repetition(self, *, removed: bool) -> None:
        """See `Metrics.count_repetition`."""
        self._metrics.count_repetition(removed=removed)
        self._metrics.models.count_problem(self._model, "repetition")


def make_translator(
    loaded: LoadedEngine, settings: Settings, counts: Counts, text_work: TextWork, cache: Cache | None
) -> Translator:
    """The translator on top of loaded engines. It takes a while."""
    manifest = loaded.manifest
    detector()  # read now, and not under the first request
    directions = Directions.parse(manifest.pairs())
    return Translator(
        pool=loaded.pool,
        vocabulary=loaded.vocabulary,
        directions=directions,
        readers=readers_of(directions, loaded.vocabulary, manifest.tokenizer, has_shortlist=manifest.has_shortlist),
        limits=manifest.limits,
        metrics=counts,
        max_tokens=settings.max_tokens,
        inspector=Inspector(loaded.scorer, manifest, loaded.vocabulary),
        cache=cache,
        text_work=text_work,
    )


class SharedEngines:
    """Starts engines in processes that they share."""

    def __init__(self, settings: Settings) -> None:
        self._count = engine_count(settings.engine_config())
        self._hosts: Hosts | None = None

    async def __call__(
        self, config: EngineConfig, observers: Observers, on_failure: Callable[[], None]
    ) -> LoadedEngine:
        """See `load_engine`."""
        self._hosts = self._hosts or Hosts(self._count)
        return await load_engine(config, observers, on_failure, self._hosts.links())

    async def close(self) -> None:
        """End the processes."""
        hosts, self._hosts = self._hosts, None
        if hosts is not None:
            await hosts.close()


async def try_apart(config: EngineConfig) -> None:
    """Load a bundle in a process of its own and translate its self-tests: whatever it does there harms nobody."""
    engine = await load_engine(dataclasses.replace(config, sessions=1), SILENT)
    await engine.close()


def assembled(
    settings: Settings,
    metrics: Metrics,
    on_loaded: Callable[[Entry], None],
    on_empty: Callable[[Entry], None],
    engine_factory: EngineFactory = load_engine,
) -> tuple[Registry, Callable[[], Awaitable[None]]]:
    """The models, of which nothing is loaded yet, and what is to be awaited when they have been closed.

    Args:
        settings: which models, and how.
        metrics: count.
        on_loaded: is called with each model that has been loaded.
        on_empty: is called with the last of the models when it fails.
        engine_factory: starts the engines of a bundle.
    """
    shared = SharedEngines(settings) if settings.models is not None and engine_factory is load_engine else None
    caches: weakref.WeakSet[Cache] = weakref.WeakSet()
    metrics.watch_cache(lambda: sum(cache.bytes for cache in caches))

    def translator_for(loaded: LoadedEngine, model: ModelName) -> Translator:
        cache = None
        if settings.cache_bytes:
            cache = Cache(loaded.pool, settings.cache_bytes, metrics.count_cached)
            caches.add(cache)
        return make_translator(loaded, settings, CountedByModel(metrics, model), registry.loads.text_work, cache)

    registry = make_registry(
        settings,
        shared or engine_factory,
        translator_for,
        metrics,
        on_loaded,
        on_empty,
        try_apart if shared is not None else None,
    )
    return registry, nothing_to_close if shared is None else shared.close


async def nothing_to_close() -> None:
    """End nothing: each engine ends with its pool."""
