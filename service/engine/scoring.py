"""Forced decoding and word alignment: a second kind of engine for the same loop, in a process of its own.

It scores given translations (how likely each token is, and where the model looked), aligns the words of two sentences,
and tells what happens inside the network (`service.engine.internals`). A batch takes as long as many decoder steps:
therefore the engines that decode know nothing of it.

Shapes: N rows, S source tokens, T target tokens (the end token is the last), Le encoder layers, L decoder layers, H
heads, V vocabulary, I source pieces, J target pieces. Arrays of a batch are padded, those of a job are not.
"""

from __future__ import annotations

import dataclasses
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from model.bundle import OWN_IDS, SpecialIds
from model.lexical import LexicalTable
from model.shortlist import Shortlist
from model.vocabulary import PAD_ID
from service.arrays import Array, round_up
from service.engine.hmm import hmm_evidence
from service.engine.job_queue import Entry, JobQueue
from service.engine.jobs import PoolJob
from service.engine.scheduler import bulk_debt, lanes_to_step
from service.engine.scores import AlignmentJob, AttentionKind, Score, ScoringJob
from service.engine.types import Answer, Failure, Lane, Partial, Report, Request, Waiting

LENGTH_MULTIPLE = 16
"""Sources and targets are padded to multiples of this, so that similar sentences have one shape. Only equal shapes
share a batch: then no neighbour changes a bit."""
BATCH_NUMBERS = 16 * 2**20
"""Numbers in the outputs of one batch, at most, unless a single row has more: 64 MiB."""


