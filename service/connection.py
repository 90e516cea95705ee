"""A connection: uvicorn's, which refuses what may be read in two ways, and waits for no client for ever.

The parser below it (llhttp) refuses most of what one server takes for the end of a request and another does not:
Content-Length beside Transfer-Encoding, two lengths, folded lines, lines that end without CR, spaces before a colon,
sizes of chunks that are none. What it lets through is refused here, in callbacks that uvicorn gives its parser.
"""

from __future__ import annotations

import asyncio
import functools
import json
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, NoReturn, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.api.boundary import ARRIVED, REFUSED
from service.api.security import SECURITY_HEADERS
from service.settings import Settings

_NEVER_SECONDS = 10**9
MOST_HEAD_BYTES = 65_536
"""Of the request line and headers together, of trailers together, and of anything else that is not a body."""
MOST_HEADERS = 128
_LINGER_SECONDS = 2.0
"""For which a connection that was answered and ended takes what its client still sends."""
_VERSIONS = ("1.0", "1.1")


_TOO_LONG = (
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    f"request line and headers must not be longer than {MOST_HEAD_BYTES} bytes",
)


class RefusedError(Exception):
    """Stops the parser."""


def connection_factory(settings: Settings) -> Callable[..., Connection]:
    """What makes a connection with the time limits of the settings."""
    return functools.partial(
        Connection,
        header_seconds=settings.header_timeout_ms / 1000,
        write_seconds=settings.write_timeout_ms / 1000,
        idle_seconds=settings.keep_alive_ms / 1000,
    )


