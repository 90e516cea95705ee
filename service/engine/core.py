"""One decoder as an object that is stepped: it has no thread, no lock and no future.

`add` requests, `withdraw` those nobody waits for, and `step` as long as it is `busy`: every step lets waiting sentences
join, gives all running ones a token, and returns the answers of those that are done. What joins and which lane advances
is decided in `scheduler`. Nothing here knows in which process it runs.
"""

from __future__ import annotations

import collections
import logging
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from model.bundle import OWN_IDS, SpecialIds
from service.arrays import Array
from service.engine.job_queue import Entry, JobQueue
from service.engine.scheduler import Capacity, Demand, admit, bulk_debt, lanes_to_step
from service.engine.search import BeamGroup, RunningState
from service.engine.types import (
    Answer,
    EncodeRecord,
    Failure,
    Job,
    Lane,
    Partial,
    Report,
    Request,
    SearchOptions,
    StepRecord,
    Waiting,
)

_log = logging.getLogger(__name__)

_ANY_ID = 3
"""A token that every vocabulary has."""
Group = BeamGroup[Entry[Job]]
Key = tuple[int, int]
"""The beam size of a group, and 0, or a number of its own if it runs apart from the others."""


class Decoder(Protocol):
    """What an engine needs to decode: the real one is `service.engine.decoder.opening.OnnxDecoder`."""

    def encoder_tokens(self, source_tokens: int) -> int:
        """How many tokens of an encoder run a source of `source_tokens` takes."""

    def runs(self, lengths: Sequence[int]) -> Sequence[Sequence[int]]:
        """Which sources of such lengths, by index, are encoded in one run."""

    def encode(self, sources: Sequence[Sequence[int]]) -> Mapping[str, Array]:
        """Memory of the sentences of one run."""

    def open_slots(self, beam_size: int) -> RunningState:
        """Buffers for the running sentences of one beam size."""


