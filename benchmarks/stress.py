"""The service under more than it can do, with clients that misbehave (`make stress`).

    python -m benchmarks.stress [--quick]

Starts the real service on 127.0.0.1, learns how many requests a second it answers, then: ten times that; clients that
hang up at random; clients that send too slowly; SIGTERM in the middle; callers beyond their rate beside others
(`benchmarks/abuse.py`). (`benchmarks/chaos.py` is about engines that die or hang.) Times are those of a client on the
same machine, those called `server` what the service says, from the headers
to the answer. The last line of stdout is one JSON object; the exit status is 1 if anything is not as
promised, and stderr says what.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import dataclasses
import json
import os
import random
import signal
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.abuse import abusers
from benchmarks.raw_http import Reply, dawdle, exchange, hang_up_after, head, metrics
from benchmarks.stressed import (
    SLOW_MS,
    Requests,
    Service,
    closed_loop,
    is_good,
    judged,
    quantile,
    started,
)
from service.engine.loading import available_cores

OVERLOAD = 10
REFUSAL_SECONDS = 0.01
"""The 99th percentile of what a refusal may take inside the service."""
MOST_PENDING = 1500
"""Requests of ours under way: a service that answers nothing must not fill this machine."""


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """How long each part takes."""

    capacity_seconds: float
    overload_seconds: float
    leaving_clients: int
    slow_clients: int
    stop_after_seconds: float
    abuse_seconds: float


FULL = Plan(15.0, 60.0, 500, 100, 5.0, 20.0)
QUICK = Plan(4.0, 10.0, 120, 40, 2.0, 5.0)


async def open_loop(port: int, requests: Requests, rate: float, more: Callable[[], bool]) -> tuple[list[Reply], int]:
    """`rate` requests a second whatever happens to them, as long as there should be `more`; waits for every answer.

    Also returns how many were left out because too many were under way already.
    """
    asking: list[asyncio.Task[Reply]] = []
    began, left_out = time.monotonic(), 0
    pending: set[asyncio.Task[Reply]] = set()
    while more():
        due = int((time.monotonic() - began) * rate) - len(asking) - left_out
        for _ in range(due):
            if len(pending) >= MOST_PENDING:
                left_out += 1
                continue
            task = asyncio.create_task(exchange(port, requests.next()))
            asking.append(task)
            pending.add(task)
            task.add_done_callback(pending.discard)
        await asyncio.sleep(0.005)
    return list(await asyncio.gather(*asking)), left_out


def is_refusal(reply: Reply) -> bool:
    return reply.status == 503 and "retry-after" in reply.headers


def summary(replies: list[Reply]) -> dict[str, Any]:
    """Accepted, refused, and everything that should not be."""
    good = [reply for reply in replies if is_good(reply)]
    refused = [reply for reply in replies if is_refusal(reply)]
    codes = collections.Counter(str(reply.status) for reply in replies if not is_good(reply))
    return {
        "sent": len(replies),
        "answered": len(good),
        "refused": len(refused),
        "by_code": dict(codes),
        "anything_else": len(replies) - len(good) - len(refused),
        "answered_p50_ms": quantile([reply.seconds for reply in good], 0.5),
        "answered_p99_ms": quantile([reply.seconds for reply in good], 0.99),
        "refused_p50_server_ms": quantile([reply.server_seconds for reply in refused], 0.5),
        "refused_p99_server_ms": quantile([reply.server_seconds for reply in refused], 0.99),
        "refused_p99_client_ms": quantile([reply.seconds for reply in refused], 0.99),
    }


async def overload(service: Service, requests: Requests, plan: Plan) -> dict[str, Any]:
    """Ten times what it can do."""
    calm = [r for r in await closed_loop(service.port, requests, plan.capacity_seconds) if is_good(r)]
    capacity = len(calm) / plan.capacity_seconds
    before = await metrics(service.port)
    end = time.monotonic() + plan.overload_seconds
    replies, left_out = await open_loop(service.port, requests, OVERLOAD * capacity, lambda: time.monotonic() < end)
    found = {"capacity_requests_per_second": round(capacity, 1), **summary(replies), "not_sent": left_out}
    found["answered_per_second"] = round(found["answered"] / plan.overload_seconds, 1)
    found["load"] = round(len(replies) / plan.overload_seconds / capacity, 1)
    counted = outcomes(before, await metrics(service.port))
    slowest = found["refused_p99_server_ms"]
    return judged(
        found,
        {
            "answered or refused, nothing else": found["anything_else"] == 0,
            "goes on answering": found["answered"] > 0,
            "the counters agree": counted == {"ok": found["answered"], "refused": found["refused"]},
            "refuses at once": slowest is None or slowest < 1000 * REFUSAL_SECONDS,
        },
    )


def outcomes(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """How the requests to /translate between two readings of the metrics ended; refused as admission counts them."""
    start = 'attend_requests_total{endpoint="translate",outcome="'
    moved = {name: after[name] - before[name] for name in after}
    ended = {name.removeprefix(start)[:-2]: count for name, count in moved.items() if name.startswith(start) and count}
    rejected = sum(count for name, count in moved.items() if name.startswith("attend_rejected_total"))
    return ended if rejected == ended.get("refused", 0) else {**ended, "rejected": rejected}


async def leaving_clients(service: Service, requests: Requests, plan: Plan) -> dict[str, Any]:
    """Clients that hang up at a random moment of the first second."""
    before = await metrics(service.port)
    chance = random.Random(2)
    gate = asyncio.Semaphore(50)

    async def leave() -> None:
        async with gate:
            await hang_up_after(service.port, requests.next(), chance.random())

    await asyncio.gather(*(leave() for _ in range(plan.leaving_clients)))
    left = time.monotonic()
    rows, queue = await settled(service)
    seconds = time.monotonic() - left
    again = await exchange(service.port, requests.next())
    after = await metrics(service.port)
    moved = {name: after[name] - before[name] for name in after}
    found = {
        "clients": plan.leaving_clients,
        "rows_left": rows,
        "queue_tokens_left": queue,
        "seconds_until_empty": round(seconds, 2),
        "next_answer_ms": round(1000 * again.seconds, 1),
        "cancelled_requests": moved['attend_requests_total{endpoint="translate",outcome="cancelled"}'],
        **counters(moved),
    }
    # The one asked afterwards counts too.
    asked = found.pop("requests") == plan.leaving_clients + 1
    return judged(
        found,
        {
            "rows and queue are free again": rows == queue == 0,
            "the counters agree": asked and found["ended"] == found["seen"],
            "the next one is answered": is_good(again) and again.seconds < 2,
        },
    )


async def settled(service: Service) -> tuple[float, float]:
    """Rows and queue once both are empty, or after ten seconds."""
    end = time.monotonic() + 10
    while True:
        now = await metrics(service.port)
        rows, queue = now["attend_running_rows"], now["attend_queue_tokens"]
        if not (rows or queue) or time.monotonic() > end:
            return rows, queue
        await asyncio.sleep(0.05)


def counters(moved: dict[str, float]) -> dict[str, float]:
    """Requests; sentences the engine was given, and those it is done with."""

    def total(start: str) -> float:
        return sum(value for name, value in moved.items() if name.startswith(start))

    waited = moved["attend_queue_wait_seconds_count"] + moved['attend_cancelled_total{stage="queue"}']
    requests = total('attend_requests_total{endpoint="translate"')
    return {"requests": requests, "seen": waited, "ended": total("attend_finished_total")}


async def slow_clients(service: Service, requests: Requests, plan: Plan) -> dict[str, Any]:
    """Clients that connect and say nothing, stop in the headers, or send headers or body byte by byte."""
    patience = 3 * SLOW_MS / 1000
    half = b"POST /translate HTTP/1.1\r\nHost: at"
    starts = ((b"", 0.0), (half, 0.0), (half, 0.1), (head("/translate", 1000), 0.1))
    dawdling = [
        asyncio.create_task(dawdle(service.port, *starts[number % len(starts)], patience))
        for number in range(plan.slow_clients)
    ]
    await asyncio.sleep(0.2)
    replies = [await exchange(service.port, requests.next()) for _ in range(10)]
    received = await asyncio.gather(*dawdling)
    late = sum(1 for number, one in enumerate(received) if number % len(starts) == 3 and b" 408 " in (one or b""))
    found = {
        "clients": plan.slow_clients,
        "never_hung_up_on": sum(one is None for one in received),
        "told_408": late,
        "others_answered": sum(map(is_good, replies)),
        "others_slowest_ms": quantile([reply.seconds for reply in replies], 1.0),
    }
    return judged(
        found,
        {
            "nobody is waited for for ever": not found["never_hung_up_on"],
            "others are answered": found["others_answered"] == len(replies),
        },
    )


async def stop_under_load(service: Service, requests: Requests, plan: Plan, rate: float) -> dict[str, Any]:
    """SIGTERM while ten times too much is asked; a little later nobody asks any more."""
    stop_at = time.monotonic() + plan.stop_after_seconds

    async def stop() -> int:
        await asyncio.sleep(plan.stop_after_seconds)
        service.process.send_signal(signal.SIGTERM)
        return await service.process.wait()

    stopping = asyncio.create_task(stop())
    # The listener stays open as long as accepted work is under way.
    replies, _ = await open_loop(service.port, requests, rate, lambda: time.monotonic() < stop_at + 0.3)
    status = await asyncio.wait_for(stopping, 60)
    found = {
        "exit_status": status,
        "seconds_to_stop": round(time.monotonic() - stop_at, 2),
        **{name: value for name, value in summary(replies).items() if not name.endswith("_ms")},
        "refused_while_stopping": sum(b"shutting down" in reply.body for reply in replies),
    }
    return judged(
        found,
        {
            "exit status 0": status == 0,
            "nothing is lost": found["anything_else"] == 0,
            "refuses while it stops": found["refused_while_stopping"] > 0,
        },
    )


def flatness(resident: list[int]) -> dict[str, Any]:
    """Median size in a first and a last stretch of the run; what loading and the first requests took is in both."""
    stretch = max(1, len(resident) // 5)
    early, late = statistics.median(resident[stretch : 2 * stretch]), statistics.median(resident[-stretch:])
    growth = late / early - 1
    found = {"early_mib": round(early / 2**20, 1), "late_mib": round(late / 2**20, 1), "growth": round(growth, 3)}
    return judged(found, {"flat": growth < 0.1})


def errors_in(log: Path) -> dict[str, Any]:
    """Lines of the service's log that tell of a defect."""
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    errors = [line for line in lines if line["level"] not in ("debug", "info", "warning")]
    return judged({"lines": len(lines), "errors": len(errors)}, {"no errors": not errors})


