"""Counts that several replicas share, in Redis. The only file that knows Redis; imported where a setting names one."""

from __future__ import annotations

import contextlib
import logging
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

import redis.asyncio
from limits.aio.storage import RedisStorage
from limits.aio.storage.redis.redispy import RedispyBridge
from redis.exceptions import RedisError

from service.access.counters import MemoryCounters, Windows
from service.access.usage import UsageError

_log = logging.getLogger("attend")

_PREFIX = "attend"
_TIMEOUT_SECONDS = 0.5
"""Of a request's time, what Redis may take at most."""
_PAUSE_SECONDS = 5.0
"""Without Redis, so long until it is tried again."""
_MONTH_SECONDS = 70 * 86_400
"""After the last change of a month's count, which nobody asks for later."""

_OCCUPY = """
local now = tonumber(redis.call('TIME')[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
local running = 0
for _, member in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
    running = running + tonumber(string.match(member, ':(%d+)$'))
end
if ARGV[3] ~= '' and running > 0 and running + tonumber(ARGV[2]) > tonumber(ARGV[3]) then return 0 end
redis.call('ZADD', KEYS[1], now + tonumber(ARGV[4]), ARGV[1] .. ':' .. ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[4])
return 1
"""
"""A lease for sentences: one that a dead replica had ends by itself."""
_SPEND = """
local spent = tonumber(redis.call('GET', KEYS[1]) or '0')
if ARGV[2] ~= '' and spent + tonumber(ARGV[1]) > tonumber(ARGV[2]) then return 0 end
redis.call('SET', KEYS[1], math.max(0, spent + tonumber(ARGV[1])), 'EX', ARGV[3])
return 1
"""

_Result = TypeVar("_Result")
_Either = Callable[[Callable[[], Awaitable[Any]], Callable[[], Awaitable[Any]]], Awaitable[Any]]


class RedisCounters:
    """Rates and concurrent sentences of all replicas together.

    While Redis does not answer, each replica counts for itself, as if there were no other: that is more for everybody,
    and no request fails for it.
    """

    def __init__(self, url: str, lease_seconds: int) -> None:
        """`lease_seconds`: the longest that a request takes."""
        self._redis = _client(url)
        self._alone = MemoryCounters()
        self.windows = _Windows(url, self._either, self._alone.windows)
        self._lease_seconds = lease_seconds
        self._occupy = self._redis.register_script(_OCCUPY)
        self._try_again = 0.0

    @contextlib.asynccontextmanager
    async def sentences(self, caller: str, count: int, most: int | None) -> AsyncIterator[bool]:
        """See `Counters.sentences`."""
        key, lease = f"{_PREFIX}:sentences:{caller}", uuid.uuid4().hex
        arguments: list[str | int] = [lease, count, "" if most is None else most, self._lease_seconds]
        admitted = await self._either(lambda: self._occupy(keys=[key], args=arguments), _nothing)
        if admitted is None:
            async with self._alone.sentences(caller, count, most) as found:
                yield found
            return
        try:
            yield bool(admitted)
        finally:
            if admitted:
                await self._either(lambda: self._redis.zrem(key, f"{lease}:{count}"), _nothing)

    async def _either(
        self, shared: Callable[[], Awaitable[_Result]], alone: Callable[[], Awaitable[_Result]]
    ) -> _Result:
        """What Redis says; what is known here while it does not answer."""
        now = time.monotonic()
        if now < self._try_again:
            return await alone()
        try:
            return await shared()
        except (RedisError, OSError, TimeoutError) as error:
            self._try_again = now + _PAUSE_SECONDS
            _log.error("Redis does not answer, this replica counts for itself: %s", error)
            return await alone()

    async def close(self) -> None:
        """See `Counters.close`."""
        await self._redis.aclose()
        await self.windows.close()


async def _nothing() -> Any:
    return None


class _Windows(RedisStorage):
    """The library's counts, with time limits; while Redis does not answer, those of this process."""

    def __init__(self, url: str, either: _Either, alone: Windows) -> None:
        super().__init__(
            url.replace("unix://", "async+redis+unix://", 1) if url.startswith("unix:") else f"async+{url}",
            implementation="redispy",
            key_prefix=f"{_PREFIX}:rate",
            socket_timeout=_TIMEOUT_SECONDS,
            socket_connect_timeout=_TIMEOUT_SECONDS,
        )
        self._either = either
        self._alone = alone

    async def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Count, if there is room."""
        shared = super().acquire_sliding_window_entry
        alone = self._alone.acquire_sliding_window_entry
        found: bool = await self._either(
            lambda: shared(key, limit, expiry, amount), lambda: alone(key, limit, expiry, amount)
        )
        return found

    async def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        """Counts and times of the window before and of this one."""
        shared, alone = super().get_sliding_window, self._alone.get_sliding_window
        found: tuple[int, float, int, float] = await self._either(
            lambda: shared(key, expiry), lambda: alone(key, expiry)
        )
        return found

    async def close(self) -> None:
        """Close its connections."""
        if isinstance(self.bridge, RedispyBridge):
            client: Any = self.bridge.get_connection()
            await client.aclose()


class RedisUsage:
    """Characters by name and month, of all replicas together. Where it does not answer, nothing is given away."""

    def __init__(self, url: str) -> None:
        self._redis = _client(url)
        self._spend = self._redis.register_script(_SPEND)

    async def spend(self, name: str, month: str, count: int, most: int | None) -> bool:
        """See `Usage.spend`."""
        arguments = [count, "" if most is None else most, _MONTH_SECONDS]
        return bool(await _answer(self._spend(keys=[_month_key(name, month)], args=arguments)))

    async def give_back(self, name: str, month: str, count: int) -> None:
        """See `Usage.give_back`."""
        await _answer(self._spend(keys=[_month_key(name, month)], args=[-count, "", _MONTH_SECONDS]))

    async def spent(self, name: str, month: str) -> int:
        """See `Usage.spent`."""
        return int(await _answer(self._redis.get(_month_key(name, month))) or 0)

    async def close(self) -> None:
        """See `Usage.close`."""
        await self._redis.aclose()


def check_url(url: str) -> None:
    """Whether this is an address of Redis.

    Raises:
        ValueError: it is not; the text does not hold it, for it may hold a password.
    """
    try:
        redis.asyncio.ConnectionPool.from_url(url)
    except (ValueError, TypeError):
        raise ValueError("an address of Redis is redis://HOST:PORT/NUMBER, rediss://... or unix://PATH") from None


def _client(url: str) -> redis.asyncio.Redis:
    return redis.asyncio.Redis.from_url(
        url, socket_timeout=_TIMEOUT_SECONDS, socket_connect_timeout=_TIMEOUT_SECONDS, decode_responses=True
    )


def _month_key(name: str, month: str) -> str:
    return f"{_PREFIX}:characters:{month}:{name}"


async def _answer(asked: Awaitable[Any]) -> Any:
    try:
        return await asked
    except (RedisError, OSError, TimeoutError) as error:
        raise UsageError(f"usage cannot be counted: Redis does not answer: {error}") from None