class Engine:
    """Decodes the sentences of all requests together."""

    def __init__(
        self,
        decoder: Decoder,
        capacity: Capacity,
        device_memory: Callable[[], int | None] = lambda: None,
        special: SpecialIds = OWN_IDS,
    ) -> None:
        """`device_memory`: bytes in use on the device; `special`: ids that begin and end an output."""
        self._special = special
        self._decoder = decoder
        self._capacity = capacity
        self._device_memory = device_memory
        self._queue: JobQueue[Job] = JobQueue()
        self._groups: dict[Lane, dict[Key, Group]] = {lane: {} for lane in Lane}
        self._groups_apart = 0
        self._owed = 0.0
        self._answers: list[Answer] = []
        self._encodes: list[EncodeRecord] = []
        self._steps: list[StepRecord] = []
        self._waits: list[float] = []

    @property
    def busy(self) -> bool:
        """Whether another step would do anything."""
        return bool(self._queue) or any(group.rows for group in self._all_groups())

    def add(self, request: Request) -> None:
        """Queue the jobs of a request: each has exactly one answer in one of the steps to come."""
        encoder_tokens = self._decoder.encoder_tokens
        entries = [
            Entry(request, place, job, job.options.beam_size, encoder_tokens(len(job.source_ids)))
            for place, job in enumerate(request.jobs)
        ]
        self._queue.add(request.lane, entries, request.deadline, time.monotonic())

    def withdraw(self, number: int) -> None:
        """End the jobs of a request at the next step: nobody waits for them any more."""
        self._queue.withdraw(number)

    def step(self) -> list[Answer]:
        """Let waiting sentences join, then one token for every running one; returns the answers that came of it.

        Raises:
            Exception: the decoder fails whatever it is given. The engine is of no use any more.
        """
        now = time.monotonic()
        self._answers += self._queue.end(now, self._drop, self._running)
        seconds = dict.fromkeys(Lane, 0.0)
        for lane, entries in self._schedule(now):
            seconds[lane] += self._encode(lane, entries)
        for lane in lanes_to_step(self._rows(), self._owed):
            seconds[lane] += self._advance(lane)
        self._owed = bulk_debt(self._owed, seconds, interactive_has_work=self._has_work(Lane.INTERACTIVE))
        answers, self._answers = self._answers, []
        return answers

    def partials(self) -> list[Partial]:
        """What is certain of the sentences that run and are streamed."""
        found = (each for group in self._all_groups() for each in group.agreed(lambda entry: entry.job.streams))
        return [Partial(entry.request.number, entry.place, ids) for entry, ids in found if ids]

    def waiting(self) -> tuple[Waiting, ...]:
        """What waits in each lane."""
        return self._queue.waiting()

    def report(self) -> Report:
        """What was done since the last report."""
        done = Report(self._encodes, self._steps, self._waits, (), sum(self._rows().values()), self._device_memory())
        self._encodes, self._steps, self._waits = [], [], []
        return done

    def _all_groups(self) -> Iterator[Group]:
        return (group for groups in self._groups.values() for group in groups.values())

    def _running(self) -> Iterator[Entry[Job]]:
        return (entry for group in self._all_groups() for entry in group.owners)

    def _drop(self, is_over: Callable[[Entry[Job]], bool]) -> list[Entry[Job]]:
        return [entry for group in self._all_groups() for entry in group.drop(is_over)]

    def _rows(self) -> dict[Lane, int]:
        return {lane: sum(group.rows for group in groups.values()) for lane, groups in self._groups.items()}

    def _has_work(self, lane: Lane) -> bool:
        return bool(self._queue.lane(lane)) or any(group.rows for group in self._groups[lane].values())

    def _schedule(self, now: float) -> list[tuple[Lane, list[Entry[Job]]]]:
        """The entries of each lane that start now."""
        if not self._queue:
            return []
        running = self._rows()
        bulk = self._queue.lane(Lane.BULK)
        demands = {
            lane: (Demand(entry.rows, entry.encode_tokens) for entry in self._queue.lane(lane))
            for lane in Lane
            if self._queue.lane(lane)
            and not (lane is Lane.BULK and self._owed > 0)
            and not self._queue.hold(lane, running[lane])
        }
        is_bulks_turn = Lane.BULK in demands
        bulk_next = Demand(bulk[0].rows, bulk[0].encode_tokens) if is_bulks_turn else None
        counts = admit(demands, running, self._capacity, bulk_next)
        return [(lane, self._queue.take(lane, count, now)) for lane, count in counts.items() if count]

    def _encode(self, lane: Lane, entries: Sequence[Entry[Job]]) -> float:
        """Let the entries join the running ones, those of one beam size together; returns the seconds it took."""
        began = time.monotonic()
        by_beam_size: collections.defaultdict[int, list[Entry[Job]]] = collections.defaultdict(list)
        for entry in entries:
            entry.started = began
            self._waits.append(began - entry.request.submitted)
            by_beam_size[entry.rows].append(entry)
        for beam_size, some in by_beam_size.items():
            for run in self._decoder.runs([len(entry.job.source_ids) for entry in some]):
                self._join_or_fail(lane, (beam_size, 0), [some[index] for index in run])
        return time.monotonic() - began

    def _join_or_fail(self, lane: Lane, key: Key, entries: Sequence[Entry[Job]]) -> None:
        try:
            self._join(lane, key, entries)
        except Exception as error:
            if len(entries) == 1:
                self._fail(entries[0], key, error)
            else:  # one of them may be to blame: the others need not fail with it
                for some in _halves(entries):
                    self._join_or_fail(lane, key, some)

    def _join(self, lane: Lane, key: Key, entries: Sequence[Entry[Job]]) -> None:
        began = time.monotonic()
        memory = self._decoder.encode([entry.job.source_ids for entry in entries])
        now = time.monotonic()
        self._encodes.append(EncodeRecord(sum(len(entry.job.source_ids) for entry in entries), now - began))
        for entry in entries:
            entry.encoded = now
        groups = self._groups[lane]
        if key not in groups:
            groups[key] = BeamGroup(self._decoder.open_slots(key[0]), key[0], self._special)
        groups[key].join(entries, [entry.job.options for entry in entries], memory)

    def _advance(self, lane: Lane) -> float:
        """One token for the running sentences of a lane; returns the seconds it took."""
        began = time.monotonic()
        for key, group in list(self._groups[lane].items()):
            if group.rows:
                self._step_or_divide(lane, key, group)
            if key[1] and not group.rows:
                self._groups[lane].pop(key, None)
        return time.monotonic() - began

    def _step_or_divide(self, lane: Lane, key: Key, group: Group) -> None:
        began, rows, padding = time.monotonic(), group.rows, group.padding
        try:
            result = group.step()
        except Exception as error:
            self._divide(lane, key, group.owners, error)
            return
        now = time.monotonic()
        self._steps.append(StepRecord(rows, now - began, padding))
        self._answers += [entry.answer(hypotheses, now) for entry, hypotheses in result.finished]
        unusable = Failure("error", "the model gave no token a usable score")
        self._answers += [entry.fail(unusable, now) for entry in result.failed]

    def _divide(self, lane: Lane, key: Key, entries: Sequence[Entry[Job]], error: Exception) -> None:
        """A step failed: its sentences begin again in two groups, until the one to blame is alone."""
        del self._groups[lane][key]
        if len(entries) == 1:
            self._fail(entries[0], key, error)
            return
        _log.warning("a step of %d sentences failed; they begin again in halves: %s", len(entries), error)
        for some in _halves(entries):
            self._groups_apart += 1
            self._join_or_fail(lane, (key[0], self._groups_apart), some)

    def _fail(self, entry: Entry[Job], key: Key, error: Exception) -> None:
        self._check(key[0])
        trace = "".join(traceback.format_exception(error))
        self._answers.append(entry.fail(Failure("error", str(error), trace), time.monotonic()))

    def _check(self, beam_size: int) -> None:
        """After a failure, decode a sentence that can only fail if everything does."""
        group: BeamGroup[None] = BeamGroup(self._decoder.open_slots(beam_size), beam_size, self._special)
        options = SearchOptions(beam_size=beam_size, max_output_tokens=1)
        group.join([None], [options], self._decoder.encode([(_ANY_ID,)]))
        group.step()


def _halves(entries: Sequence[Entry[Job]]) -> tuple[Sequence[Entry[Job]], Sequence[Entry[Job]]]:
    middle = len(entries) // 2
    return entries[:middle], entries[middle:]