class Graph(Protocol):
    """What runs a batch: the real one is `service.engine.decoder.runtime.ScorerGraph`."""

    def score(self, inputs: Mapping[str, Array], attention: Sequence[AttentionKind]) -> tuple[Array, dict[str, Array]]:
        """token_log_probs [N, T] and the attention asked for, each [N, ...], for source_ids and source_mask [N, S],
        target_ids and labels [N, T], allowed [N, V]."""

    @property
    def vocabulary_size(self) -> int:
        """V, the pieces in the vocabulary."""

    def numbers(self, source_length: int, target_length: int) -> int:
        """How many numbers the outputs of one row are."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Shape:
    """Jobs of one shape share a batch."""

    source_length: int
    target_length: int
    attention: tuple[AttentionKind, ...]


class ScoringEngine:
    """Scores and aligns; stepped as `core.Engine` is: every step runs at most one batch of each lane."""

    def __init__(
        self,
        open_graph: Callable[[], Graph],
        shortlist: Shortlist | None = None,
        lexical: Mapping[str, LexicalTable] | None = None,
        special: SpecialIds = OWN_IDS,
        others: Mapping[type, Callable[[Any], Any]] | None = None,
    ) -> None:
        """`open_graph` is called by the first job that needs the graph; `lexical` has a table for each direction;
        `others` does the jobs of further types, one at a time."""
        self._open_graph = open_graph
        self._graph: Graph | None = None
        self._shortlist = shortlist
        self._lexical = lexical or {}
        self._others = others or {}
        self._special = special
        self._queue: JobQueue[PoolJob] = JobQueue()
        self._owed = 0.0
        self._answers: list[Answer] = []
        self._batches: list[float] = []
        self._waits: list[float] = []

    @property
    def busy(self) -> bool:
        """Whether another step would do anything."""
        return bool(self._queue)

    def add(self, request: Request) -> None:
        """Queue the jobs of a request."""
        entries = [Entry(request, place, job, 1) for place, job in enumerate(request.jobs)]
        self._queue.add(request.lane, entries, request.deadline, time.monotonic())

    def withdraw(self, number: int) -> None:
        """End the jobs of a request at the next step, those excepted whose batch runs."""
        self._queue.withdraw(number)

    def step(self) -> list[Answer]:
        """Run a batch of each lane whose turn it is; returns the answers that came of it."""
        now = time.monotonic()
        self._answers += self._queue.end(now, lambda is_over: [], tuple)
        seconds = dict.fromkeys(Lane, 0.0)
        # A batch is to an engine that scores what a row is to one that decodes.
        for lane in lanes_to_step({lane: len(self._queue.lane(lane)) for lane in Lane}, self._owed):
            seconds[lane] = self._run(self._take_batch(lane))
        interactive_has_work = bool(self._queue.lane(Lane.INTERACTIVE)) or seconds[Lane.INTERACTIVE] > 0
        self._owed = bulk_debt(self._owed, seconds, interactive_has_work=interactive_has_work)
        answers, self._answers = self._answers, []
        return answers

    def partials(self) -> list[Partial]:
        """Nothing is certain before it is done."""
        return []

    def waiting(self) -> tuple[Waiting, ...]:
        """What waits in each lane."""
        return self._queue.waiting()

    def report(self) -> Report:
        """What was done since the last report."""
        done = Report(waits=self._waits, batches=self._batches)
        self._waits, self._batches = [], []
        return done

    def _take_batch(self, lane: Lane) -> list[Entry[PoolJob]]:
        """The first job of a lane, and those that can be run with it."""
        entries = self._queue.lane(lane)
        first = entries[0].job
        if not isinstance(first, ScoringJob):
            return self._queue.take(lane, 1, time.monotonic())
        shape = _shape(first)
        alike = [entry for entry in entries if isinstance(entry.job, ScoringJob) and _shape(entry.job) == shape]
        batch = alike[: self._most_rows(shape)]
        self._queue.take_some(lane, batch, time.monotonic())
        return batch

    def _most_rows(self, shape: _Shape) -> int:
        # Until the graph is open its sizes are unknown.
        if self._graph is None:
            return 1
        return max(1, BATCH_NUMBERS // self._graph.numbers(shape.source_length, shape.target_length))

    def _run(self, entries: Sequence[Entry[PoolJob]]) -> float:
        """Answer the jobs of a batch; returns the seconds it took."""
        began = time.monotonic()
        for entry in entries:
            entry.started = entry.encoded = began
            self._waits.append(began - entry.request.submitted)
        self._answer_or_fail(entries)
        seconds = time.monotonic() - began
        self._batches.append(seconds)
        return seconds

    def _answer_or_fail(self, entries: Sequence[Entry[PoolJob]]) -> None:
        try:
            results = self._results([entry.job for entry in entries])
        except Exception as error:
            if len(entries) > 1:  # one of them may be to blame: the others need not fail with it
                for entry in entries:
                    self._answer_or_fail([entry])
            else:
                failure = Failure("error", str(error), "".join(traceback.format_exception(error)))
                self._answers.append(entries[0].fail(failure, time.monotonic()))
            return
        now = time.monotonic()
        self._answers += [entry.answer(result, now) for entry, result in zip(entries, results, strict=True)]

    def _results(self, jobs: Sequence[PoolJob]) -> Sequence[Any]:
        job = jobs[0]
        if isinstance(job, AlignmentJob):
            return [hmm_evidence(job.source_ids, job.target_ids, self._lexical[job.direction])]
        if not isinstance(job, ScoringJob):
            return [self._others[type(job)](job)]
        return self._score([job for job in jobs if isinstance(job, ScoringJob)])

    def _score(self, jobs: Sequence[ScoringJob]) -> list[Score]:
        if self._graph is None:
            self._graph = self._open_graph()
        allowed = np.stack([self._allowed(job, self._graph.vocabulary_size) for job in jobs])
        log_probs, attention = self._graph.score(_inputs(jobs, allowed, self._special), jobs[0].attention)
        return [_score_of(job, log_probs[row], attention, row) for row, job in enumerate(jobs)]

    def _allowed(self, job: ScoringJob, vocabulary_size: int) -> Array:
        """[V], which tokens the probability is shared among."""
        if not job.is_shortlisted or self._shortlist is None:
            return np.ones(vocabulary_size, np.bool_)
        allowed = np.zeros(vocabulary_size, np.bool_)
        allowed[self._shortlist.of(job.source_ids)] = True
        # All its tokens are in the shortlist already, but for those that the caller made it begin with.
        allowed[list(job.target_ids)] = True
        return allowed


def _shape(job: ScoringJob) -> _Shape:
    source, target = len(job.source_ids), job.target_length
    return _Shape(round_up(source, LENGTH_MULTIPLE), round_up(target, LENGTH_MULTIPLE), job.attention)


def _inputs(jobs: Sequence[ScoringJob], allowed: Array, special: SpecialIds) -> dict[str, Array]:
    """The graph's inputs for jobs of one shape."""
    shape = _shape(jobs[0])
    source_ids = np.full((len(jobs), shape.source_length), PAD_ID, np.int64)
    target_ids, labels = (np.full((len(jobs), shape.target_length), PAD_ID, np.int64) for _ in range(2))
    source_mask = np.zeros(source_ids.shape, np.bool_)
    for row, job in enumerate(jobs):
        source_ids[row, : len(job.source_ids)] = job.source_ids
        source_mask[row, : len(job.source_ids)] = True
        source_mask[row, list(job.hidden)] = False
        written = (*job.silent_prefix, *job.target_ids)
        target_ids[row, : job.target_length] = (special.bos, *written)
        labels[row, : job.target_length] = (*written, special.eos)
    source = {"source_ids": source_ids, "source_mask": source_mask}
    return {**source, "target_ids": target_ids, "labels": labels, "allowed": allowed}


def _score_of(job: ScoringJob, log_probs: Array, attention: Mapping[str, Array], row: int) -> Score:
    """One job's part of a batch, copied: a view would keep the whole batch alive."""
    source, target = slice(len(job.source_ids)), slice(len(job.silent_prefix), job.target_length)
    parts = {"encoder": (source, source), "decoder": (target, target), "cross": (target, source)}
    kinds = {kind: attention[kind][(row, slice(None), slice(None), *parts[kind])].copy() for kind in job.attention}
    return Score(log_probs[target].copy(), kinds)
