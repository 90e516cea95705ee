"""What one decoder runs: a group of rows for each lane and beam size, and what becomes of the sentences."""

from __future__ import annotations

import collections
import dataclasses
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from model.vocabulary import EOS_ID
from service.engine.jobs import DeadlineError, Hypothesis, Job, SearchOptions, Ticket
from service.engine.records import EncodeRecord, EngineReport, FinishedAs, Stage, StepRecord
from service.engine.scheduler import Demand, Lane, bulk_debt, lanes_to_step
from service.engine.search import BeamGroup, RunningState

_log = logging.getLogger(__name__)

REPORT_SECONDS = 0.25
"""Longest time between two reports while there is work."""


class Decoder(Protocol):
    """What the engine needs to decode: the real one is `service.engine.loading.OnnxDecoder`."""

    def encoder_tokens(self, source_tokens: int) -> int:
        """What a source of so many tokens takes of an encoder run, in tokens."""

    def runs(self, lengths: Sequence[int]) -> Sequence[Sequence[int]]:
        """Which sources of such lengths, by index, are encoded in one run."""

    def encode(self, sources: Sequence[Sequence[int]]) -> Mapping[str, npt.NDArray[np.generic]]:
        """Memory of the sentences of one run."""

    def open_slots(self, beam_size: int) -> RunningState:
        """Room for the running sentences of one beam size."""


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """A job, whose it is, and what it needs."""

    job: Job
    ticket: Ticket
    demand: Demand

    def is_over(self, now: float) -> bool:
        """Whether nobody waits for it any more."""
        return self.ticket.withdrawn or self.ticket.deadline <= now


class Outcomes:
    """Answers jobs, counts how they ended, and reports that with what else was done."""

    def __init__(self, on_report: Callable[[EngineReport], None]) -> None:
        self._on_report = on_report
        self._finished: collections.Counter[FinishedAs] = collections.Counter()
        self._cancelled: collections.Counter[Stage] = collections.Counter()
        self.encodes: list[EncodeRecord] = []
        self.steps: list[StepRecord] = []
        self.waits: list[float] = []
        self._reported = time.monotonic()

    def answer(self, entry: Entry, hypotheses: tuple[Hypothesis, ...]) -> None:
        """Resolve a job."""
        if entry.job.future.set_running_or_notify_cancel():
            entry.job.future.set_result(hypotheses)
            self._finished[hypotheses[0].finish_reason] += 1
        else:
            self._count_cancelled("decode")

    def fail(self, entries: Iterable[Entry], error: Exception) -> None:
        """End jobs with `error`."""
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

    def forget(self, entries: Iterable[Entry], stage: Stage) -> None:
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

    @property
    def is_report_due(self) -> bool:
        """Whether the last report is long enough ago."""
        return time.monotonic() - self._reported > REPORT_SECONDS

    def report(self, running_rows: int) -> None:
        """Publish what was done since the last report."""
        self._reported = time.monotonic()
        self._on_report(
            EngineReport(
                encodes=tuple(self.encodes),
                steps=tuple(self.steps),
                queue_wait_seconds=tuple(self.waits),
                finished=dict(self._finished),
                cancelled=dict(self._cancelled),
                running_rows=running_rows,
            )
        )
        self._finished.clear()
        self._cancelled.clear()
        for records in (self.encodes, self.steps, self.waits):
            records.clear()


