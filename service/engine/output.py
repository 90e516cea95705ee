"""What the processes of engines write by themselves: lines of native libraries, and the last words of one that dies.

They go through the service's log like everything else: two writers in one pipe would tear each other's lines.
"""

from __future__ import annotations

import asyncio
import logging
import os
from typing import cast

_log = logging.getLogger(__name__)

LONGEST = 8192
"""Bytes of a line; a longer one becomes several."""
_END_SECONDS = 1.0


class Output(asyncio.Protocol):
    """Standard output and standard error of a process, logged line by line."""

    def __init__(self) -> None:
        reading, self.writing = os.pipe()
        """`writing` is for the process; `started` closes it here."""
        self._reading = os.fdopen(reading, "rb", buffering=0)
        self._pid = 0
        self._received = bytearray()
        self._ended = asyncio.Event()
        self._transport: asyncio.ReadTransport | None = None
        self._connecting: asyncio.Task[object] | None = None

    def started(self, pid: int) -> None:
        """The process runs: read what it says."""
        os.close(self.writing)
        self._pid = pid
        loop = asyncio.get_running_loop()
        self._connecting = loop.create_task(loop.connect_read_pipe(lambda: self, self._reading))

    def discard(self) -> None:
        """There is no process."""
        os.close(self.writing)
        self._reading.close()

    async def end(self) -> None:
        """Wait for the last of it, but not for a process of its own that it may have left behind."""
        try:
            async with asyncio.timeout(_END_SECONDS):
                await self._ended.wait()
        except TimeoutError:
            if self._transport is not None:
                self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep it, to close it."""
        self._transport = cast(asyncio.ReadTransport, transport)

    def data_received(self, data: bytes) -> None:
        """Log every line that is complete, or too long."""
        *lines, rest = (self._received + data).split(b"\n")
        for line in lines:
            self._say(line)
        while len(rest) >= LONGEST:
            self._say(rest[:LONGEST])
            rest = rest[LONGEST:]
        self._received = bytearray(rest)

    def connection_lost(self, exc: Exception | None) -> None:
        """Log what had no end of line."""
        self._say(self._received)
        self._ended.set()

    def _say(self, line: bytes | bytearray) -> None:
        for begin in range(0, len(line), LONGEST):
            _log.warning("process %d: %s", self._pid, line[begin : begin + LONGEST].decode("utf-8", "replace").rstrip())
