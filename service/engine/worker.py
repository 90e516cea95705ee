"""The engine's thread: at every step jobs join, all running sentences advance by one token, finished ones leave.

What to admit and which lane to step is decided in `scheduler`; here it is done.
"""

from __future__ import annotations

import collections
import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from service.engine.jobs import EngineClosedError, Hypothesis, Job
from service.engine.records import EncodeRecord, EngineReport, FinishedAs, StepRecord
from service.engine.scheduler import Capacity, Demand, Lane, admit, bulk_debt, lane_of, lanes_to_step
from service.engine.search import BeamGroup, RunningState

_log = logging.getLogger(__name__)

REPORT_SECONDS = 0.25
"""Longest time between two reports while there is work."""


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
    """A job, when it came, and what it needs."""

    job: Job
    since: float
    demand: Demand

    def is_cancelled(self) -> bool:
        return self.job.future.cancelled()


class IterationEngine:
    """An `Engine` that batches anew at every decoder step."""

    def __init__(self, decoder: Decoder, capacity: Capacity, on_report: Callable[[EngineReport], None]) -> None:
        self._decoder = decoder
        self._capacity = capacity
        self._waiting: dict[Lane, collections.deque[_Entry]] = {lane: collections.deque() for lane in Lane}
        self._changed = threading.Condition()
        self._closing = False
        self._running = _Running(decoder, on_report)
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    def submit(self, jobs: Sequence[Job]) -> None:
        """Queue the jobs of one request; see `Engine.submit`."""
        now = time.monotonic()
        lane = lane_of(sum(len(job.source_ids) for job in jobs), self._capacity)
        entries = [
            _Entry(job, now, Demand(job.options.beam_size, self._decoder.padded_length(len(job.source_ids))))
            for job in jobs
        ]
        with self._changed:
            if self._closing or not self._thread.is_alive():
                raise EngineClosedError("the engine takes no more jobs")
            self._waiting[lane].extend(entries)
            self._changed.notify()

    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Finish what was accepted and stop."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        try:
            while (admitted := self._admit()) is not None:
                self._running.tick(admitted)
        except BaseException as error:
            # Nobody may wait for ever: whatever happened, every accepted job gets an end.
            _log.critical("the engine has stopped", exc_info=error)
            self._abandon(error)

    def _abandon(self, error: BaseException) -> None:
        with self._changed:
            self._closing = True
            left = [entry for queue in self._waiting.values() for entry in queue]
            for queue in self._waiting.values():
                queue.clear()
        self._running.abandon(left, RuntimeError(f"the engine has stopped: {error}"))

    def _admit(self) -> dict[Lane, list[_Entry]] | None:
        """The jobs that start now; waits while there is nothing to do; None when the engine was closed and all is
        done."""
        with self._changed:
            if not self._running.is_busy:
                self._running.report()
                self._changed.wait_for(lambda: any(self._waiting.values()) or self._closing)
                if not any(self._waiting.values()):
                    return None
            return self._take()

    def _take(self) -> dict[Lane, list[_Entry]]:
        rows = self._running.rows()
        for queue in self._waiting.values():
            while queue and queue[0].is_cancelled():
                queue.popleft()
                self._running.finished["cancelled"] += 1
        heads = {lane: _Demands(queue) for lane, queue in self._waiting.items()}
        counts = admit(heads, rows, self._capacity)
        return {lane: [self._waiting[lane].popleft() for _ in range(count)] for lane, count in counts.items()}


class _Demands(Sequence[Demand]):
    """The demands of a queue, looked at only as far as they are read."""

    def __init__(self, queue: collections.deque[_Entry]) -> None:
        self._queue = queue

    def __len__(self) -> int:
        return len(self._queue)

    def __getitem__(self, index: int) -> Demand:  # type: ignore[override]
        return self._queue[index].demand


