"""How much a caller may ask for in a time: requests and characters, counted in sliding windows.

A window's count is its own and that share of the count before it that its age leaves: two numbers a caller, wherever
they are kept.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal

from limits import RateLimitItem
from limits.aio.strategies import SlidingWindowCounterRateLimiter

from service.access.counters import Counters
from service.access.rate import Rate
from service.errors import RateExceededError, TextLimitError

Counted = Literal["requests", "characters"]


@dataclasses.dataclass(frozen=True, slots=True)
class Standing:
    """How a caller stands with one limit."""

    limit: int
    window: int
    """Seconds."""
    remaining: int
    reset: int
    """Seconds until all of it is there again, if nothing more is asked for."""

    def headers(self) -> dict[str, str]:
        """As replies tell it; names of the IETF's draft, version 6, which clients know."""
        return {
            "RateLimit-Limit": f"{self.limit}, {self.limit};w={self.window}",
            "RateLimit-Remaining": str(self.remaining),
            "RateLimit-Reset": str(self.reset),
        }


async def count(counters: Counters, rate: Rate, counted: Counted, caller: str, cost: int) -> Standing | None:
    """Count `cost` for a caller; how it then stands with the limit that is nearest to being reached.

    Raises:
        RateExceededError: it would be more than the rate; what is refused is not counted.
        TextLimitError: it is more than there ever may be.
    """
    tightest: Standing | None = None
    strategy = SlidingWindowCounterRateLimiter(counters.windows)
    for item in rate.items:
        if cost > item.amount:
            raise TextLimitError(cost, item.amount)
        if not await strategy.hit(item, counted, caller, cost=cost):
            standing, wait = await _standing(counters, item, counted, caller, cost)
            message = f"Slowdown: {item}" if counted == "requests" else f"Slowdown: {item} ({counted})"
            raise RateExceededError(message, wait, standing.headers())
        standing, _ = await _standing(counters, item, counted, caller, 0)
        if tightest is None or standing.remaining * tightest.limit < tightest.remaining * standing.limit:
            tightest = standing
    return tightest


async def _standing(
    counters: Counters, item: RateLimitItem, counted: Counted, caller: str, cost: int
) -> tuple[Standing, float]:
    """How a caller stands, and the seconds until there is room for `cost`."""
    window = item.get_expiry()
    key = item.key_for(counted, caller)
    before, before_left, now, now_left = await counters.windows.get_sliding_window(key, window)
    left = max(now_left - window, before_left)  # a count is kept for two windows
    used = before * left / window + now
    remaining = max(0, item.amount - math.floor(used))
    reset = left + window if now else left if before else 0.0
    standing = Standing(item.amount, window, remaining, math.ceil(reset))
    return standing, seconds_until_room((before, now), item.amount - cost, left, window)


def seconds_until_room(counts: Sequence[int], most: int, left: float, window: float) -> float:
    """Until the count of the windows (before, now) is at most `most`; the next begins in `left` seconds."""
    before, now = counts
    if now <= most:
        return max(0.0, left - (most - now) * window / before) if before else 0.0
    return left + window * (1 - max(most, 0) / now)
