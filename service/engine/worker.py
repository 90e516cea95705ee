"""The engine's thread: at every step jobs join, all running sentences advance by one token, finished ones leave.

What to admit and which lane to step is decided in `scheduler`; what runs is kept in `running`.
"""

from __future__ import annotations

import collections
import itertools
import logging
import math
import threading
import time
from collections.abc import Callable, Sequence

from service.engine.jobs import EngineClosedError, Job, Ticket
from service.engine.records import EngineReport
from service.engine.running import Decoder, Entry, Running
from service.engine.scheduler import Capacity, Demand, Lane, admit, is_held, smoothed_pace

_log = logging.getLogger(__name__)

PACE_SECONDS = 0.25
"""For how long a queue is watched to know how fast it empties."""


class _Queue:
    """One lane's entries in their order, and the pace at which they leave. Whoever calls holds the engine's lock."""

    def __init__(self) -> None:
        self.entries: collections.deque[Entry] = collections.deque()
        self.tokens = 0
        """Source tokens that wait."""
        self.rows = 0
        """Rows that they will take."""
        self.pace: float | None = None
        """Tokens a second that leave while somebody waits; None: not seen yet."""
        self._watched_since = 0.0
        self._left = 0
        self._steps_held = 0

    def add(self, entries: Sequence[Entry], now: float) -> None:
        if not self.entries:
            self._watched_since, self._left = now, 0
        self.entries.extend(entries)
        self.tokens += _tokens(entries)
        self.rows += _rows(entries)

    def take(self, count: int, now: float) -> list[Entry]:
        """The first `count` entries."""
        taken = [self.entries.popleft() for _ in range(count)]
        tokens = _tokens(taken)
        self.tokens -= tokens
        self.rows -= _rows(taken)
        self._left += tokens
        seconds = now - self._watched_since
        if self._left and seconds > PACE_SECONDS:
            self.pace = smoothed_pace(self.pace, self._left, seconds)
            self._watched_since, self._left = now, 0
        return taken

    def sweep(self, now: float) -> list[Entry]:
        """Remove and return the entries nobody waits for."""
        over: list[Entry] = []
        left: collections.deque[Entry] = collections.deque()
        for entry in self.entries:  # asked once each: the answer may change meanwhile
            (over if entry.is_over(now) else left).append(entry)
        self.entries = left
        self.tokens -= _tokens(over)
        self.rows -= _rows(over)
        return over

    def hold(self, running_rows: int) -> bool:
        """Let all wait for company until the next step, if that is worth it; returns whether it is."""
        held = is_held(self.rows, running_rows, self._steps_held)
        self._steps_held = self._steps_held + 1 if held else 0
        return held


def _tokens(entries: Sequence[Entry]) -> int:
    return sum(len(entry.job.source_ids) for entry in entries)


def _rows(entries: Sequence[Entry]) -> int:
    return sum(entry.demand.rows for entry in entries)


