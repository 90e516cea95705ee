"""What `stress.py` and `abuse.py` share: a service in a process of its own, requests for it, and rules to keep."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import random
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.load import everyday_sentences
from benchmarks.processes import resident_bytes
from benchmarks.raw_http import Reply, exchange, get, post

ROOT = Path(__file__).parents[1]
SENTENCES = 16
"""Of one request: so that one client process can ask for ten times what the service can do."""
SLOW_MS = 2000
"""Time limits for headers and bodies while this runs."""
SLOW_LIMITS = {f"ATTEND_{name}_MS": str(SLOW_MS) for name in ("KEEP_ALIVE", "HEADER_TIMEOUT", "BODY_TIMEOUT")}


class Requests:
    """An endless supply of requests: sentences drawn anew for each."""

    def __init__(self) -> None:
        self._lines = everyday_sentences()
        self._random = random.Random(1)

    def next(self) -> bytes:
        texts = self._random.sample(self._lines, SENTENCES)
        return post({"q": texts, "source": "fr", "target": "en"})


@dataclasses.dataclass(slots=True)
class Service:
    """A running service."""

    process: asyncio.subprocess.Process
    port: int
    log: Path
    resident: list[int] = dataclasses.field(default_factory=list)
    """Bytes, sampled twice a second."""

    async def watch(self) -> None:
        """Sample the resident size until cancelled."""
        while True:
            self.resident.append(resident_bytes(self.process.pid))
            await asyncio.sleep(0.5)


@contextlib.asynccontextmanager
async def started(*command: str, settings: Mapping[str, str] = SLOW_LIMITS) -> AsyncIterator[Service]:
    """A service in a process of its own, ready; killed at the end if it still runs."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, **settings, "ATTEND_PORT": str(port)}
    with tempfile.NamedTemporaryFile() as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", *command, cwd=ROOT, env=environment, stdout=log
        )
        try:
            async with asyncio.timeout(60):
                while (await exchange(port, get("/health/ready"))).status != 200:
                    await asyncio.sleep(0.1)
            yield Service(process, port, Path(log.name))
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def closed_loop(port: int, requests: Requests, seconds: float, clients: int = 8) -> list[Reply]:
    """So many clients, each asking again as soon as it was answered."""
    replies: list[Reply] = []
    end = time.monotonic() + seconds

    async def ask() -> None:
        while time.monotonic() < end:
            replies.append(await exchange(port, requests.next()))

    await asyncio.gather(*(ask() for _ in range(clients)))
    return replies


def quantile(values: list[float], share: float) -> float | None:
    """In milliseconds; None of nothing."""
    return round(1000 * sorted(values)[min(len(values) - 1, int(share * len(values)))], 2) if values else None


def is_good(reply: Reply) -> bool:
    return reply.status == 200 and len(reply.json()["translatedText"]) == SENTENCES


def judged(found: dict[str, Any], rules: Mapping[str, bool]) -> dict[str, Any]:
    """What was found, with the rules that were broken by it."""
    broken = [rule for rule, kept in rules.items() if not kept]
    return {**found, "broken": broken, "ok": not broken}
