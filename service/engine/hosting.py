"""Processes that the engines of several bundles share, as their pools see them: each engine is a `Link` of its own.

A further bundle costs its weights and no process. `service.engine.host` is the other end.
"""

from __future__ import annotations

import asyncio
import collections
import logging
from collections.abc import Callable
from typing import Any

from service.engine.hosted import Drop, Ended
from service.engine.link import Link, ProcessLink, Said, StartLink
from service.engine.types import EngineKind, Message, Setup

_log = logging.getLogger(__name__)


class HostLink(ProcessLink):
    """A `Link` to a process that holds engines."""

    program = "service.engine.host"


StartHost = Callable[[Setup, Callable[[Any], None], Callable[[str], None]], Any]
"""As `StartLink`, for a process that holds engines."""


class _Host:
    """One process."""

    def __init__(self, setup: Setup, start: StartHost) -> None:
        self.engines: dict[int, HostedLink] = {}
        self.has_ended = False
        self.ended = asyncio.Event()
        self._numbers = 0
        self.link = start(setup, self._hear, self._end)

    def add(self, link: HostedLink, setup: Setup) -> int:
        """Have an engine opened; returns its number."""
        self._numbers += 1
        self.engines[self._numbers] = link
        self.link.send((self._numbers, setup))
        return self._numbers

    def _hear(self, said: Any) -> None:
        if isinstance(said, logging.LogRecord):
            logging.getLogger(said.name).handle(said)
            return
        number, what = said
        engine = self.engines.get(number)
        if engine is None:
            return
        if isinstance(what, Ended):
            del self.engines[number]
            engine.end(what.how)
        else:
            engine.hear(what)

    def _end(self, how: str) -> None:
        self.has_ended = True
        self.ended.set()
        engines, self.engines = self.engines, {}
        for engine in engines.values():
            engine.end(how)


class HostedLink:
    """A `Link` to one of the engines of a process."""

    def __init__(
        self, host: _Host, setup: Setup, on_said: Callable[[Said], None], on_end: Callable[[str], None]
    ) -> None:
        self.host = host
        self._on_said, self._on_end = on_said, on_end
        self._has_ended = False
        self._patience = setup.config.hang_seconds / 2
        self._number = host.add(self, setup)

    @property
    def pid(self) -> int:
        """The process id, which it shares."""
        pid: int = self.host.link.pid
        return pid

    def send(self, message: Message) -> None:
        """See `Link.send`."""
        if not self._has_ended:
            self.host.link.send((self._number, message))

    def kill(self) -> None:
        """See `Link.kill`. If the process does not say soon that the engine is gone, it is killed with all it holds."""
        if self._has_ended:
            return
        self.host.link.send((self._number, Drop()))
        asyncio.get_running_loop().call_later(self._patience, self._kill_process)

    def _kill_process(self) -> None:
        if not self._has_ended and not self.host.has_ended:
            _log.error("a process that does not let an engine go is killed")
            self.host.link.kill()

    def cpu_seconds(self) -> float | None:
        """See `Link.cpu_seconds`: of all engines of the process."""
        seconds: float | None = self.host.link.cpu_seconds()
        return seconds

    def hear(self, said: Said) -> None:
        """The engine says something."""
        self._on_said(said)

    def end(self, how: str) -> None:
        """The engine is gone."""
        if not self._has_ended:
            self._has_ended = True
            self._on_end(how)


class Hosts:
    """The processes. Only the event loop calls it."""

    def __init__(self, decoding: int, start: StartHost = HostLink) -> None:
        """`decoding`: processes for engines that translate; those that score share one."""
        self._start = start
        self._hosts: dict[EngineKind, list[_Host | None]] = {
            EngineKind.DECODE: [None] * decoding,
            EngineKind.SCORE: [None],
        }

    def links(self) -> StartLink:
        """What starts the engines of one bundle, each in another process as far as there are so many."""
        own: dict[EngineKind, list[HostedLink]] = collections.defaultdict(list)

        def start(setup: Setup, on_said: Callable[[Said], None], on_end: Callable[[str], None]) -> Link:
            places = self._hosts[setup.kind]
            own[setup.kind] = [link for link in own[setup.kind] if not link._has_ended]
            taken = [link.host for link in own[setup.kind]]
            place = min(range(len(places)), key=lambda index: taken.count(places[index]))  # type: ignore[arg-type]
            link = HostedLink(self._host(setup, place), setup, on_said, on_end)
            own[setup.kind].append(link)
            return link

        return start

    def _host(self, setup: Setup, place: int) -> _Host:
        host = self._hosts[setup.kind][place]
        if host is None or host.has_ended:
            host = self._hosts[setup.kind][place] = _Host(setup, self._start)
        return host

    def pids(self) -> list[int]:
        """Of the processes."""
        return [host.link.pid for hosts in self._hosts.values() for host in hosts if host and not host.has_ended]

    async def close(self) -> None:
        """End the processes; what their engines still had to do is lost."""
        running = [host for hosts in self._hosts.values() for host in hosts if host and not host.has_ended]
        for host in running:
            host.link.kill()
        for host in running:
            await host.ended.wait()
