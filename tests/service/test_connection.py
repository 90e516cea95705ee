"""Requests written by hand on real sockets: what is no HTTP, or may be read in two ways, is refused, and ends the
connection, however its bytes are cut into pieces."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import socket
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.vocabulary import Vocabulary
from service.connection import MOST_HEAD_BYTES, MOST_HEADERS
from service.settings import Settings
from tests.service.fakes import FakeLoader, make_app
from tests.service.listening import WAIT, converse, listening, until
from tests.service.test_server import Gated

CASES = int(os.environ.get("FUZZ_CASES", "600"))
BODY = json.dumps({"q": "好！", "source": "zh", "target": "en"}).encode()
LAST = b"GET /health/live HTTP/1.1\r\nHost: attend\r\nConnection: close\r\n\r\n"
"""After everything: whether it is answered tells whether a server reads on."""


def request(*headers: bytes, first: bytes = b"POST /translate HTTP/1.1", body: bytes = b"") -> bytes:
    return b"\r\n".join([first, b"Host: attend", *headers, b"", body])


def chunked(*lines: bytes) -> bytes:
    return request(b"Transfer-Encoding: chunked", body=b"\r\n".join(lines))


LENGTH = b"Content-Length: %d" % len(BODY)
WHOLE = request(LENGTH, body=BODY)
IN_CHUNKS = chunked(b"%x" % 7, BODY[:7], b"%X;name=value" % (len(BODY) - 7), BODY[7:], b"0", b"", b"")

AMBIGUOUS = {
    "length and chunks": request(LENGTH, b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
    "chunks and length": request(b"Transfer-Encoding: chunked", LENGTH, body=b"0\r\n\r\n"),
    "two lengths": request(LENGTH, b"Content-Length: 1", body=BODY),
    "the same length twice": request(LENGTH, LENGTH, body=BODY),
    "lengths in a list": request(b"Content-Length: 5, 5", body=BODY),
    "length with a sign": request(b"Content-Length: +5", body=BODY),
    "negative length": request(b"Content-Length: -5", body=BODY),
    "hexadecimal length": request(b"Content-Length: 0x5", body=BODY),
    "no length": request(b"Content-Length:", body=BODY),
    "length in two parts": request(b"Content-Length: 1 2", body=BODY),
    "length beyond 64 bits": request(b"Content-Length: 18446744073709551617", body=BODY),
    "space before a colon": request(b"Content-Length : 5", body=BODY),
    "tab before a colon": request(b"Content-Length\t: 5", body=BODY),
    "space before a name": request(b" " + LENGTH, body=BODY),
    "folded header": request(b"X-Folded: a", b" b", LENGTH, body=BODY),
    "folded coding": request(b"Transfer-Encoding:", b" chunked", body=b"0\r\n\r\n"),
    "lines that end without CR": LAST.replace(b"\r\n", b"\n"),
    "one line that ends without CR": request(b"X-One: a\nX-Two: b", LENGTH, body=BODY),
    "headers that end without CR": LAST[:-2] + b"\n",
    "CR alone": request(b"X-One: a\rX-Two: b", LENGTH, body=BODY),
    "NUL in a value": request(b"X-One: \0", LENGTH, body=BODY),
    "control character in a name": request(b"X\x01: a", LENGTH, body=BODY),
    "no name": request(b": a", LENGTH, body=BODY),
    "no colon": request(b"Content-Length 5", body=BODY),
    "coding after a tabulator": request(b"Transfer-Encoding: \x0bchunked", body=b"0\r\n\r\n"),
    "chunked not last": request(b"Transfer-Encoding: chunked, identity", body=b"0\r\n\r\n"),
    "chunked twice": request(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
    "chunks in HTTP/1.0": request(b"Transfer-Encoding: chunked", first=b"POST /translate HTTP/1.0", body=b"0\r\n\r\n"),
    "negative chunk": chunked(b"-1", b"", b""),
    "chunk with 0x": chunked(b"0x1", b"x", b"0", b"", b""),
    "chunk size with a space": chunked(b"1 ", b"x", b"0", b"", b""),
    "chunk size without CR": chunked(b"1\nx", b"0", b"", b""),
    "chunk that is longer than it says": chunked(b"1", b"xy", b"0", b"", b""),
    "chunk without CR": chunked(b"1", b"x\n0", b"", b""),
    "extension without CR": chunked(b"1;a\nx", b"0", b"", b""),
    "chunk beyond 64 bits": chunked(b"1" + b"0" * 16, b"x", b"0", b"", b""),
    "no host": b"GET /health HTTP/1.1\r\n\r\n",
    "two hosts": request(b"Host: another", first=b"GET /health HTTP/1.1"),
    "no target": request(first=b"GET HTTP/1.1"),
    "tab in the first line": request(first=b"GET\t/health HTTP/1.1"),
    "letters beyond ASCII": request(first="GET /é HTTP/1.1".encode()),
    "tunnel": request(first=b"CONNECT attend:80 HTTP/1.1"),
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)),
}
OTHERS = {
    "coding of another name": (request(b"Transfer-Encoding: xchunked", body=b"0\r\n\r\n"), 501),
    "coding in quotes": (request(b'Transfer-Encoding: "chunked"', body=b"0\r\n\r\n"), 501),
    "another coding": (request(b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"), 501),
    "HTTP/0.9": (b"GET /health\r\n\r\n", 505),
    "HTTP/2.0": (request(first=b"GET /health HTTP/2.0"), 505),
    "a long line": (request(b"X: " + b"y" * MOST_HEAD_BYTES, first=b"GET /health HTTP/1.1"), 431),
    "a long target": (request(first=b"GET /" + b"y" * MOST_HEAD_BYTES + b" HTTP/1.1"), 431),
    "many long lines": (request(*[b"X: " + b"y" * 8000] * 9, first=b"GET /health HTTP/1.1"), 431),
    "many headers": (request(*[b"X: y"] * MOST_HEADERS, first=b"GET /health HTTP/1.1"), 431),
}
REFUSED = {name: (sent, 400) for name, sent in AMBIGUOUS.items()} | OTHERS


def statuses(received: bytes) -> list[int]:
    return [int(found) for found in re.findall(rb"HTTP/1\.1 (\d+) ", received)]


def serve(loader: FakeLoader, scenario: Callable[[int], Coroutine[Any, Any, None]], **changes: Any) -> None:
    async def whole() -> None:
        app = make_app(loader, port=0, **changes)
        async with listening(app, Settings(port=0, **changes)) as (server, port, _):
            await scenario(port)
            await until(lambda: not server.server_state.connections)

    asyncio.run(whole())


Serve = Callable[[Callable[[int], Coroutine[Any, Any, None]]], None]


@pytest.fixture(scope="module")
def impatient(vocabulary: Vocabulary) -> Iterator[Serve]:
    """`serve`, of a service that lives through all examples and waits for nobody."""
    times = dict.fromkeys(("body_timeout_ms", "header_timeout_ms", "keep_alive_ms"), 100)
    app = make_app(FakeLoader(vocabulary), port=0, **times)
    with asyncio.Runner() as runner:
        running = listening(app, Settings(port=0, **times))
        _, port, _ = runner.run(running.__aenter__())
        yield lambda scenario: runner.run(scenario(port))
        runner.run(running.__aexit__(None, None, None))


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[begin : begin + size] for begin in range(0, len(data), size)]


@pytest.mark.parametrize("size", [1_000_000, 7, 1], ids=["at once", "by seven", "byte by byte"])
def test_what_is_ambiguous_is_refused_and_nothing_behind_it_is_read(loader: FakeLoader, size: int) -> None:
    async def scenario(port: int) -> None:
        for name, (sent, status) in REFUSED.items():
            if size < 1000 < len(sent):
                continue  # hundred thousand pieces tell no more
            received = await apart(port, pieces(sent + LAST, size))
            assert statuses(received) == [status], (name, received)
            head, _, body = received.partition(b"\r\n\r\n")
            assert b"connection: close" in head.lower(), name
            assert list(json.loads(body)) == ["error"], name

    serve(loader, scenario)


async def apart(port: int, chunks: Sequence[bytes]) -> bytes:
    """Each piece in a packet of its own, as long as the server listens; returns all that came back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    received = asyncio.create_task(asyncio.wait_for(reader.read(), WAIT))
    try:
        for chunk in chunks:
            writer.write(chunk)
            await asyncio.sleep(0)
            if received.done():
                break
        return await received
    finally:
        writer.close()


