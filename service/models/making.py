"""The registry of a service, from its settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from service.model_names import parse_canaries
from service.models.finding import Found, find_bundles, read_bundle
from service.models.loads import Loads
from service.models.registry import Registry
from service.models.routing import ANY, NONE

if TYPE_CHECKING:
    from pathlib import Path

    from service.engine.loading import LoadedEngine
    from service.engine.types import EngineConfig, Observers
    from service.metrics import Metrics
    from service.models.entry import Entry
    from service.models.loads import MakeTranslator
    from service.settings import Settings

EngineFactory = Callable[["EngineConfig", "Observers", Callable[[], None]], Awaitable["LoadedEngine"]]
"""Loads a bundle, see `service.engine.loading.load_engine`; may take long and may raise anything that says what is
wrong."""
AUTO = "auto"


def make_registry(
    settings: Settings,
    factory: EngineFactory,
    make_translator: MakeTranslator,
    metrics: Metrics,
    on_loaded: Callable[[Entry], None],
    on_empty: Callable[[Entry], None],
    try_bundle: Callable[[EngineConfig], Awaitable[None]] | None = None,
) -> Registry:
    """The registry for the bundles of `ATTEND_MODELS`, or for the one of `ATTEND_BUNDLE`.

    Args:
        settings: of the service.
        factory: starts the engines of a bundle.
        make_translator: makes a translator on top of them.
        metrics: count.
        on_loaded: is called with each model that has been loaded.
        on_empty: is called with the last of the models when it fails.
        try_bundle: tries a bundle apart from those that are served, before it is loaded beside them.
    """

    def config_of(directory: Path) -> EngineConfig:
        return dataclasses.replace(settings.engine_config(), directory=directory)

    def open_bundle(directory: Path, observers: Observers, on_failure: Callable[[], None]) -> Awaitable[LoadedEngine]:
        return factory(config_of(directory), observers, on_failure)

    def find() -> Found:
        if settings.models is None:
            return Found((read_bundle(settings.bundle),), {})
        return find_bundles(settings.models)

    trying = None if try_bundle is None else (lambda directory: try_bundle(config_of(directory)))
    pivot = settings.pivot
    if pivot == AUTO:
        pivot = NONE if settings.models is None else ANY
    registry = Registry(find, trying, metrics, parse_canaries(settings.canary), pivot, on_empty)
    bound = settings.model_memory
    registry.loads = Loads(open_bundle, make_translator, metrics, bound, on_loaded, registry.note_failure)
    metrics.models.standings = registry.standings
    return registry
