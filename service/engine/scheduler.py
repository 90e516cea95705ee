"""Who runs next: pure decisions over plain values, no model, no clock, no thread.

Jobs wait in two lanes, each first come first served. A small request is interactive, a large one is bulk. Interactive
jobs are admitted first and keep some rows that bulk jobs never take; while both lanes run, bulk steps get at most as
much time as interactive ones, so that one sentence is not held up by a document of a thousand.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping, Sequence


class Lane(enum.Enum):
    """Two queues that share the machine."""

    INTERACTIVE = "interactive"
    BULK = "bulk"


@dataclasses.dataclass(frozen=True, slots=True)
class Capacity:
    """What may run at once, and what may be encoded before the next decoder step."""

    max_rows: int
    reserved_rows: int
    """Of `max_rows`, those only interactive jobs may take."""
    encode_tokens: int
    """Padded source tokens encoded between two steps; running sentences wait meanwhile."""
    interactive_tokens: int
    """A request with more source tokens than this is bulk."""


@dataclasses.dataclass(frozen=True, slots=True)
class Demand:
    """What one job needs: rows while it runs, padded source tokens once."""

    rows: int
    encode_tokens: int


def lane_of(source_tokens: int, capacity: Capacity) -> Lane:
    """The lane of a request by the tokens of all its sentences."""
    return Lane.INTERACTIVE if source_tokens <= capacity.interactive_tokens else Lane.BULK


def admit(
    waiting: Mapping[Lane, Sequence[Demand]], running_rows: Mapping[Lane, int], capacity: Capacity
) -> dict[Lane, int]:
    """How many jobs to take from the head of each lane now.

    A job never overtakes another of its lane. One that would not fit even alone is taken when nothing else runs.
    """
    rows = sum(running_rows.values())
    tokens = 0
    taken = {}
    for lane in Lane:
        limit = capacity.max_rows - (capacity.reserved_rows if lane is Lane.BULK else 0)
        count = 0
        for demand in waiting[lane]:
            fits = rows + demand.rows <= limit and tokens + demand.encode_tokens <= capacity.encode_tokens
            alone = rows == 0
            # The encoder always takes one: a sentence longer than the budget must start some day.
            first_to_encode = tokens == 0 and rows + demand.rows <= limit
            if not (fits or alone or first_to_encode):
                break
            rows += demand.rows
            tokens += demand.encode_tokens
            count += 1
        taken[lane] = count
    return taken


def lanes_to_step(running_rows: Mapping[Lane, int], bulk_owes_seconds: float) -> tuple[Lane, ...]:
    """The lanes whose rows make a step now; `bulk_owes_seconds` > 0 means bulk had more than its share of late."""
    lanes = [lane for lane in Lane if running_rows[lane]]
    if len(lanes) == 2 and bulk_owes_seconds > 0:
        return (Lane.INTERACTIVE,)
    return tuple(lanes)


def bulk_debt(owed: float, seconds: Mapping[Lane, float], running_rows: Mapping[Lane, int]) -> float:
    """What bulk owes after a tick that spent `seconds` on each lane: its time less interactive's, never below 0.

    With no interactive row nobody was held up, and nothing is owed.
    """
    if not running_rows[Lane.INTERACTIVE]:
        return 0.0
    return max(0.0, owed + seconds.get(Lane.BULK, 0.0) - seconds.get(Lane.INTERACTIVE, 0.0))