def test_the_same_behind_a_good_request_spoils_no_answer(vocabulary: Vocabulary) -> None:
    """The answers come in order: the good one first, whatever is found meanwhile."""

    async def scenario() -> None:
        gated = Gated(vocabulary)
        async with listening(make_app(gated.loader, port=0), Settings(port=0)) as (_, port, _):
            for asked, (name, sent) in enumerate(AMBIGUOUS.items(), 1):
                gated.gate.clear()
                asking = asyncio.create_task(converse(port, WHOLE + sent + LAST))
                await until(lambda asked=asked: gated.submitted >= asked)
                gated.gate.set()
                assert statuses(await asking) in ([200], [200, 400]), name

    asyncio.run(scenario())


@settings(max_examples=40, deadline=None)
@given(
    order=st.permutations([WHOLE, IN_CHUNKS, request(first=b"GET /health HTTP/1.1")]),
    cuts=st.lists(st.integers(0, 400), max_size=6),
)
def test_good_requests_are_answered_in_order_however_they_are_cut(
    impatient: Serve, order: list[bytes], cuts: list[int]
) -> None:
    sent = b"".join(order) + LAST
    edges = sorted({0, *(cut for cut in cuts if cut < len(sent)), len(sent)})
    chunks = [sent[begin:end] for begin, end in itertools.pairwise(edges)]

    async def scenario(port: int) -> None:
        received = await apart(port, chunks)
        assert statuses(received) == [200] * 4
        assert received.count('"translatedText":"好!"'.encode()) == 2

    impatient(scenario)


