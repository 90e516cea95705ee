"""The parts of a marked-up text that are translated, each as a text in which one character stands for each tag."""

from __future__ import annotations

import dataclasses
import html
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from service.text.edits import Edit, Edited
from service.text.tags import FIRST_CLOSE, FIRST_OPAQUE, FIRST_OPEN, FIRST_POINT, MOST_TAGS, STAND_INS, role_of


@dataclasses.dataclass(frozen=True, slots=True)
class Unit:
    """A paragraph, or the value of an attribute, at `start` of the source."""

    start: int
    text: Edited
    """Of what stands there in the source: what is translated."""
    tags: Mapping[str, str]
    """What each character stands for."""
    escapes: Literal["none", "text", "attribute"] = "text"
    """What of a translation is written as entities."""

    @property
    def end(self) -> int:
        """In the source."""
        return self.start + len(self.text.old)

    def rendered(self, translation: str) -> str:
        """A translation as it stands in the result, with all tags of the source and no other."""
        used: set[str] = set()

        def put(match: re.Match[str]) -> str:
            sign = match.group()
            if sign not in self.tags or sign in used:
                return ""
            used.add(sign)
            return self.tags[sign]

        if self.escapes == "none":
            return translation
        whole = STAND_INS.sub(put, html.escape(translation, quote=self.escapes == "attribute"))
        return whole + "".join(tag for sign, tag in self.tags.items() if sign not in used)


@dataclasses.dataclass(frozen=True, slots=True)
class MarkedText:
    """A source and its units, in order and without overlap; everything else comes back as it is."""

    source: str
    units: tuple[Unit, ...]

    def with_quotes(self) -> MarkedText:
        """The same with quotes written as entities."""
        units = (dataclasses.replace(unit, escapes="attribute") for unit in self.units)
        return MarkedText(self.source, tuple(units))

    @property
    def texts(self) -> list[str]:
        """What is translated."""
        return [unit.text.text for unit in self.units]

    def assembled(self, translations: Sequence[str]) -> str:
        """The source with the translations of its units."""
        parts: list[str] = []
        end = 0
        for unit, translation in zip(self.units, translations, strict=True):
            parts += (self.source[end : unit.start], unit.rendered(translation))
            end = unit.end
        return "".join((*parts, self.source[end:]))


class Signs:
    """Characters for the tags of one unit; those of an opening tag and of its closing one belong together."""

    def __init__(self) -> None:
        self._count = 0
        self._open: list[tuple[str, int]] = []
        self.tags: dict[str, str] = {}

    def sign(self, tag: str, *, opaque: bool = False) -> str:
        """A character that stands for `tag`."""
        sign = chr(FIRST_OPAQUE + self._count) if opaque else chr(self._code(*role_of(tag)))
        self._count += 1
        self.tags[sign] = tag
        return sign

    def _code(self, role: str, name: str) -> int:
        if role == "open":
            self._open.append((name, self._count))
            return FIRST_OPEN + self._count
        same = [place for place, (opened, _) in enumerate(self._open) if opened == name]
        if role == "close" and same:
            number = self._open[same[-1]][1]
            del self._open[same[-1] :]
            return FIRST_CLOSE + number
        return FIRST_POINT + self._count


@dataclasses.dataclass(frozen=True, slots=True)
class Piece:
    """source[start:end] of a unit, and what it is: text, or what one character stands for."""

    start: int
    end: int
    kind: str
    """"text", "entity", "tag" or "opaque"."""


_BLANKS = re.compile(r"[ \t\r\n\f]*[\r\n\f][ \t\r\n\f]*")


def unit_of(source: str, pieces: Sequence[Piece]) -> Unit | None:
    """The unit of these pieces, which follow each other; None if it has no letter."""
    if len(pieces) > MOST_TAGS:
        return None
    signs = Signs()
    start, end = pieces[0].start, pieces[-1].end
    edits: list[Edit] = []
    for piece in pieces:
        edits += _edits(source, piece, start, signs)
    text = Edited(source[start:end], tuple(edits))
    has_letters = any(map(str.isalpha, STAND_INS.sub("", text.text)))
    return Unit(start, text, signs.tags) if has_letters else None


def _edits(source: str, piece: Piece, start: int, signs: Signs) -> Iterator[Edit]:
    raw = source[piece.start : piece.end]
    first, last = piece.start - start, piece.end - start
    if piece.kind in ("tag", "opaque"):
        yield Edit(first, last, signs.sign(raw, opaque=piece.kind == "opaque"))
    elif piece.kind == "entity":
        decoded = html.unescape(raw)
        # What stands for nothing, or for a line break, is copied.
        plain = decoded != raw and not STAND_INS.search(decoded) and decoded.isprintable()
        yield Edit(first, last, decoded if plain or decoded == "\u00a0" else signs.sign(raw, opaque=True))
    else:
        # A line break between words is a space, and characters that are stand-ins are copied like any tag.
        for match in re.finditer(f"{_BLANKS.pattern}|{STAND_INS.pattern}", raw):
            is_sign = STAND_INS.match(match.group())
            new = signs.sign(match.group(), opaque=True) if is_sign else " "
            yield Edit(first + match.start(), first + match.end(), new)
