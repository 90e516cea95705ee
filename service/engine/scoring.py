"""Forced decoding: how likely a given target is, token by token, and where the model looked. In a thread of its own.

Nothing of it exists until somebody asks: the first job starts the thread and opens the graph. The engine that decodes
knows nothing of it.
Shapes: N rows, S source tokens, T target tokens (the end token is the last), Le encoder layers, L decoder layers, H
heads, V vocabulary. Arrays of a batch are padded, those of a job are not.
"""

from __future__ import annotations

import collections
import dataclasses
import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from model.vocabulary import BOS_ID, EOS_ID, PAD_ID
from service.engine.jobs import EngineClosedError, QueueFullError
from service.engine.records import ScorerReport
from service.engine.scheduler import Room

_log = logging.getLogger(__name__)

Array = npt.NDArray[Any]
AttentionKind = Literal["encoder", "decoder", "cross"]
"""encoder: source tokens at source tokens. decoder: target tokens at those before them and themselves. cross: target
tokens at source tokens."""
KINDS: tuple[AttentionKind, ...] = ("encoder", "decoder", "cross")

LENGTH_MULTIPLE = 16
"""Sources and targets are padded to multiples of this, so that similar sentences have one shape. Only equal shapes
share a batch: then no neighbour changes a bit."""
WAITING_TOKENS = 400_000
"""Source and target tokens that may wait, unless nothing else does: about half a minute of two cores with the shipped
model."""
RETRY_AFTER_SECONDS = 5.0
FULL = "the queue of the scorer is full"
BATCH_NUMBERS = 16 * 2**20
"""Numbers in the outputs of one batch, at most, unless a single row has more: 64 MiB."""


@dataclasses.dataclass(frozen=True, slots=True)
class Score:
    """What the model thinks of one target."""

    token_log_probs: Array
    """[T], natural logarithms."""
    attention: Mapping[AttentionKind, Array]
    """The kinds that were asked for: encoder [Le, H, S, S], decoder [L, H, T, T], cross [L, H, T, S]. Row t of the
    last two is the one that predicts token t."""


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class ScoringJob:
    """One target to score; it carries its own answer."""

    source_ids: tuple[int, ...]
    """Target-language tag, pieces, end token."""
    target_ids: tuple[int, ...]
    """Without the end token, which is always scored."""
    hidden: tuple[int, ...] = ()
    """Places of the source that no token may look at, as if they were padding."""
    allowed: npt.NDArray[np.int64] | None = None
    """Ids the probability is shared among, as the sentence's shortlist when it was decoded; None: the vocabulary."""
    attention: tuple[AttentionKind, ...] = ()
    future: Future[Score] = dataclasses.field(default_factory=Future)
    """Cancelled by `Scorer.withdraw`, unless its batch has begun."""

    @property
    def tokens(self) -> int:
        """What there is to compute: source and target tokens."""
        return len(self.source_ids) + len(self.target_ids) + 1


class Graph(Protocol):
    """What runs a batch: the real one is `service.engine.runtime.ScorerGraph`."""

    def score(self, inputs: Mapping[str, Array], attention: Sequence[AttentionKind]) -> tuple[Array, dict[str, Array]]:
        """token_log_probs [N, T] and the attention asked for, each [N, ...], for source_ids and source_mask [N, S],
        target_ids and labels [N, T], allowed [N, V]."""

    @property
    def vocabulary_size(self) -> int:
        """V."""

    def numbers(self, source_length: int, target_length: int) -> int:
        """How many numbers the outputs of one row are."""


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class _Shape:
    """Jobs of one shape share a batch."""

    source_length: int
    target_length: int
    attention: tuple[AttentionKind, ...]


_Entry = tuple[int, int, float, ScoringJob]
"""Jobs submitted together, order of arrival, time of `time.monotonic`, job: small requests go first."""


