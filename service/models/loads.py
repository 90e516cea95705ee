"""How models come into memory and leave it: one after another, within a bound."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from typing import TYPE_CHECKING

from service.engine.types import Observers
from service.errors import DeadlineExceededError, UnavailableError
from service.models.entry import InMemory
from service.models.memory import Resident, leaving
from service.text_work import TextWork

if TYPE_CHECKING:
    from pathlib import Path

    from service.engine.loading import LoadedEngine
    from service.metrics import Metrics
    from service.model_names import ModelName
    from service.models.entry import Entry
    from service.translator import Translator

_log = logging.getLogger("attend")

OpenBundle = Callable[["Path", Observers, Callable[[], None]], Awaitable["LoadedEngine"]]
"""Starts the engines of a bundle; the last argument is called if they cannot be started again."""
MakeTranslator = Callable[["LoadedEngine", "ModelName"], "Translator"]


class Loads:
    """Brings models into memory. Only the event loop calls it."""

    def __init__(
        self,
        open_bundle: OpenBundle,
        make_translator: MakeTranslator,
        metrics: Metrics,
        bound: int,
        on_loaded: Callable[[Entry], None],
        on_failure: Callable[[Entry], None],
    ) -> None:
        """`bound`: bytes of the files of all models in memory; 0: no bound. `on_loaded` is called with each model that
        is in memory now, `on_failure` with one whose engines cannot be started again."""
        self._open_bundle = open_bundle
        self._make_translator = make_translator
        self._metrics = metrics
        self._bound = bound
        self._on_loaded, self._on_failure = on_loaded, on_failure
        self._one_at_a_time = asyncio.Lock()
        self.text_work = TextWork()
        self._tasks: dict[Entry, asyncio.Task[None]] = {}
        self.residents: dict[Entry, None] = {}
        """The models that take memory."""

    @contextlib.asynccontextmanager
    async def use(self, entry: Entry, deadline: float) -> AsyncIterator[Translator]:
        """The translator of a model, which stays in memory meanwhile; loaded first if it is not there.

        Nobody waits here who uses another model: whatever waits for memory gets it when requests end.

        Raises:
            DeadlineExceededError: it was not loaded by then.
            UnavailableError: it cannot be loaded.
        """
        if entry.state == "ready":
            entry.enter()
        else:
            await self._wait(entry, deadline)
        try:
            if entry.memory is None:  # its engines failed for good meanwhile
                raise UnavailableError(f"the model {entry.model} cannot be used: {entry.failure}")
            yield entry.memory.translator
        finally:
            entry.leave()

    async def _wait(self, entry: Entry, deadline: float) -> None:
        if entry.state == "failed":
            raise UnavailableError(f"the model {entry.model} could not be loaded: {entry.failure}")
        if entry not in self._tasks:
            task = asyncio.create_task(self._load_quietly(entry))
            self._tasks[entry] = task
            task.add_done_callback(lambda _: self._tasks.pop(entry, None))
        remaining = deadline - time.monotonic()
        try:
            async with asyncio.timeout(max(0.0, remaining) if remaining < 10**9 else None):
                await entry.wait()
        except TimeoutError:
            raise DeadlineExceededError(f"the deadline passed before the model {entry.model} was loaded") from None

    async def _load_quietly(self, entry: Entry) -> None:
        with contextlib.suppress(Exception):  # who waits is told by the entry
            await self.load(entry)

    async def load(self, entry: Entry, instead_of: Collection[Entry] = ()) -> None:
        """Check its bundle, start its engines and try them.

        Args:
            entry: what is loaded, if it is not in memory.
            instead_of: models that it will replace; they stay until then, and their memory does not count.

        Raises:
            Exception: why it cannot be loaded. It is marked as failed.
        """
        async with self._one_at_a_time:
            if entry.state == "ready":
                return
            if entry.is_retired and not entry.is_awaited:  # those who began with it still get it
                raise UnavailableError(f"the model {entry.model} is served no more")
            await self._make_room(entry, instead_of)
            entry.state = "loading"
            self.residents[entry] = None
            began = time.monotonic()
            observers = Observers(self._metrics.decoding, self._metrics.scoring)
            try:
                engine = await self._open_bundle(entry.directory, observers, lambda: self._on_failure(entry))
                entry.adopt(engine.manifest)
                # In a thread: it takes long enough to be missed at /health/live.
                translator = await asyncio.to_thread(self._make_translator, engine, entry.model)
            except BaseException as error:
                self.residents.pop(entry, None)
                entry.fail(str(error) or type(error).__name__)
                self._metrics.models.count_load(entry.model, ok=False)
                self._on_failure(entry)
                raise
            self._note_loaded(entry, InMemory(engine, translator), time.monotonic() - began)

    def _note_loaded(self, entry: Entry, memory: InMemory, seconds: float) -> None:
        manifest, provider = memory.engine.manifest, memory.engine.ready.provider
        self._metrics.models.count_load(entry.model, ok=True)
        self._metrics.set_model(
            name=manifest.name,
            version=manifest.version,
            precision=manifest.precision,
            provider=provider,
            load_seconds=seconds,
        )
        entry.install(memory)
        self._on_loaded(entry)
        _log.info("%s %s is ready on %s after %.1f s", manifest.name, manifest.version, provider, seconds)

    async def _make_room(self, entry: Entry, instead_of: Collection[Entry]) -> None:
        while True:
            residents = [
                Resident(each, each.size, each.last_used, bool(each.users), not each.is_retired)
                for each in self.residents
                if each not in instead_of
            ]
            victim = leaving(residents, entry.size, self._bound)
            if victim is None:
                return
            assert victim in self.residents
            await self.unload(next(each for each in self.residents if each is victim), "memory")

    async def unload(self, entry: Entry, reason: str) -> None:
        """Let those who use it finish, then free its memory."""
        if entry.state == "ready":
            entry.state = "unloading"
        await entry.idle()
        if entry.memory is not None:
            self._metrics.models.count_unload(entry.model, reason)
            manifest, provider = entry.manifest, entry.memory.engine.ready.provider
            self._metrics.drop_model(manifest.name, manifest.version, manifest.precision, provider)
        await entry.release()
        self.residents.pop(entry, None)

    async def free(self, entry: Entry) -> None:
        """Take a model out of memory that no request can reach any more."""
        async with self._one_at_a_time:  # it may be loading
            await self.unload(entry, "replaced")

    def has_room(self, entry: Entry) -> bool:
        """Whether it could be loaded without another one having to leave."""
        taken = sum(each.size for each in self.residents)
        return not self._bound or taken + entry.size <= self._bound

    def abort(self) -> None:
        """Fail what the engines still have to do; returns at once."""
        for entry in self.residents:
            if entry.memory is not None:
                entry.memory.engine.abort()

    async def close(self) -> None:
        """Let the engines finish what they accepted and end them."""
        for task in list(self._tasks.values()):
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        await asyncio.gather(*(entry.release() for entry in list(self.residents)))
        self.residents.clear()
