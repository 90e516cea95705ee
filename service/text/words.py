"""The words of a text, as alignments speak of them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from service.text.tags import STAND_INS

if TYPE_CHECKING:
    from service.text.edits import Span

# Characters that stand for tags are between words.
_CHUNK = re.compile(f"[^\\s{STAND_INS.pattern[1:-1]}]+")
# Thai, Lao, Burmese, Khmer, kana and Han: scripts that put no space between words.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u2fdf\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\U00020000-\U0003ffff]"
)


def word_spans(text: str, piece_spans: Sequence[Span]) -> list[Span]:
    """Spans of the words: in order, without overlap, together all that is neither whitespace nor stands for a tag.

    A word is what stands between spaces, without the punctuation at its ends, each mark of which is a word of its own.
    Where a script has no spaces the pieces of `piece_spans` are the words; they are in order and leave out nothing but
    whitespace.
    """
    spans: list[Span] = []
    for chunk in _CHUNK.finditer(text):
        unspaced = _UNSPACED.search(chunk.group())
        spans.extend(_pieces_in(chunk.span(), piece_spans) if unspaced else _peeled(text, *chunk.span()))
    return spans


def _pieces_in(chunk: Span, piece_spans: Sequence[Span]) -> Iterator[Span]:
    """The parts of the pieces that lie in the chunk; the bytes of one character are one."""
    parts = ((max(start, chunk[0]), min(end, chunk[1])) for start, end in piece_spans)
    yield from dict.fromkeys(part for part in parts if part[0] < part[1])


def _peeled(text: str, start: int, end: int) -> Iterator[Span]:
    first, last = start, end
    while first < last and _is_punctuation(text[first]):
        first += 1
    while first < last and _is_punctuation(text[last - 1]):
        last -= 1
    yield from ((place, place + 1) for place in range(start, first))
    if first < last:
        yield first, last
    yield from ((place, place + 1) for place in range(last, end))


def _is_punctuation(character: str) -> bool:
    return unicodedata.category(character)[0] in "PS"
