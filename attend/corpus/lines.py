"""Lines of a file or a stream with their places, in bounded memory."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import BinaryIO, NamedTuple

from attend.corpus.files import open_unpacked, seek, unpacked_bytes

MOST_LINE_BYTES = 1 << 20
"""A longer line is none that can be translated; it is not kept."""
_BLOCK = 1 << 16


class Line(NamedTuple):
    """A line of an input."""

    content: bytes | None
    """Without its end; None if it is too long."""
    ending: bytes
    """How it ends: a line feed, with a carriage return before it or not; the last may have none."""
    start: int
    """Its place in the unpacked input, in bytes."""
    end: int


class Part(NamedTuple):
    """The lines of an input that begin in a range of bytes."""

    start: int = 0
    stop: int | None = None
    """None: all that follow."""


class LineReader:
    """Reads lines in chunks."""

    def __init__(self, stream: BinaryIO, part: Part, *, is_live: bool = False) -> None:
        """`stream` stands at the beginning of the part. `is_live`: what has come is not kept waiting for what has not,
        and what was read is remembered by a digest, for it cannot be read again."""
        self.is_live = is_live
        self._stream = stream
        self._stop = part.stop
        self._place = part.start
        self._buffer = bytearray()
        self._is_over = False
        self._seen = hashlib.blake2b(digest_size=16)

    def see(self, content: bytes) -> None:
        """Count what was read before as seen."""
        self._seen.update(content)

    @property
    def digest(self) -> str | None:
        """Of all bytes up to the last line that was read, of a live input."""
        return self._seen.hexdigest() if self.is_live else None

    def read(self, most_lines: int, most_bytes: int = MOST_LINE_BYTES) -> list[Line]:
        """The next lines; none at the end."""
        lines: list[Line] = []
        size = 0
        while len(lines) < most_lines and size < most_bytes:
            if self.is_live and lines and b"\n" not in self._buffer:
                break
            line = self._next()
            if line is None:
                break
            lines.append(line)
            size += line.end - line.start
        return lines

    def _next(self) -> Line | None:
        if self._stop is not None and self._place >= self._stop:
            return None
        start, dropped, searched = self._place, 0, 0
        while (found := self._buffer.find(b"\n", searched)) < 0 and not self._is_over:
            searched = len(self._buffer)
            if searched > MOST_LINE_BYTES:
                dropped += self._drop()
                searched = 0
            block: bytes = self._stream.read1(_BLOCK)  # type: ignore[attr-defined]
            self._is_over = not block
            self._buffer += block
        end = len(self._buffer) if found < 0 else found + 1
        raw = bytes(self._buffer[:end])
        del self._buffer[:end]
        self._place += dropped + len(raw)
        if self.is_live:
            self._seen.update(raw)
        if not raw and not dropped:
            return None
        ending = b"\r\n" if raw.endswith(b"\r\n") else b"\n" if raw.endswith(b"\n") else b""
        content = None if dropped or len(raw) > MOST_LINE_BYTES else raw[: len(raw) - len(ending)]
        return Line(content, ending, start, self._place)

    def _drop(self) -> int:
        """Forget what has come of a line that is too long; returns how much it is."""
        size = len(self._buffer)
        if self.is_live:
            self._seen.update(self._buffer)
        self._buffer.clear()
        return size


def part_of(path: Path, shard: int, shards: int) -> Part:
    """The part of a file that is one of its shards, from 1: whole lines, about as many bytes each, all together it."""
    if shards == 1:
        return Part()
    size = unpacked_bytes(path)
    first, stop = (size * each // shards for each in (shard - 1, shard))
    if first == 0:
        return Part(0, stop)
    with open_unpacked(path) as stream:
        # The line that the last shard's range ends in is its own; the next one is our first.
        seek(stream, first - 1)
        rest = _length_of_line(stream)
    return Part(first - 1 + rest, stop)


def _length_of_line(stream: BinaryIO) -> int:
    length = 0
    while block := stream.readline(_BLOCK):
        length += len(block)
        if block.endswith(b"\n"):
            break
    return length