class Connection(HttpToolsProtocol):
    """uvicorn's connection, closed when a client takes too long with its headers or with the answer, or asks nothing
    for a while.

    Bodies have their time limit where they are read.
    """

    def __init__(
        self, *arguments: Any, header_seconds: float, write_seconds: float, idle_seconds: float, **named: Any
    ) -> None:
        super().__init__(*arguments, **named)
        # There are timers of our own for what uvicorn's would be for.
        self.timeout_keep_alive = _NEVER_SECONDS
        self._idle_seconds = idle_seconds
        self._header_seconds = header_seconds
        self._write_seconds = write_seconds
        self._header_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._in_head = self._is_lingering = False
        self._field_bytes = self._fields = 0
        self._unfinished_bytes = 0
        """Since the parser last saw the end of anything: it keeps them."""
        self._refusal: tuple[HTTPStatus, str] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The first request is expected."""
        super().connection_made(transport)
        self._expect_request()

    def data_received(self, data: bytes) -> None:
        """No matter how often something comes: until the headers are complete, time runs."""
        if self._is_lingering:
            return
        arrived = time.monotonic()
        self._unfinished_bytes += len(data)
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            # Its task has not run yet: under load much lies between the two.
            cast(dict[str, Any], self.cycle.scope).setdefault(ARRIVED, arrived)
            _cancel(self._header_timer)
        if self._unfinished_bytes > MOST_HEAD_BYTES and not (self.transport.is_closing() or self._is_lingering):
            self._refusal = _TOO_LONG
            self.send_400_response("")

    def on_message_begin(self) -> None:
        """The parser sees the first byte of a request: from now on its headers have their time."""
        self._in_head = True
        self._field_bytes = self._fields = 0
        self._expect_headers()
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """A part of it."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; those behind a body are left out: what nobody before us saw must not say who asks."""
        self._fields += 1
        self._count(len(name) + len(value) + 4)
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """A body follows, or the next request."""
        self._check_head()
        self._in_head = False
        super().on_headers_complete()
        if self.parser.should_upgrade():
            # It is answered as if it had not asked; what follows may be meant in the other protocol.
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """A part of it."""
        self._unfinished_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._unfinished_bytes = 0
        super().on_message_complete()

    def _check_head(self) -> None:
        version = self.parser.get_http_version()
        # RTSP and ICE have such versions too, and the parser does not tell; their methods are nobody's here.
        if version not in _VERSIONS:
            self._refuse(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "this server speaks HTTP/1.1")
        codings = [value for name, value in self.headers if name == b"transfer-encoding"]
        if codings and version == "1.0":
            self._refuse(HTTPStatus.BAD_REQUEST, "HTTP/1.0 knows no Transfer-Encoding")
        if codings and codings[0].lower() != b"chunked":
            self._refuse(HTTPStatus.NOT_IMPLEMENTED, "the only Transfer-Encoding here is chunked")
        hosts = sum(name == b"host" for name, _ in self.headers)
        if hosts > 1 or (not hosts and version == "1.1"):
            self._refuse(HTTPStatus.BAD_REQUEST, "a request has one Host header")

    def _count(self, size: int) -> None:
        self._unfinished_bytes = 0
        self._field_bytes += size
        if self._field_bytes > MOST_HEAD_BYTES:
            self._refuse(*_TOO_LONG)
        if self._fields > MOST_HEADERS:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"a request has at most {MOST_HEADERS} headers")

    def _refuse(self, status: HTTPStatus, message: str) -> NoReturn:
        self._refusal = (status, message)
        raise RefusedError

    def on_response_complete(self) -> None:
        """The answer should be taken, and the next request may come."""
        super().on_response_complete()
        _cancel(self._header_timer)
        if self.transport.get_write_buffer_size() and not self.flow.write_paused:
            self._expect_reading()
        if self._in_head:
            self._expect_headers()
        elif self.cycle.response_complete:  # not if the next request was there already
            self._expect_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing to wait for."""
        _cancel(self._header_timer)
        _cancel(self._write_timer)
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP is answered in the shape of every other error, unless an answer has been begun already.

        After a whole request it spoils no answer: that is still given, and then the connection ends.
        """
        status, message = self._refusal or (HTTPStatus.BAD_REQUEST, msg)
        if self.cycle is not None and not self.cycle.response_complete and self._must_wait(message):
            self.cycle.keep_alive = False
            self.flow.pause_reading()
            return
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            self.transport.write(_answer(status, message))
        self._linger()

    def _linger(self) -> None:
        """Close it so that the client can read why: a close with bytes unread, or still to come, would undo that."""
        if not self.transport.can_write_eof():  # TLS says itself that it was the end
            self.transport.close()
            return
        self.transport.write_eof()
        self._is_lingering = True
        self._expect(_LINGER_SECONDS)

    def _must_wait(self, message: str) -> bool:
        """Whether other answers have to be given first."""
        if not self.cycle.more_body:
            return True
        if all(cycle is not self.cycle for cycle, _ in self.pipeline):
            return False
        # Half of it came, behind others that are under way: when its turn comes, it is told so by the app.
        cast(dict[str, Any], self.cycle.scope)[REFUSED] = message
        self.cycle.more_body = False
        return True

    def _expect_request(self) -> None:
        self._expect(self._idle_seconds)

    def _expect_headers(self) -> None:
        self._expect(self._header_seconds)

    def _expect(self, seconds: float) -> None:
        _cancel(self._header_timer)
        self._header_timer = self.loop.call_later(seconds, self.transport.abort)

    def pause_writing(self) -> None:
        """The client does not take what there is; whatever it sends meanwhile, time runs until it does."""
        super().pause_writing()
        self._expect_reading()

    def resume_writing(self) -> None:
        """The client has taken most of it."""
        _cancel(self._write_timer)
        super().resume_writing()

    def _expect_reading(self) -> None:
        _cancel(self._write_timer)
        self._write_timer = self.loop.call_later(self._write_seconds, self._give_up_writing)

    def _give_up_writing(self) -> None:
        if self.transport.get_write_buffer_size():
            self.transport.abort()


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()


def _answer(status: HTTPStatus, message: str) -> bytes:
    body = json.dumps({"error": message}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
        *SECURITY_HEADERS,
    ]
    lines = [f"HTTP/1.1 {status.value} {status.phrase}".encode(), *(name + b": " + value for name, value in headers)]
    return b"\r\n".join([*lines, b"", body])
