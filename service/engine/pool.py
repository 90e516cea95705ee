"""Several engines as one, on the event loop: what may wait, which engine takes what, and what became of it.

Each engine is a process with a queue and a batch of its own; a sentence's result does not depend on where it runs. One
future stands for a request. Deadlines are kept here, whatever an engine does. A process that dies or hangs is started
again, and its jobs are given to another engine once.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import functools
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from service.engine.link import Link, Said, StartLink
from service.engine.scheduler import Bounds, Lane, expected_wait, lane_of, queue_limit
from service.engine.types import (
    Answer,
    DeadlineError,
    EngineClosedError,
    EngineLostError,
    Failure,
    QueueFullError,
    Ready,
    Report,
    Request,
    Setup,
    Stop,
    Times,
    Update,
    Withdraw,
)

_log = logging.getLogger(__name__)

JOBS_AT_ONCE = 256
"""Jobs of one message: while an engine reads it, its sentences wait."""
CHECK_SECONDS = 0.5
"""Time between two looks at the processes."""
BUSY_HANG_SHARE = 6
"""A process that uses the processor and says nothing is taken to hang after so many times `hang_seconds`."""
MOST_FAILED_STARTS = 5
"""After so many in a row nothing is started any more."""
_LONGEST_PAUSE = 30.0
_STOP_SECONDS = 5.0
"""Time that processes have to end once they have nothing left to do."""


class PoolJob(Protocol):
    """A job of any kind."""

    @property
    def tokens(self) -> int:
        """Tokens that wait for it."""

    @property
    def work(self) -> int:
        """How much there is to do, compared with other jobs."""


class Observer(Protocol):
    """What is told how things go; publishing it is its business."""

    def observe_report(self, report: Report) -> None:
        """Count what an engine did since its last report."""

    def observe_answer(self, answer: Answer) -> None:
        """Count how a job ended."""

    def count_lost_process(self, *, hung: bool) -> None:
        """Count a process that died, or was killed since it hung."""


@dataclasses.dataclass(slots=True, eq=False)
class _Request:
    """A request under way."""

    jobs: Sequence[PoolJob]
    lane: Lane
    submitted: float
    deadline: float
    fail_fast: bool
    done: asyncio.Future[None]
    answers: list[Answer | None]
    left: int
    """Jobs without an answer."""
    processes_lost: int = 0
    """Processes that died while they had jobs of it."""
    has_expired: bool = False
    is_withdrawn: bool = False


@dataclasses.dataclass(slots=True, eq=False)
class _Share:
    """Jobs of one request that one engine has in one message."""

    request: _Request
    places: Sequence[int]
    """Their places among the jobs of the request."""
    open: set[int]
    """Those of `places`, by index, that have no answer yet."""


class _Engine:
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
        self.shares: dict[int, _Share] = {}
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
        return self.link is not None and (not self.is_ready or bool(self.shares))

    def add(self, number: int, share: _Share, work: int, tokens: int) -> None:
        """Note a request that is sent to it."""
        if not self.shares:
            self._silent = self._idle = 0.0
        self.shares[number] = share
        self.load += work
        self._unseen.append((number, share.request.lane, tokens))

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


class Pool:
    """Engines of one kind. Only the event loop calls it."""

    def __init__(
        self,
        setup: Setup,
        count: int,
        bounds: Bounds,
        observer: Observer,
        start_link: StartLink,
        on_failure: Callable[[], None] | None = None,
    ) -> None:
        """`count`: engines. `on_failure` is called when too many processes in a row could not be started; without it
        the next request has them tried again."""
        self._setup = setup
        self._bounds = bounds
        self._observer = observer
        self._start_link = start_link
        self._on_failure = on_failure
        self._engines = [_Engine() for _ in range(count)]
        self._limits = {lane: queue_limit(lane, bounds) for lane in Lane}
        self._unsent = dict.fromkeys(Lane, 0)
        self._requests: dict[_Request, None] = {}
        self._homeless: list[tuple[_Request, Sequence[int]]] = []
        self._numbers = 0
        self._failed_starts = 0
        self._is_closing = False
        self._starting: asyncio.Future[Ready] | None = None
        self._ready: Ready | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._not_ended: set[_Engine] = set()
        self._all_ended = asyncio.Event()
        self.failure: str | None = None
        """Why nothing is started any more."""

    # What its owner asks.

    async def start(self) -> Ready:
        """Start the processes; returns once one is ready, and the others have had their chance.

        Raises:
            BundleError, VocabularyError, DeviceError: what an engine failed with.
            EngineLostError: too many processes ended without a word.
        """
        if self._starting is None or (self.failure is not None and self._on_failure is None):
            self.failure, self._failed_starts = None, 0
            self._engines = [_Engine() for _ in self._engines]
            self._starting = asyncio.get_running_loop().create_future()
            self._supervisor = self._supervisor or asyncio.create_task(self._supervise())
            for engine in list(self._engines):
                self._start(engine)
        return await asyncio.shield(self._starting)

    def is_ready(self) -> bool:
        """Whether an engine is ready."""
        return any(engine.is_ready for engine in self._engines)

    def pids(self) -> list[int]:
        """The processes."""
        return [engine.link.pid for engine in self._engines if engine.link is not None]

    def device_memory(self) -> int:
        """Bytes in use on the device, as last heard."""
        return max(engine.device_bytes for engine in self._engines)

    def running_rows(self) -> int:
        """Rows that are being decoded, as last heard."""
        return sum(engine.running_rows for engine in self._engines)

    def waiting_tokens(self) -> int:
        """Tokens that wait."""
        return sum(limit.tokens for limit in self._limits.values())

    def check_room(self, fewest_tokens: int = 0, most_tokens: int | None = None) -> None:
        """Whether it is worth reading a request of which only this is known; costs nothing.

        Raises:
            QueueFullError: whatever its size in this range, `run` would refuse it.
        """
        most = self._bounds.interactive_tokens + 1 if most_tokens is None else most_tokens
        lanes = {lane_of(tokens, self._bounds) for tokens in (fewest_tokens, most)}
        if all(self._limits[lane].is_full for lane in lanes):
            raise QueueFullError("the queue is full", min(map(self._expected_wait, lanes)))

    async def run(
        self, jobs: Sequence[PoolJob], *, deadline: float = math.inf, is_further: bool = False, fail_fast: bool = True
    ) -> list[Answer]:
        """What becomes of the jobs of one request, in their order. Cancelling the call withdraws them.

        Args:
            jobs: all of them are taken, or none.
            deadline: in seconds of `time.monotonic`.
            is_further: whether the request was accepted before: its further jobs find room in any queue.
            fail_fast: whether the first failure ends it all, and is raised.

        Raises:
            QueueFullError: too many tokens wait already.
            DeadlineError: the deadline has passed, or the queue is too long (then `retry_after_seconds` > 0).
            EngineClosedError: the engines were closed.
            EngineLostError: no engine runs, or two that worked on it died.
            RuntimeError: a job failed.
        """
        if not jobs:
            return []
        if not self.is_ready() and not self._is_closing:
            await self.start()
        request = self._accept(jobs, deadline, is_further=is_further, fail_fast=fail_fast)
        timer = None
        if deadline < math.inf:
            remaining = deadline - request.submitted
            timer = asyncio.get_running_loop().call_later(remaining, self._expire, request)
        try:
            await self._send(request)
            await request.done
        finally:
            if timer is not None:
                timer.cancel()
            self._withdraw(request)
        answers = [answer or _unanswered("cancelled", request) for answer in request.answers]
        if fail_fast:
            for answer in answers:
                if answer.failure is not None and answer.failure.kind != "cancelled":
                    raise error_of(answer.failure)
        return answers

    def abort(self) -> None:
        """Fail everything that is under way, and end the processes; returns at once."""
        self._is_closing = True
        for request in list(self._requests):
            self._fail_rest(request, "closed", "the engine was stopped")
        for engine in self._not_ended:
            if engine.link is not None:
                engine.link.kill()

    async def close(self) -> None:
        """Refuse new requests, finish those accepted, end the processes."""
        self._is_closing = True
        if self._requests:
            await asyncio.wait([request.done for request in self._requests])
        for engine in self._not_ended:
            if engine.link is not None:
                engine.link.send(Stop())
        for _ in range(2):
            if self._not_ended:
                await asyncio.wait([asyncio.create_task(self._all_ended.wait())], timeout=_STOP_SECONDS)
                self.abort()
        if self._supervisor is not None:
            self._supervisor.cancel()
            await asyncio.wait([self._supervisor])

    # Processes.

    def _start(self, engine: _Engine) -> None:
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
            self.check_processes(min(now - before, 2 * CHECK_SECONDS))
            before = now

    def check_processes(self, seconds: float) -> None:
        """Look after the processes, now that `seconds` more have passed."""
        for engine in list(self._engines):
            if engine.link is None:
                engine.pause -= seconds
                if engine.pause <= 0 and not self._is_closing and self.failure is None:
                    self._start(engine)
            elif engine.hangs(seconds, self._setup.config.hang_seconds):
                engine.link.kill()
                self._lose(engine, "it was killed, for it said nothing", hung=True)

    def _hear(self, engine: _Engine, said: Said) -> None:
        """Called with everything that an engine says."""
        if engine.is_gone:
            return
        if isinstance(said, Update):
            self._update(engine, said)
        elif isinstance(said, logging.LogRecord):
            logging.getLogger(said.name).handle(said)
        elif isinstance(said, Ready):
            engine.is_ready = engine.was_ready = True
            self._failed_starts = 0
            self._ready = self._ready or said
            self._note_starts()
            self._house()
        else:
            self._refuse_to_start(engine, said)

    def _refuse_to_start(self, engine: _Engine, error: Exception) -> None:
        """An engine says why it cannot start."""
        if self._starting is not None and not self._starting.done():
            self._fail_start(error)
        self._lose(engine, str(error), hung=False)

    def _fail_start(self, error: Exception) -> None:
        assert self._starting is not None
        self.failure = str(error)
        self._starting.set_exception(error)
        self._starting.exception()  # its owner may have gone
        for engine in self._not_ended:
            if engine.link is not None:
                engine.link.kill()

    def _end(self, engine: _Engine, how: str) -> None:
        """Called when a process has ended."""
        self._not_ended.discard(engine)
        if not self._not_ended:
            self._all_ended.set()
        if not engine.is_gone:
            self._lose(engine, how, hung=False)

    def _lose(self, engine: _Engine, how: str, *, hung: bool) -> None:
        """A process is gone: another one takes its place, and its jobs find another engine."""
        engine.is_gone, engine.is_ready = True, False
        if self.failure is None and not self._is_closing:
            _log.error("the process of an engine is lost (%s), with %d requests", how, len(engine.shares))
            self._observer.count_lost_process(hung=hung)
        failures = 0 if engine.has_answered else engine.failures + 1
        pause = min(2.0 ** (failures - 2), _LONGEST_PAUSE) if failures > 1 else 0.0
        self._engines[self._engines.index(engine)] = _Engine(failures, pause)
        shares, engine.shares = list(engine.shares.values()), {}
        self._note_failed_start(how, engine)
        for share in shares:
            self._reassign(share, how)
        self._count_waiting()
        self._note_starts()
        self._house()

    def _note_failed_start(self, how: str, engine: _Engine) -> None:
        if engine.was_ready or self._is_closing or self.failure is not None:
            return
        self._failed_starts += 1
        if self._failed_starts >= MOST_FAILED_STARTS and not self.is_ready():
            error = EngineLostError(f"{self._failed_starts} processes in a row ended before they were ready: {how}")
            _log.critical("%s", error)
            if self._starting is not None and not self._starting.done():
                self._fail_start(error)
            self.failure = str(error)
            if self._on_failure is not None:
                self._on_failure()

    def _note_starts(self) -> None:
        """Whether `start` is over."""
        had_chance = all(engine.is_ready or engine.failures for engine in self._engines)
        if self._starting is not None and not self._starting.done() and self._ready is not None and had_chance:
            self._starting.set_result(self._ready)

    # Requests.

    def _accept(self, jobs: Sequence[PoolJob], deadline: float, *, is_further: bool, fail_fast: bool) -> _Request:
        now = time.monotonic()
        tokens = sum(job.tokens for job in jobs)
        lane = lane_of(tokens, self._bounds)
        if self._is_closing:
            raise EngineClosedError("the engine takes no more jobs")
        if not self.is_ready():
            raise EngineLostError(self.failure or "the engines are being started again")
        if not is_further:
            self._check_bounds(lane, tokens, deadline, now)
        if now >= deadline:
            raise DeadlineError("the deadline has passed")
        self._limits[lane].add(tokens)
        self._unsent[lane] += tokens
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        request = _Request(jobs, lane, now, deadline, fail_fast, done, [None] * len(jobs), len(jobs))
        self._requests[request] = None
        return request

    def _check_bounds(self, lane: Lane, tokens: int, deadline: float, now: float) -> None:
        limit, wait = self._limits[lane], self._expected_wait(lane)
        # Where nothing waits any request is taken: one that is allowed must be possible.
        if limit.tokens and not limit.admits(tokens):
            limit.refuse()
            raise QueueFullError("the queue is full", wait)
        if now + wait >= deadline:
            raise DeadlineError("too much waits already to be in time", wait)

    def _expected_wait(self, lane: Lane) -> float:
        paces = [pace for engine in self._engines if (pace := engine.paces[lane]) is not None]
        return expected_wait(self._limits[lane].tokens, sum(paces))

    async def _send(self, request: _Request) -> None:
        """Give the jobs to engines, the longest first: similar ones then run together."""
        if len(request.jobs) == 1:
            self._give(request, (0,))
            return
        places = sorted(range(len(request.jobs)), key=lambda place: -request.jobs[place].tokens)
        at_once = JOBS_AT_ONCE * len(self._engines)
        for first in range(0, len(places), at_once):
            if first:
                await asyncio.sleep(0)  # the event loop is needed by others too
            if request.done.done():
                return
            self._give(request, places[first : first + at_once])

    def _give(self, request: _Request, places: Sequence[int]) -> None:
        """Send jobs, each to the engine with the least to do."""
        ready = [engine for engine in self._engines if engine.is_ready]
        if not ready:
            self._homeless.append((request, places))
            return
        for engine, some in _shared_out(request.jobs, places, ready):
            for first in range(0, len(some), JOBS_AT_ONCE):
                self._tell(engine, request, some[first : first + JOBS_AT_ONCE])

    def _tell(self, engine: _Engine, request: _Request, places: Sequence[int]) -> None:
        self._numbers += 1
        jobs = [request.jobs[place] for place in places]
        tokens = sum(job.tokens for job in jobs)
        self._unsent[request.lane] -= tokens
        share = _Share(request, places, set(range(len(places))))
        engine.add(self._numbers, share, sum(job.work for job in jobs), tokens)
        assert engine.link is not None
        engine.link.send(Request(self._numbers, request.lane, request.submitted, request.deadline, jobs))

    def _update(self, engine: _Engine, update: Update) -> None:
        engine.hear(update)
        self._count_waiting()
        for answer in update.answers:
            share = engine.shares[answer.number]
            place = share.places[answer.place]
            engine.load -= share.request.jobs[place].work
            share.open.discard(answer.place)
            if not share.open:
                del engine.shares[answer.number]
            self._answer(share.request, place, answer)
        if update.report is not None:
            self._observer.observe_report(update.report)

    def _count_waiting(self) -> None:
        for lane, limit in self._limits.items():
            limit.tokens = self._unsent[lane] + sum(engine.waiting(lane) for engine in self._engines)

    def _answer(self, request: _Request, place: int, answer: Answer) -> None:
        if request.answers[place] is not None:
            return
        failure = answer.failure
        if failure is not None and failure.kind == "cancelled" and request.has_expired:
            answer = answer._replace(failure=failure._replace(kind="deadline"))
        self._observer.observe_answer(answer)
        request.answers[place] = answer
        request.left -= 1
        if request.left == 0:
            self._requests.pop(request, None)
        if not request.done.done() and (request.left == 0 or (failure is not None and request.fail_fast)):
            request.done.set_result(None)

    def _expire(self, request: _Request) -> None:
        """The time of a request is over: nobody waits any longer, whatever the engines do."""
        request.has_expired = True
        if not request.done.done():
            request.done.set_result(None)

    def _withdraw(self, request: _Request) -> None:
        """Tell the engines that nobody waits for what is left of a request."""
        if request.is_withdrawn or not request.left:
            return
        request.is_withdrawn = True
        for engine in self._engines:
            for number, share in engine.shares.items():
                if share.request is request and engine.link is not None:
                    engine.link.send(Withdraw(number))
        self._forget_unsent(request)

    def _forget_unsent(self, request: _Request) -> None:
        """End the jobs of a withdrawn request that no engine has."""
        sent = {
            share.places[index]
            for engine in self._engines for share in engine.shares.values() if share.request is request
            for index in share.open
        }  # fmt: skip
        self._homeless = [(other, places) for other, places in self._homeless if other is not request]
        for place, answer in enumerate(request.answers):
            if answer is None and place not in sent:
                self._unsent[request.lane] -= request.jobs[place].tokens
                self._answer(request, place, _unanswered("cancelled", request))
        self._count_waiting()

    def _fail_rest(self, request: _Request, kind: Any, message: str) -> None:
        """Fail the jobs of a request that have no answer."""
        for place, answer in enumerate(request.answers):
            if answer is None:
                self._answer(request, place, _unanswered(kind, request, message))

    def _reassign(self, share: _Share, how: str) -> None:
        """Give the jobs of a lost process to another engine, if they have not lost one before."""
        request = share.request
        places = [share.places[index] for index in sorted(share.open)]
        if request.is_withdrawn or request.done.done():
            for place in places:
                self._answer(request, place, _unanswered("cancelled", request))
            return
        request.processes_lost += 1
        if request.processes_lost > 1 or self.failure is not None or self._is_closing:
            for place in places:
                self._answer(request, place, _unanswered("lost", request, f"the process of an engine is lost: {how}"))
            return
        self._unsent[request.lane] += sum(request.jobs[place].tokens for place in places)
        self._homeless.append((request, places))

    def _house(self) -> None:
        """Give the jobs without an engine to those that are ready."""
        if self.failure is not None:
            for request, _ in self._homeless:
                self._fail_rest(request, "lost", self.failure)
            self._homeless = []
        if self._homeless and self.is_ready():
            homeless, self._homeless = self._homeless, []
            for request, places in homeless:
                self._give(request, places)


def _shared_out(
    jobs: Sequence[PoolJob], places: Sequence[int], engines: Sequence[_Engine]
) -> Iterator[tuple[_Engine, list[int]]]:
    """Each place to the engine with the least to do."""
    if len(places) == 1 or len(engines) == 1:
        yield min(engines, key=lambda engine: engine.load), list(places)
        return
    shares: dict[_Engine, list[int]] = {engine: [] for engine in engines}
    loads = {engine: engine.load for engine in engines}
    for place in places:
        engine = min(engines, key=loads.__getitem__)
        loads[engine] += jobs[place].work
        shares[engine].append(place)
    yield from ((engine, some) for engine, some in shares.items() if some)


def _unanswered(kind: Any, request: _Request, message: str = "") -> Answer:
    if kind == "cancelled" and request.has_expired:
        kind = "deadline"
    return Answer(0, 0, None, Failure(kind, message, stage="queue"), Times(request.submitted))


class RemoteError(Exception):
    """The traceback of an error in another process, as the cause of its copy here."""


def error_of(failure: Failure) -> Exception:
    """The exception that says what a failure says."""
    match failure.kind:
        case "deadline":
            return DeadlineError("the deadline has passed")
        case "lost":
            return EngineLostError(failure.message)
        case "closed":
            return EngineClosedError(failure.message)
        case "cancelled":
            return EngineClosedError("nobody waits for it any more")
    error = RuntimeError(failure.message)
    error.__cause__ = RemoteError(f"\n{failure.traceback}") if failure.traceback else None
    return error


def result_of(answer: Answer) -> Any:
    """The result of a job; raises what it failed with."""
    if answer.failure is not None:
        raise error_of(answer.failure)
    return answer.result
