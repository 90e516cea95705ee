"""Several engines as one, on the event loop: what may wait, which engine takes what, and what became of it.

Each engine is a process with a queue and a batch of its own; a sentence's result does not depend on where it runs. One
future stands for a request. Deadlines are kept here, whatever an engine does. A process that dies or hangs is started
again, and its jobs are given to another engine once. While no engine runs requests wait for the next one.
"""

from __future__ import annotations

import asyncio
import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from service.engine.jobs import PoolJob, Watcher
from service.engine.link import StartLink
from service.engine.processes import EngineProcess, Processes
from service.engine.scheduler import Bounds, expected_wait, lane_of, queue_limit
from service.engine.types import (
    Answer,
    DeadlineError,
    EngineClosedError,
    EngineLostError,
    Failure,
    Lane,
    Observer,
    QueueFullError,
    Ready,
    Request,
    Setup,
    Times,
    Update,
    Withdraw,
    error_of,
)

JOBS_AT_ONCE = 256
"""Jobs of one message: while an engine reads it, its sentences wait."""


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
    watcher: Watcher | None = None


@dataclasses.dataclass(slots=True, eq=False)
class _Assignment:
    """Jobs of one request that one engine has in one message."""

    request: _Request
    places: Sequence[int]
    """Their places among the jobs of the request."""
    open: set[int]
    """Those of `places`, by index, that have no answer yet."""


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
        self.processes = Processes(setup, count, start_link, self, on_failure)
        self._bounds = bounds
        self._observer = observer
        self._limits = {lane: queue_limit(lane, bounds) for lane in Lane}
        self._unsent = dict.fromkeys(Lane, 0)
        self._requests: dict[_Request, None] = {}
        self._unassigned: list[tuple[_Request, Sequence[int]]] = []
        self._numbers = 0
        self._is_closing = False

    async def start(self) -> Ready:
        """Start the processes; see `Processes.start`."""
        return await self.processes.start()

    @property
    def failure(self) -> str | None:
        """Why nothing is started any more."""
        return self.processes.failure

    def is_ready(self) -> bool:
        """Whether an engine is ready."""
        return bool(self.processes.ready())

    def device_memory(self) -> int:
        """Bytes in use on the device, as last heard."""
        return max(engine.device_bytes for engine in self.processes.engines)

    def running_rows(self) -> int:
        """Rows that are being decoded, as last heard."""
        return sum(engine.running_rows for engine in self.processes.engines)

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
        self,
        jobs: Sequence[PoolJob],
        *,
        deadline: float = math.inf,
        is_further: bool = False,
        fail_fast: bool = True,
        watcher: Watcher | None = None,
    ) -> list[Answer]:
        """What becomes of the jobs of one request, in their order. Cancelling the call withdraws them.

        Args:
            jobs: all of them are taken, or none.
            deadline: in seconds of `time.monotonic`.
            is_further: whether the request was accepted before: its further jobs find room in any queue.
            fail_fast: whether the first failure ends it all, and is raised.
            watcher: is told of answers as they come.

        Raises:
            QueueFullError: too many tokens wait already.
            DeadlineError: the deadline has passed, or the queue is too long (then `retry_after_seconds` > 0).
            EngineClosedError: the engines were closed.
            EngineLostError: the engines cannot be started again, or two that worked on it died.
            RuntimeError: a job failed.
        """
        if not jobs:
            return []
        if not self.is_ready() and not self._is_closing:
            await self._start_by(deadline)
        request = self._accept(jobs, deadline, is_further=is_further, fail_fast=fail_fast)
        request.watcher = watcher
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

    async def _start_by(self, deadline: float) -> None:
        """Start the processes if they are not, for no longer than until the deadline."""
        try:
            async with asyncio.timeout(None if deadline == math.inf else max(0.0, deadline - time.monotonic())):
                await self.start()
        except TimeoutError:
            raise DeadlineError("the deadline has passed") from None

    def abort(self) -> None:
        """Fail everything that is under way, and end the processes; returns at once."""
        self._is_closing = True
        for request in list(self._requests):
            self._fail_rest(request, "closed", "the engine was stopped")
        self.processes.kill()

    async def close(self) -> None:
        """Refuse new requests, finish those accepted, end the processes."""
        self._is_closing = True
        if self._requests:
            await asyncio.wait([request.done for request in self._requests])
        await self.processes.stop()

    def _accept(self, jobs: Sequence[PoolJob], deadline: float, *, is_further: bool, fail_fast: bool) -> _Request:
        now = time.monotonic()
        tokens = sum(job.tokens for job in jobs)
        lane = lane_of(tokens, self._bounds)
        if self._is_closing:
            raise EngineClosedError("the engine takes no more jobs")
        if self.failure is not None:
            raise EngineLostError(self.failure)
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
        paces = [pace for engine in self.processes.engines if (pace := engine.paces[lane]) is not None]
        return expected_wait(self._limits[lane].tokens, sum(paces))

    async def _send(self, request: _Request) -> None:
        """Give the jobs to engines, the longest first: similar ones then run together."""
        if len(request.jobs) == 1:
            self._give(request, (0,))
            return
        places = sorted(range(len(request.jobs)), key=lambda place: -request.jobs[place].tokens)
        at_once = JOBS_AT_ONCE * len(self.processes.engines)
        for first in range(0, len(places), at_once):
            if first:
                await asyncio.sleep(0)  # the event loop is needed by others too
            if request.done.done():
                return
            self._give(request, places[first : first + at_once])

    def _give(self, request: _Request, places: Sequence[int]) -> None:
        """Send jobs, each to the engine with the least to do."""
        ready = self.processes.ready()
        if not ready:
            self._unassigned.append((request, places))
            return
        for engine, some in _distributed(request.jobs, places, ready):
            for first in range(0, len(some), JOBS_AT_ONCE):
                self._tell(engine, request, some[first : first + JOBS_AT_ONCE])

    def _tell(self, engine: EngineProcess, request: _Request, places: Sequence[int]) -> None:
        self._numbers += 1
        jobs = [request.jobs[place] for place in places]
        tokens = sum(job.tokens for job in jobs)
        self._unsent[request.lane] -= tokens
        assignment = _Assignment(request, places, set(range(len(places))))
        engine.add(self._numbers, assignment, request.lane, sum(job.work for job in jobs), tokens)
        assert engine.link is not None
        engine.link.send(Request(self._numbers, request.lane, request.submitted, request.deadline, jobs))

    def note_update(self, engine: EngineProcess, update: Update) -> None:
        """See `Owner`."""
        engine.hear(update)
        self._count_waiting()
        for answer in update.answers:
            assignment = engine.assignments[answer.number]
            place = assignment.places[answer.place]
            engine.load -= assignment.request.jobs[place].work
            assignment.open.discard(answer.place)
            if not assignment.open:
                del engine.assignments[answer.number]
            self._answer(assignment.request, place, answer)
        for partial in update.partials:
            unfinished = engine.assignments.get(partial.number)
            if unfinished is not None and unfinished.request.watcher is not None:
                unfinished.request.watcher.note_partial(unfinished.places[partial.place], partial.target_ids)
        if update.report is not None:
            self._observer.observe_report(update.report)

    def _count_waiting(self) -> None:
        for lane, limit in self._limits.items():
            limit.tokens = self._unsent[lane] + sum(engine.waiting(lane) for engine in self.processes.engines)

    def _answer(self, request: _Request, place: int, answer: Answer) -> None:
        if request.answers[place] is not None:
            return
        failure = answer.failure
        if failure is not None and failure.kind == "cancelled" and request.has_expired:
            answer = answer._replace(failure=failure._replace(kind="deadline"))
        self._observer.observe_answer(answer)
        request.answers[place] = answer
        request.left -= 1
        if request.watcher is not None and not request.done.done():
            request.watcher.note_answer(place, answer)
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
        for engine in self.processes.engines:
            for number, assignment in engine.assignments.items():
                if assignment.request is request and engine.link is not None:
                    engine.link.send(Withdraw(number))
        self._forget_unsent(request)

    def _forget_unsent(self, request: _Request) -> None:
        """End the jobs of a withdrawn request that no engine has."""
        assigned = (each for engine in self.processes.engines for each in engine.assignments.values())
        sent = {each.places[index] for each in assigned if each.request is request for index in each.open}
        self._unassigned = [(other, places) for other, places in self._unassigned if other is not request]
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

    def _reassign(self, assignment: _Assignment, how: str) -> None:
        """Give the jobs of a lost process to another engine, if they have not lost one before."""
        request = assignment.request
        places = [assignment.places[index] for index in sorted(assignment.open)]
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
        self._unassigned.append((request, places))

    def note_lost(self, engine: EngineProcess, how: str, *, hung: bool) -> None:
        """See `Owner`."""
        if not self._is_closing and self.failure is None:
            self._observer.count_lost_process(hung=hung)
        assignments, engine.assignments = list(engine.assignments.values()), {}
        for assignment in assignments:
            self._reassign(assignment, how)
        self._count_waiting()
        self.note_ready()

    def note_ready(self) -> None:
        """See `Owner`: jobs without an engine may find one."""
        if self.failure is not None:
            for request, _ in self._unassigned:
                self._fail_rest(request, "lost", self.failure)
            self._unassigned = []
        if self._unassigned and self.is_ready():
            unassigned, self._unassigned = self._unassigned, []
            for request, places in unassigned:
                self._give(request, places)


def _distributed(
    jobs: Sequence[PoolJob], places: Sequence[int], engines: Sequence[EngineProcess]
) -> Iterator[tuple[EngineProcess, list[int]]]:
    """Each place to the engine with the least to do."""
    if len(places) == 1 or len(engines) == 1:
        yield min(engines, key=lambda engine: engine.load), list(places)
        return
    assignments: dict[EngineProcess, list[int]] = {engine: [] for engine in engines}
    loads = {engine: engine.load for engine in engines}
    for place in places:
        engine = min(engines, key=loads.__getitem__)
        loads[engine] += jobs[place].work
        assignments[engine].append(place)
    yield from ((engine, some) for engine, some in assignments.items() if some)


def _unanswered(kind: Any, request: _Request, message: str = "") -> Answer:
    if kind == "cancelled" and request.has_expired:
        kind = "deadline"
    return Answer(0, 0, None, Failure(kind, message, stage="queue"), Times(request.submitted))
