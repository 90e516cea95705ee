"""Paragraphs of XML parts as texts in which one character stands for each tag, and back to bytes.

What kind of file a paragraph is of says only how text and formats are written: see `Writer`.
"""

from __future__ import annotations

import bisect
import dataclasses
import functools
import html
import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal

from service.text.tags import FIRST_CLOSE, FIRST_OPAQUE, FIRST_OPEN, FIRST_POINT, MOST_TAGS, STAND_INS

Copy = Callable[[int, int], bytes]
"""A stretch of the source with the translations of the blocks in it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Text:
    """Text in one format."""

    text: str
    format: str = ""
    """A key: texts with the same look alike."""
    properties: bytes = b""
    """The format as it stands in the source."""


@dataclasses.dataclass(frozen=True, slots=True)
class Mark:
    """What stands between texts and is copied: `pieces` of the source, or bytes."""

    pieces: tuple[tuple[int, int] | bytes, ...]
    role: Literal["point", "mark", "break", "tab"] = "point"
    """A point keeps its place among others; a mark goes with the word before it; breaks and tabs separate texts."""


@dataclasses.dataclass(frozen=True, slots=True)
class Tag:
    """One of the two tags of an element that encloses texts; both have the same number."""

    pieces: tuple[tuple[int, int] | bytes, ...]
    number: int
    opens: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Format:
    """Where a format that is not the usual one begins or ends."""

    properties: bytes
    opens: bool


Item = Text | Mark | Tag
Sign = Mark | Tag | Format
Writer = Callable[[str, bytes | None], bytes]
"""Text, and the properties of its format or None in a block that has no formats, as bytes of the file."""


def escaped(text: str, properties: bytes | None = None) -> bytes:
    """A writer of text by itself."""
    return html.escape(text, quote=False).encode()


def escaped_attribute(text: str, properties: bytes | None = None) -> bytes:
    """A writer of the value of an attribute."""
    return html.escape(text).replace("\n", "&#10;").replace("\t", "&#9;").encode()


@dataclasses.dataclass(frozen=True, slots=True)
class Block:
    """A paragraph at source[start:end] of its part."""

    start: int
    end: int
    text: str
    """What is translated, with a character for each tag."""
    signs: dict[str, Sign]
    """What each stands for."""
    separators: tuple[Mark, ...]
    """Breaks and tabs, in order: line feeds and tabs in the text."""
    base: bytes
    """Properties of the format that most of it has."""
    writer: Writer

    def rendered(self, translation: str, copy: Copy) -> bytes:
        """A translation as it stands in the file, with every tag of the source once."""
        if not self._keeps_pairs(translation):
            pairs = [sign for sign, meaning in self.signs.items() if not isinstance(meaning, Mark)]
            translation = translation.translate({ord(sign): None for sign in pairs}) + "".join(pairs)
        missing = "".join(
            sign for sign, what in self.signs.items() if isinstance(what, Mark) and sign not in translation
        )
        return b"".join(self._parts(translation + missing, copy))

    def _keeps_pairs(self, translation: str) -> bool:
        """Whether what opens and closes is there once and nested as it must be."""
        open_: list[int] = []
        seen: set[str] = set()
        for sign in STAND_INS.findall(translation):
            if isinstance(self.signs.get(sign), Mark) or sign not in self.signs:
                continue
            code = ord(sign)
            if sign in seen or (code >= FIRST_CLOSE and (not open_ or open_.pop() != code - FIRST_CLOSE)):
                return False
            if code < FIRST_CLOSE:
                open_.append(code - FIRST_OPEN)
            seen.add(sign)
        return not open_ and len(seen) == sum(not isinstance(what, Mark) for what in self.signs.values())

    def _parts(self, translation: str, copy: Copy) -> Iterator[bytes]:
        formats, used, text = [self.base], set[str](), ""
        separators = {role: [each for each in self.separators if each.role == role] for role in ("break", "tab")}
        for part in re.split(f"({STAND_INS.pattern}|[\n\t])", translation):
            sign: Sign | None = self.signs.get(part) if part not in used else None
            if part in ("\n", "\t") and (waiting := separators["break" if part == "\n" else "tab"]):
                sign = waiting.pop(0)
            elif sign is not None:
                used.add(part)
            if sign is None:
                text += "" if STAND_INS.fullmatch(part) else part
                continue
            yield self.writer(text, formats[-1]) if text else b""
            text = ""
            if not isinstance(sign, Format):
                yield _bytes_of(sign.pieces, copy)
            elif sign.opens:
                formats.append(sign.properties)
            else:
                formats.pop()
        yield self.writer(text, formats[-1]) if text else b""
        yield from (_bytes_of(each.pieces, copy) for role in separators.values() for each in role)


def _bytes_of(pieces: Sequence[tuple[int, int] | bytes], copy: Copy) -> bytes:
    return b"".join(piece if isinstance(piece, bytes) else copy(*piece) for piece in pieces)


def block_of(start: int, end: int, items: Sequence[Item], writer: Writer) -> Block | None:
    """The block of these items; None if it has no letter, or too many tags."""
    letters: Counter[str] = Counter()
    for item in items:
        if isinstance(item, Text):
            letters[item.format] += sum(map(str.isalpha, STAND_INS.sub("", item.text)))
    if not any(letters.values()):
        return None
    usual = max(letters, key=letters.__getitem__)
    base = next(item.properties for item in items if isinstance(item, Text) and item.format == usual)
    signs = _Signs(usual)
    ready = list(_without_signs(_with_pairs(items), writer))
    text = "".join(itertools.starmap(signs.of, zip(ready, _following(ready), strict=True))) + signs.end_format()
    if len(signs.found) > MOST_TAGS:
        return None
    return Block(start, end, text, signs.found, tuple(signs.separators), base, writer)


def _with_pairs(items: Sequence[Item]) -> Iterator[Item]:
    """Tags of elements that are not both in these items are points."""
    counts = Counter(item.number for item in items if isinstance(item, Tag))
    for item in items:
        yield Mark(item.pieces) if isinstance(item, Tag) and counts[item.number] < 2 else item


def _without_signs(items: Iterable[Item], writer: Writer) -> Iterator[Item]:
    """Characters of a text that are stand-ins themselves are marks."""
    for item in items:
        if not isinstance(item, Text) or not STAND_INS.search(item.text):
            yield item
            continue
        for part in re.split(f"({STAND_INS.pattern})", item.text):
            is_sign = STAND_INS.fullmatch(part)
            yield Mark((writer(part, item.properties),), "mark") if is_sign else dataclasses.replace(item, text=part)


def _following(items: Sequence[Item]) -> list[str | None]:
    """For each item the format of the text behind it, with nothing but marks between; None if there is none."""
    found: list[str | None] = []
    format: str | None = None
    for item in reversed(items):
        found.append(format)
        if not isinstance(item, Mark):
            format = item.format if isinstance(item, Text) else None
    return found[::-1]


class _Signs:
    """Characters for the tags and formats of one block."""

    def __init__(self, usual: str) -> None:
        self._usual = usual
        self._format = usual
        self._format_number = 0
        self._numbers = itertools.count()
        self._tags: dict[int, int] = {}
        self.found: dict[str, Sign] = {}
        self.separators: list[Mark] = []

    def of(self, item: Item, following: str | None) -> str:
        """What stands in the text for an item before a text of this format."""
        if isinstance(item, Text):
            return self._of_text(item)
        ends = self.end_format() if isinstance(item, Tag) or following != self._format else ""
        if isinstance(item, Tag):
            if item.opens:
                self._tags[item.number] = next(self._numbers)
            code = (FIRST_OPEN if item.opens else FIRST_CLOSE) + self._tags[item.number]
        elif item.role in ("break", "tab"):
            self.separators.append(item)
            return ends + ("\n" if item.role == "break" else "\t")
        else:
            code = (FIRST_POINT if item.role == "point" else FIRST_OPAQUE) + next(self._numbers)
        self.found[chr(code)] = item
        return ends + chr(code)

    def _of_text(self, item: Text) -> str:
        # A space or two need no format of their own.
        is_blank = not item.text.strip() and len(item.text) < 3
        if is_blank or item.format == self._format:
            return item.text
        ends = self.end_format()
        return ends + (self._begin_format(item) if item.format != self._usual else "") + item.text

    def _begin_format(self, item: Text) -> str:
        self._format, self._format_number = item.format, next(self._numbers)
        sign = chr(FIRST_OPEN + self._format_number)
        self.found[sign] = Format(item.properties, opens=True)
        return sign

    def end_format(self) -> str:
        """The end of the format that is not the usual one."""
        if self._format == self._usual:
            return ""
        self._format = self._usual
        sign = chr(FIRST_CLOSE + self._format_number)
        self.found[sign] = Format(b"", opens=False)
        return sign


class Blocks:
    """The blocks of one source, some of them inside what others copy."""

    def __init__(self, source: bytes, blocks: Iterable[Block]) -> None:
        self._source = source
        self._blocks = sorted(blocks, key=lambda block: (block.start, -block.end))
        self._starts = [block.start for block in self._blocks]

    @property
    def texts(self) -> list[str]:
        """What is translated."""
        return [block.text for block in self._blocks]

    def written(self, translations: Sequence[str]) -> bytes:
        """The source with a translation in place of each block."""
        return self._copied(translations, 0, 0, len(self._source))

    def _copied(self, translations: Sequence[str], first: int, start: int, end: int) -> bytes:
        """source[start:end], with the translations of the blocks from the index `first` on that are in it."""
        parts: list[bytes] = []
        index = max(first, bisect.bisect_left(self._starts, start))
        while index < len(self._blocks) and self._blocks[index].start < end:
            block = self._blocks[index]
            inner = functools.partial(self._copied, translations, index + 1)
            parts += (self._source[start : block.start], block.rendered(translations[index], inner))
            start = block.end
            index = max(index + 1, bisect.bisect_left(self._starts, start))
        return b"".join((*parts, self._source[start:end]))
