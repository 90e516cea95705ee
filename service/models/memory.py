"""Which model leaves the memory for another one: pure decisions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Resident(NamedTuple):
    """A model in memory."""

    key: object
    size: int
    """Bytes."""
    last_used: float
    is_busy: bool
    """Whether requests use it now."""
    may_leave: bool = True
    """False for one that leaves anyway, or is only just coming."""


def leaving(residents: Iterable[Resident], size: int, bound: int) -> object | None:
    """The one that leaves first so that another of `size` bytes finds room; None if it has room, or nobody can leave.

    The one whose last use is longest ago, if nobody uses it now. If all are used it is still that one: who uses it
    finishes first, and who wants it then waits. A model may be larger than the bound: then it is there alone.
    """
    known = list(residents)
    if not bound or sum(each.size for each in known) + size <= bound:
        return None
    leavers = [each for each in known if each.may_leave]
    return min(leavers, key=lambda each: (each.is_busy, each.last_used)).key if leavers else None
