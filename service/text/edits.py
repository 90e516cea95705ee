"""A text and what became of it, with where each part of one stands in the other."""

from __future__ import annotations

import bisect
import dataclasses
from collections.abc import Iterable, Sequence

Span = tuple[int, int]
"""Half-open, in Unicode code points."""


@dataclasses.dataclass(frozen=True, slots=True)
class Edit:
    """`text` in place of what stands from `start` to `end`; an empty span is an insertion."""

    start: int
    end: int
    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class Edited:
    """What `old` became by `edits`, which are in order and do not overlap."""

    old: str
    edits: tuple[Edit, ...] = ()
    text: str = dataclasses.field(init=False)
    _old: tuple[Span, ...] = dataclasses.field(init=False, repr=False)
    _new: tuple[Span, ...] = dataclasses.field(init=False, repr=False)

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        if not self.edits:
            set_(self, "text", self.old)
            set_(self, "_old", ())
            set_(self, "_new", ())
            return
        parts: list[str] = []
        new: list[Span] = []
        end = shift = 0
        for edit in self.edits:
            parts += (self.old[end : edit.start], edit.text)
            new.append((edit.start + shift, edit.start + shift + len(edit.text)))
            shift += len(edit.text) - (edit.end - edit.start)
            end = edit.end
        set_(self, "text", "".join((*parts, self.old[end:])))
        set_(self, "_old", tuple((edit.start, edit.end) for edit in self.edits))
        set_(self, "_new", tuple(new))

    @classmethod
    def of(cls, old: str, edits: Iterable[Edit]) -> Edited:
        """`old` changed by edits in any order; of two that overlap the one that begins first counts."""
        chosen: list[Edit] = []
        for edit in sorted(edits, key=lambda edit: (edit.start, edit.end)):
            if not chosen or edit.start >= chosen[-1].end:
                chosen.append(edit)
        return cls(old, tuple(chosen))

    def old_span(self, span: Span) -> Span:
        """Where what stands at `span` of the new text stood; whole edits that it touches count."""
        return _carried_over(span, self._new, self._old) if self.edits else span

    def new_span(self, span: Span) -> Span:
        """Where what stood at `span` of the old text stands now."""
        return _carried_over(span, self._old, self._new) if self.edits else span


def _carried_over(span: Span, here: Sequence[Span], there: Sequence[Span]) -> Span:
    """A span of one text in another, given where the changed parts stand in both."""
    start, end = span
    first = bisect.bisect_right(here, start, key=lambda part: part[0]) - 1
    begin = _beyond(start, first, here, there)
    if first >= 0 and here[first][0] <= start < here[first][1]:
        begin = there[first][0]
    elif first >= 0 and start == here[first][0] == here[first][1]:
        begin = there[first][0] if end == start else there[first][1]
    last = bisect.bisect_left(here, end, key=lambda part: part[0]) - 1
    finish = _beyond(end, last, here, there)
    if last >= 0 and here[last][0] < end <= here[last][1]:
        finish = there[last][1]
    return begin, max(begin, finish)


def _beyond(place: int, index: int, here: Sequence[Span], there: Sequence[Span]) -> int:
    """`place`, behind the changed part of this index, in the other text."""
    return place if index < 0 else there[index][1] + max(0, place - here[index][1])
