"""The processes of a pool's engines: started, watched, and started again when they die or hang.

A process hangs that has work, says nothing, and uses no processor for a while, or uses it for much longer.
"""

from __future__ import annotations

import asyncio
import collections
import functools
import logging
import time
from collections.abc import Callable
from typing import Any, Protocol

from service.engine.link import Link, Said, StartLink
from service.engine.types import EngineClosedError, EngineLostError, Lane, Ready, Setup, Stop, Update

_log = logging.getLogger(__name__)

CHECK_SECONDS = 0.5
"""Time between two looks at the processes."""
BUSY_HANG_SHARE = 6
"""A process that uses the processor and says nothing is taken to hang after so many times `hang_seconds`."""
MOST_FAILED_STARTS = 5
"""After so many in a row nothing is started any more."""
_LONGEST_PAUSE = 30.0
_STOP_SECONDS = 5.0
"""Time that processes have to end once they have nothing left to do."""


class EngineProcess:
    """One process, from its start to its end, or the pause before it."""

    def __init__(self, failures: int = 0, pause: float = 0.0) -> None:
        self.failures = failures
        """Processes before this one that ended before they had answered anything."""
        self.pause = pause
        """Seconds until it is started."""
        self.link: Link | None = None
        self.is_ready = False
        self.was_ready = False
        self.is_gone = False
        self.has_answered = False
        self.load = 0
        """Work without an answer."""
        self.assignments: dict[int, Any] = {}
        """What it has of each request, by number; the pool's business."""
        self.running_rows = 0
        self.device_bytes = 0
        self.paces: dict[Lane, float | None] = dict.fromkeys(Lane)
        self._queued = dict.fromkeys(Lane, 0)
        self._unseen: collections.deque[tuple[int, Lane, int]] = collections.deque()
        self._silent = self._idle = 0.0
        self._cpu: float | None = None

    @property
    def is_waited_for(self) -> bool:
        """Whether it should say something soon."""
        return self.link is not None and (not self.is_ready or bool(self.assignments))

    def add(self, number: int, assignment: object, lane: Lane, work: int, tokens: int) -> None:
        """Note a request that is sent to it."""
        if not self.assignments:
            self._silent = self._idle = 0.0
        self.assignments[number] = assignment
        self.load += work
        self._unseen.append((number, lane, tokens))

    def hear(self, update: Update) -> None:
        """Note how its queues stand."""
        self._silent = self._idle = 0.0
        self.has_answered |= bool(update.answers)
        while self._unseen and self._unseen[0][0] <= update.seen:
            self._unseen.popleft()
        for lane, tokens, pace in update.waiting:
            self._queued[lane] = tokens
            self.paces[lane] = pace
        if update.report is not None:
            self.running_rows = update.report.running_rows
            self.device_bytes = update.report.device_bytes or 0

    def waiting(self, lane: Lane) -> int:
        """Tokens in its queue, and on the way there."""
        return self._queued[lane] + sum(tokens for _, of_lane, tokens in self._unseen if of_lane is lane)

    def hangs(self, seconds: float, limit: float) -> bool:
        """Whether it hangs, now that `seconds` more have passed in which the service was running."""
        if self.link is None or not self.is_waited_for:
            return False
        cpu = self.link.cpu_seconds()
        works = cpu is None or cpu != self._cpu
        self._cpu = cpu
        self._silent += seconds
        self._idle = 0.0 if works else self._idle + seconds
        return self._idle >= limit or self._silent >= BUSY_HANG_SHARE * limit


class Owner(Protocol):
    """Whom the engines work for: a pool."""

    def note_update(self, engine: EngineProcess, update: Update) -> None:
        """An engine says what it has done."""

    def note_ready(self) -> None:
        """An engine has become ready."""

    def note_lost(self, engine: EngineProcess, how: str, *, hung: bool) -> None:
        """A process is gone; another takes its place. What it had is in its `assignments`."""


