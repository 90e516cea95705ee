"""What the routes of one app share: settings, metrics, and the models once there are any."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from service.admission import Admission
from service.errors import InvalidFieldError, UnavailableError, shown
from service.glossaries import read_glossaries
from service.metrics import Metrics
from service.settings import Settings

if TYPE_CHECKING:  # `app` puts them together; nothing here calls them
    from collections.abc import Awaitable, Callable

    from service.access.guard import Guard
    from service.models.entry import Entry
    from service.models.registry import Registry
    from service.models.router import Router

_log = logging.getLogger("attend")


@dataclasses.dataclass(frozen=True, slots=True)
class Model:
    """What one request sees of the models."""

    translator: Router
    default: Entry
    """The preferred model: the one that health tells of if nobody names another."""
    generation: int
    """Differs from that of another request if anything was exchanged between them."""


def device_of(entry: Entry) -> str:
    """`cuda` or `cpu`: what a model really runs on, whatever was asked for."""
    cuda = entry.memory is not None and entry.memory.engine.ready.provider.startswith("CUDA")
    return "cuda" if cuda else "cpu"


class ServiceState:
    """One app's models, from nothing over loading to ready or failed. Only the event loop uses it."""

    models: Registry
    """Set by `app` before anything else is done."""

    def __init__(self, settings: Settings, on_failure: Callable[[], None], guard: Guard) -> None:
        """`on_failure` is called when no model can be loaded, or its engines cannot be started again."""
        self.settings = settings
        self.metrics = Metrics()
        self.admission = Admission(settings.max_requests)
        self.guard = guard
        self.failure: str | None = None
        self.is_started = False
        """Whether a model has been loaded."""
        self._glossaries = read_glossaries(settings.glossaries) if settings.glossaries else {}
        self._on_failure = on_failure
        self._watches_device = False
        self.closing: list[Callable[[], Awaitable[None]]] = []
        """What is done at last, when nothing is under way any more."""
        self.metrics.watch_processes(self._pids)

    def _pids(self) -> list[int]:
        return list(dict.fromkeys(pid for engine in self.models.engines() for pid in engine.pids()))

    async def load(self) -> None:
        """Load the models; a failure is logged and kept in `failure`."""
        try:
            await self.models.start(lazy=self.settings.lazy)
        except Exception as error:
            self.failure = f"the model could not be loaded: {error}"
            _log.error("%s", self.failure, exc_info=_log.isEnabledFor(logging.DEBUG))
            self._on_failure()
            return
        self.is_started = True
        self.metrics.set_ready(not self.admission.is_closed)

    def note_loaded(self, entry: Entry) -> None:
        """A model has been loaded."""
        if device_of(entry) == "cuda" and not self._watches_device:
            self._watches_device = True
            self.metrics.watch_device_memory(
                lambda: max((engine.pool.device_memory() for engine in self.models.engines()), default=0)
            )

    def note_empty(self, last: Entry) -> None:
        """The last model has failed."""
        self.failure = last.failure
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
        self.models.loads.abort()

    def exposition(self) -> bytes:
        """What `/metrics` answers."""
        engines = self.models.engines()
        self.metrics.set_queues(
            to_translate=sum(engine.pool.waiting_tokens() for engine in engines),
            to_score=sum(engine.scorer.waiting_tokens() for engine in engines),
        )
        self.metrics.set_running_rows(sum(engine.pool.running_rows() for engine in engines))
        self.metrics.set_ready(self._is_ready)
        return self.metrics.render()

    async def close(self) -> None:
        """Let the engines finish what they accepted and end them."""
        self.metrics.set_ready(False)
        self.is_started = False
        await self.models.close()
        for close in self.closing:
            await close()
        await self.guard.close()

    def model(self) -> Model:
        """What a request that begins now can be answered with.

        Raises:
            UnavailableError: nothing is loaded yet, loading failed, or no engine runs.
        """
        if not self.is_started or self.failure is not None:
            raise UnavailableError(self.failure or "the model is still loading")
        router = self.models.router()
        entries = self.models.current().ordered
        default = next((entry for entry in entries if entry.is_usable), None)
        if default is None:
            raise UnavailableError("the engines are being started again")
        return Model(router, default, self.models.generation)

    @contextlib.contextmanager
    def held(self) -> Iterator[Model]:
        """The same while a request is answered: what it sees stays, whatever is exchanged meanwhile.

        Raises:
            UnavailableError: as `model`.
        """
        model = self.model()
        with self.models.current().held():
            yield model

    @property
    def _is_ready(self) -> bool:
        if not self.is_started or self.failure is not None or self.admission.is_closed:
            return False
        catalogue = self.models.catalogue
        return catalogue is not None and any(entry.is_usable for entry in catalogue.entries.values())

    @property
    def is_alive(self) -> bool:
        """False once only a restart can help."""
        return self.failure is None
