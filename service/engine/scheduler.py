"""Who runs next: pure decisions over plain values, no model, no clock, no thread.

Jobs wait in two lanes, each first come first served. A small request is interactive, a large one is bulk. Each lane
keeps some rows that the other never takes. Interactive jobs are admitted first; while there is work in both lanes, bulk
gets half as much time as interactive: one sentence is not held up by a document of a thousand, and the document goes on
however many single sentences come.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterable, Mapping

from service.engine.types import Lane

REOPENING_SHARE = 7 / 8
"""A queue that was full takes nothing until it is emptier than this: then there is space for more than one request, and
those that come in between can be refused without looking at them."""
COMPANY_SHARE = 1 / 4
"""Encoding one sentence costs nearly as much as four together: while many run, one that comes alone waits for others,
until those that wait are such a share of those that run."""
MOST_STEPS_HELD = 4
"""A sentence waits no longer for company than this."""


@dataclasses.dataclass(frozen=True, slots=True)
class Capacity:
    """What may run at once, and what may be encoded before the next decoder step."""

    max_rows: int
    interactive_rows: int
    """Rows, of `max_rows`, that only interactive jobs may take."""
    bulk_rows: int
    """Rows, of `max_rows`, that interactive jobs leave alone while bulk jobs wait."""
    encode_tokens: int
    """Padded source tokens encoded between two steps; running sentences wait meanwhile."""


@dataclasses.dataclass(frozen=True, slots=True)
class Bounds:
    """Which requests are bulk, and how much may wait."""

    interactive_tokens: int
    """A request with more source tokens than this is bulk."""
    waiting_tokens: int = sys.maxsize
    """Source tokens that may wait in the interactive lane."""
    bulk_waiting_tokens: int = sys.maxsize
    """Source tokens that may wait in the bulk lane: a document must not keep single sentences out."""


@dataclasses.dataclass(frozen=True, slots=True)
class Demand:
    """What one job needs: rows while it runs, padded source tokens once."""

    rows: int
    encode_tokens: int


def lane_of(source_tokens: int, bounds: Bounds) -> Lane:
    """The lane of a request by the tokens of all its sentences."""
    return Lane.INTERACTIVE if source_tokens <= bounds.interactive_tokens else Lane.BULK


@dataclasses.dataclass(slots=True)
class QueueLimit:
    """How many tokens wait in a lane, and whether more may: at most `limit`, but for further jobs of accepted requests.

    A queue is full once another request like the last one would find no space, and stays so until an eighth is free.
    """

    limit: int
    tokens: int = 0
    _was_full: bool = False

    @property
    def is_full(self) -> bool:
        """Whether any request is refused, whatever its size."""
        return self._was_full and self.tokens > REOPENING_SHARE * self.limit

    def admits(self, tokens: int) -> bool:
        """Whether a request of `tokens` may wait."""
        return not self.is_full and self.tokens + tokens <= self.limit

    def refuse(self) -> None:
        """Note that a request found no space."""
        self._was_full = True

    def add(self, tokens: int) -> None:
        """Count a request."""
        was_full = self.is_full
        self.tokens += tokens
        self._was_full = was_full or self.tokens + tokens > self.limit


def queue_limit(lane: Lane, bounds: Bounds) -> QueueLimit:
    """The limit of a lane in which nothing waits."""
    return QueueLimit(bounds.waiting_tokens if lane is Lane.INTERACTIVE else bounds.bulk_waiting_tokens)


def expected_wait(waiting_tokens: int, tokens_per_second: float | None) -> float:
    """Seconds until what waits has started, at the pace at which the lane was seen to empty; 0 if it never was."""
    return waiting_tokens / tokens_per_second if tokens_per_second else 0.0


def smoothed_pace(before: float | None, tokens: int, seconds: float) -> float:
    """Tokens a second that leave a lane in which there is always somebody waiting; the newest counts a quarter."""
    now = tokens / seconds
    return now if before is None else before + (now - before) / 4


def admit(
    waiting: Mapping[Lane, Iterable[Demand]],
    running_rows: Mapping[Lane, int],
    capacity: Capacity,
    bulk_next: Demand | None = None,
) -> dict[Lane, int]:
    """How many jobs to take from the head of each lane now.

    A job never overtakes another of its lane. One that would not fit even alone is taken when nothing else runs.

    Args:
        waiting: the jobs of each lane that may start now, in their order.
        running_rows: rows of each lane.
        capacity: what there is room for.
        bulk_next: the first bulk job if it is its turn: interactive jobs leave it its rows.
    """
    rows = sum(running_rows.values())
    tokens = 0
    taken = {}
    for lane in Lane:
        own = running_rows[lane]
        count = 0
        for demand in waiting.get(lane, ()):
            has_rows = own + demand.rows <= _own_rows(lane, own, demand, capacity, bulk_next)
            # The encoder always takes one of each lane: a sentence longer than the budget must start some day, and
            # interactive ones may use up the budget for ever.
            has_tokens = not count or tokens + demand.encode_tokens <= capacity.encode_tokens
            fits = has_rows and has_tokens and rows + demand.rows <= capacity.max_rows
            may_run_alone = rows == 0 and (lane is Lane.BULK or bulk_next is None)
            if not (fits or may_run_alone):
                break
            own += demand.rows
            rows += demand.rows
            tokens += demand.encode_tokens
            count += 1
        taken[lane] = count
    return taken


def _own_rows(lane: Lane, own: int, demand: Demand, capacity: Capacity, bulk_next: Demand | None) -> int:
    """Rows that a lane may have, which has `own` and would add those of `demand`."""
    if lane is Lane.BULK:
        most = capacity.max_rows - capacity.interactive_rows
        return most if own else max(most, demand.rows)
    return capacity.max_rows - (max(capacity.bulk_rows, bulk_next.rows) if bulk_next else 0)


def is_held(waiting_rows: int, running_rows: int, steps_held: int) -> bool:
    """Whether a lane's jobs wait for more to be encoded with, after waiting so for `steps_held` steps."""
    return steps_held < MOST_STEPS_HELD and waiting_rows < COMPANY_SHARE * running_rows


def lanes_to_step(running_rows: Mapping[Lane, int], bulk_owes_seconds: float) -> tuple[Lane, ...]:
    """The lanes whose rows make a step now; `bulk_owes_seconds` > 0 means bulk had more than its share of late."""
    lanes = [lane for lane in Lane if running_rows[lane]]
    if len(lanes) == 2 and bulk_owes_seconds > 0:
        return (Lane.INTERACTIVE,)
    return tuple(lanes)


def bulk_debt(owed: float, seconds: Mapping[Lane, float], *, interactive_has_work: bool) -> float:
    """What bulk owes after a step that spent `seconds` on each lane: twice its time less interactive's, never below 0.

    Where no interactive job runs or waits nobody was held up, and nothing is owed.
    """
    if not interactive_has_work:
        return 0.0
    return max(0.0, owed + 2 * seconds[Lane.BULK] - seconds[Lane.INTERACTIVE])