class Running:
    """The rows of a decoder, one group for each lane and beam size. Only the engine's thread calls it."""

    def __init__(self, decoder: Decoder, on_report: Callable[[EngineReport], None]) -> None:
        self._decoder = decoder
        self._outcomes = Outcomes(on_report)
        self._groups: dict[Lane, dict[int, BeamGroup[Entry]]] = {lane: {} for lane in Lane}
        self._bulk_owes = 0.0
        self._starting: list[Entry] = []

    def rows(self) -> dict[Lane, int]:
        """Rows running in each lane."""
        return {lane: sum(group.rows for group in groups.values()) for lane, groups in self._groups.items()}

    @property
    def bulk_has_to_wait(self) -> bool:
        """Whether interactive sentences run that bulk has taken more than its share of the time from."""
        return self._bulk_owes > 0

    def entries(self) -> list[Entry]:
        """What is running."""
        return [entry for groups in self._groups.values() for group in groups.values() for entry in group.owners]

    def sweep(self, now: float) -> None:
        """Free the rows nobody waits for."""
        for groups in self._groups.values():
            for group in groups.values():
                self.forget(group.drop(lambda entry: entry.is_over(now)), "decode")

    def forget(self, entries: Iterable[Entry], stage: Stage) -> None:
        """End what was withdrawn or came too late."""
        self._outcomes.forget(entries, stage)

    def tick(self, admitted: Mapping[Lane, Sequence[Entry]]) -> None:
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
        self._bulk_owes = bulk_debt(self._bulk_owes, seconds, self.rows())
        if self._outcomes.is_report_due:
            self.report()

    def _start(self, lane: Lane, entries: Sequence[Entry]) -> float:
        """Encode and add the entries, those of one beam size together; returns the seconds it took."""
        began = time.monotonic()
        together: collections.defaultdict[int, list[Entry]] = collections.defaultdict(list)
        for entry in entries:
            entry.job.times.started = began
            self._outcomes.waits.append(began - entry.job.times.submitted)
            together[entry.job.options.beam_size].append(entry)
        for beam_size, some in together.items():
            for run in self._decoder.runs([len(entry.job.source_ids) for entry in some]):
                self._join_or_fail(lane, beam_size, [some[index] for index in run])
        return time.monotonic() - began

    def _join_or_fail(self, lane: Lane, beam_size: int, entries: Sequence[Entry]) -> None:
        try:
            self._join(lane, beam_size, entries)
        except Exception as error:
            if len(entries) == 1:
                self._outcomes.fail(entries, error)
                self._prove(beam_size)
            else:  # one of them may be to blame: the others need not fail with it
                for entry in entries:
                    self._join_or_fail(lane, beam_size, [entry])

    def _join(self, lane: Lane, beam_size: int, entries: Sequence[Entry]) -> None:
        began = time.monotonic()
        memory = self._decoder.encode([entry.job.source_ids for entry in entries])
        tokens = sum(len(entry.job.source_ids) for entry in entries)
        now = time.monotonic()
        self._outcomes.encodes.append(EncodeRecord(tokens, now - began))
        for entry in entries:
            entry.job.times.encoded = now
        groups = self._groups[lane]
        if beam_size not in groups:
            groups[beam_size] = self._open_group(beam_size)
        groups[beam_size].join(entries, [entry.job.options for entry in entries], memory)

    def _open_group(self, beam_size: int) -> BeamGroup[Entry]:
        return BeamGroup(self._decoder.open_slots(beam_size), beam_size)

    def _prove(self, beam_size: int) -> None:
        """After a failure: a sentence that can only fail if everything does. Then the engine stops, and says so."""
        group: BeamGroup[None] = BeamGroup(self._decoder.open_slots(beam_size), beam_size)
        options = SearchOptions(beam_size=beam_size, max_output_tokens=1)
        group.join([None], [options], self._decoder.encode([(EOS_ID,)]))
        group.step()

    def _step(self, group: BeamGroup[Entry]) -> None:
        if not group.rows:
            return
        began, rows, padding = time.monotonic(), group.rows, group.padding
        try:
            result = group.step()
        except Exception as error:
            self._rebuild(group, error)
            return
        self._outcomes.steps.append(StepRecord(rows, time.monotonic() - began, padding))
        for entry, hypotheses in result.finished:
            self._answer(entry, hypotheses)
        if result.failed:
            self._outcomes.fail(result.failed, FloatingPointError("the model gave no token a usable score"))

    def _rebuild(self, group: BeamGroup[Entry], error: Exception) -> None:
        """A step failed: its sentences fail, and the group starts again from nothing."""
        self._outcomes.fail(group.owners, error)
        for groups in self._groups.values():
            for beam_size, other in list(groups.items()):
                if other is group:
                    groups[beam_size] = self._open_group(beam_size)
                    self._prove(beam_size)

    def abandon(self, waiting: Sequence[Entry], error: Exception) -> None:
        """Fail everything that runs, starts or waits."""
        starting = [entry for entry in self._starting if not entry.job.future.done()]
        self._outcomes.fail(dict.fromkeys([*self.entries(), *starting, *waiting]), error)
        for groups in self._groups.values():
            groups.clear()

    def _answer(self, entry: Entry, hypotheses: tuple[Hypothesis, ...]) -> None:
        entry.job.times.finished = time.monotonic()
        self._outcomes.answer(entry, hypotheses)

    def report(self) -> None:
        """Publish what was done since the last report."""
        self._outcomes.report(sum(self.rows().values()))