async def stress(plan: Plan) -> dict[str, Any]:
    """Every part, one after another."""
    requests = Requests()
    load = os.getloadavg()[0]
    found: dict[str, Any] = {}
    async with started("service") as service:
        watching = asyncio.create_task(service.watch())
        await part(found, "overload", overload(service, requests, plan))
        await part(found, "leaving_clients", leaving_clients(service, requests, plan))
        await part(found, "slow_clients", slow_clients(service, requests, plan))
        watching.cancel()
        found["resident_size"] = flatness(service.resident)
        rate = OVERLOAD * found["overload"]["capacity_requests_per_second"]
        await part(found, "sigterm", stop_under_load(service, requests, plan, rate))
        found["log"] = errors_in(service.log)
    await part(found, "abusers", abusers(plan.abuse_seconds))
    machine = {"cores": available_cores(), "load_average_before": round(load, 1)}
    return {"ok": all(one["ok"] for one in found.values()), "machine": machine, **found}


async def part(found: dict[str, Any], name: str, work: Awaitable[dict[str, Any]]) -> None:
    began = time.monotonic()
    found[name] = await work
    print(f"{name} ({time.monotonic() - began:.0f} s)", *_lines(found[name]), sep="\n  ", flush=True)


def _lines(values: dict[str, Any]) -> Iterator[str]:
    return (f"{name}: {value}" for name, value in values.items())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="about 40 s instead of 3 minutes")
    options = parser.parse_args()
    found = asyncio.run(stress(QUICK if options.quick else FULL))
    print(json.dumps(found))
    for name, one in found.items():
        for rule in one["broken"] if isinstance(one, dict) and "broken" in one else ():
            print(f"not as promised: {name}: {rule}", file=sys.stderr)
    return 0 if found["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
