"""What the routes of one app share: settings, metrics, and the translator once there is one."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from model.bundle import Manifest
from service.admission import Door
from service.engine.records import EngineReport, ScorerReport
from service.errors import UnavailableError
from service.explain.inspector import Inspector
from service.metrics import Metrics
from service.settings import Device, Settings
from service.text.languages import Directions
from service.text.reading import readers_of
from service.translator import Translator

if TYPE_CHECKING:  # the runtime takes long to import, and this is imported before it is needed
    from service.engine.loading import LoadedEngine

_log = logging.getLogger("attend")


class EngineFactory(Protocol):
    """Loads a bundle; may take long and may raise anything that says what is wrong."""

    def __call__(
        self,
        directory: Path,
        /,
        *,
        device: Device,
        sessions: int,
        threads: int,
        max_rows: int,
        waiting_tokens: int,
        bulk_waiting_tokens: int,
        on_report: Callable[[EngineReport], None],
        on_scorer_report: Callable[[ScorerReport], None],
    ) -> LoadedEngine:
        """The engine, warmed up, for the directory `bundle`; reports come from the threads that did the work."""


@dataclasses.dataclass(frozen=True, slots=True)
class Model:
    """A loaded model and the translator on top of it."""

    manifest: Manifest
    provider: str
    translator: Translator
    fallback: str | None = None
    """Why it does not run on CUDA, if that was wanted."""

    @property
    def device(self) -> str:
        """`cuda` or `cpu`: what the model really runs on, whatever was asked for."""
        return "cuda" if self.provider.startswith("CUDA") else "cpu"


class ServiceState:
    """One app's model, from nothing over loading to ready or failed. Only the event loop changes it."""

    def __init__(self, settings: Settings, factory: EngineFactory) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.door = Door(settings.max_requests)
        self.failure: str | None = None
        self._factory = factory
        self._model: Model | None = None
        self._loaded: LoadedEngine | None = None

    async def load(self) -> None:
        """Load the model; a failure is logged and kept in `failure`."""
        began = time.monotonic()
        try:
            self._loaded = await asyncio.to_thread(self._call_factory)
            model = await asyncio.to_thread(self._make_model, self._loaded)
        except Exception as error:
            self.failure = f"the model could not be loaded: {error}"
            _log.error("%s", self.failure, exc_info=_log.isEnabledFor(logging.DEBUG))
            return
        self._publish(model, time.monotonic() - began)

    def drain(self) -> None:
        """Refuse new requests; those under way go on."""
        self.door.close()
        self.metrics.set_ready(False)

    def abort(self) -> None:
        """Fail what the engine still has to do."""
        if self._loaded is not None:
            self._loaded.abort()

    def exposition(self) -> bytes:
        """What `/metrics` answers."""
        if self._loaded is not None:
            self.metrics.set_queues(
                to_translate=self._loaded.engine.waiting_tokens(), to_score=self._loaded.scorer.waiting_tokens()
            )
        return self.metrics.render()

    async def close(self) -> None:
        """Let the engine finish what it accepted and stop it."""
        self.metrics.set_ready(False)
        self._model = None
        if self._loaded is not None:
            await asyncio.to_thread(self._loaded.close)

    def model(self) -> Model:
        """The model, if it can translate now.

        Raises:
            UnavailableError: it is loading, failed to load, or its engine died.
        """
        if self._model is None:
            raise UnavailableError(self.failure or "the model is still loading")
        if not self._model.translator.engine.is_alive():
            self.metrics.set_ready(False)
            raise UnavailableError("the engine has stopped")
        return self._model

    @property
    def is_started(self) -> bool:
        """Whether the model has been loaded."""
        return self._model is not None

    @property
    def is_alive(self) -> bool:
        """False once only a restart can help."""
        engine_died = self._model is not None and not self._model.translator.engine.is_alive()
        return self.failure is None and not engine_died

    def _call_factory(self) -> LoadedEngine:
        return self._factory(
            self.settings.bundle,
            device=self.settings.device,
            sessions=self.settings.sessions,
            threads=self.settings.threads,
            max_rows=self.settings.max_rows,
            waiting_tokens=self.settings.max_queue_tokens,
            bulk_waiting_tokens=self.settings.max_bulk_queue_tokens,
            on_report=self.metrics.observe_engine,
            on_scorer_report=self.metrics.observe_scorer,
        )

    def _make_model(self, loaded: LoadedEngine) -> Model:
        manifest = loaded.manifest
        directions = Directions.parse(manifest.directions)
        translator = Translator(
            engine=loaded.engine,
            vocabulary=loaded.vocabulary,
            directions=directions,
            readers=readers_of(directions, loaded.vocabulary),
            limits=manifest.limits,
            metrics=self.metrics,
            max_tokens=self.settings.max_tokens,
            inspector=Inspector(loaded.scorer, manifest, loaded.vocabulary, loaded.shortlist, loaded.lexical),
        )
        self.metrics.watch_processes(loaded.pids)
        if loaded.device_memory is not None:
            self.metrics.watch_device_memory(loaded.device_memory)
        return Model(manifest, loaded.provider, translator, loaded.fallback)

    def _publish(self, model: Model, load_seconds: float) -> None:
        manifest = model.manifest
        self._model = model
        self.metrics.set_model(
            name=manifest.name,
            version=manifest.version,
            precision=manifest.precision,
            provider=model.provider,
            load_seconds=load_seconds,
        )
        self.metrics.set_ready(not self.door.is_closed)
        _log.info("%s %s is ready on %s after %.1f s", manifest.name, manifest.version, model.provider, load_seconds)
