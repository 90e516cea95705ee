"""Several engines as one: who may wait, which engine takes what, and what became of it.

Each engine has a queue and a batch of its own; a sentence's translation does not depend on where it runs.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from service.engine.jobs import DeadlineError, EngineClosedError, Job, QueueFullError, Ticket
from service.engine.records import EngineReport
from service.engine.scheduler import Bounds, Lane, expected_wait, lane_of, room_of
from service.engine.wire import Answer, Failure, Message, News, Stop, Submission, Withdrawal

_log = logging.getLogger(__name__)

STALL_SECONDS = 60.0
"""An engine that has work and says nothing for longer does not come back."""
JOBS_AT_ONCE = 256
"""Jobs of one message: while an engine reads it, its sentences wait."""


class Link(Protocol):
    """An engine, wherever it runs."""

    @property
    def pid(self) -> int | None:
        """Of its process; None if that is this one."""

    def listen(self, note: Callable[[News], None], ended: Callable[[str], None]) -> None:
        """From now on call `note` with what the engine says, in order, and at last `ended` with how it ended."""

    def send(self, message: Message) -> None:
        """Tell the engine, from any thread. Nothing happens if it has ended."""

    def join(self) -> None:
        """Wait until `ended` was called, after a `Stop`."""

    def kill(self) -> None:
        """End it at once: nobody is going to listen."""


@dataclasses.dataclass(slots=True, eq=False)
class _Share:
    """What one engine has of a request."""

    member: _Member
    ticket: Ticket
    jobs: Sequence[Job]
    left: int


class _Member:
    """An engine and what the fleet knows of it. Whoever calls holds the fleet's lock."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.load = 0
        """Source tokens times beams without an end."""
        self.running_rows = 0
        self.device_bytes = 0
        self.heard = 0.0
        self.has_ended = False
        self.paces: dict[Lane, float | None] = dict.fromkeys(Lane)
        self._waiting = dict.fromkeys(Lane, 0)
        self._unseen: collections.deque[tuple[int, Lane, int]] = collections.deque()

    def add(self, number: int, lane: Lane, tokens: int, work: int, now: float) -> None:
        """Note a submission."""
        if not self.load:
            self.heard = now
        self.load += work
        self._unseen.append((number, lane, tokens))

    def note(self, news: News) -> None:
        """Note how its queues stand."""
        self.heard = time.monotonic()
        while self._unseen and self._unseen[0][0] <= news.seen:
            self._unseen.popleft()
        for lane, tokens, pace in news.waiting:
            self._waiting[lane] = tokens
            self.paces[lane] = pace
        if news.report is not None:
            self.running_rows = news.report.running_rows
        if news.device_bytes is not None:
            self.device_bytes = news.device_bytes

    def waiting(self, lane: Lane) -> int:
        """Source tokens in its queue, and on the way there."""
        return self._waiting[lane] + sum(tokens for _, of_lane, tokens in self._unseen if of_lane is lane)

    def is_alive(self, now: float, stall_seconds: float) -> bool:
        """Whether it can go on."""
        return not self.has_ended and not (self.load and now - self.heard > stall_seconds)


def _work(job: Job) -> int:
    return len(job.source_ids) * job.options.beam_size


