"""uvicorn, which finishes what it accepted before it stops; its connections are those of `service.connection`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import sys
import time
from collections.abc import Iterator
from types import FrameType
from typing import cast

import uvicorn
from starlette.types import ASGIApp

from service.api.admin import create_admin
from service.api.security import SECURITY_HEADERS
from service.connection import connection_factory
from service.settings import Settings
from service.state import ServiceState
from service.tls import Certificate

_log = logging.getLogger("attend")

_LAST_REPLIES_SECONDS = 2.0
"""After the time for requests under way is over: to tell those that are left."""
_TICKS_PER_SECOND = 10
LOOPBACK = "127.0.0.1"
BOTH = "::"
"""The address that is every one of IPv4 and of IPv6."""
UNIX = "unix:"
"""What an address begins with that is the path of a Unix socket."""


class Server(uvicorn.Server):
    """Runs the app until a signal comes.

    The first SIGTERM or SIGINT ends admission: not ready, new requests are refused while the listener stays open,
    those under way go on, for a limited time; then the exit status is 0. The second ends the process at once. (uvicorn
    by itself closes the listener first, and raises the signal again at the end.)
    """

    def __init__(self, app: ASGIApp, state: ServiceState, settings: Settings) -> None:
        """Raises `SettingsError` if there are files for TLS that cannot be used."""
        self._certificate = (
            Certificate(settings.tls_certificate, settings.tls_key) if settings.tls_certificate is not None else None
        )
        super().__init__(_config(app, settings, self._certificate))
        self._state = state
        self._private = None if settings.private_port is None else (settings.private_host, settings.private_port)
        self._shutdown_seconds = settings.shutdown_timeout_ms / 1000
        self._stopping = False
        self._stop_by = 0.0
        self._aborted = False
        self._reload_wanted = False
        self._reloading: asyncio.Task[None] | None = None
        self._admin = AdminServer(state, settings) if settings.admin_port else None

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
        if self._certificate is not None and counter % _TICKS_PER_SECOND == 0:
            self._certificate.renew()
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

    def __init__(self, state: ServiceState, settings: Settings) -> None:
        super().__init__(
            uvicorn.Config(
                create_admin(state),
                host=LOOPBACK,
                port=settings.admin_port,
                http=cast(type[asyncio.Protocol], connection_factory(settings)),
                ws="none",
                headers=[(name.decode(), value.decode()) for name, value in SECURITY_HEADERS],
                server_header=False,
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


def _config(app: ASGIApp, settings: Settings, certificate: Certificate | None) -> uvicorn.Config:
    is_path = settings.host.startswith(UNIX)
    return uvicorn.Config(
        app,
        host="" if is_path else settings.host,
        port=settings.port,
        uds=settings.host.removeprefix(UNIX) if is_path else None,
        http=cast(type[asyncio.Protocol], connection_factory(settings)),
        ws="none",
        ssl_context_factory=None if certificate is None else lambda config, default: certificate.context,
        server_header=False,
        lifespan="on",
        log_config=None,
        log_level=settings.log_level,
        access_log=False,
        # Read by ourselves, for what they say of the address: see service/api/origin.py.
        proxy_headers=False,
        # Connections that are still open when all is answered: they have clients that do not read.
        timeout_graceful_shutdown=int(_LAST_REPLIES_SECONDS),
    )
