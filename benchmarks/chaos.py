"""What happens to the service when its processes die, hang or are denied memory (`make chaos`, about three minutes).

    python -m benchmarks.chaos [--seconds 150] [--clients 32] [--seed 1]

Clients ask without a pause while, at random, a process of an engine is stopped (SIGSTOP), killed, or denied any further
memory; one is stopped while it loads; requests larger than the system's buffers are sent to one that reads nothing; and
200 clients hang up. At the end SIGTERM, while an engine is stopped. Meanwhile somebody asks for /health/live twenty
times a second. Every request must end: answered, refused, or failed with a documented code and JSON; the last line of
stdout is one JSON object that counts them. The exit status is 1 if one is lost, if /health/live ever failed, or if the
service did not end in time with status 0.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import dataclasses
import json
import os
import random
import resource
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.load import everyday_sentences
from benchmarks.raw_http import Reply, exchange, get, hang_up_after, post
from benchmarks.stressed import Service, started

HANG_MS = 2000
SHUTDOWN_MS = 4000
SETTINGS = {"ATTEND_HANG_TIMEOUT_MS": str(HANG_MS), "ATTEND_SHUTDOWN_TIMEOUT_MS": str(SHUTDOWN_MS)}
LIVE_PAUSE = 0.05
STALL_GOAL = 0.1
"""Seconds within which /health/live should answer, whatever happens to the engines."""
REPLY_SECONDS = 150.0
"""A request without an answer after this time is lost."""
VANISHING = 200
DOCUMENTED = {400, 408, 413, 415, 422, 500, 503, 504}


@dataclasses.dataclass(slots=True)
class Seen:
    """What clients have seen so far."""

    replies: list[Reply] = dataclasses.field(default_factory=list)
    live: list[Reply] = dataclasses.field(default_factory=list)
    faults: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)


class Drill:
    """One service, its clients, and whoever does it harm."""

    def __init__(self, service: Service, seed: int) -> None:
        self.service = service
        self.seen = Seen()
        self.stopping = asyncio.Event()
        self._chance = random.Random(seed)
        self._lines = everyday_sentences()
        self._documents: list[asyncio.Task[None]] = []

    def request(self) -> bytes:
        """A sentence, a few, a document, or something to be aligned."""
        size = self._chance.choice((1, 1, 1, 4, 16, 40))
        body: dict[str, Any] = {"q": self._chance.choices(self._lines, k=size), "source": "fr", "target": "en"}
        if self._chance.random() < 0.1:
            body |= {"q": body["q"][:2], "alignment": True}
        if self._chance.random() < 0.2:
            body["timeout_ms"] = self._chance.choice((50, 500, 5000))
        return post(body)

    async def client(self) -> None:
        """Ask until the service stops."""
        while not self.stopping.is_set():
            reply = await exchange(self.service.port, self.request(), REPLY_SECONDS)
            if reply.status or not self.stopping.is_set():
                self.seen.replies.append(reply)
            if reply.status == 503:
                await asyncio.sleep(0.05)

    async def watch(self) -> None:
        """Ask whether the service is alive until it stops."""
        while not self.stopping.is_set():
            reply = await exchange(self.service.port, get("/health/live"), 30.0)
            if not self.stopping.is_set():
                self.seen.live.append(reply)
            await asyncio.sleep(LIVE_PAUSE)

    def engines(self) -> list[int]:
        """Process ids of the engines."""
        pid = self.service.process.pid
        children = (path.read_text().split() for path in Path(f"/proc/{pid}/task").glob("*/children"))
        return [int(child) for some in children for child in some]

    def any_engine(self) -> int:
        """The process id of some engine; waits while there is none."""
        return self._chance.choice(self.engines() or [0])

    async def stop_one(self) -> None:
        """An engine stands still and does not die."""
        _signal(self.any_engine(), signal.SIGSTOP)

    async def kill_one(self) -> None:
        """An engine dies."""
        _signal(self.any_engine(), signal.SIGKILL)

    async def deny_memory(self) -> None:
        """An engine gets no memory beyond what it has."""
        pid = self.any_engine()
        with contextlib.suppress(OSError, ValueError, IndexError):
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[0])
            most = pages * resource.getpagesize()
            resource.prlimit(pid, resource.RLIMIT_AS, (most, most))

    async def stop_while_loading(self) -> None:
        """An engine that has just been started stands still before it is ready."""
        before = set(self.engines())
        _signal(self.any_engine(), signal.SIGKILL)
        for _ in range(400):
            if fresh := set(self.engines()) - before:
                await asyncio.sleep(self._chance.uniform(0.0, 0.3))
                _signal(fresh.pop(), signal.SIGSTOP)
                return
            await asyncio.sleep(0.01)

    async def fill_the_pipe(self) -> None:
        """An engine reads nothing while several times what the system keeps for a socket is sent to it."""
        _signal(self.any_engine(), signal.SIGSTOP)
        text = " ".join(self._lines)
        document = post({"q": [text[start : start + 9000] for start in range(0, 72_000, 9000)], "source": "fr",
                         "target": "en"})  # fmt: skip
        self._documents += [asyncio.create_task(self._send(document)) for _ in range(4)]

    async def _send(self, request: bytes) -> None:
        self.seen.replies.append(await exchange(self.service.port, request, REPLY_SECONDS))

    async def vanish(self) -> None:
        """Many clients hang up at once."""
        await asyncio.gather(
            *(hang_up_after(self.service.port, self.request(), self._chance.uniform(0, 0.2)) for _ in range(VANISHING))
        )

    async def harm(self, seconds: float) -> None:
        """One thing after another goes wrong, each at least once."""
        faults: list[Callable[[], Awaitable[None]]] = [
            self.stop_one, self.kill_one, self.deny_memory, self.stop_while_loading, self.fill_the_pipe, self.vanish,
        ]  # fmt: skip
        pause = min(4.0, seconds / (2 * len(faults)))
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for fault in self._chance.sample(faults, len(faults)):
                # Who harms every process before it has started has only shown that nothing starts then.
                await self._ready()
                self.seen.faults[fault.__name__] += 1
                began = time.monotonic()
                await fault()
                await asyncio.sleep(max(0.0, pause - (time.monotonic() - began)))
                if time.monotonic() >= end:
                    break

    async def _ready(self) -> None:
        while (await exchange(self.service.port, get("/health/ready"), 30.0)).status != 200:
            await asyncio.sleep(0.1)

    async def terminate(self) -> dict[str, Any]:
        """SIGTERM while an engine stands still; how the service ends."""
        _signal(self.any_engine(), signal.SIGSTOP)
        began = time.monotonic()
        self.service.process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.2)
        self.stopping.set()
        try:
            status: int | None = await asyncio.wait_for(self.service.process.wait(), SHUTDOWN_MS / 1000 + 10)
        except TimeoutError:
            status = None
        return {"exit_status": status, "seconds_to_end": round(time.monotonic() - began, 2)}


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        if pid:
            os.kill(pid, number)


async def chaos(seconds: float, clients: int, seed: int) -> dict[str, Any]:
    """Run the drill; what came of it."""
    async with started("service", settings=SETTINGS) as service:
        drill = Drill(service, seed)
        asking = [asyncio.create_task(drill.client()) for _ in range(clients)]
        watching = asyncio.create_task(drill.watch())
        await drill.harm(seconds)
        lost = _lost_processes(await exchange(service.port, get("/metrics")))
        end = await drill.terminate()
        await asyncio.wait([*asking, watching, *drill._documents], timeout=REPLY_SECONDS)
    found = counted(drill.seen)
    return found | {"processes_lost": lost, "faults": dict(drill.seen.faults), **end, "ok": is_good(found | end)}


def _lost_processes(reply: Reply) -> int:
    lines = reply.body.decode().splitlines()
    return int(sum(float(line.split()[-1]) for line in lines if line.startswith("attend_processes_lost_total{")))


def counted(seen: Seen) -> dict[str, Any]:
    """How the requests ended."""
    replies = seen.replies
    codes = collections.Counter(reply.status for reply in replies)
    lost = [reply for reply in replies if not (reply.status == 200 or _is_documented(reply))]
    refused = [reply for reply in replies if reply.status == 503 and "retry-after" in reply.headers]
    stalls = sorted(reply.seconds for reply in seen.live)
    return {
        "accepted": len(replies) - len(refused),
        "answered": codes[200],
        "refused": len(refused),
        "failed": {str(code): count for code, count in sorted(codes.items()) if code not in (0, 200, 503)},
        "lost": len(lost),
        "live_asked": len(seen.live),
        "live_failed": sum(reply.status != 200 for reply in seen.live),
        "longest_stall_ms": round(1000 * stalls[-1], 1) if stalls else None,
        "stall_p99_ms": round(1000 * stalls[int(0.99 * (len(stalls) - 1))], 1) if stalls else None,
        "stall_goal_ms": 1000 * STALL_GOAL,
    }


def _is_documented(reply: Reply) -> bool:
    if reply.status not in DOCUMENTED:
        return False
    try:
        return list(reply.json()) == ["error"]
    except ValueError:
        return False


def is_good(found: dict[str, Any]) -> bool:
    """Whether every promise was kept; how long a stall is depends on the machine, and is only said."""
    in_time = found["seconds_to_end"] <= SHUTDOWN_MS / 1000 + 5
    return not found["lost"] and not found["live_failed"] and found["exit_status"] == 0 and in_time


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=150.0)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    found = asyncio.run(chaos(options.seconds, options.clients, options.seed))
    print(json.dumps(found))
    return 0 if found["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