class IterationEngine:
    """One decoder and its thread: batches anew at every step. Takes all it is given; `fleet` bounds what waits."""

    def __init__(
        self,
        decoder: Decoder,
        capacity: Capacity,
        on_report: Callable[[EngineReport], None],
        on_turn: Callable[[bool], None],
    ) -> None:
        """`on_report`, and `on_turn` before each step, with whether jobs have just left the queue, are called from the
        engine's thread."""
        self._encoder_tokens = decoder.encoder_tokens
        self._capacity = capacity
        self._waiting = {lane: _Queue() for lane in Lane}
        self._changed = threading.Condition()
        self._closing = False
        self._aborted = False
        self._failed = False
        self._withdrawn = False
        self._next_deadline = math.inf
        self._running = Running(decoder, on_report)
        self._on_turn = on_turn
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def submit(self, jobs: Sequence[Job], ticket: Ticket, lane: Lane) -> None:
        """Queue jobs of a request; each job's future resolves, fails or is cancelled, always.

        Raises:
            EngineClosedError: the engine was closed or has failed.
        """
        demands = [Demand(job.options.beam_size, self._encoder_tokens(len(job.source_ids))) for job in jobs]
        entries = [Entry(job, ticket, demand) for job, demand in zip(jobs, demands, strict=True)]
        with self._changed:
            if self._closing:
                raise EngineClosedError("the engine takes no more jobs")
            self._waiting[lane].add(entries, time.monotonic())
            self._next_deadline = min(self._next_deadline, ticket.deadline)
            ticket.queued = True
            # After `queued`, and the other way round in `withdraw`: one of them sees what the other did.
            self._withdrawn |= ticket.withdrawn
            self._changed.notify()

    def withdraw(self, ticket: Ticket) -> None:
        """Forget the jobs of this ticket: they leave queue and batch before the next step, and are cancelled."""
        ticket.withdrawn = True
        if ticket.queued:
            self._withdrawn = True

    def waiting(self) -> dict[Lane, tuple[int, float | None]]:
        """Of each lane the source tokens that wait, and how many a second leave; None: not seen yet."""
        return {lane: (queue.tokens, queue.pace) for lane, queue in self._waiting.items()}

    @property
    def has_failed(self) -> bool:
        """Whether it gave up."""
        return self._failed

    def stop(self, *, at_once: bool) -> None:
        """Refuse new jobs; finish those accepted, or fail them with `EngineClosedError`. Returns at once."""
        with self._changed:
            self._closing = True
            self._aborted |= at_once
            self._changed.notify()

    def join(self) -> None:
        """Wait until the thread has ended, after `stop` or a failure."""
        self._thread.join()

    def _run(self) -> None:
        try:
            while (admitted := self._admit()) is not None:
                self._on_turn(any(admitted.values()))
                self._running.tick(admitted)
        except EngineClosedError as error:
            self._abandon(error)
            self._running.report()
        except BaseException as error:
            # Nobody may wait for ever: whatever happened, every accepted job gets an end.
            self._failed = True
            _log.critical("the engine has stopped", exc_info=error)
            self._abandon(RuntimeError(f"the engine has stopped: {error}"))
            self._on_turn(True)

    def _abandon(self, error: Exception) -> None:
        with self._changed:
            self._closing = True
            left = [entry for queue in self._waiting.values() for entry in queue.entries]
            self._waiting = {lane: _Queue() for lane in Lane}
        self._running.abandon(left, error)

    def _admit(self) -> dict[Lane, list[Entry]] | None:
        """The jobs that start now; waits while there is nothing to do; None when the engine was closed and all is
        done."""
        with self._changed:
            if not any(self._running.rows().values()):
                self._running.report()
                self._changed.wait_for(lambda: self._anybody_waits() or self._closing)
                if not self._anybody_waits():
                    return None
            if self._aborted:
                raise EngineClosedError("the engine was stopped")
            now = time.monotonic()
            if self._withdrawn or now >= self._next_deadline:
                self._sweep(now)
            return self._take(now)

    def _anybody_waits(self) -> bool:
        return any(queue.entries for queue in self._waiting.values())

    def _sweep(self, now: float) -> None:
        """Forget what nobody waits for. It looks at every sentence, so it is not for every step."""
        self._withdrawn = False  # before looking: who withdraws meanwhile is seen next time
        for queue in self._waiting.values():
            self._running.forget(queue.sweep(now), "queue")
        self._running.sweep(now)
        waiting = (entry for queue in self._waiting.values() for entry in queue.entries)
        left = itertools.chain(waiting, self._running.entries())
        self._next_deadline = min((entry.ticket.deadline for entry in left), default=math.inf)

    def _take(self, now: float) -> dict[Lane, list[Entry]]:
        running = self._running.rows()
        heads = {
            lane: (entry.demand for entry in queue.entries)
            for lane, queue in self._waiting.items()
            if queue.entries
            and not (lane is Lane.BULK and self._running.bulk_has_to_wait)
            and not queue.hold(running[lane])
        }
        counts = admit(heads, running, self._capacity)
        return {lane: self._waiting[lane].take(count, now) for lane, count in counts.items()}
