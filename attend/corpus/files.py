"""Files as they lie on a disk: plain, or packed with gzip or Zstandard."""

from __future__ import annotations

import gzip
import io
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, BinaryIO, Literal, cast

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Packing = Literal["none", "gzip", "zstd"]
PACKED: dict[str, Packing] = {".gz": "gzip", ".zst": "zstd"}
DAMAGE = (gzip.BadGzipFile, zstd.ZstdError, zlib.error, EOFError)
"""What reading a packed file raises that is damaged or cut off."""
_READ_BYTES = 1 << 20


def packing_of(path: Path) -> Packing:
    """How a file is packed, by the ending of its name."""
    return PACKED.get(path.suffix.lower(), "none")


def unpacked_name(path: Path) -> Path:
    """The name without the ending that says how the file is packed."""
    return path.with_suffix("") if packing_of(path) != "none" else path


def open_unpacked(path: Path) -> BinaryIO:
    """The bytes of a file, unpacked as they are read."""
    packing = packing_of(path)
    if packing == "gzip":
        return cast(BinaryIO, io.BufferedReader(cast(io.RawIOBase, gzip.open(path)), _READ_BYTES))
    if packing == "zstd":
        return cast(BinaryIO, io.BufferedReader(cast(io.RawIOBase, zstd.open(path)), _READ_BYTES))
    return path.open("rb", buffering=_READ_BYTES)


def unpacked_bytes(path: Path) -> int:
    """The size of a file, unpacked; a packed one is read for it."""
    if packing_of(path) == "none":
        return path.stat().st_size
    size = 0
    with open_unpacked(path) as stream:
        while block := stream.read(_READ_BYTES):
            size += len(block)
    return size


def seek(stream: BinaryIO, place: int, see: Callable[[bytes], None] | None = None) -> None:
    """Go to a place, seen from the beginning; by reading where it cannot be otherwise. `see` gets what is read."""
    if see is None and stream.seekable():
        stream.seek(place)
        return
    left = place
    while left > 0:
        block = stream.read(min(left, _READ_BYTES))
        if not block:
            return
        left -= len(block)
        if see is not None:
            see(block)


class PackedWriter:
    """Writes to a file in members, each of which is complete: a file cut behind any of them is a valid one."""

    def __init__(self, file: BinaryIO, packing: Packing) -> None:
        """`file` is open for writing, at its end."""
        self._file = file
        self._packing = packing
        self._member: IO[bytes] | None = None

    def write(self, content: bytes) -> None:
        """Write to the member that is under way, or begin one."""
        if self._packing == "none":
            self._file.write(content)
            return
        if self._member is None:
            if self._packing == "gzip":
                self._member = cast(IO[bytes], gzip.GzipFile(fileobj=self._file, mode="wb", filename="", mtime=0))
            else:
                self._member = cast(IO[bytes], zstd.ZstdFile(self._file, "wb"))
        self._member.write(content)

    def end_member(self) -> int:
        """Complete the member; returns the size of the file then."""
        if self._member is not None:
            self._member.close()
            self._member = None
        self._file.flush()
        return self._file.tell()
