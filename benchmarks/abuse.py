"""Good clients beside callers who are beyond their rate: a part of `stress.py`."""

from __future__ import annotations

import asyncio
import collections
import time
from typing import Any

from benchmarks.raw_http import Reply, exchange, metrics
from benchmarks.stressed import SLOW_LIMITS, Requests, Service, is_good, judged, quantile, started
from service.access.keys import digest_of, new_key

GOOD_CLIENTS, ABUSERS = 4, 32
PAUSE_SECONDS = 0.2
"""Between an answer and the next request of a good client: together they ask for less than the service can do."""
RATE = "5/second"
"""Requests of the address that all abusers have."""
MOST_SLOWDOWN = 1.5
"""What the 99th percentile of good clients may be, as a multiple of what it is when they are alone."""


async def abusers(seconds: float) -> dict[str, Any]:
    """Clients with a key, alone and then beside callers without one, who ask as fast as they are answered."""
    key = new_key()
    settings = {
        **SLOW_LIMITS,
        "ATTEND_KEYS": f"good:translate:{digest_of(key)}",
        "ATTEND_KEY_REQUIRED": "false",
        "ATTEND_RATE_ADDRESS_REQUESTS": RATE,
    }
    async with started("service", settings=settings) as service:
        requests = Requests()
        await good_clients(service, requests, key, seconds / 4)  # to warm up
        alone = await good_clients(service, requests, key, seconds)
        before = await metrics(service.port)
        until = time.monotonic() + seconds
        abusing = [asyncio.create_task(abuse(service, requests, until)) for _ in range(ABUSERS)]
        beside = await good_clients(service, requests, key, seconds)
        refused = [reply for replies in await asyncio.gather(*abusing) for reply in replies]
        after = await metrics(service.port)
    counted = 'attend_rejected_total{reason="rate"}'
    return judge(alone, beside, refused, after[counted] - before[counted])


async def good_clients(service: Service, requests: Requests, key: str, seconds: float) -> list[Reply]:
    """Each with a pause before it asks again."""
    replies: list[Reply] = []
    end = time.monotonic() + seconds

    async def ask() -> None:
        while time.monotonic() < end:
            request = requests.next().replace(b"Host:", b"Authorization: Bearer %s\r\nHost:" % key.encode(), 1)
            replies.append(await exchange(service.port, request))
            await asyncio.sleep(PAUSE_SECONDS)

    await asyncio.gather(*(ask() for _ in range(GOOD_CLIENTS)))
    return replies


async def abuse(service: Service, requests: Requests, until: float) -> list[Reply]:
    """Ask again and again, whatever `Retry-After` says."""
    replies = []
    while time.monotonic() < until:
        replies.append(await exchange(service.port, requests.next()))
    return replies


def judge(alone: list[Reply], beside: list[Reply], abused: list[Reply], counted: float) -> dict[str, Any]:
    """What good clients saw without abusers and beside them, and what became of these."""
    p99 = [quantile([reply.seconds for reply in replies], 0.99) for replies in (alone, beside)]
    codes = collections.Counter(reply.status for reply in abused)
    told = sum("retry-after" in reply.headers and "ratelimit-limit" in reply.headers
               for reply in abused if reply.status == 429)  # fmt: skip
    found = {
        "good_alone": len(alone),
        "good_beside": len(beside),
        "good_p99_alone_ms": p99[0],
        "good_p99_beside_ms": p99[1],
        "slowdown": round((p99[1] or 0.0) / p99[0], 2) if p99[0] else None,
        "abusers_by_code": {str(code): count for code, count in codes.items()},
    }
    return judged(
        found,
        {
            "good clients are always answered": bool(beside) and all(map(is_good, [*alone, *beside])),
            "good clients do not notice": p99[0] is not None and (p99[1] or 0.0) <= MOST_SLOWDOWN * p99[0],
            "abusers are refused with 429 and told when to come back": codes[429] > 0 and told == codes[429],
            "abusers get what their rate allows and nothing else": set(codes) == {200, 429},
            "the counters agree": counted == codes[429],
        },
    )
