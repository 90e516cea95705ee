"""The engine's thread: takes waiting jobs, first come first served, and decodes those of one beam size together.

A batch runs from its first step to its last; a sentence is answered as soon as it finishes, and jobs that arrive meanwhile
form the next batch.
"""

from __future__ import annotations

import collections
import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Sequence

from service.engine.jobs import EngineClosedError, Hypothesis, Job
from service.engine.records import BatchRecord, FinishedAs
from service.engine.search import BatchSearch, Decoder

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class Waiting:
    """A job and when it came."""

    job: Job
    since: float


class BatchingEngine:
    """An `Engine` that decodes one batch after another."""

    def __init__(self, decoder: Decoder, *, max_rows: int, on_batch: Callable[[BatchRecord], None]) -> None:
        self._decoder = decoder
        self._max_rows = max_rows
        self._on_batch = on_batch
        self._waiting: collections.deque[Waiting] = collections.deque()
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    def submit(self, jobs: Sequence[Job]) -> None:
        """Queue jobs; see `Engine.submit`."""
        now = time.monotonic()
        with self._changed:
            if self._closing or not self._thread.is_alive():
                raise EngineClosedError("the engine takes no more jobs")
            self._waiting.extend(Waiting(job, now) for job in jobs)
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
        while batch := self._next_batch():
            _Batch(self._decoder, batch, self._on_batch).run()

    def _next_batch(self) -> list[Waiting]:
        """Wait for jobs; empty means the engine was closed and nothing is left."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            return take_batch(self._waiting, self._max_rows)


def take_batch(waiting: collections.deque[Waiting], max_rows: int) -> list[Waiting]:
    """Take the oldest job and, in order, those of its beam size that fit beside it; others keep their places.

    A job wider than `max_rows` still runs, alone. Cancelled jobs are dropped before they cost anything.
    """
    taken: list[Waiting] = []
    left: list[Waiting] = []
    rows = 0
    for entry in waiting:
        if entry.job.future.cancelled():
            continue
        width = entry.job.options.beam_size
        fits = not taken or (width == taken[0].job.options.beam_size and rows + width <= max_rows)
        if fits:
            taken.append(entry)
            rows += width
        else:
            left.append(entry)
    waiting.clear()
    waiting.extend(left)
    return taken


class _Batch:
    """The jobs of one batch, until each has its answer."""

    def __init__(self, decoder: Decoder, entries: Sequence[Waiting], on_batch: Callable[[BatchRecord], None]) -> None:
        self._decoder = decoder
        self._jobs = [entry.job for entry in entries]
        self._open = set(range(len(entries)))
        self._on_batch = on_batch
        self._finished: collections.Counter[FinishedAs] = collections.Counter()
        self._started = time.monotonic()
        self._waits = tuple(self._started - entry.since for entry in entries)

    def run(self) -> None:
        """Decode; whatever goes wrong fails the jobs of this batch and no other."""
        try:
            search = self._search()
        except Exception as error:
            _log.exception("a batch of %d jobs failed", len(self._jobs))
            self._fail(error)
        else:
            self._report(search)

    def _search(self) -> BatchSearch:
        search = BatchSearch(
            self._decoder, [job.source_ids for job in self._jobs], [job.options for job in self._jobs]
        )
        self._encoded = time.monotonic()
        while not search.finished:
            for index, hypotheses in search.advance():
                self._answer(index, hypotheses)
            search.drop(self._cancelled())
        return search

    def _cancelled(self) -> set[int]:
        gone = {index for index in self._open if self._jobs[index].future.cancelled()}
        self._open -= gone
        self._finished["cancelled"] += len(gone)
        return gone

    def _answer(self, index: int, hypotheses: tuple[Hypothesis, ...]) -> None:
        self._open.discard(index)
        if self._jobs[index].future.set_running_or_notify_cancel():
            self._jobs[index].future.set_result(hypotheses)
            self._finished[hypotheses[0].finish_reason] += 1
        else:
            self._finished["cancelled"] += 1

    def _fail(self, error: Exception) -> None:
        for index in self._open:
            if self._jobs[index].future.set_running_or_notify_cancel():
                self._jobs[index].future.set_exception(error)

    def _report(self, search: BatchSearch) -> None:
        lengths = [len(job.source_ids) for job in self._jobs]
        self._on_batch(
            BatchRecord(
                rows=search.rows,
                source_tokens=sum(lengths),
                padded_tokens=max(lengths) * len(lengths),
                steps=search.steps,
                encode_seconds=self._encoded - self._started,
                decode_seconds=time.monotonic() - self._encoded,
                queue_wait_seconds=self._waits,
                finished=dict(self._finished),
            )
        )
