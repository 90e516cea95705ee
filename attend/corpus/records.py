"""What a line of an input is: a text, a row with columns, or a JSON object; and the line that comes out of it."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from attend.errors import RequestError

_BREAKS = re.compile(r"[\r\n]+")
_TABS = re.compile(r"[\t\r\n]+")


class RecordError(Exception):
    """A line is not what it should be; the text is one sentence."""


class ColumnError(RequestError):
    """The columns that were asked for are not there; the text is one sentence."""


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """A line that was read."""

    texts: tuple[str, ...]
    """What is translated of it; nothing of an empty line."""
    written: Callable[[Sequence[str]], bytes]
    """The line with the translations of `texts`, without its end."""


class Format(Protocol):
    """A kind of line."""

    def header(self, content: bytes) -> bytes | None:
        """What is written for the first line of the input if it names columns; None if it is a record."""

    def read(self, content: bytes) -> Record:
        """The record of a line; raises `RecordError`."""

    def failed(self, content: bytes | None) -> bytes:
        """What is written for a line that cannot be translated, so that there is a line for each; None: it was too
        long to keep."""


class Lines:
    """Each line is a text."""

    def header(self, content: bytes) -> bytes | None:
        """See `Format`."""
        return None

    def read(self, content: bytes) -> Record:
        """See `Format`."""
        text = decoded(content)
        if not text.strip():
            return Record((), lambda _: content)
        return Record((text,), lambda said: _BREAKS.sub(" ", said[0]).encode())

    def failed(self, content: bytes | None) -> bytes:
        """An empty line."""
        return b""


class Rows:
    """Each line is a row, a tab between its columns; quotes have no meaning, as in corpora."""

    def __init__(self, columns: Sequence[str], into: Sequence[str], *, has_header: bool) -> None:
        """`columns`: names, or numbers from 1. `into`: the names of the columns for their translations. Without a
        header columns are numbers, and translations are put behind the last."""
        self._columns, self._into, self._has_header = tuple(columns), tuple(into), has_header
        self._sources: tuple[int, ...] = ()
        self._targets: tuple[int | None, ...] = ()
        """Where a translation goes; None: behind the last column."""
        self._width = 0
        if not has_header:
            self._sources = tuple(_number(each) for each in columns)
            self._targets = (None,) * len(columns)

    def header(self, content: bytes) -> bytes | None:
        """See `Format`; finds the columns.

        Raises:
            ColumnError: there is none of a name.
        """
        if not self._has_header:
            self._width = content.count(b"\t") + 1
            return None
        try:
            names = decoded(content).split("\t")
        except RecordError as error:
            raise ColumnError(f"the first line, which names the columns, {error}") from None
        self._sources = tuple(_place(each, names) for each in self._columns)
        self._targets = tuple(names.index(each) if each in names else None for each in self._into)
        self._width = len(names)
        return "\t".join([*names, *(each for each in self._into if each not in names)]).encode()

    def read(self, content: bytes) -> Record:
        """See `Format`."""
        if not content.strip():
            return Record((), lambda _: content)
        fields = decoded(content).split("\t")
        if max(self._sources) >= len(fields):
            raise RecordError(f"has {len(fields)} columns, and not {max(self._sources) + 1}")
        texts = tuple(fields[place] for place in self._sources)
        return Record(texts, lambda said: self._written(fields, said))

    def failed(self, content: bytes | None) -> bytes:
        """The row, with nothing for its translations."""
        text = "" if content is None else content.decode("utf-8", "replace")
        return self._written(text.split("\t"), [""] * len(self._sources))

    def _written(self, fields: Sequence[str], said: Sequence[str]) -> bytes:
        row = [*fields, *[""] * (self._width - len(fields))]
        for place, text in zip(self._targets, said, strict=True):
            cell = _TABS.sub(" ", text)
            if place is None:
                row.append(cell)
            else:
                row[place] = cell
        return "\t".join(row).encode()


class JsonLines:
    """Each line is a JSON object; strings, or arrays of strings, under some of its names are texts."""

    def __init__(self, columns: Sequence[str], into: Sequence[str]) -> None:
        """`columns`: names. `into`: the names for their translations."""
        self._columns, self._into = tuple(columns), tuple(into)

    def header(self, content: bytes) -> bytes | None:
        """See `Format`."""
        return None

    def read(self, content: bytes) -> Record:
        """See `Format`."""
        if not content.strip():
            return Record((), lambda _: content)
        values = _object(content)
        texts: list[str] = []
        for name in self._columns:
            value = values.get(name)
            found = [value] if isinstance(value, str) else value
            if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
                kind = "has no" if name not in values else "has neither a string nor an array of strings under"
                raise RecordError(f"{kind} '{name}'")
            texts += found
        return Record(tuple(texts), lambda said: self._written(content, values, said))

    def failed(self, content: bytes | None) -> bytes:
        """The object with null for its translations; null if it is none."""
        try:
            values = _object(content or b"")
        except RecordError:
            return b"null"
        return _with(content or b"", values, dict.fromkeys(self._into))

    def _written(self, content: bytes, values: dict[str, Any], said: Sequence[str]) -> bytes:
        left = iter(said)
        told: dict[str, Any] = {}
        for name, into in zip(self._columns, self._into, strict=True):
            value = values[name]
            told[into] = next(left) if isinstance(value, str) else [next(left) for _ in value]
        return _with(content, values, told)


def _with(content: bytes, values: dict[str, Any], further: dict[str, Any]) -> bytes:
    """The object with further values; all the others as they were spelt, if none of them has a name of these."""
    if any(name in values for name in further) or not values:
        return json.dumps({**values, **further}, ensure_ascii=False).encode()
    added = json.dumps(further, ensure_ascii=False).encode()[1:]
    return content.rstrip()[:-1].rstrip() + b", " + added


def _object(content: bytes) -> dict[str, Any]:
    try:
        value = json.loads(decoded(content))
    except (ValueError, RecursionError):
        raise RecordError("is no JSON") from None
    if not isinstance(value, dict):
        raise RecordError("is no JSON object")
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise RecordError("holds half a surrogate pair, which is no text") from None
    return value


def decoded(content: bytes) -> str:
    """The text of a line; raises `RecordError`."""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RecordError(f"is not UTF-8, at byte {error.start}") from None


def _number(column: str) -> int:
    if not column.isdecimal() or int(column) < 1:
        raise ColumnError(f"without a header columns have numbers from 1, and not '{column}'")
    return int(column) - 1


def _place(column: str, names: Sequence[str]) -> int:
    if column in names:
        return names.index(column)
    if column.isdecimal() and 1 <= int(column) <= len(names):
        return int(column) - 1
    raise ColumnError(f"there is no column '{column}'; there is {', '.join(names)}")
