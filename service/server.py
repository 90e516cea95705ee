"""uvicorn with two additions: it finishes what it accepted before it stops, and waits for no client for ever."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import logging
import signal
import socket
import sys
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.api.admin import create_admin
from service.api.boundary import ARRIVED
from service.settings import Settings
from service.state import ServiceState

_log = logging.getLogger("attend")

_LAST_REPLIES_SECONDS = 2.0
"""After the time for requests under way is over: to tell those that are left."""
LOOPBACK = "127.0.0.1"
BOTH = "::"
"""The address that is every one of IPv4 and of IPv6."""
UNIX = "unix:"
"""What an address begins with that is the path of a Unix socket."""
_MOST_HEAD_BYTES = 16_384
"""Of a request line and headers that do not end, beside what came first; the parser has no limit of its own."""


class Server(uvicorn.Server):
    """Runs the app until a signal comes.

    The first SIGTERM or SIGINT ends admission: not ready, new requests are refused while the listener stays open,
    those under way go on, for a limited time; then the exit status is 0. The second ends the process at once. (uvicorn
    by itself closes the listener first, and raises the signal again at the end.)
    """

    def __init__(self, app: ASGIApp, state: ServiceState, settings: Settings) -> None:
        super().__init__(_config(app, settings))
        self._state = state
        self._private = None if settings.private_port is None else (settings.private_host, settings.private_port)
        self._shutdown_seconds = settings.shutdown_timeout_ms / 1000
        self._stopping = False
        self._stop_by = 0.0
        self._aborted = False
        self._reload_wanted = False
        self._reloading: asyncio.Task[None] | None = None
        self._admin = AdminServer(state, settings.admin_port) if settings.admin_port else None

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Note SIGHUP too: the models of the directory are looked at again."""

        def note(number: int, frame: FrameType | None) -> None:
            self._reload_wanted = True

        before = signal.signal(signal.SIGHUP, note)
        try:
            with super().capture_signals():
                yield
        finally:
            signal.signal(signal.SIGHUP, before)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Note the first signal; let the second do what signals do."""
        if self._stopping:
            signal.signal(sig, signal.SIG_DFL)
            signal.raise_signal(sig)
        # Only noted: it may have come while a lock is held that stopping needs.
        self._stopping = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen on the port, and on the private one if there is one; uvicorn by itself takes `::` for IPv6 alone."""
        if sockets is None and self.config.host == BOTH:
            sockets = [await self._listen_on_both()]
        if sockets is None and self._private is not None:
            sockets = [self.config.bind_socket()]
        if sockets is not None and self._private is not None:
            sockets.append(await self._listen(*self._private))
            self._state.guard.private_ports.add(sockets[-1].getsockname()[1])
        await super().startup(sockets)
        if self._admin is not None:
            await self._admin.start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, on both ports."""
        if self._admin is not None:
            await self._admin.stop()
        await super().shutdown(sockets)

    async def _reload(self) -> None:
        try:
            _log.info("looked at the bundles again: %s", await self._state.models.reload())
        except Exception as error:
            _log.error("the bundles could not be looked at again: %s", error)

    async def _listen_on_both(self) -> socket.socket:
        return await self._listen(BOTH, self.config.port)

    async def _listen(self, host: str, port: int) -> socket.socket:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            return socket.create_server(
                (host, port), family=family, dualstack_ipv6=host == BOTH, backlog=self.config.backlog
            )
        except OSError as error:
            _log.error("cannot listen on %s, port %d: %s", host, port, error)
            await self.lifespan.shutdown()
            sys.exit(1)

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: whether to stop now."""
        if self._stopping and not self.should_exit:
            self._drain(time.monotonic())
        if self._reload_wanted and self._state.is_started and (self._reloading is None or self._reloading.done()):
            self._reload_wanted = False
            self._reloading = asyncio.create_task(self._reload())
        return await super().on_tick(counter)

    def _drain(self, now: float) -> None:
        admission = self._state.admission
        if not admission.is_closed:
            _log.info("stopping: no new requests, %d are under way", admission.under_way)
            self._state.drain()
            self._stop_by = now + self._shutdown_seconds
        if admission.under_way and now >= self._stop_by and not self._aborted:
            _log.warning("stopping: %d requests could not be finished in time", admission.under_way)
            self._state.abort()
            self._aborted = True
        self.should_exit = not admission.under_way or now >= self._stop_by + _LAST_REPLIES_SECONDS


class AdminServer(uvicorn.Server):
    """The port for operators, on this machine's own address."""

    def __init__(self, state: ServiceState, port: int) -> None:
        super().__init__(
            uvicorn.Config(
                create_admin(state),
                host=LOOPBACK,
                port=port,
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                timeout_graceful_shutdown=int(_LAST_REPLIES_SECONDS),
            )
        )
        self._running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen."""
        self._running = asyncio.create_task(self._serve())
        while not self.started and not self._running.done():
            await asyncio.sleep(0.01)
        if self._running.done():
            await self._running

    async def stop(self) -> None:
        """Listen no more."""
        self.should_exit = True
        if self._running is not None:
            await self._running


def _config(app: ASGIApp, settings: Settings) -> uvicorn.Config:
    connection = functools.partial(
        Connection,
        header_seconds=settings.header_timeout_ms / 1000,
        write_seconds=settings.write_timeout_ms / 1000,
        idle_seconds=settings.keep_alive_ms / 1000,
    )
    is_path = settings.host.startswith(UNIX)
    return uvicorn.Config(
        app,
        host="" if is_path else settings.host,
        port=settings.port,
        uds=settings.host.removeprefix(UNIX) if is_path else None,
        http=cast(type[asyncio.Protocol], connection),
        ws="none",
        lifespan="on",
        log_config=None,
        log_level=settings.log_level,
        access_log=False,
        # Read by ourselves, for what they say of the address: see service/api/origin.py.
        proxy_headers=False,
        # Connections that are still open when all is answered: they have clients that do not read.
        timeout_graceful_shutdown=int(_LAST_REPLIES_SECONDS),
    )


_NEVER_SECONDS = 10**9


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
        self._in_head = False
        self._head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The first request is expected."""
        super().connection_made(transport)
        self._expect_request()

    def data_received(self, data: bytes) -> None:
        """No matter how often something comes: until the headers are complete, time runs."""
        arrived = time.monotonic()
        began_before = self._in_head
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            # Its task has not run yet: under load much lies between the two.
            cast(dict[str, Any], self.cycle.scope).setdefault(ARRIVED, arrived)
            _cancel(self._header_timer)
        if began_before and self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > _MOST_HEAD_BYTES and not self.transport.is_closing():
                self.send_400_response(f"request line and headers must not be longer than {_MOST_HEAD_BYTES} bytes")

    def on_message_begin(self) -> None:
        """The parser sees the first byte of a request: from now on its headers have their time."""
        self._in_head, self._head_bytes = True, 0
        self._expect_headers()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """A body follows, or the next request."""
        self._in_head = False
        super().on_headers_complete()

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
        if self.cycle is not None and not self.cycle.response_complete and not self.cycle.more_body:
            self.cycle.keep_alive = False
            self.flow.pause_reading()
            return
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            body = json.dumps({"error": msg}).encode()
            lines = ("HTTP/1.1 400 Bad Request", "content-type: application/json", f"content-length: {len(body)}",
                     "connection: close", "", "")  # fmt: skip
            self.transport.write("\r\n".join(lines).encode() + body)
        self.transport.close()

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
