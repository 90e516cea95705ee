"""The client of the served benchmarks counts what really happened."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from benchmarks import load
from benchmarks.load import Load, Window, closed_loop, open_loop, post
from benchmarks.memory import Texts, growth

WINDOW = Window(0.2, warm_up=0.05)
REQUESTS = [post({"q": text}) for text in ("a", "é", "我" * 3000)]


class Counting:
    """A server that answers 200, and every fourth time 503; it counts what it said and the bodies it got."""

    def __init__(self) -> None:
        self.said: collections.Counter[int] = collections.Counter()
        self.bodies: collections.Counter[bytes] = collections.Counter()
        self.hang_up = False
        self.port = 0
        self.tasks: set[asyncio.Task[None]] = set()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.tasks.add(asyncio.current_task())
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].split()[0])
                self.bodies[await reader.readexactly(length)] += 1
                if self.hang_up:
                    break
                status = 503 if self.said.total() % 4 == 3 else 200
                self.said[status] += 1
                # In two pieces, as large answers come.
                writer.write(b"HTTP/1.1 %d X\r\ncontent-length: 6\r\n\r\nabc" % status)
                await asyncio.sleep(0)
                writer.write(b"def")
        writer.close()

    async def serve(self, ready: threading.Event) -> None:
        self.loop, self.over = asyncio.get_running_loop(), asyncio.Event()
        listener = await asyncio.start_server(self.handle, "127.0.0.1", 0)
        self.port = listener.sockets[0].getsockname()[1]
        ready.set()
        await self.over.wait()
        listener.close()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await asyncio.sleep(0.01)  # the transports close


@pytest.fixture
def server() -> Iterator[Counting]:
    counting, ready = Counting(), threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(counting.serve(ready)))
    thread.start()
    ready.wait()
    yield counting
    counting.loop.call_soon_threadsafe(counting.over.set)
    thread.join()


def check(load: Load, server: Counting) -> None:
    assert load.answered == server.said[200] > 0
    assert load.failed == 0
    assert 0 < len(load.latencies) <= load.answered
    assert 0 < load.refused <= server.said[503]
    assert {body.count("我".encode()) for body in server.bodies} == {0, 3000}


def test_a_closed_loop_counts_every_answer(server: Counting) -> None:
    check(closed_loop(server.port, REQUESTS, 3, WINDOW), server)


def test_an_open_loop_counts_every_answer(server: Counting) -> None:
    check(open_loop(server.port, REQUESTS, 500.0, WINDOW), server)


def test_the_rate_of_a_whole_loop_counts_all_of_it(server: Counting) -> None:
    load = closed_loop(server.port, REQUESTS, 2, Window(0.2, whole=True))
    assert load.rate <= load.answered / 0.2
    assert len(load.latencies) == load.answered


def test_connections_that_are_closed_have_failed(server: Counting) -> None:
    server.hang_up = True
    load = closed_loop(server.port, REQUESTS, 2, WINDOW)
    assert (load.answered, load.failed, load.rate) == (0, 2, 0.0)


def test_what_is_never_answered_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "PATIENCE_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # the system accepts, nobody reads
        found = load.closed_loop(silent.getsockname()[1], [b"anybody?"], 3, Window(0.1, 0.0))
    assert (found.answered, found.failed) == (0, 3)


def test_random_requests_are_the_same_for_a_seed_and_of_all_kinds() -> None:
    requests = Texts(1).requests(200)
    assert requests == Texts(1).requests(200) != Texts(2).requests(200)
    text = b"".join(requests).decode()
    assert all(any(low <= ord(c) < high for c in text) for low, high in ((0x4E00, 0x9FFF), (0x1F300, 0x1FAFF)))


def test_growth_is_from_where_it_has_settled() -> None:
    samples = [(4000 * n, (50 if n < 5 else 100 + n) * 2**20) for n in range(25)]
    assert growth(samples) == (107.0, 122.0)
    with pytest.raises(ValueError, match="too few"):
        growth(samples[:12])