class _Running:
    """What runs: a group of rows for each lane and beam size. Only the engine's thread calls it."""

    def __init__(self, decoder: Decoder, on_report: Callable[[EngineReport], None]) -> None:
        self._decoder = decoder
        self._on_report = on_report
        self._groups: dict[Lane, dict[int, BeamGroup[_Entry]]] = {lane: {} for lane in Lane}
        self._bulk_owes = 0.0
        self.finished: collections.Counter[FinishedAs] = collections.Counter()
        self._encodes: list[EncodeRecord] = []
        self._steps: list[StepRecord] = []
        self._waits: list[float] = []
        self._reported = time.monotonic()

    @property
    def is_busy(self) -> bool:
        """Whether any sentence is running."""
        return any(self.rows().values())

    def rows(self) -> dict[Lane, int]:
        """Rows running in each lane."""
        return {lane: sum(group.rows for group in groups.values()) for lane, groups in self._groups.items()}

    def tick(self, admitted: Mapping[Lane, Sequence[_Entry]]) -> None:
        """Encode and add the admitted, then one step for the lanes whose turn it is."""
        seconds = {lane: self._start(lane, entries) for lane, entries in admitted.items()}
        for lane in lanes_to_step(self.rows(), self._bulk_owes):
            began = time.monotonic()
            for group in self._groups[lane].values():
                self._step(group)
            seconds[lane] += time.monotonic() - began
        self._bulk_owes = bulk_debt(self._bulk_owes, seconds, self.rows())
        if time.monotonic() - self._reported > REPORT_SECONDS:
            self.report()

    def _start(self, lane: Lane, entries: Sequence[_Entry]) -> float:
        """Encode the entries, those of one padded length and beam size together; returns the seconds it took."""
        began = time.monotonic()
        together: dict[tuple[int, int], list[_Entry]] = collections.defaultdict(list)
        for entry in entries:
            if entry.is_cancelled():
                self.finished["cancelled"] += 1
                continue
            self._waits.append(began - entry.since)
            together[entry.demand.encode_tokens, entry.job.options.beam_size].append(entry)
        for (length, beam_size), some in together.items():
            self._join_or_fail(lane, length, beam_size, some)
        return time.monotonic() - began

    def _join_or_fail(self, lane: Lane, length: int, beam_size: int, entries: Sequence[_Entry]) -> None:
        try:
            self._join(lane, length, beam_size, entries)
        except Exception as error:
            if len(entries) == 1:
                self._fail(entries, error)
            else:  # one of them may be to blame: the others need not fail with it
                for entry in entries:
                    self._join_or_fail(lane, length, beam_size, [entry])

    def _join(self, lane: Lane, length: int, beam_size: int, entries: Sequence[_Entry]) -> None:
        began = time.monotonic()
        memory = self._decoder.encode([entry.job.source_ids for entry in entries])
        tokens = sum(len(entry.job.source_ids) for entry in entries)
        self._encodes.append(EncodeRecord(tokens, length * len(entries), time.monotonic() - began))
        groups = self._groups[lane]
        if beam_size not in groups:
            groups[beam_size] = self._open_group(beam_size)
        groups[beam_size].join(entries, [entry.job.options for entry in entries], memory)

    def _open_group(self, beam_size: int) -> BeamGroup[_Entry]:
        return BeamGroup(self._decoder.open_slots(beam_size), beam_size)

    def _step(self, group: BeamGroup[_Entry]) -> None:
        self.finished["cancelled"] += len(group.drop(_Entry.is_cancelled))
        if not group.rows:
            return
        began, rows = time.monotonic(), group.rows
        try:
            result = group.step()
        except Exception as error:
            self._rebuild(group, error)
            return
        self._steps.append(StepRecord(rows, time.monotonic() - began))
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

    def abandon(self, waiting: Sequence[_Entry], error: Exception) -> None:
        """Fail everything that runs or waits."""
        running = [entry for groups in self._groups.values() for group in groups.values() for entry in group.owners]
        self._fail([*running, *waiting], error)

    def _answer(self, entry: _Entry, hypotheses: tuple[Hypothesis, ...]) -> None:
        if entry.job.future.set_running_or_notify_cancel():
            entry.job.future.set_result(hypotheses)
            self.finished[hypotheses[0].finish_reason] += 1
        else:
            self.finished["cancelled"] += 1

    def _fail(self, entries: Iterable[_Entry], error: Exception) -> None:
        _log.error("sentences failed: %s", error, exc_info=error)
        for entry in entries:
            if entry.job.future.done() and not entry.is_cancelled():
                continue  # answered in the very step that failed
            if entry.job.future.set_running_or_notify_cancel():
                entry.job.future.set_exception(error)
                self.finished["error"] += 1
            else:
                self.finished["cancelled"] += 1

    def report(self) -> None:
        """Publish what was done since the last report."""
        self._reported = time.monotonic()
        self._on_report(
            EngineReport(
                encodes=tuple(self._encodes),
                steps=tuple(self._steps),
                queue_wait_seconds=tuple(self._waits),
                finished=dict(self.finished),
                running_rows=sum(self.rows().values()),
            )
        )
        self.finished.clear()
        for records in (self._encodes, self._steps, self._waits):
            records.clear()
