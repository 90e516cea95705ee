"""Where rates and concurrent sentences are counted: here, in the memory of this process."""

from __future__ import annotations

import collections
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any, Protocol

from limits.aio.storage import MemoryStorage

MOST_WINDOWS = 200_000
"""Counts that are kept at once; of more callers in one window the earliest are forgotten."""
_SWEEP_SECONDS = 10.0


class Counters(Protocol):
    """Counts of callers; `service.access.replicas` keeps them in Redis."""

    @property
    def windows(self) -> Any:
        """Counts in windows, for the strategies of `limits`."""

    def sentences(self, caller: str, count: int, most: int | None) -> contextlib.AbstractAsyncContextManager[bool]:
        """While entered, `count` sentences of this caller run; False if they would be more than `most` together;
        None is no limit.

        Where none of a caller runs, any number may: a request that is allowed must be possible.
        """

    async def close(self) -> None:
        """Nothing is counted any more."""


class Windows(MemoryStorage):
    """Counts in windows, at most `MOST_WINDOWS`. The library's own looks through all of them for each request."""

    def __init__(self) -> None:
        super().__init__()
        self._sweep_at = 0.0

    async def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        """Add to the count of a key, which is forgotten after `expiry` seconds."""
        now = time.time()
        await self.get(key)  # forgets one that is over
        if key not in self.expirations:
            self.expirations[key] = now + expiry
        self.storage[key] += amount
        if now >= self._sweep_at or len(self.expirations) > MOST_WINDOWS:
            self._sweep(now)
        return self.storage[key]

    async def decr(self, key: str, amount: int = 1) -> int:
        """Take from the count of a key."""
        self.storage[key] = max(self.storage[key] - amount, 0)
        return self.storage[key]

    def _sweep(self, now: float) -> None:
        self._sweep_at = now + _SWEEP_SECONDS
        over = [key for key, end in self.expirations.items() if end <= now]
        surplus = len(self.expirations) - len(over) - MOST_WINDOWS
        if surplus > 0:
            living = (key for key, end in self.expirations.items() if end > now)
            # Some more than must be, or the next request would look through all of them again.
            over += [key for key, _ in zip(living, range(surplus + MOST_WINDOWS // 10), strict=False)]
        for key in over:
            self.storage.pop(key, None)
            self.expirations.pop(key, None)
            self.locks.pop(key, None)


class MemoryCounters:
    """Counts of one process."""

    def __init__(self) -> None:
        self.windows = Windows()
        self._running: collections.Counter[str] = collections.Counter()

    @contextlib.asynccontextmanager
    async def sentences(self, caller: str, count: int, most: int | None) -> AsyncIterator[bool]:
        """See `Counters.sentences`."""
        running = self._running[caller]
        if most is not None and running and running + count > most:
            yield False
            return
        self._running[caller] += count
        try:
            yield True
        finally:
            self._running[caller] -= count
            if not self._running[caller]:
                del self._running[caller]

    async def close(self) -> None:
        """See `Counters.close`."""