@settings(max_examples=CASES // 10, deadline=None)
@given(data=st.data())
def test_damaged_requests_leave_the_service_as_it_was(impatient: Serve, data: st.DataObject) -> None:
    """Bytes changed, taken out or put in: whatever comes back is HTTP, and others are answered."""
    whole = b"".join(data.draw(st.lists(st.sampled_from([WHOLE, IN_CHUNKS, *AMBIGUOUS.values()]), max_size=3)))
    damaged = bytearray(whole + data.draw(st.binary(max_size=30)))
    for place in data.draw(st.lists(st.integers(0, max(0, len(damaged) - 1)), max_size=4)):
        damaged[place : place + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))

    async def scenario(port: int) -> None:
        received = await apart(port, [bytes(damaged)])
        assert received == b"" or received.startswith(b"HTTP/1.1 ")
        assert set(statuses(received)) <= {200, 400, 404, 405, 413, 415, 422, 501, 505}, received
        assert statuses(await converse(port, LAST)) == [200]

    impatient(scenario)


def test_what_stands_behind_a_body_says_nothing_of_who_asks(loader: FakeLoader) -> None:
    """Proxies check headers; trailers they pass on unseen, or not at all."""
    trailers = b"X-Request-ID: mine\r\nOrigin: http://elsewhere\r\nContent-Type: text/plain\r\n"
    sent = IN_CHUNKS[:-2] + trailers + b"\r\n" + LAST

    async def scenario(port: int) -> None:
        received = await converse(port, sent)
        assert statuses(received) == [200, 200]
        assert b"mine" not in received

    serve(loader, scenario)


@pytest.mark.parametrize(
    "endless",
    [
        b"X: " + b"y" * 50_000,
        b"X: y\r\n" * 8_000,
        b"0" * 50_000,
        b"1;name=" + b"y" * 50_000,
    ],
    ids=["a trailer", "trailers", "zeros before a size", "an extension"],
)
def test_what_surrounds_a_body_has_a_limit_of_its_own(loader: FakeLoader, endless: bytes) -> None:
    start = IN_CHUNKS[:-2] if endless.startswith(b"X") else request(b"Transfer-Encoding: chunked")

    async def scenario(port: int) -> None:
        received = await apart(port, [start, *[endless] * 200])
        assert statuses(received) == [431]

    serve(loader, scenario)


def test_a_request_for_another_protocol_is_answered_and_ends_the_connection(loader: FakeLoader) -> None:
    """What follows it may be meant in that protocol, and is not read as requests."""
    asking = request(b"Connection: Upgrade", b"Upgrade: h2c", first=b"GET /health HTTP/1.1")

    async def scenario(port: int) -> None:
        for chunks in ([asking + LAST], [asking, LAST]):
            received = await converse(port, *chunks)
            assert statuses(received) == [200]
            assert b"connection: close" in received.lower()

    serve(loader, scenario)


def test_old_clients_need_no_host(loader: FakeLoader) -> None:
    async def scenario(port: int) -> None:
        assert statuses(await converse(port, b"GET /health HTTP/1.0\r\n\r\n")) == [200]

    serve(loader, scenario)


def test_every_answer_has_the_headers_that_keep_browsers_from_harm(loader: FakeLoader) -> None:
    """From whoever it comes: pages, their files, contracts, errors, and what is no HTTP."""
    paths = (
        b"/",
        b"/status",
        b"/docs",
        b"/web/js/main.js",
        b"/health",
        b"/languages",
        b"/metrics",
        b"/nowhere",
        b"/openapi.json",
    )
    requests = [
        *(request(b"Connection: close", first=b"GET %s HTTP/1.1" % path) for path in paths),
        request(LENGTH, b"Connection: close", body=BODY),
        request(b"Connection: close", b"Content-Length: 1", body=b"{"),
        request(b"Connection: close", first=b"OPTIONS /translate HTTP/1.1"),
        request(b"Connection: close", first=b"HEAD /health HTTP/1.1"),
        b"junk\r\n\r\n",
    ]  # fmt: skip

    async def scenario(port: int) -> None:
        for sent in requests:
            head, _, _ = (await converse(port, sent)).partition(b"\r\n\r\n")
            headers = [line.partition(b": ")[::2] for line in head.lower().split(b"\r\n")[1:]]
            of_name = dict(headers)
            names = [name for name, _ in headers if name != b"server-timing"]
            assert len(set(names)) == len(names), headers
            assert of_name[b"x-content-type-options"] == b"nosniff"
            assert of_name[b"referrer-policy"] == b"no-referrer"
            assert b"cache-control" in of_name
            assert b"default-src 'none'" in of_name[b"content-security-policy"]
            assert b"frame-ancestors 'none'" in of_name[b"content-security-policy"]
            assert b"unsafe-" not in of_name[b"content-security-policy"]
            assert b"server" not in of_name

    serve(loader, scenario)
