"""Jobs that wait in two lanes: their order, how many tokens they are, and the pace at which they leave."""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Callable, Iterable
from typing import Generic, Protocol, TypeVar

from service.engine.scheduler import is_held, smoothed_pace
from service.engine.types import Answer, Failure, Lane, Request, Stage, Times, Waiting

PACE_SECONDS = 0.25
"""Time for which a lane is watched to know how fast it empties."""


class AnyJob(Protocol):
    """A job of any kind."""

    @property
    def tokens(self) -> int:
        """Tokens that wait for it."""


JobT = TypeVar("JobT", bound=AnyJob)


@dataclasses.dataclass(slots=True, eq=False)
class Entry(Generic[JobT]):
    """A job on its way through an engine."""

    request: Request
    place: int
    job: JobT
    rows: int
    """Rows that it takes while it runs."""
    encode_tokens: int = 0
    """Tokens that it takes of an encoder run."""
    started: float = 0.0
    encoded: float = 0.0

    def answer(self, result: object, now: float) -> Answer:
        """The answer with a result."""
        times = Times(self.request.submitted, self.started, self.encoded, now)
        return Answer(self.request.number, self.place, result, None, times)

    def fail(self, failure: Failure, now: float) -> Answer:
        """The answer without a result."""
        times = Times(self.request.submitted, self.started, self.encoded, now)
        return Answer(self.request.number, self.place, None, failure, times)


class _LaneQueue(Generic[JobT]):
    """The entries of one lane."""

    def __init__(self) -> None:
        self.entries: collections.deque[Entry[JobT]] = collections.deque()
        self.tokens = 0
        self.rows = 0
        self.pace: float | None = None
        self._watched_since = 0.0
        self._left = 0
        self._steps_held = 0

    def add(self, entries: Iterable[Entry[JobT]], now: float) -> None:
        if not self.entries:
            self._watched_since, self._left = now, 0
        for entry in entries:
            self.entries.append(entry)
            self.tokens += entry.job.tokens
            self.rows += entry.rows

    def taken(self, entries: Iterable[Entry[JobT]], now: float) -> None:
        """Note that these entries have left, to be worked on."""
        tokens = self._forget(entries)
        self._left += tokens
        seconds = now - self._watched_since
        if self._left and seconds > PACE_SECONDS:
            self.pace = smoothed_pace(self.pace, self._left, seconds)
            self._watched_since, self._left = now, 0

    def remove(self, is_over: Callable[[Entry[JobT]], bool]) -> list[Entry[JobT]]:
        """Remove and return some entries."""
        over = [entry for entry in self.entries if is_over(entry)]
        if over:
            self.entries = collections.deque(entry for entry in self.entries if not is_over(entry))
            self._forget(over)
        return over

    def _forget(self, entries: Iterable[Entry[JobT]]) -> int:
        tokens = 0
        for entry in entries:
            tokens += entry.job.tokens
            self.rows -= entry.rows
        self.tokens -= tokens
        return tokens

    def hold(self, running_rows: int) -> bool:
        """Decide whether the lane waits for company, and count the steps for which it has."""
        held = is_held(self.rows, running_rows, self._steps_held)
        self._steps_held = self._steps_held + 1 if held else 0
        return held


class JobQueue(Generic[JobT]):
    """The jobs of all requests that wait, and those whose callers are gone."""

    def __init__(self) -> None:
        self._lanes: dict[Lane, _LaneQueue[JobT]] = {lane: _LaneQueue() for lane in Lane}
        self._withdrawn: set[int] = set()
        self._next_deadline = math.inf

    def __bool__(self) -> bool:
        return any(queue.entries for queue in self._lanes.values())

    def lane(self, lane: Lane) -> collections.deque[Entry[JobT]]:
        """The entries of a lane, in their order."""
        return self._lanes[lane].entries

    def add(self, lane: Lane, entries: Iterable[Entry[JobT]], deadline: float, now: float) -> None:
        """Queue the entries of a request."""
        self._lanes[lane].add(entries, now)
        self._next_deadline = min(self._next_deadline, deadline)

    def withdraw(self, number: int) -> None:
        """Note that nobody waits for a request any more."""
        self._withdrawn.add(number)

    def hold(self, lane: Lane, running_rows: int) -> bool:
        """Decide whether a lane waits for company during this step."""
        return self._lanes[lane].hold(running_rows)

    def take(self, lane: Lane, count: int, now: float) -> list[Entry[JobT]]:
        """Remove and return the first entries of a lane."""
        queue = self._lanes[lane]
        entries = [queue.entries.popleft() for _ in range(count)]
        queue.taken(entries, now)
        return entries

    def take_some(self, lane: Lane, chosen: list[Entry[JobT]], now: float) -> None:
        """Remove chosen entries of a lane."""
        queue = self._lanes[lane]
        gone = set(map(id, chosen))
        queue.entries = collections.deque(entry for entry in queue.entries if id(entry) not in gone)
        queue.taken(chosen, now)

    def end(
        self,
        now: float,
        running: Callable[[Callable[[Entry[JobT]], bool]], list[Entry[JobT]]],
        left: Callable[[], Iterable[Entry[JobT]]],
    ) -> list[Answer]:
        """End the work on what nobody waits for, if anything may have changed; returns the answers.

        It looks at every sentence, so it is not for every step.

        Args:
            now: the time.
            running: removes and returns the running entries for which its argument holds.
            left: the running entries.
        """
        if not self._withdrawn and now < self._next_deadline:
            return []

        def is_over(entry: Entry[JobT]) -> bool:
            return entry.request.number in self._withdrawn or entry.request.deadline <= now

        queued = [entry for queue in self._lanes.values() for entry in queue.remove(is_over)]
        answers = self._over(queued, "queue", now) + self._over(running(is_over), "decode", now)
        waiting = (entry for queue in self._lanes.values() for entry in queue.entries)
        deadlines = [entry.request.deadline for entries in (waiting, left()) for entry in entries]
        self._next_deadline = min(deadlines, default=math.inf)
        self._withdrawn.clear()
        return answers

    def _over(self, entries: Iterable[Entry[JobT]], stage: Stage, now: float) -> list[Answer]:
        cancelled, late = Failure("cancelled", stage=stage), Failure("deadline", stage=stage)
        return [entry.fail(cancelled if entry.request.number in self._withdrawn else late, now) for entry in entries]

    def waiting(self) -> tuple[Waiting, ...]:
        """What waits in each lane."""
        return tuple(Waiting(lane, queue.tokens, queue.pace) for lane, queue in self._lanes.items())
