"""An engine's process, as its pool sees it: start it, write to it without ever blocking, kill it.

`service.engine.loop` is the other end.
"""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, cast

from service.engine.output import Output
from service.engine.types import Message, Ready, Setup, Update

_log = logging.getLogger(__name__)

_ROOT = Path(__file__).parents[2]
_END_SECONDS = 5.0
"""Time after which a process is no longer waited for that was killed or closed its socket."""
_HEADER = struct.Struct("!i")
_LONG_HEADER = struct.Struct("!Q")

Said = Ready | Update | Exception | logging.LogRecord


class Link(Protocol):
    """What a pool needs of an engine's process."""

    @property
    def pid(self) -> int:
        """The process id."""

    def send(self, message: Message) -> None:
        """Tell the engine; returns at once. Nothing happens if it has ended."""

    def kill(self) -> None:
        """End it at once, whatever it does; `on_end` is called when it has."""

    def cpu_seconds(self) -> float | None:
        """Processor time used so far; None where nobody knows."""


StartLink = Callable[[Setup, Callable[[Said], None], Callable[[str], None]], Link]
"""Starts an engine: calls the second argument with all it says, in order, and at last the third with how it ended."""


class ProcessLink(asyncio.Protocol):
    """A `Link` to an engine in a process of its own. Only the event loop calls it."""

    program = "service.engine.loop"
    """The module that is run there."""

    def __init__(self, setup: Setup, on_said: Callable[[Said], None], on_end: Callable[[str], None]) -> None:
        """Start the process; it loads while this goes on.

        Raises:
            OSError: the system starts no further process.
        """
        self._on_said, self._on_end = on_said, on_end
        self._received = bytearray()
        self._unsent: list[bytes] | None = [_framed(setup)]
        ours, theirs = socket.socketpair()
        self._output = Output()
        with theirs:
            path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
            try:
                self._process: subprocess.Popen[bytes] = subprocess.Popen(
                    [sys.executable, "-m", self.program],
                    stdin=theirs.fileno(),
                    stdout=self._output.writing,
                    stderr=self._output.writing,
                    env={**os.environ, "PYTHONPATH": path},
                )
            except BaseException:
                ours.close()
                self._output.discard()
                raise
        self._output.started(self.pid)
        loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._connecting = loop.create_task(loop.create_unix_connection(lambda: self, sock=ours))

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send what was to be sent before."""
        self._transport = cast(asyncio.Transport, transport)
        for data in self._unsent or ():
            self._transport.write(data)
        self._unsent = None

    def send(self, message: Message) -> None:
        """See `Link.send`. What the socket does not take at once the transport keeps."""
        data = _framed(message)
        if self._unsent is not None:
            self._unsent.append(data)
        elif self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def data_received(self, data: bytes) -> None:
        """Say on every message that is complete."""
        received = self._received
        received += data
        begin = 0
        while (frame := _frame(received, begin)) is not None:
            message = pickle.loads(memoryview(received)[frame])  # between processes of ours  # nosec B301
            begin = frame.stop
            self._on_said(message)
        if begin:
            del received[:begin]

    def connection_lost(self, exc: Exception | None) -> None:
        """The process has ended, or is about to."""
        asyncio.get_running_loop().create_task(self._wait())

    async def _wait(self) -> None:
        status: int | None = None
        for pause in (0.0, 0.01, 0.05, 0.2, 0.5):
            await asyncio.sleep(pause)
            if (status := self._process.poll()) is not None:
                break
        else:
            self._process.kill()
            try:
                status = await asyncio.to_thread(self._process.wait, _END_SECONDS)
            except subprocess.TimeoutExpired:
                _log.error("process %d cannot be killed", self.pid)
        await self._output.end()
        self._on_end(_end_of(status))

    def kill(self) -> None:
        """See `Link.kill`."""
        self._process.kill()

    def cpu_seconds(self) -> float | None:
        """See `Link.cpu_seconds`."""
        try:
            # The name, in brackets, may hold anything; after it the fields from the third on are counted by spaces.
            stat = Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8", errors="replace")
            fields = stat.rpartition(")")[2].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        except (OSError, ValueError, IndexError):
            return None


def _framed(message: object) -> bytes:
    """A message as `multiprocessing.connection.Connection` reads it."""
    data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    if len(data) > 0x7FFFFFFF:
        return _HEADER.pack(-1) + _LONG_HEADER.pack(len(data)) + data
    return _HEADER.pack(len(data)) + data


def _frame(received: bytearray, begin: int) -> slice | None:
    """Where the message that begins at `begin` is, if it is complete."""
    start = begin + _HEADER.size
    if len(received) < start:
        return None
    (size,) = _HEADER.unpack_from(received, begin)
    if size == -1:
        if len(received) < start + _LONG_HEADER.size:
            return None
        (size,) = _LONG_HEADER.unpack_from(received, start)
        start += _LONG_HEADER.size
    return slice(start, start + size) if len(received) >= start + size else None


def _end_of(status: int | None) -> str:
    if status is None:
        return "nobody knows how"
    return f"exit status {status}" if status >= 0 else signal.Signals(-status).name
