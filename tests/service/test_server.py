"""Stopping, and clients that send or read too slowly, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import signal
import socket
import sys
import threading
import time
import tomllib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from model.vocabulary import Vocabulary
from service.connection import Connection
from service.engine.types import Hypothesis, Job
from service.server import Server
from service.settings import Settings
from tests.bundles import PRETRAINED, ROOT
from tests.service.fakes import FakeLoader, echo, make_app, samples
from tests.service.listening import WAIT, client, converse, listening, until

GOOD = {"q": "好！", "source": "zh", "target": "en"}
BODY = json.dumps(GOOD).encode()


def head(length: int) -> bytes:
    return f"POST /translate HTTP/1.1\r\nHost: attend\r\nContent-Length: {length}\r\n\r\n".encode()


class Gated:
    """An engine that answers when the gate is open."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.gate = threading.Event()
        self.loader = FakeLoader(vocabulary, answer=self._answer)

    def _answer(self, job: Job) -> tuple[Hypothesis, ...]:
        self.gate.wait(WAIT)
        return echo(job)

    @property
    def submitted(self) -> int:
        return len(self.loader.engine.submitted)


@contextlib.asynccontextmanager
async def serving(loader: FakeLoader, **changes: Any) -> AsyncIterator[tuple[Server, int, asyncio.Task[None]]]:
    settings = Settings(port=0, **changes)
    async with listening(make_app(loader, port=0, **changes), settings) as running:
        yield running


def test_stopping_finishes_what_was_accepted_and_refuses_the_rest_with_the_listener_open(
    vocabulary: Vocabulary,
) -> None:
    async def scenario() -> tuple[httpx.Response, dict[str, httpx.Response]]:
        gated = Gated(vocabulary)
        async with serving(gated.loader) as (server, port, stopped), client(port) as http:
            accepted = asyncio.create_task(http.post("/translate", json=GOOD))
            await until(lambda: gated.submitted)
            server.handle_exit(signal.SIGTERM, None)
            admission = server._state.admission
            await until(lambda: admission.is_closed)
            async with client(port) as newcomer:
                replies = {
                    "translate": await newcomer.post("/translate", json=GOOD),
                    "ready": await newcomer.get("/health/ready"),
                    "live": await newcomer.get("/health/live"),
                    "metrics": await newcomer.get("/metrics"),
                }
            gated.gate.set()
            reply = await accepted
            await asyncio.wait_for(stopped, WAIT)
            return reply, replies

    reply, others = asyncio.run(scenario())
    assert (reply.status_code, reply.json()) == (200, {"translatedText": "好!"})
    refused = others["translate"]
    assert (refused.status_code, refused.json()) == (503, {"error": "the service is shutting down"})
    assert refused.headers["retry-after"]
    assert refused.headers["connection"] == "close"
    assert (others["ready"].status_code, others["live"].status_code) == (503, 200)
    counted = samples(others["metrics"].text)
    assert counted["attend_ready"] == 0
    assert counted['attend_rejected_total{reason="draining"}'] == 1


def test_the_time_of_a_request_begins_with_its_headers(loader: FakeLoader) -> None:
    async def scenario() -> float:
        app = make_app(loader, port=0)
        async with listening(app, Settings(port=0)) as (_, port, _), client(port) as http:
            await http.get("/health")
            loop = asyncio.get_running_loop()
            create_task = loop.create_task

            def late(coroutine: Any, **named: Any) -> asyncio.Task[Any]:
                if coroutine.__qualname__ == "RequestResponseCycle.run_asgi":
                    time.sleep(0.02)  # the loop is busy before it comes to the request
                return create_task(coroutine, **named)

            loop.create_task = late  # type: ignore[method-assign]
            reply = await http.get("/health")
            return float(reply.headers["server-timing"].removeprefix("total;dur="))

    assert asyncio.run(scenario()) >= 20


