"""The engine's thread: at every step jobs join, all running sentences advance by one token, finished ones leave.

What to admit and which lane to step is decided in `scheduler`; here it is done.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from model.vocabulary import EOS_ID
from service.engine.jobs import (
    DeadlineError,
    EngineClosedError,
    Hypothesis,
    Job,
    QueueFullError,
    SearchOptions,
    Ticket,
)
from service.engine.records import EncodeRecord, EngineReport, FinishedAs, Stage, StepRecord
from service.engine.scheduler import (
    Capacity,
    Demand,
    Lane,
    Room,
    admit,
    bulk_debt,
    expected_wait,
    fair_share,
    lane_of,
    lanes_to_step,
    room_of,
    smoothed_pace,
)
from service.engine.search import BeamGroup, RunningState

_log = logging.getLogger(__name__)

REPORT_SECONDS = 0.25
"""Longest time between two reports while there is work."""
PACE_SECONDS = 0.25
"""For how long a queue is watched to know how fast it empties."""
STALL_SECONDS = 60.0
"""An engine that spends longer on one step does not come back."""


class Decoder(Protocol):
    """What the engine needs to decode: the real one is `service.engine.loading.OnnxDecoder`."""

    def padded_length(self, source_tokens: int) -> int:
        """The length a source is padded to; only sources of one padded length are encoded together."""

    def encode(self, sources: Sequence[Sequence[int]]) -> Mapping[str, npt.NDArray[np.generic]]:
        """Memory of sentences of one padded length."""

    def open_slots(self, beam_size: int) -> RunningState:
        """Room for the running sentences of one beam size."""


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _Entry:
    """A job, whose it is, and what it needs."""

    job: Job
    ticket: Ticket
    demand: Demand

    def is_over(self, now: float) -> bool:
        """Whether nobody waits for it any more."""
        return self.ticket.withdrawn or self.ticket.deadline <= now


class _Queue:
    """One lane's entries in their order, and the pace at which they leave. Whoever calls holds the engine's lock."""

    def __init__(self, room: Room) -> None:
        self.entries: collections.deque[_Entry] = collections.deque()
        self.room = room
        self.rows = 0
        self._pace: float | None = None
        self._watched_since = 0.0
        self._left = 0

    def add(self, entries: Sequence[_Entry], tokens: int, now: float) -> None:
        if not self.entries:
            self._watched_since, self._left = now, 0
        self.entries.extend(entries)
        self.room.add(tokens)
        self.rows += _rows(entries)

    def take(self, count: int, now: float) -> list[_Entry]:
        """The first `count` entries."""
        taken = [self.entries.popleft() for _ in range(count)]
        tokens = _tokens(taken)
        self.room.tokens -= tokens
        self.rows -= _rows(taken)
        self._left += tokens
        seconds = now - self._watched_since
        if self._left and seconds > PACE_SECONDS:
            self._pace = smoothed_pace(self._pace, self._left, seconds)
            self._watched_since, self._left = now, 0
        return taken

    def sweep(self, now: float) -> list[_Entry]:
        """Remove and return the entries nobody waits for."""
        over: list[_Entry] = []
        left: collections.deque[_Entry] = collections.deque()
        for entry in self.entries:  # asked once each: the answer may change meanwhile
            (over if entry.is_over(now) else left).append(entry)
        self.entries = left
        self.room.tokens -= _tokens(over)
        self.rows -= _rows(over)
        return over

    def expected_wait(self) -> float:
        """Seconds until what waits has left."""
        return expected_wait(self.room.tokens, self._pace)


def _tokens(entries: Iterable[_Entry]) -> int:
    return sum(len(entry.job.source_ids) for entry in entries)


def _rows(entries: Iterable[_Entry]) -> int:
    return sum(entry.demand.rows for entry in entries)


class IterationEngine:
    """An `Engine` that batches anew at every decoder step.

    Each decoder has a thread and rows of its own; all of them take from one queue, each no more than its share.
    """

    def __init__(
        self,
        decoders: Sequence[Decoder],
        capacity: Capacity,
        on_report: Callable[[EngineReport], None],
        stall_seconds: float = STALL_SECONDS,
    ) -> None:
        """`capacity` is that of each decoder, its queue limits are those of all."""
        self._padded_length = decoders[0].padded_length
        self._capacity = capacity
        self._stall_seconds = stall_seconds
        self._waiting = self._empty_queues()
        self._changed = threading.Condition()
        self._closing = False
        self._aborted = False
        self._failed = False
        self._crews = [_Crew(_Running(decoder, on_report, self._running_rows)) for decoder in decoders]
        self._threads = [
            threading.Thread(target=self._run, args=(crew,), name=f"engine-{number}", daemon=True)
            for number, crew in enumerate(self._crews)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, jobs: Sequence[Job], ticket: Ticket | None = None, *, bounded: bool = True) -> None:
        """Queue the jobs of one request; see `Engine.submit`."""
        ticket = ticket or Ticket()
        demands = [Demand(job.options.beam_size, self._padded_length(len(job.source_ids))) for job in jobs]
        entries = [_Entry(job, ticket, demand) for job, demand in zip(jobs, demands, strict=True)]
        # Inside a request the order is ours: sentences of similar length run together, the longest do not come last.
        entries.sort(key=lambda entry: -entry.demand.encode_tokens)
        tokens = _tokens(entries)
        lane = lane_of(tokens, self._capacity)
        with self._changed:
            if self._closing or not self._is_running():
                raise EngineClosedError("the engine takes no more jobs")
            now = time.monotonic()
            if bounded:
                self._check_bounds(lane, tokens, ticket, now)
            if now >= ticket.deadline:
                raise DeadlineError("the deadline has passed", 0.0)
            for job in jobs:
                job.times.submitted = now
            self._waiting[lane].add(entries, tokens, now)
            for crew in self._crews:
                crew.next_deadline = min(crew.next_deadline, ticket.deadline)
            ticket.queued = True
            if ticket.withdrawn:
                self._note_withdrawal()
            self._changed.notify(len(jobs))

    def _check_bounds(self, lane: Lane, tokens: int, ticket: Ticket, now: float) -> None:
        queue = self._waiting[lane]
        wait = queue.expected_wait()
        if not queue.room.takes(tokens):
            raise QueueFullError("the queue is full", wait)
        if now + wait >= ticket.deadline:
            raise DeadlineError("too much waits already to be in time", wait)

    def check_room(self, fewest_tokens: int, most_tokens: int) -> None:
        """Refuse what would be refused anyway; see `Engine.check_room`."""
        # Without the lock: the event loop asks, and a number that is a moment old will do.
        lanes = {lane_of(tokens, self._capacity) for tokens in (fewest_tokens, most_tokens)}
        queues = [self._waiting[lane] for lane in lanes]
        if all(queue.room.is_full for queue in queues):
            raise QueueFullError("the queue is full", min(queue.expected_wait() for queue in queues))

    def _empty_queues(self) -> dict[Lane, _Queue]:
        return {lane: _Queue(room_of(lane, self._capacity)) for lane in Lane}

    def withdraw(self, ticket: Ticket) -> None:
        """Forget the jobs of this request before the next step."""
        ticket.withdrawn = True
        # In this order, and the other in `submit`: one of them sees what the other did.
        if ticket.queued:
            self._note_withdrawal()

    def _note_withdrawal(self) -> None:
        for crew in self._crews:
            crew.withdrawn = True

    def waiting_tokens(self) -> int:
        """Source tokens in the queue."""
        return sum(queue.room.tokens for queue in self._waiting.values())

    def is_alive(self) -> bool:
        """Whether every thread runs, and its last step began not too long ago."""
        oldest = time.monotonic() - self._stall_seconds
        stalled = any(crew.beat is not None and crew.beat < oldest for crew in self._crews)
        return self._is_running() and not stalled

    def _is_running(self) -> bool:
        return not self._failed and all(thread.is_alive() for thread in self._threads)

    def _running_rows(self) -> int:
        return sum(crew.running.num_rows for crew in self._crews)

    def close(self) -> None:
        """Finish what was accepted and stop."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def abort(self) -> None:
        """Give up what was accepted and stop."""
        with self._changed:
            self._closing = self._aborted = True
            self._changed.notify_all()

    def _run(self, crew: _Crew) -> None:
        try:
            while (admitted := self._admit(crew)) is not None:
                crew.running.tick(admitted)
        except EngineClosedError as error:
            self._abandon(crew, error)
            crew.running.report()
        except BaseException as error:
            # Nobody may wait for ever: whatever happened, every accepted job gets an end.
            self._failed = True
            _log.critical("the engine has stopped", exc_info=error)
            self._abandon(crew, RuntimeError(f"the engine has stopped: {error}"))

    def _abandon(self, crew: _Crew, error: Exception) -> None:
        with self._changed:
            self._closing = True
            left = [entry for queue in self._waiting.values() for entry in queue.entries]
            self._waiting = self._empty_queues()
            self._changed.notify_all()
        crew.running.abandon(left, error)

    def _admit(self, crew: _Crew) -> dict[Lane, list[_Entry]] | None:
        """The jobs that start now; waits while there is nothing to do; None when the engine was closed and all is
        done."""
        with self._changed:
            if not crew.running.num_rows:
                crew.running.report()
                crew.beat = None
                self._changed.wait_for(lambda: self._anybody_waits() or self._closing)
                if not self._anybody_waits():
                    return None
            if self._aborted:
                raise EngineClosedError("the engine was stopped")
            crew.beat = now = time.monotonic()
            if crew.withdrawn or now >= crew.next_deadline:
                self._sweep(crew, now)
            return self._take(crew, now)

    def _anybody_waits(self) -> bool:
        return any(queue.entries for queue in self._waiting.values())

    def _sweep(self, crew: _Crew, now: float) -> None:
        """Forget what nobody waits for. It looks at every sentence, so it is not for every step."""
        crew.withdrawn = False  # before looking: who withdraws meanwhile is seen next time
        for queue in self._waiting.values():
            crew.running.forget(queue.sweep(now), "queue")
        crew.running.sweep(now)
        waiting = (entry for queue in self._waiting.values() for entry in queue.entries)
        left = itertools.chain(waiting, crew.running.entries())
        crew.next_deadline = min((entry.ticket.deadline for entry in left), default=math.inf)

    def _take(self, crew: _Crew, now: float) -> dict[Lane, list[_Entry]]:
        if not self._anybody_waits():
            return {}
        waiting_rows = sum(queue.rows for queue in self._waiting.values())
        share = fair_share(self._running_rows() + waiting_rows, len(self._crews))
        heads = {
            lane: (entry.demand for entry in queue.entries)
            for lane, queue in self._waiting.items()
            if not (lane is Lane.BULK and crew.running.bulk_has_to_wait)
        }
        counts = admit(heads, crew.running.rows(), self._capacity, share)
        taken = {lane: self._waiting[lane].take(count, now) for lane, count in counts.items()}
        # At once, not at the end of the step: the next decoder's share depends on it.
        crew.running.num_rows += sum(map(_rows, taken.values()))
        return taken


