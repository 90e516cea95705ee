"""Characters that each key has had translated in a month, in a file or in the memory of this process."""

from __future__ import annotations

import collections
import datetime
import sqlite3
from pathlib import Path
from typing import Protocol

_BUSY_SECONDS = 1.0
_CREATE = """
CREATE TABLE IF NOT EXISTS usage (
    name TEXT NOT NULL, month TEXT NOT NULL, characters INTEGER NOT NULL, PRIMARY KEY (name, month)
) WITHOUT ROWID
"""
_SPEND = """
INSERT INTO usage (name, month, characters) SELECT :name, :month, :count WHERE :most IS NULL OR :count <= :most
ON CONFLICT (name, month) DO UPDATE SET characters = characters + :count
WHERE :most IS NULL OR characters + :count <= :most
"""
_GIVE_BACK = "UPDATE usage SET characters = MAX(0, characters - ?) WHERE name = ? AND month = ?"
_SPENT = "SELECT characters FROM usage WHERE name = ? AND month = ?"


class UsageError(Exception):
    """Usage cannot be counted; the text is one sentence for the operator."""


class Usage(Protocol):
    """Characters by name and month; `service.access.replicas` keeps them in Redis. Months are UTC's: `2026-11`."""

    async def spend(self, name: str, month: str, count: int, most: int | None) -> bool:
        """Add to what a name has spent; False, and nothing is added, if it were more than `most`.

        Raises:
            UsageError: it cannot be counted now.
        """

    async def give_back(self, name: str, month: str, count: int) -> None:
        """Take back what was spent for nothing."""

    async def spent(self, name: str, month: str) -> int:
        """What a name has spent in a month."""

    async def close(self) -> None:
        """Nothing is counted any more."""


def this_month() -> str:
    """The month that it is, `2026-11`."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m")


class MemoryUsage:
    """Since the start of this process."""

    def __init__(self) -> None:
        self._spent: collections.Counter[tuple[str, str]] = collections.Counter()

    async def spend(self, name: str, month: str, count: int, most: int | None) -> bool:
        """See `Usage.spend`."""
        if most is not None and self._spent[name, month] + count > most:
            return False
        self._spent[name, month] += count
        return True

    async def give_back(self, name: str, month: str, count: int) -> None:
        """See `Usage.give_back`."""
        self._spent[name, month] = max(0, self._spent[name, month] - count)

    async def spent(self, name: str, month: str) -> int:
        """See `Usage.spent`."""
        return self._spent[name, month]

    async def close(self) -> None:
        """See `Usage.close`."""


class FileUsage:
    """In an SQLite file, which several services of one machine may share.

    A line is written by every request, which takes some 30 microseconds: the system has it then, and keeps it whatever
    becomes of this process. Only a machine that loses power may forget the last seconds.
    """

    def __init__(self, path: Path) -> None:
        """Raises `UsageError` if it is not writable, or no such file."""
        try:
            self._file = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
            self._file.execute("PRAGMA journal_mode=WAL")
            self._file.execute("PRAGMA synchronous=NORMAL")
            self._file.execute(_CREATE)
            self._file.execute(_GIVE_BACK, (0, "", ""))  # whether it can be written
        except sqlite3.Error as error:
            raise UsageError(f"{path} cannot keep what is used: {error}") from None

    async def spend(self, name: str, month: str, count: int, most: int | None) -> bool:
        """See `Usage.spend`."""
        values = {"name": name, "month": month, "count": count, "most": most}
        try:
            return self._file.execute(_SPEND, values).rowcount > 0
        except sqlite3.Error as error:
            raise UsageError(f"usage cannot be counted: {error}") from None

    async def give_back(self, name: str, month: str, count: int) -> None:
        """See `Usage.give_back`."""
        try:
            self._file.execute(_GIVE_BACK, (count, name, month))
        except sqlite3.Error as error:
            raise UsageError(f"usage cannot be counted: {error}") from None

    async def spent(self, name: str, month: str) -> int:
        """See `Usage.spent`."""
        try:
            found = self._file.execute(_SPENT, (name, month)).fetchone()
        except sqlite3.Error as error:
            raise UsageError(f"usage cannot be read: {error}") from None
        return int(found[0]) if found else 0

    async def close(self) -> None:
        """See `Usage.close`."""
        self._file.close()
