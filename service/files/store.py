"""Where translated files wait to be fetched: in memory, or in a directory; for a time, and only so many bytes."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from service.errors import NotFoundError, UnavailableError

_NAME = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\.[^/\\\0]{1,150}")
_PREFIX = 37
"""Characters of the part of a name that nobody can guess, and its dot."""
_UNSAFE = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|]')


class FileStore:
    """Keeps files under names that cannot be guessed. Only the event loop calls it."""

    def __init__(self, directory: Path | None, most_bytes: int, seconds: float) -> None:
        self._directory = directory
        self._most_bytes = most_bytes
        self._seconds = seconds
        self._sizes: dict[str, int] = {}
        self._contents: dict[str, bytes] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._fetched: dict[str, None] = {}

    @property
    def is_open(self) -> bool:
        """Whether files are translated at all."""
        return self._most_bytes > 0

    async def keep(self, name: str, content: bytes) -> str:
        """Keep a file; returns the name to fetch it by.

        Raises:
            UnavailableError: there is no room, even without those that were fetched already.
        """
        await self._make_room(len(content))
        stored = f"{uuid.uuid4()}.{_safe(name)}"
        self._sizes[stored] = len(content)
        if self._directory is None:
            self._contents[stored] = content
        else:
            await asyncio.to_thread(_write, self._directory / stored, content)
        self._timers[stored] = asyncio.get_running_loop().call_later(self._seconds, self._forget, stored)
        return stored

    async def fetch(self, stored: str) -> tuple[str, bytes]:
        """The name a file had when it came, and its content.

        Raises:
            NotFoundError: there is none of this name, or no longer.
        """
        content = self._contents.get(stored)
        if content is None and self._directory is not None and _NAME.fullmatch(stored):
            content = await asyncio.to_thread(_read, self._directory / stored, self._seconds)
        if content is None:
            raise NotFoundError("no such file, or no longer: it is deleted after a time")
        self._fetched[stored] = None
        return stored[_PREFIX:], content

    async def sweep(self) -> None:
        """Delete what an earlier process left in the directory and whose time is over."""
        if self._directory is not None:
            await asyncio.to_thread(_sweep, self._directory, self._seconds)

    def close(self) -> None:
        """Forget all files in memory; those in a directory may be another process's too, and stay their time."""
        for timer in self._timers.values():
            timer.cancel()
        self._contents.clear()

    async def _make_room(self, wanted: int) -> None:
        fetched = [stored for stored in self._fetched if stored in self._sizes]
        while sum(self._sizes.values()) + wanted > self._most_bytes and fetched:
            self._forget(fetched.pop(0))
        if sum(self._sizes.values()) + wanted > self._most_bytes:
            raise UnavailableError("there is no room for another translated file", self._seconds)

    def _forget(self, stored: str) -> None:
        self._timers.pop(stored).cancel()
        self._sizes.pop(stored, None)
        self._fetched.pop(stored, None)
        if self._contents.pop(stored, None) is None and self._directory is not None:
            with contextlib.suppress(OSError):
                (self._directory / stored).unlink()


def _safe(name: str) -> str:
    """A name for a file anywhere; its end is kept, for it says the format."""
    plain = _UNSAFE.sub("_", name.replace("\\", "/").rpartition("/")[2]).encode("utf-8", "replace").decode().strip(". ")
    while len(plain.encode()) > 150:
        plain = plain[1:]
    return plain or "file"


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not to be read by others of the machine; never half there.
    partial = path.with_name(f".{path.name[:_PREFIX]}partial")
    partial.touch(mode=0o600)
    partial.write_bytes(content)
    partial.rename(path)


def _read(path: Path, seconds: float) -> bytes | None:
    with contextlib.suppress(OSError):
        if time.time() - path.stat().st_mtime < seconds:
            return path.read_bytes()
    return None


def _sweep(directory: Path, seconds: float) -> None:
    for path in _kept(directory):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime >= seconds:
                path.unlink()


def _kept(directory: Path) -> Iterator[Path]:
    with contextlib.suppress(OSError):
        yield from (path for path in directory.iterdir() if _NAME.fullmatch(path.name))
