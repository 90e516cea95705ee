"""Load for a server on this machine, from a client that costs little: raw HTTP/1.1 on connections that stay open.

A closed loop has so many clients, each of which asks again as soon as it was answered. An open loop sends at random
moments (a Poisson process) whatever became of the requests before.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import itertools
import json
import random
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from model.corpus import read_lines

_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_STATUS = slice(9, 12)
PATIENCE_SECONDS = 90.0
"""For how long answers are waited for after the last request."""
MOST_CONNECTIONS = 2000


@dataclasses.dataclass(frozen=True, slots=True)
class Load:
    """What a client saw; times in seconds."""

    rate: float
    """Good answers a second: those that came in the window after the warm-up, or of the whole loop."""
    latencies: list[float]
    """Of the requests sent in the window and answered 200, from sending to the last byte, however late."""
    refused: int
    """Answered 503, of those sent in the window."""
    failed: int
    """Anything else, or no answer, at any time."""
    answered: int
    """Answered 200 at any time, warm-up and end included: what the server's work is divided by."""
    client_cpu_seconds: float


@dataclasses.dataclass(frozen=True, slots=True)
class Window:
    """When a loop asks, and what counts."""

    seconds: float
    warm_up: float = 0.0
    whole: bool = False
    """The rate is that of the whole loop, until the last answer: for requests that take a good part of the time."""


def everyday_sentences() -> list[str]:
    """The French sample that lies beside this file."""
    return [line for line in read_lines(Path(__file__).with_name("everyday.fr.gz")) if line]


def post(body: Mapping[str, Any], path: str = "/translate") -> bytes:
    """A whole request; the connection stays open."""
    data = json.dumps(body, ensure_ascii=False).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    )
    return head.encode() + data


def closed_loop(port: int, requests: Sequence[bytes], clients: int, window: Window) -> Load:
    """So many `clients` at once, taking the requests in turn; waits for the last answers."""
    return asyncio.run(_closed_loop(port, requests, clients, window))


def open_loop(port: int, requests: Sequence[bytes], rate: float, window: Window, seed: int = 1) -> Load:
    """`rate` requests a second on average; waits for the last answers."""
    return asyncio.run(_open_loop(port, requests, rate, window, random.Random(seed)))


class _Connection(asyncio.Protocol):
    """One request at a time; `on_reply` gets the status, 0 if there was no answer."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self._received = bytearray()
        self._length = 0
        self._is_chunked = False
        self._on_reply: Callable[[_Connection, int], None] | None = None
        self.sent = 0.0
        self.is_open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport, self.is_open = transport, True

    def send(self, request: bytes, on_reply: Callable[[_Connection, int], None]) -> None:
        self._on_reply = on_reply
        self.sent = time.perf_counter()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._length:
            end = self._received.find(b"\r\n\r\n")
            if end < 0:
                return
            found = _CONTENT_LENGTH.search(self._received, 0, end)
            self._is_chunked = not found and b"\r\ntransfer-encoding: chunked" in self._received[:end]
            self._length = end + 4 + (int(found[1]) if found else 0)
        if self._is_chunked and not self._received.endswith(b"\r\n0\r\n\r\n"):
            return
        if len(self._received) >= self._length:
            status = int(self._received[_STATUS])
            self._received.clear()
            self._length = 0
            self._reply(status)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        self._reply(0)

    def _reply(self, status: int) -> None:
        on_reply, self._on_reply = self._on_reply, None
        if on_reply is not None:
            on_reply(self, status)


class _Record:
    """Counts replies, and knows when all have come."""

    def __init__(self, window: Window) -> None:
        self._window = window
        self._cpu = time.process_time()
        self._start = time.perf_counter()
        self._begin = self._start + window.warm_up
        self.end = self._begin + window.seconds
        self._latencies: list[float] = []
        self._statuses: collections.Counter[int] = collections.Counter()
        self._refused = self._in_time = 0
        self._last = self._start
        self.under_way = 0
        self._idle = asyncio.Event()

    def note(self, connection: _Connection, status: int) -> None:
        now = self._last = time.perf_counter()
        self._statuses[status] += 1
        if status == 200 and self._begin <= now < self.end:
            self._in_time += 1
        if self._begin <= connection.sent < self.end:
            if status == 200:
                self._latencies.append(now - connection.sent)
            self._refused += status == 503
        self.under_way -= 1
        if not self.under_way:
            self._idle.set()

    async def load(self) -> Load:
        """Once every answer has come; what has not after `PATIENCE_SECONDS` has failed."""
        await asyncio.sleep(max(0.0, self.end - time.perf_counter()))
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while self.under_way:
                    self._idle.clear()
                    await self._idle.wait()
        except TimeoutError:
            self._statuses[0] += self.under_way
        good = self._statuses[200]
        rate = good / (self._last - self._start) if self._window.whole else self._in_time / self._window.seconds
        failed = self._statuses.total() - good - self._statuses[503]
        return Load(rate, self._latencies, self._refused, failed, good, time.process_time() - self._cpu)


async def _connect(port: int) -> _Connection:
    _, connection = await asyncio.get_running_loop().create_connection(_Connection, "127.0.0.1", port)
    return connection


async def _closed_loop(port: int, requests: Sequence[bytes], clients: int, window: Window) -> Load:
    connections = [await _connect(port) for _ in range(clients)]
    endless = itertools.cycle(requests)
    record = _Record(window)

    def ask(connection: _Connection) -> None:
        record.under_way += 1
        connection.send(next(endless), again)

    def again(connection: _Connection, status: int) -> None:
        record.note(connection, status)
        if connection.is_open and time.perf_counter() < record.end:
            ask(connection)

    for connection in connections:
        ask(connection)
    load = await record.load()
    for connection in connections:
        connection.transport.close()
    return load


async def _open_loop(port: int, requests: Sequence[bytes], rate: float, window: Window, chance: random.Random) -> Load:
    endless = itertools.cycle(requests)
    free: list[_Connection] = []
    opened: list[_Connection] = []
    record = _Record(window)

    def back(connection: _Connection, status: int) -> None:
        record.note(connection, status)
        free.append(connection)

    due = time.perf_counter()
    while (due := due + chance.expovariate(rate)) < record.end:
        # Without a pause for what is due already: the loop must hear of answers now and then.
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        connection = await _free_or_new(free, opened, port)
        record.under_way += 1
        connection.send(next(endless), back)
    load = await record.load()
    for connection in opened:
        connection.transport.close()
    return load


async def _free_or_new(free: list[_Connection], opened: list[_Connection], port: int) -> _Connection:
    """One that is still open: servers close those that were idle for some seconds."""
    while free:
        connection = free.pop()
        if connection.is_open:
            return connection
    if len(opened) >= MOST_CONNECTIONS:
        raise RuntimeError(f"{MOST_CONNECTIONS} requests are under way: the server does not keep up at all")
    opened.append(await _connect(port))
    return opened[-1]