class Fleet:
    """An `Engine` of one or more engines."""

    def __init__(
        self,
        links: Sequence[Link],
        bounds: Bounds,
        on_report: Callable[[EngineReport], None],
        stall_seconds: float = STALL_SECONDS,
    ) -> None:
        """`on_report` is called from a thread for each engine."""
        self._bounds = bounds
        self._on_report = on_report
        self._stall_seconds = stall_seconds
        self._lock = threading.Lock()
        self._closing = False
        self._rooms = {lane: room_of(lane, bounds) for lane in Lane}
        self._numbers = 0
        self._shares: dict[int, _Share] = {}
        self._of_ticket: collections.defaultdict[Ticket, set[int]] = collections.defaultdict(set)
        self._members = [_Member(link) for link in links]
        for member in self._members:
            member.link.listen(functools.partial(self._note, member), functools.partial(self._end, member))

    def pids(self) -> list[int]:
        """Processes of the engines that have one of their own."""
        return [member.link.pid for member in self._members if member.link.pid is not None and not member.has_ended]

    def device_memory(self) -> int:
        """Bytes in use on the device, as last heard."""
        return max(member.device_bytes for member in self._members)

    def submit(self, jobs: Sequence[Job], ticket: Ticket | None = None, *, bounded: bool = True) -> None:
        """Queue the jobs of one request; see `Engine.submit`."""
        ticket = ticket or Ticket()
        tokens = sum(len(job.source_ids) for job in jobs)
        lane = lane_of(tokens, self._bounds)
        with self._lock:
            now = time.monotonic()
            if self._closing or not self._is_alive(now):
                raise EngineClosedError("the engine takes no more jobs")
            if bounded:
                self._check_bounds(lane, tokens, ticket, now)
            if now >= ticket.deadline:
                raise DeadlineError("the deadline has passed", 0.0)
            self._rooms[lane].add(tokens)
            for job in jobs:
                job.times.submitted = now
            numbers = [self._register(member, some, ticket, lane, now) for member, some in self._shared_out(jobs)]
            ticket.queued = True
        # Outside of the lock: a document of thousands of sentences takes its time to be written down.
        for number, share in numbers:
            about = tuple((job.source_ids, job.options) for job in share.jobs)
            share.member.link.send(Submission(number, lane, now, ticket.deadline, about))
        # In this order, and the other in `withdraw`: one of them sees what the other did.
        if ticket.withdrawn:
            self._send_withdrawals(ticket)

    def _check_bounds(self, lane: Lane, tokens: int, ticket: Ticket, now: float) -> None:
        wait = self._expected_wait(lane)
        if not self._rooms[lane].takes(tokens):
            raise QueueFullError("the queue is full", wait)
        if now + wait >= ticket.deadline:
            raise DeadlineError("too much waits already to be in time", wait)

    def _expected_wait(self, lane: Lane) -> float:
        paces = [pace for member in self._members if (pace := member.paces[lane]) is not None]
        return expected_wait(self._rooms[lane].tokens, sum(paces))

    def _shared_out(self, jobs: Sequence[Job]) -> Iterator[tuple[_Member, Sequence[Job]]]:
        """Each job to the engine with the least to do; the longest first, so that similar ones run together."""
        shares: collections.defaultdict[_Member, list[Job]] = collections.defaultdict(list)
        loads = {member: member.load for member in self._members}
        for job in sorted(jobs, key=lambda job: -len(job.source_ids)):
            member = min(self._members, key=loads.__getitem__)
            loads[member] += _work(job)
            shares[member].append(job)
        for member, share in shares.items():
            for first in range(0, len(share), JOBS_AT_ONCE):
                yield member, share[first : first + JOBS_AT_ONCE]

    def _register(
        self, member: _Member, jobs: Sequence[Job], ticket: Ticket, lane: Lane, now: float
    ) -> tuple[int, _Share]:
        self._numbers += 1
        self._shares[self._numbers] = _Share(member, ticket, jobs, len(jobs))
        self._of_ticket[ticket].add(self._numbers)
        member.add(self._numbers, lane, sum(len(job.source_ids) for job in jobs), sum(map(_work, jobs)), now)
        return self._numbers, self._shares[self._numbers]

    def check_room(self, fewest_tokens: int, most_tokens: int) -> None:
        """Refuse what would be refused anyway; see `Engine.check_room`."""
        # Without the lock: the event loop asks, and a number that is a moment old will do.
        lanes = {lane_of(tokens, self._bounds) for tokens in (fewest_tokens, most_tokens)}
        if all(self._rooms[lane].is_full for lane in lanes):
            raise QueueFullError("the queue is full", min(map(self._expected_wait, lanes)))

    def withdraw(self, ticket: Ticket) -> None:
        """Forget the jobs of this request; see `Engine.withdraw`."""
        ticket.withdrawn = True
        self._send_withdrawals(ticket)

    def _send_withdrawals(self, ticket: Ticket) -> None:
        with self._lock:
            numbers = [(number, self._shares[number]) for number in self._of_ticket.get(ticket, ())]
        for number, share in numbers:
            share.member.link.send(Withdrawal(number))

    def waiting_tokens(self) -> int:
        """Source tokens in the queues."""
        return sum(room.tokens for room in self._rooms.values())

    def is_alive(self) -> bool:
        """Whether every engine runs, and those with work have said something not too long ago."""
        return self._is_alive(time.monotonic())

    def _is_alive(self, now: float) -> bool:
        return all(member.is_alive(now, self._stall_seconds) for member in self._members)

    def _running_rows(self) -> int:
        return sum(member.running_rows for member in self._members)

    def close(self) -> None:
        """Finish what was accepted and stop. Blocks until done."""
        self._stop(at_once=False)
        for member in self._members:
            member.link.join()

    def abort(self) -> None:
        """Give up what was accepted and stop."""
        self._stop(at_once=True)

    def _stop(self, *, at_once: bool) -> None:
        with self._lock:
            self._closing = True
        for member in self._members:
            member.link.send(Stop(at_once))

    def _note(self, member: _Member, news: News) -> None:
        """Called from the thread that listens to `member`."""
        with self._lock:
            member.note(news)
            member.has_ended |= news.has_failed
            for lane, room in self._rooms.items():
                room.tokens = sum(each.waiting(lane) for each in self._members)
            answered = [(self._job_of(answer), answer) for answer in news.answers]
            running_rows = self._running_rows()
        for job, answer in answered:
            _answer(job, answer)
        if news.report is not None:
            self._on_report(dataclasses.replace(news.report, running_rows=running_rows))

    def _job_of(self, answer: Answer) -> Job:
        """The job, which is not waited for any more."""
        share = self._shares[answer.number]
        job = share.jobs[answer.place]
        share.member.load -= _work(job)
        share.left -= 1
        if not share.left:
            self._forget(answer.number)
        return job

    def _forget(self, number: int) -> None:
        ticket = self._shares.pop(number).ticket
        self._of_ticket[ticket].discard(number)
        if not self._of_ticket[ticket]:
            del self._of_ticket[ticket]

    def _end(self, member: _Member, how: str) -> None:
        """Nobody may wait for ever: what an engine leaves behind fails."""
        with self._lock:
            member.has_ended = True
            member.load = member.running_rows = 0
            numbers = [number for number, share in self._shares.items() if share.member is member]
            left = [job for number in numbers for job in self._shares[number].jobs if not job.future.done()]
            for number in numbers:
                self._forget(number)
            running_rows = self._running_rows()
        if left or not self._closing:
            _log.critical("an engine has ended: %s", how)
        for job in left:
            _fail(job, (EngineClosedError if self._closing else RuntimeError)(f"an engine has ended: {how}"))
        if left:
            self._on_report(EngineReport(finished={"error": len(left)}, running_rows=running_rows))


def _answer(job: Job, answer: Answer) -> None:
    times = job.times
    times.started, times.encoded, times.finished = answer.started, answer.encoded, answer.finished
    result = answer.result
    if not isinstance(result, Failure):
        if job.future.set_running_or_notify_cancel():
            job.future.set_result(result)
    elif result.kind == "cancelled":
        job.future.cancel()
        job.future.set_running_or_notify_cancel()
    else:
        _fail(job, _error(result))


def _fail(job: Job, error: Exception) -> None:
    if job.future.set_running_or_notify_cancel():
        job.future.set_exception(error)


def _error(failure: Failure) -> Exception:
    if failure.kind == "deadline":
        return DeadlineError(failure.message, 0.0)
    return (EngineClosedError if failure.kind == "closed" else RuntimeError)(failure.message)