class Processes:
    """A number of processes with the same task. Only the event loop calls it."""

    def __init__(
        self, setup: Setup, count: int, start_link: StartLink, owner: Owner, on_failure: Callable[[], None] | None
    ) -> None:
        """`on_failure`: see `Pool`."""
        self._setup = setup
        self._start_link = start_link
        self._owner = owner
        self._on_failure = on_failure
        self.engines = [EngineProcess() for _ in range(count)]
        self.failure: str | None = None
        """Why nothing is started any more."""
        self._failed_starts = 0
        self._is_closing = False
        self._starting: asyncio.Future[Ready] | None = None
        self._ready: Ready | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._not_ended: set[EngineProcess] = set()
        self._all_ended = asyncio.Event()

    async def start(self) -> Ready:
        """Start the processes; returns once one is ready, and the others have had their chance.

        Raises:
            Exception: what an engine failed with.
            EngineLostError: too many processes ended without a word.
            EngineClosedError: it was closed meanwhile.
        """
        if self._starting is None or (self.failure is not None and self._on_failure is None):
            self.failure, self._failed_starts = None, 0
            self.engines = [EngineProcess() for _ in self.engines]
            self._starting = asyncio.get_running_loop().create_future()
            self._supervisor = self._supervisor or asyncio.create_task(self._supervise())
            for engine in list(self.engines):
                self._start(engine)
        return await asyncio.shield(self._starting)

    def ready(self) -> list[EngineProcess]:
        """The engines that are ready."""
        return [engine for engine in self.engines if engine.is_ready]

    def pids(self) -> list[int]:
        """The process ids."""
        return [engine.link.pid for engine in self.engines if engine.link is not None]

    def kill(self) -> None:
        """End all of them at once."""
        self._is_closing = True
        if self._starting is not None and not self._starting.done():
            self._end_start(EngineClosedError("the engine was stopped"))
        for engine in self._not_ended:
            if engine.link is not None:
                engine.link.kill()

    async def stop(self) -> None:
        """Let them finish what they have and end; those that do not are killed."""
        self._is_closing = True
        for engine in self._not_ended:
            if engine.link is not None:
                engine.link.send(Stop())
        for _ in range(2):
            if self._not_ended:
                ended = asyncio.create_task(self._all_ended.wait())
                await asyncio.wait([ended], timeout=_STOP_SECONDS)
                ended.cancel()
                self.kill()
        if self._supervisor is not None:
            self._supervisor.cancel()
            await asyncio.wait([self._supervisor])

    def _start(self, engine: EngineProcess) -> None:
        said, end = functools.partial(self._hear, engine), functools.partial(self._end, engine)
        try:
            engine.link = self._start_link(self._setup, said, end)
        except OSError as error:
            self._lose(engine, f"it could not be started: {error}", hung=False)
        else:
            self._not_ended.add(engine)
            self._all_ended.clear()

    async def _supervise(self) -> None:
        before = time.monotonic()
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            now = time.monotonic()
            # Time in which the service itself stood still (a suspended machine) does not count.
            self.check(min(now - before, 2 * CHECK_SECONDS))
            before = now

    def check(self, seconds: float) -> None:
        """Look after the processes, now that `seconds` more have passed."""
        for engine in list(self.engines):
            if engine.link is None:
                engine.pause -= seconds
                if engine.pause <= 0 and not self._is_closing and self.failure is None:
                    self._start(engine)
            elif engine.hangs(seconds, self._setup.config.hang_seconds):
                engine.link.kill()
                self._lose(engine, "it was killed, for it said nothing", hung=True)

    def _hear(self, engine: EngineProcess, said: Said) -> None:
        """Called with everything that an engine says."""
        if engine.is_gone:
            return
        if isinstance(said, Update):
            self._owner.note_update(engine, said)
        elif isinstance(said, logging.LogRecord):
            logging.getLogger(said.name).handle(said)
        elif isinstance(said, Ready):
            engine.is_ready = engine.was_ready = True
            self._failed_starts = 0
            self._ready = self._ready or said
            self._note_starts()
            self._owner.note_ready()
        else:
            self._refuse_to_start(engine, said)

    def _refuse_to_start(self, engine: EngineProcess, error: Exception) -> None:
        """An engine says why it cannot start."""
        if self._starting is not None and not self._starting.done():
            self._fail_start(error)
        self._lose(engine, str(error), hung=False)

    def _end_start(self, error: Exception) -> None:
        assert self._starting is not None
        self._starting.set_exception(error)
        self._starting.exception()  # its owner may have gone

    def _fail_start(self, error: Exception) -> None:
        self.failure = str(error)
        self._end_start(error)
        for engine in self._not_ended:
            if engine.link is not None:
                engine.link.kill()

    def _end(self, engine: EngineProcess, how: str) -> None:
        """Called when a process has ended."""
        self._not_ended.discard(engine)
        if not self._not_ended:
            self._all_ended.set()
        if not engine.is_gone:
            self._lose(engine, how, hung=False)

    def _lose(self, engine: EngineProcess, how: str, *, hung: bool) -> None:
        """A process is gone: another one takes its place."""
        engine.is_gone, engine.is_ready = True, False
        if self.failure is None and not self._is_closing:
            _log.error("the process of an engine is lost (%s), with %d requests", how, len(engine.assignments))
        failures = 0 if engine.has_answered else engine.failures + 1
        pause = min(2.0 ** (failures - 2), _LONGEST_PAUSE) if failures > 1 else 0.0
        self.engines[self.engines.index(engine)] = EngineProcess(failures, pause)
        is_accident = self.failure is None and not self._is_closing
        self._note_failed_start(how, engine)
        self._note_starts()
        if is_accident or engine.assignments:
            self._owner.note_lost(engine, how, hung=hung)

    def _note_failed_start(self, how: str, engine: EngineProcess) -> None:
        if engine.was_ready or self._is_closing or self.failure is not None:
            return
        self._failed_starts += 1
        if self._failed_starts >= MOST_FAILED_STARTS and not self.ready():
            error = EngineLostError(f"{self._failed_starts} processes in a row ended before they were ready: {how}")
            _log.critical("%s", error)
            if self._starting is not None and not self._starting.done():
                self._fail_start(error)
            self.failure = str(error)
            if self._on_failure is not None:
                self._on_failure()

    def _note_starts(self) -> None:
        """Whether `start` is over."""
        had_chance = all(engine.is_ready or engine.failures for engine in self.engines)
        if self._starting is not None and not self._starting.done() and self._ready is not None and had_chance:
            self._starting.set_result(self._ready)
