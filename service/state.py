"""What the routes of one app share: settings, metrics, and the translator once there is one."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, TypeAlias

from model.bundle import Manifest
from service.admission import Admission
from service.engine.types import EngineConfig, Observers
from service.errors import InvalidFieldError, UnavailableError, shown
from service.glossaries import read_glossaries
from service.metrics import Metrics
from service.settings import Settings

if TYPE_CHECKING:  # `app` puts them together; nothing here calls them
    from service.access.guard import Guard
    from service.engine.loading import LoadedEngine
    from service.translator import Translator

_log = logging.getLogger("attend")

EngineFactory: TypeAlias = "Callable[[EngineConfig, Observers, Callable[[], None]], Awaitable[LoadedEngine]]"
"""Loads a bundle, see `service.engine.loading.load_engine`; may take long and may raise anything that says what is
wrong."""


TranslatorFactory: TypeAlias = "Callable[[LoadedEngine, Settings, Metrics], Translator]"


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
    """One app's model, from nothing over loading to ready or failed. Only the event loop uses it."""

    def __init__(
        self,
        settings: Settings,
        factory: EngineFactory,
        make_translator: TranslatorFactory,
        on_failure: Callable[[], None],
        guard: Guard,
    ) -> None:
        """`on_failure` is called when the model cannot be loaded, or its engines cannot be started again."""
        self.settings = settings
        self.metrics = Metrics()
        self.admission = Admission(settings.max_requests)
        self.guard = guard
        self.failure: str | None = None
        self._glossaries = read_glossaries(settings.glossaries) if settings.glossaries else {}
        self._factory = factory
        self._make_translator = make_translator
        self._on_failure = on_failure
        self._model: Model | None = None
        self._loaded: LoadedEngine | None = None

    async def load(self) -> None:
        """Load the model; a failure is logged and kept in `failure`."""
        began = time.monotonic()
        observers = Observers(self.metrics.decoding, self.metrics.scoring)
        try:
            loaded = await self._factory(self.settings.engine_config(), observers, self._fail)
        except Exception as error:
            self.failure = f"the model could not be loaded: {error}"
            _log.error("%s", self.failure, exc_info=_log.isEnabledFor(logging.DEBUG))
            self._on_failure()
            return
        self._loaded = loaded
        # In a thread: it takes long enough to be missed at /health/live.
        model = await asyncio.to_thread(self._make_model, loaded)
        self._publish(model, time.monotonic() - began)

    def _fail(self) -> None:
        self.failure = "the engines cannot be started again"
        self.metrics.set_ready(False)
        self._on_failure()

    def glossary(self, name: str) -> Mapping[str, str]:
        """The terms of a glossary of this service.

        Raises:
            InvalidFieldError: there is none of this name.
        """
        try:
            return self._glossaries[name]
        except KeyError:
            known = ", ".join(sorted(self._glossaries)) or "none"
            raise InvalidFieldError(f"there is no glossary '{shown(name)}'; there is {known}") from None

    def drain(self) -> None:
        """Refuse new requests; those under way go on."""
        self.admission.close()
        self.metrics.set_ready(False)

    def abort(self) -> None:
        """Fail what the engines still have to do; returns at once."""
        if self._loaded is not None:
            self._loaded.abort()

    def exposition(self) -> bytes:
        """What `/metrics` answers."""
        if self._loaded is not None:
            pool, scorer = self._loaded.pool, self._loaded.scorer
            self.metrics.set_queues(to_translate=pool.waiting_tokens(), to_score=scorer.waiting_tokens())
            self.metrics.set_running_rows(pool.running_rows())
            self.metrics.set_ready(self._is_ready)
        return self.metrics.render()

    async def close(self) -> None:
        """Let the engines finish what they accepted and end them."""
        self.metrics.set_ready(False)
        self._model = None
        if self._loaded is not None:
            await self._loaded.close()
        await self.guard.close()

    def model(self) -> Model:
        """The model, if it can translate now.

        Raises:
            UnavailableError: it is loading, failed to load, or none of its engines runs.
        """
        if self._model is None or self._loaded is None or self.failure is not None:
            raise UnavailableError(self.failure or "the model is still loading")
        if not self._loaded.pool.is_ready():
            raise UnavailableError("the engines are being started again")
        return self._model

    @property
    def _is_ready(self) -> bool:
        loaded = self._loaded is not None and self._model is not None and self._loaded.pool.is_ready()
        return loaded and self.failure is None and not self.admission.is_closed

    @property
    def is_started(self) -> bool:
        """Whether the model has been loaded."""
        return self._model is not None

    @property
    def is_alive(self) -> bool:
        """False once only a restart can help."""
        return self.failure is None

    def _make_model(self, loaded: LoadedEngine) -> Model:
        self.metrics.watch_processes(loaded.pids)
        translator = self._make_translator(loaded, self.settings, self.metrics)
        model = Model(loaded.manifest, loaded.ready.provider, translator, loaded.ready.fallback)
        if model.device == "cuda":
            self.metrics.watch_device_memory(loaded.pool.device_memory)
        return model

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
        self.metrics.set_ready(not self.admission.is_closed)
        _log.info("%s %s is ready on %s after %.1f s", manifest.name, manifest.version, model.provider, load_seconds)
