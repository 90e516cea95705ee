"""One model: its bundle, what of it is in memory, and who uses it. Only the event loop calls it."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from typing import TYPE_CHECKING, Literal

from service.errors import UnavailableError
from service.model_names import ModelName
from service.models.routing import Candidate
from service.text.languages import Directions

if TYPE_CHECKING:
    from pathlib import Path

    from model.bundle import Manifest
    from service.engine.loading import LoadedEngine
    from service.models.finding import FoundBundle
    from service.translator import Translator

State = Literal["unloaded", "loading", "ready", "unloading", "failed"]
"""unloaded: read from its files when it is wanted. unloading: those who use it finish. failed: see `failure`."""


@dataclasses.dataclass(frozen=True, slots=True)
class InMemory:
    """A model that can translate."""

    engine: LoadedEngine
    translator: Translator


class Entry:
    """A model of the registry, from when its bundle is found until it is replaced or taken away."""

    def __init__(self, found: FoundBundle) -> None:
        self.found = found
        self.model: ModelName = found.model
        self.directions = Directions.parse(found.manifest.pairs())
        self.state: State = "unloaded"
        self.failure: str | None = None
        self.memory: InMemory | None = None
        self.users = 0
        self.last_used = 0.0
        """In seconds of `time.monotonic`."""
        self.is_retired = False
        """No new request is sent to it: it was replaced, or taken away."""
        self._waiters: list[asyncio.Future[None]] = []
        self._idle: asyncio.Future[None] | None = None

    @property
    def manifest(self) -> Manifest:
        """What its bundle says of itself."""
        return self.found.manifest

    @property
    def directory(self) -> Path:
        """Where its bundle lies."""
        return self.found.directory

    @property
    def size(self) -> int:
        """Bytes of its files."""
        return self.found.size

    @property
    def candidate(self) -> Candidate:
        """The model as routing knows it."""
        return Candidate(self.model, self.directions, self.manifest.priority)

    @property
    def is_in_memory(self) -> bool:
        """Whether it takes memory, or is about to."""
        return self.memory is not None or self.state == "loading"

    @property
    def is_awaited(self) -> bool:
        """Whether a request waits for it to be in memory."""
        return any(not waiter.done() for waiter in self._waiters)

    @property
    def is_usable(self) -> bool:
        """Whether a request sent to it is answered, at once or after it has been loaded."""
        if self.state == "failed":
            return False
        return self.memory is None or self.memory.engine.pool.is_ready()

    @property
    def is_ready(self) -> bool:
        """Whether it translates now."""
        return self.state == "ready" and self.memory is not None and self.memory.engine.pool.is_ready()

    def adopt(self, manifest: Manifest) -> None:
        """What was loaded is what counts, if the directory had something else before."""
        if manifest is not self.manifest:
            self.found = dataclasses.replace(self.found, manifest=manifest)
            self.model, self.directions = self.found.model, Directions.parse(manifest.pairs())

    def install(self, memory: InMemory) -> None:
        """It is in memory: who waits for it uses it."""
        self.memory, self.state, self.failure = memory, "ready", None
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                self.enter()
                waiter.set_result(None)

    def fail(self, reason: str) -> None:
        """It cannot be used: who waits for it is told."""
        self.state, self.failure = "failed", reason
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_exception(UnavailableError(f"the model {self.model} could not be loaded: {reason}"))

    async def wait(self) -> None:
        """Wait until it is in memory and used by the caller, who calls `leave` then.

        Raises:
            UnavailableError: it cannot be loaded.
        """
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self.leave()  # it came just then
            raise

    def enter(self) -> None:
        """One more uses it."""
        self.users += 1
        self.last_used = time.monotonic()

    def leave(self) -> None:
        """One uses it no more."""
        self.users -= 1
        self.last_used = time.monotonic()
        if not self.users and self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    async def idle(self) -> None:
        """Wait until nobody uses it."""
        while self.users:
            self._idle = self._idle or asyncio.get_running_loop().create_future()
            await asyncio.shield(self._idle)
            self._idle = None

    async def release(self) -> None:
        """Take it out of memory, once what is under way is finished."""
        memory, self.memory = self.memory, None
        if memory is not None:
            await memory.engine.close()
        if self.state != "failed":
            self.state = "unloaded"