@dataclasses.dataclass(slots=True)
class _Crew:
    """A decoder's rows, and what its thread looks at once a step so that it need not look at every sentence."""

    running: _Running
    withdrawn: bool = False
    next_deadline: float = math.inf
    beat: float | None = None
    """When the step began that is running now."""


class _Running:
    """What a decoder runs: a group of rows for each lane and beam size. Only the decoder's thread calls it."""

    def __init__(
        self, decoder: Decoder, on_report: Callable[[EngineReport], None], rows_of_all: Callable[[], int]
    ) -> None:
        self._decoder = decoder
        self._on_report = on_report
        self._rows_of_all = rows_of_all
        self.num_rows = 0
        """Rows running; other threads may read it."""
        self._groups: dict[Lane, dict[int, BeamGroup[_Entry]]] = {lane: {} for lane in Lane}
        self._bulk_owes = 0.0
        self._starting: list[_Entry] = []
        self._finished: collections.Counter[FinishedAs] = collections.Counter()
        self._cancelled: collections.Counter[Stage] = collections.Counter()
        self._encodes: list[EncodeRecord] = []
        self._steps: list[StepRecord] = []
        self._waits: list[float] = []
        self._reported = time.monotonic()

    def rows(self) -> dict[Lane, int]:
        """Rows running in each lane."""
        return {lane: sum(group.rows for group in groups.values()) for lane, groups in self._groups.items()}

    @property
    def bulk_has_to_wait(self) -> bool:
        """Whether interactive sentences run that bulk has taken more than its share of the time from."""
        return self._bulk_owes > 0

    def entries(self) -> list[_Entry]:
        """What is running."""
        return [entry for groups in self._groups.values() for group in groups.values() for entry in group.owners]

    def sweep(self, now: float) -> None:
        """Free the rows nobody waits for."""
        for groups in self._groups.values():
            for group in groups.values():
                self.forget(group.drop(lambda entry: entry.is_over(now)), "decode")
        self.num_rows = sum(self.rows().values())

    def forget(self, entries: Iterable[_Entry], stage: Stage) -> None:
        """End what was withdrawn or came too late."""
        for entry in entries:
            if entry.ticket.withdrawn:
                entry.job.future.cancel()
            if entry.job.future.set_running_or_notify_cancel():
                entry.job.future.set_exception(DeadlineError("the deadline has passed", 0.0))
                self._finished["deadline"] += 1
            else:
                self._count_cancelled(stage)

    def _count_cancelled(self, stage: Stage) -> None:
        self._finished["cancelled"] += 1
        self._cancelled[stage] += 1

    def tick(self, admitted: Mapping[Lane, Sequence[_Entry]]) -> None:
        """Encode and add the admitted, then one step for the lanes whose turn it is."""
        self._starting = [entry for entries in admitted.values() for entry in entries]
        seconds = dict.fromkeys(Lane, 0.0)
        for lane, entries in admitted.items():
            if entries:
                seconds[lane] += self._start(lane, entries)
        for lane in lanes_to_step(self.rows(), self._bulk_owes):
            began = time.monotonic()
            for group in self._groups[lane].values():
                self._step(group)
            seconds[lane] += time.monotonic() - began
        rows = self.rows()
        self.num_rows = sum(rows.values())
        self._bulk_owes = bulk_debt(self._bulk_owes, seconds, rows)
        if time.monotonic() - self._reported > REPORT_SECONDS:
            self.report()

    def _start(self, lane: Lane, entries: Sequence[_Entry]) -> float:
        """Encode the entries, those of one padded length and beam size together; returns the seconds it took."""
        began = time.monotonic()
        together: dict[tuple[int, int], list[_Entry]] = collections.defaultdict(list)
        for entry in entries:
            entry.job.times.started = began
            self._waits.append(began - entry.job.times.submitted)
            together[entry.demand.encode_tokens, entry.job.options.beam_size].append(entry)
        for (_, beam_size), some in together.items():
            self._join_or_fail(lane, beam_size, some)
        return time.monotonic() - began

    def _join_or_fail(self, lane: Lane, beam_size: int, entries: Sequence[_Entry]) -> None:
        try:
            self._join(lane, beam_size, entries)
        except Exception as error:
            if len(entries) == 1:
                self._fail(entries, error)
                self._prove(beam_size)
            else:  # one of them may be to blame: the others need not fail with it
                for entry in entries:
                    self._join_or_fail(lane, beam_size, [entry])

    def _join(self, lane: Lane, beam_size: int, entries: Sequence[_Entry]) -> None:
        began = time.monotonic()
        memory = self._decoder.encode([entry.job.source_ids for entry in entries])
        tokens = sum(len(entry.job.source_ids) for entry in entries)
        now = time.monotonic()
        self._encodes.append(EncodeRecord(tokens, now - began))
        for entry in entries:
            entry.job.times.encoded = now
        groups = self._groups[lane]
        if beam_size not in groups:
            groups[beam_size] = self._open_group(beam_size)
        groups[beam_size].join(entries, [entry.job.options for entry in entries], memory)

    def _open_group(self, beam_size: int) -> BeamGroup[_Entry]:
        return BeamGroup(self._decoder.open_slots(beam_size), beam_size)

    def _prove(self, beam_size: int) -> None:
        """After a failure: a sentence that can only fail if everything does. Then the engine stops, and says so."""
        group: BeamGroup[None] = BeamGroup(self._decoder.open_slots(beam_size), beam_size)
        options = SearchOptions(beam_size=beam_size, max_output_tokens=1)
        group.join([None], [options], self._decoder.encode([(EOS_ID,)]))
        group.step()

    def _step(self, group: BeamGroup[_Entry]) -> None:
        if not group.rows:
            return
        began, rows, padding = time.monotonic(), group.rows, group.padding
        try:
            result = group.step()
        except Exception as error:
            self._rebuild(group, error)
            return
        self._steps.append(StepRecord(rows, time.monotonic() - began, padding))
        for entry, hypotheses in result.finished:
            self._answer(entry, hypotheses)
        if result.failed:
            self._fail(result.failed, FloatingPointError("the model gave no token a usable score"))

    def _rebuild(self, group: BeamGroup[_Entry], error: Exception) -> None:
        """A step failed: its sentences fail, and the group starts again from nothing."""
        self._fail(group.owners, error)
        for groups in self._groups.values():
            for beam_size, other in list(groups.items()):
                if other is group:
                    groups[beam_size] = self._open_group(beam_size)
                    self._prove(beam_size)

    def abandon(self, waiting: Sequence[_Entry], error: Exception) -> None:
        """Fail everything that runs, starts or waits."""
        starting = [entry for entry in self._starting if not entry.job.future.done()]
        self._fail(dict.fromkeys([*self.entries(), *starting, *waiting]), error)
        for groups in self._groups.values():
            groups.clear()
        self.num_rows = 0

    def _answer(self, entry: _Entry, hypotheses: tuple[Hypothesis, ...]) -> None:
        entry.job.times.finished = time.monotonic()
        if entry.job.future.set_running_or_notify_cancel():
            entry.job.future.set_result(hypotheses)
            self._finished[hypotheses[0].finish_reason] += 1
        else:
            self._count_cancelled("decode")

    def _fail(self, entries: Iterable[_Entry], error: Exception) -> None:
        _log.error("sentences failed: %s", error, exc_info=error)
        for entry in entries:
            future = entry.job.future
            if future.done() and not future.cancelled():
                continue  # answered in the very step that failed
            if future.set_running_or_notify_cancel():
                future.set_exception(error)
                self._finished["error"] += 1
            else:
                self._count_cancelled("decode")

    def report(self) -> None:
        """Publish what was done since the last report."""
        self._reported = time.monotonic()
        self._on_report(
            EngineReport(
                encodes=tuple(self._encodes),
                steps=tuple(self._steps),
                queue_wait_seconds=tuple(self._waits),
                finished=dict(self._finished),
                cancelled=dict(self._cancelled),
                running_rows=self._rows_of_all(),
            )
        )
        self._finished.clear()
        self._cancelled.clear()
        for records in (self._encodes, self._steps, self._waits):
            records.clear()
