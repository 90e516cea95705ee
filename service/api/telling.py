"""What is told of the texts of a request before all of them are done: pieces, in order, that together are each text."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from service.text.edits import Span
from service.translation.results import Piece

if TYPE_CHECKING:
    from service.api.units import Unit
    from service.errors import ServiceError
    from service.text.markup.units import MarkedText
    from service.translation.progress import Listener

Tell = Callable[[str, dict[str, Any]], None]
"""Takes the name of an event, and what it says."""


@dataclasses.dataclass(slots=True)
class _Text:
    """One text, unit by unit."""

    index: int
    units: Sequence[Unit]
    marked: MarkedText | None
    unit: int = 0
    """The first that is not told to its end."""
    start: int = 0
    """Where it begins in the source."""
    sentence: int = 0
    """The number of the next event."""
    written: list[str] = dataclasses.field(default_factory=list)
    """With mark-up: of the unit that is under way."""


class Telling:
    """Takes what translators say of units in any order, and tells it in that of the texts."""

    def __init__(self, tell: Tell, *, partials: bool) -> None:
        self._tell = tell
        self._partials = partials
        self._texts: list[_Text] = []
        self._places: list[tuple[_Text, int]] = []
        self._waiting: dict[int, list[Piece]] = {}
        self._certain: dict[int, str] = {}
        self._firsts: list[int] = []

    def begin(self, plans: Sequence[tuple[Sequence[Unit], MarkedText | None, ServiceError | None]]) -> None:
        """Of each text the units, with its mark-up or what is wrong with it."""
        for index, (units, marked, _) in enumerate(plans):
            text = _Text(index, units, marked)
            self._texts.append(text)
            self._firsts.append(len(self._places))
            self._places += [(text, number) for number in range(len(units))]
        for text, (_, _, problem) in zip(self._texts, plans, strict=True):
            if problem is None:
                self._advance(text)

    def of(self, numbers: Sequence[int]) -> Listener:
        """Who is told of the units of one call, which have these numbers."""
        return _Numbered(self, numbers)

    def note_piece(self, number: int, piece: Piece) -> None:
        """The next piece of a unit."""
        self._waiting.setdefault(number, []).append(piece)
        text, _ = self._places[number]
        self._advance(text)

    def note_partial(self, number: int, certain: str) -> None:
        """All that is certain of the next piece of a unit."""
        self._certain[number] = certain
        text, unit = self._places[number]
        if self._partials and text.unit == unit and text.marked is None:
            self._tell("partial", {"index": text.index, "sentence": text.sentence, "text": certain})

    def _advance(self, text: _Text) -> None:
        """Tell what is next in this text as far as it is known."""
        first = self._firsts[text.index]
        if text.marked is not None and not text.units and text.sentence == 0:
            self._say(text, text.marked.source, (0, len(text.marked.source)))
        while text.unit < len(text.units):
            unit = text.units[text.unit]
            if unit.decision.is_copied:
                self._end_unit(text, unit, unit.text + unit.tail, (text.start, text.start + len(unit.text)))
                continue
            pieces = self._waiting.get(first + text.unit)
            if not pieces:
                break
            self._take(text, unit, pieces.pop(0))
        if text.unit < len(text.units) and (certain := self._certain.get(first + text.unit)) and not text.written:
            self.note_partial(first + text.unit, certain)

    def _take(self, text: _Text, unit: Unit, piece: Piece) -> None:
        self._certain.pop(self._firsts[text.index] + text.unit, None)
        if text.marked is not None:
            text.written.append(piece.text)
            if piece.is_last:
                self._end_marked(text, text.marked)
            return
        span = text.start + piece.span[0], text.start + piece.span[1]
        if piece.is_last:
            self._end_unit(text, unit, piece.text + unit.tail, span)
        else:
            self._say(text, piece.text, span)

    def _end_unit(self, text: _Text, unit: Unit, written: str, span: Span) -> None:
        text.unit += 1
        text.start += len(unit.text) + len(unit.tail)
        self._say(text, written, span)

    def _end_marked(self, text: _Text, marked: MarkedText) -> None:
        """With mark-up a paragraph is told as one, for its tags are put in their places at its end."""
        unit = marked.units[text.unit]
        before = marked.source[marked.units[text.unit - 1].end if text.unit else 0 : unit.start]
        text.unit += 1
        after = marked.source[unit.end :] if text.unit == len(marked.units) else ""
        written, text.written = before + unit.rendered("".join(text.written)).text + after, []
        self._say(text, written, (unit.start, unit.end))

    def _say(self, text: _Text, written: str, span: Span) -> None:
        said = {"index": text.index, "sentence": text.sentence, "text": written, "source_span": list(span)}
        text.sentence += 1
        self._tell("sentence", said)


class _Numbered:
    """A `Listener` that knows units by other numbers."""

    def __init__(self, telling: Telling, numbers: Sequence[int]) -> None:
        self._telling = telling
        self._numbers = numbers

    def note_piece(self, place: int, piece: Piece) -> None:
        """See `Listener`."""
        self._telling.note_piece(self._numbers[place], piece)

    def note_partial(self, place: int, text: str) -> None:
        """See `Listener`."""
        self._telling.note_partial(self._numbers[place], text)