def test_what_cannot_be_finished_in_time_is_told_so(vocabulary: Vocabulary, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> httpx.Response:
        gated = Gated(vocabulary)
        async with serving(gated.loader, shutdown_timeout_ms=50) as (server, port, stopped), client(port) as http:
            accepted = asyncio.create_task(http.post("/translate", json={**GOOD, "q": ["好！", "我爱你。"]}))
            await until(lambda: gated.submitted)
            server.handle_exit(signal.SIGTERM, None)
            await until(lambda: server._aborted)
            gated.gate.set()  # the step that is running ends; no other begins
            reply = await accepted
            await asyncio.wait_for(stopped, WAIT)
            return reply

    reply = asyncio.run(scenario())
    assert (reply.status_code, reply.json()) == (503, {"error": "the service is shutting down"})
    assert "1 requests could not be finished in time" in caplog.text


async def alone(scenario: Any) -> tuple[Any, int | None]:
    """What `scenario(process, port)` returns, and how the process then ended."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.service.listening", str(PRETRAINED / "vocabulary.spm"),
        cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        port = json.loads(await asyncio.wait_for(process.stdout.readline(), WAIT))["port"]
        async with client(port) as http:
            while (await http.get("/health/ready")).status_code != 200:
                await asyncio.sleep(0.005)
        result = await scenario(process, port)
        return result, await asyncio.wait_for(process.wait(), WAIT)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def under_way(http: httpx.AsyncClient, least: int) -> None:
    async with asyncio.timeout(WAIT):
        while samples((await http.get("/metrics")).text)["attend_queue_tokens"] < least:
            await asyncio.sleep(0.005)


def test_sigterm_under_load_loses_nothing_and_ends_with_0() -> None:
    async def scenario(process: asyncio.subprocess.Process, port: int) -> list[httpx.Response]:
        async with client(port) as http:
            asking = [asyncio.create_task(http.post("/translate", json=GOOD)) for _ in range(12)]
            await under_way(http, 3 * 10)
            process.send_signal(signal.SIGTERM)
            return await asyncio.gather(*asking)

    replies, status = asyncio.run(alone(scenario))
    assert status == 0
    assert {reply.status_code for reply in replies} <= {200, 503}
    assert sum(reply.status_code == 200 for reply in replies) >= 10


def test_what_is_overridden_of_uvicorn_is_there_and_its_version_is_bounded() -> None:
    """Much of it is private: it may change with any version."""
    ours = {name for name, value in vars(Connection).items() if callable(value) and not name.startswith("_")}
    assert {"data_received", "send_400_response", "on_response_complete"} <= ours
    assert not {name for name in ours if not hasattr(HttpToolsProtocol, name)}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (bounds,) = (name for name in project["dependencies"] if re.match(r"uvicorn\b", name))
    assert "<" in bounds


def test_a_second_signal_ends_it_at_once() -> None:
    async def scenario(process: asyncio.subprocess.Process, port: int) -> None:
        async with client(port) as http:
            asking = asyncio.create_task(http.post("/translate", json={**GOOD, "q": ["好！"] * 800}))
            await under_way(http, 1000)
            process.send_signal(signal.SIGTERM)
            while (await http.get("/health/ready")).status_code == 200:
                await asyncio.sleep(0.005)
            process.send_signal(signal.SIGTERM)
            with pytest.raises(httpx.TransportError):
                await asking

    _, status = asyncio.run(alone(scenario))
    assert status == -signal.SIGTERM


def test_ctrl_c_ends_with_0_too() -> None:
    async def scenario(process: asyncio.subprocess.Process, port: int) -> None:
        process.send_signal(signal.SIGINT)

    assert asyncio.run(alone(scenario))[1] == 0


@pytest.mark.parametrize(
    "chunks",
    [
        (),
        (b"POST /translate HTTP/1.1\r\n",),
        tuple(b"GET /health HTTP/1.1\r\nX: " + b"y" * 1000),
        (b"GET /health HTTP/1.1\r\nHost: attend\r\n\r\n", b"GET /hea"),
    ],
    ids=["silent", "half a head", "byte by byte", "half a second request"],
)
def test_a_client_that_does_not_finish_its_headers_is_hung_up_on(loader: FakeLoader, chunks: tuple[Any, ...]) -> None:
    async def scenario() -> bytes:
        sent = tuple(bytes([chunk]) if isinstance(chunk, int) else chunk for chunk in chunks)
        async with serving(loader, header_timeout_ms=100, keep_alive_ms=100) as (server, port, _):
            received = await converse(port, *sent, pause=0.002)
            await until(lambda: not server.server_state.connections)
            return received

    received = asyncio.run(scenario())
    assert received.count(b"HTTP/1.1") == (1 if len(chunks) == 2 else 0)


def test_a_client_may_rest_longer_between_requests_than_its_headers_may_take(loader: FakeLoader) -> None:
    async def scenario() -> tuple[list[int], int]:
        async with serving(loader, header_timeout_ms=50) as (server, port, _), client(port) as http:
            codes = []
            for _ in range(2):
                codes.append((await http.post("/translate", json=GOOD)).status_code)
                await asyncio.sleep(0.2)
            return codes, len(server.server_state.connections)

    # One connection: it was not closed meanwhile.
    assert asyncio.run(scenario()) == ([200, 200], 1)


def test_a_connection_that_asks_nothing_more_is_closed(loader: FakeLoader) -> None:
    async def scenario() -> None:
        async with serving(loader, keep_alive_ms=50) as (server, port, _):
            request = b"GET /health HTTP/1.1\r\nHost: attend\r\n\r\n"
            assert (await converse(port, request)).startswith(b"HTTP/1.1 200 OK")
            await until(lambda: not server.server_state.connections)

    asyncio.run(scenario())


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_one_address_listens_on_ipv4_and_ipv6(loader: FakeLoader) -> None:
    async def scenario() -> list[int]:
        async with serving(loader, host="::") as (_, port, _), httpx.AsyncClient() as http:
            addresses = ("127.0.0.1", "[::1]")
            return [(await http.get(f"http://{each}:{port}/health")).status_code for each in addresses]

    assert asyncio.run(scenario()) == [200, 200]


def test_a_unix_socket(loader: FakeLoader, tmp_path: Path) -> None:
    async def scenario() -> httpx.Response:
        path = tmp_path / "attend.sock"
        async with serving(loader, host=f"unix:{path}") as _:
            transport = httpx.AsyncHTTPTransport(uds=str(path))
            async with httpx.AsyncClient(transport=transport, base_url="http://attend") as http:
                return await http.post("/translate", json=GOOD)

    assert asyncio.run(scenario()).status_code == 200


def test_a_body_that_comes_too_slowly_is_408_and_the_connection_is_closed(loader: FakeLoader) -> None:
    async def scenario() -> bytes:
        async with serving(loader, body_timeout_ms=50) as (_, port, _):
            return await converse(port, head(len(BODY)), BODY[:5])

    status, *_, body = asyncio.run(scenario()).decode().split("\r\n")
    assert status == "HTTP/1.1 408 Request Timeout"
    assert json.loads(body) == {"error": "the request body did not arrive within 50 ms"}


@pytest.mark.parametrize("junk", [b"\x16\x03\x01\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/1.1\r\nno header\r\n\r\n"])
def test_what_is_no_http_is_400_in_our_shape(loader: FakeLoader, junk: bytes) -> None:
    async def scenario() -> bytes:
        async with serving(loader) as (_, port, _):
            return await converse(port, junk)

    status, *_, body = asyncio.run(scenario()).decode().split("\r\n")
    assert status == "HTTP/1.1 400 Bad Request"
    assert json.loads(body) == {"error": "Invalid HTTP request received."}


def test_headers_without_end_are_431_long_before_their_time_is_over(loader: FakeLoader) -> None:
    async def scenario() -> bytes:
        async with serving(loader) as (_, port, _):
            return await converse(port, b"GET /health HTTP/1.1\r\nX: ", *[b"y" * 16384] * 5, pause=0.02)

    status, *_, body = asyncio.run(scenario()).decode().split("\r\n")
    assert status == "HTTP/1.1 431 Request Header Fields Too Large"
    assert json.loads(body) == {"error": "request line and headers must not be longer than 65536 bytes"}


def test_a_body_nobody_reads_is_not_taken_for_headers(loader: FakeLoader) -> None:
    async def scenario() -> bytes:
        lost = b"POST /nowhere HTTP/1.1\r\nHost: attend\r\nContent-Length: 40960\r\n\r\n"
        last = b"GET /health/live HTTP/1.1\r\nHost: attend\r\nConnection: close\r\n\r\n"
        async with serving(loader) as (_, port, _):
            return await converse(port, lost, *[b"y" * 4096] * 10, last, pause=0.01)

    received = asyncio.run(scenario())
    assert re.findall(rb"HTTP/1.1 (\d+)", received) == [b"404", b"200"]


@pytest.mark.parametrize("early", [True, False], ids=["while it is under way", "when it was answered"])
def test_junk_after_a_request_spoils_no_answer_and_ends_the_connection(vocabulary: Vocabulary, early: bool) -> None:
    async def scenario() -> bytes:
        gated = Gated(vocabulary)
        async with asyncio.timeout(WAIT), serving(gated.loader) as (_, port, _):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(head(len(BODY)) + BODY + (b"\0junk" if early else b""))
            await until(lambda: gated.submitted)
            gated.gate.set()
            answer = await reader.readuntil(b"}")
            if not early:
                writer.write(b"\0junk")
            answer += await reader.read()
            writer.close()
            return answer

    received = asyncio.run(scenario())
    assert received.startswith(b"HTTP/1.1 200 OK")
    # While the answer is under way there is no place for another; the connection ends either way.
    assert received.endswith('好!"}'.encode() if early else b'{"error": "Invalid HTTP request received."}')


def test_a_connection_whose_request_was_refused_unread_serves_the_next(loader: FakeLoader) -> None:
    large = json.dumps({**GOOD, "q": "好！" * 50_000}).encode()  # far more than is read ahead

    async def scenario() -> list[tuple[int, int]]:
        async with serving(loader) as (server, port, _), client(port) as http:
            replies = []
            for full, body in ((True, large), (False, BODY), (True, BODY), (False, BODY)):
                loader.engine.is_full = full
                headers = {"Content-Type": "application/json"}
                reply = await http.post("/translate", content=body, headers=headers)
                replies.append((reply.status_code, len(server.server_state.connections)))
            return replies

    assert asyncio.run(scenario()) == [(503, 1), (200, 1), (503, 1), (200, 1)]


def test_a_client_that_never_reads_its_answer_is_hung_up_on(loader: FakeLoader) -> None:
    body = json.dumps({**GOOD, "q": "1 " * 45_000}).encode()

    async def scenario() -> None:
        async with serving(loader, write_timeout_ms=100) as (server, port, _):
            # Little room in the system's buffers: the answer stays with the server.
            server.servers[0].sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            with socket.socket() as deaf:
                deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
                deaf.setblocking(False)
                loop = asyncio.get_running_loop()
                await loop.sock_connect(deaf, ("127.0.0.1", port))
                await loop.sock_sendall(deaf, head(len(body)) + body)
                await until(lambda: server.server_state.total_requests)
                await until(lambda: not server.server_state.connections)

    asyncio.run(scenario())


def test_a_client_that_reads_nothing_of_a_response_in_parts_is_hung_up_on_though_it_asks_for_more(
    loader: FakeLoader,
) -> None:
    file = next(path for path in (ROOT / "service" / "web").rglob("*.js") if path.stat().st_size > 500_000)
    request = f"GET /web/{file.relative_to(ROOT / 'service' / 'web').as_posix()} HTTP/1.1\r\nHost: attend\r\n\r\n"

    async def scenario() -> None:
        async with serving(loader, write_timeout_ms=100, keep_alive_ms=3_600_000) as (server, port, _):
            server.servers[0].sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            with socket.socket() as deaf:
                deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
                deaf.setblocking(False)
                loop = asyncio.get_running_loop()
                await loop.sock_connect(deaf, ("127.0.0.1", port))
                await loop.sock_sendall(deaf, request.encode() * 6)
                await until(lambda: server.server_state.total_requests)
                with contextlib.suppress(ConnectionError):  # it goes on asking
                    while server.server_state.connections:
                        await loop.sock_sendall(deaf, request.encode())
                        await asyncio.sleep(0.02)

    asyncio.run(scenario())


def test_a_client_that_hangs_up_takes_its_sentences_along(vocabulary: Vocabulary) -> None:
    async def scenario() -> dict[str, float]:
        gated = Gated(vocabulary)
        async with serving(gated.loader) as (server, port, _), client(port) as http:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(head(len(BODY)) + BODY)
            await until(lambda: gated.submitted)
            writer.transport.abort()
            await until(lambda: gated.loader.engine.cancelled)
            await until(lambda: not server._state.admission.under_way)
            gated.gate.set()
            again = await http.post("/translate", json=GOOD)
            assert again.status_code == 200
            return samples((await http.get("/metrics")).text)

    counted = asyncio.run(scenario())
    assert counted['attend_requests_total{endpoint="translate",outcome="cancelled"}'] == 1
    assert counted['attend_requests_total{endpoint="translate",outcome="ok"}'] == 1