class Scorer:
    """Scores jobs; every method may be called from any thread and returns at once, `close` excepted."""

    def __init__(
        self, open_graph: Callable[[], Graph], on_report: Callable[[ScorerReport], None] = lambda report: None
    ) -> None:
        self._open_graph = open_graph
        self._on_report = on_report
        self._graph: Graph | None = None
        self._thread: threading.Thread | None = None
        self._waiting: dict[_Shape, list[_Entry]] = collections.defaultdict(list)
        self._room = Room(WAITING_TOKENS)
        self._arrivals = itertools.count()
        self._closing = False
        self._changed = threading.Condition()

    def submit(self, jobs: Sequence[ScoringJob]) -> None:
        """Queue jobs; each job's future resolves, fails or is cancelled, always.

        Raises:
            QueueFullError: too many tokens wait already.
            EngineClosedError: the scorer was closed.
        """
        tokens = sum(job.tokens for job in jobs)
        with self._changed:
            if self._closing:
                raise EngineClosedError("the scorer is closed")
            if self._room.tokens and not self._room.takes(tokens):
                raise QueueFullError(FULL, RETRY_AFTER_SECONDS)
            self._room.add(tokens)
            now = time.monotonic()
            for job in jobs:
                heapq.heappush(self._waiting[_shape(job)], (len(jobs), next(self._arrivals), now, job))
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="attend-scorer", daemon=True)
                self._thread.start()
            self._changed.notify()

    def check_room(self) -> None:
        """Whether it is worth reading a request at all; costs nothing.

        Raises:
            QueueFullError: `submit` would refuse it.
        """
        if self._room.is_full:
            raise QueueFullError(FULL, RETRY_AFTER_SECONDS)

    def waiting_tokens(self) -> int:
        """Source and target tokens in the queue."""
        return self._room.tokens

    def withdraw(self, jobs: Iterable[ScoringJob]) -> None:
        """Cancel those of the jobs whose batch has not begun; they leave the queue at once."""
        gone = {job for job in jobs if job.future.cancel()}
        if not gone:
            return
        removed = 0
        with self._changed:
            for shape in {_shape(job) for job in gone} & self._waiting.keys():
                left = [entry for entry in self._waiting[shape] if entry[-1] not in gone]
                removed += len(self._waiting[shape]) - len(left)
                self._replace(shape, left)
        self._on_report(ScorerReport(cancelled=removed))

    def _replace(self, shape: _Shape, entries: list[_Entry]) -> None:
        heapq.heapify(entries)
        self._room.tokens -= _tokens(self._waiting.pop(shape)) - _tokens(entries)
        if entries:
            self._waiting[shape] = entries

    def close(self) -> None:
        """Refuse new jobs, finish those accepted, stop the thread. Blocks until done."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def abort(self) -> None:
        """Refuse new jobs and cancel those that wait."""
        with self._changed:
            self._closing = True
            waiting = [entry[-1] for queue in self._waiting.values() for entry in queue]
            self._changed.notify()
        # Outside the lock: whoever is told may call back.
        self.withdraw(waiting)

    def _work(self) -> None:
        while (entries := self._take()) is not None:
            # From here on nobody can cancel them.
            begun = [entry for entry in entries if entry[-1].future.set_running_or_notify_cancel()]
            began = time.monotonic()
            failed = self._score_or_fail([job for *_, job in begun])
            self._on_report(
                ScorerReport(
                    batch_seconds=(time.monotonic() - began,) if begun else (),
                    queue_wait_seconds=tuple(began - submitted for *_, submitted, _ in begun),
                    scored=len(begun) - failed,
                    failed=failed,
                    cancelled=len(entries) - len(begun),
                )
            )

    def _take(self) -> list[_Entry] | None:
        """The next batch; waits while there is none; None when the scorer was closed and all is done."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            if not self._waiting:
                return None
            shape = min(self._waiting, key=lambda shape: self._waiting[shape][0][:2])
            queue = self._waiting[shape]
            taken = [heapq.heappop(queue) for _ in range(min(len(queue), self._most_rows(shape)))]
            if not queue:
                del self._waiting[shape]
            self._room.tokens -= _tokens(taken)
        return taken

    def _most_rows(self, shape: _Shape) -> int:
        # Until the graph is open its sizes are unknown.
        if self._graph is None:
            return 1
        return max(1, BATCH_NUMBERS // self._graph.numbers(shape.source_length, shape.target_length))

    def _score_or_fail(self, jobs: Sequence[ScoringJob]) -> int:
        """Answer the jobs; returns how many of them failed."""
        if not jobs:
            return 0
        try:
            scores = self._score(jobs)
        except Exception as error:
            if len(jobs) > 1:  # one of them may be to blame: the others need not fail with it
                return sum(self._score_or_fail([job]) for job in jobs)
            _log.error("a sentence could not be scored: %s", error, exc_info=error)
            jobs[0].future.set_exception(error)
            return 1
        for job, score in zip(jobs, scores, strict=True):
            job.future.set_result(score)
        return 0

    def _score(self, jobs: Sequence[ScoringJob]) -> list[Score]:
        if self._graph is None:
            self._graph = self._open_graph()
        log_probs, attention = self._graph.score(_inputs(jobs, self._graph.vocabulary_size), jobs[0].attention)
        return [_score_of(job, log_probs[row], attention, row) for row, job in enumerate(jobs)]


def _shape(job: ScoringJob) -> _Shape:
    return _Shape(_padded(len(job.source_ids)), _padded(len(job.target_ids) + 1), job.attention)


def _tokens(entries: Iterable[_Entry]) -> int:
    return sum(job.tokens for *_, job in entries)


def _padded(length: int) -> int:
    return -(-length // LENGTH_MULTIPLE) * LENGTH_MULTIPLE


def _inputs(jobs: Sequence[ScoringJob], vocabulary_size: int) -> dict[str, Array]:
    """The graph's inputs for jobs of one shape."""
    shape = _shape(jobs[0])
    source_ids = np.full((len(jobs), shape.source_length), PAD_ID, np.int64)
    target_ids, labels = (np.full((len(jobs), shape.target_length), PAD_ID, np.int64) for _ in range(2))
    source_mask = np.zeros(source_ids.shape, np.bool_)
    allowed = np.zeros((len(jobs), vocabulary_size), np.bool_)
    for row, job in enumerate(jobs):
        source_ids[row, : len(job.source_ids)] = job.source_ids
        source_mask[row, : len(job.source_ids)] = True
        source_mask[row, list(job.hidden)] = False
        target_ids[row, : len(job.target_ids) + 1] = (BOS_ID, *job.target_ids)
        labels[row, : len(job.target_ids) + 1] = (*job.target_ids, EOS_ID)
        allowed[row, slice(None) if job.allowed is None else job.allowed] = True
    source = {"source_ids": source_ids, "source_mask": source_mask}
    return {**source, "target_ids": target_ids, "labels": labels, "allowed": allowed}


def _score_of(job: ScoringJob, log_probs: Array, attention: Mapping[str, Array], row: int) -> Score:
    """One job's part of a batch, copied: a view would keep the whole batch alive."""
    source, target = len(job.source_ids), len(job.target_ids) + 1
    sizes = {"encoder": (source, source), "decoder": (target, target), "cross": (target, source)}
    kinds = {kind: attention[kind][row, :, :, : sizes[kind][0], : sizes[kind][1]].copy() for kind in job.attention}
    return Score(log_probs[:target].copy(), kinds)
