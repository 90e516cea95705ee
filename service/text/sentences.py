"""One line of text to spans: sentences, and parts of sentences too long for the model. Nothing is lost or moved."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator

import sentencex

WINDOW = 1000
"""Code points handed to the splitter at once: its time grows with the square of the length of Chinese text."""

Span = tuple[int, int]
CountTokens = Callable[[str], int]

_SPACE = re.compile(r"\s")
# Where a sentence may be cut, best first: after a clause mark (ASCII ones only before a space, "3,000" is a number),
# then before a space.
_CUTS = (re.compile(r"[。！？；，：、…—]+|[.!?;,:]+(?=\s)"), re.compile(r"(?=\s)"))
_JOINERS = frozenset("\u200d\ufe0e\ufe0f")


def sentence_spans(line: str, language: str) -> Iterator[Span]:
    """Spans of the sentences of `line`, which holds no line break; surrounding whitespace belongs to no span."""
    start = 0
    while start < len(line):
        window = line[start : start + WINDOW]
        lengths = [len(piece) for piece in _segment(window, language)]
        if start + len(window) < len(line) and len(lengths) > 1:
            # The window may have cut its last sentence: see that one again, whole, in the next window.
            lengths.pop()
        for length in lengths:
            span = trim(line, start, start + length)
            if span[0] < span[1]:
                yield span
            start += length


def trim(text: str, start: int, end: int) -> Span:
    """The span without whitespace at its ends; empty at `start` if there is nothing else."""
    part = text[start:end]
    stripped = part.strip()
    if not stripped:
        return start, start
    first = start + len(part) - len(part.lstrip())
    return first, first + len(stripped)


def split_long(text: str, start: int, end: int, count_tokens: CountTokens, limit: int) -> Iterator[Span]:
    """The span as one, or cut where it hurts least into spans of at most `limit` tokens each."""
    part = text[start:end]
    if len(part) <= 1 or count_tokens(part) <= limit:
        yield start, end
        return
    cut = start + _best_cut(part)
    for left, right in (trim(text, start, cut), trim(text, cut, end)):
        if left < right:
            yield from split_long(text, left, right, count_tokens, limit)


def _best_cut(part: str) -> int:
    """Offset nearest the middle, strictly inside, at the best kind of place in the middle half."""
    middle, quarter = len(part) // 2, len(part) // 4
    for pattern in _CUTS:
        ends = (match.end() for match in pattern.finditer(part, quarter))
        inside = [end for end in ends if 0 < end < len(part) and end <= len(part) - quarter]
        if inside:
            return min(inside, key=lambda end: abs(end - middle))
    return _before_whole_character(part, middle)


def _before_whole_character(part: str, cut: int) -> int:
    """`cut`, or the next place after it that does not tear a letter from its accents or an emoji apart."""
    for place in range(max(cut, 1), len(part)):
        around = part[place - 1 : place + 1]
        if not unicodedata.combining(around[1]) and _JOINERS.isdisjoint(around):
            return place
    return max(cut, 1)


def _segment(window: str, language: str) -> list[str]:
    """Sentences of `window`, each with the whitespace that follows it; joined they are as long as the window."""
    # sentencex 1.0.32 panics on a single capital followed by a wide space and a full stop; one plain space for each
    # keeps every offset.
    plain = _SPACE.sub(" ", window)
    try:
        pieces: list[str] = sentencex.segment(language, plain)
    except BaseException as error:
        # A panic in Rust arrives as a PanicException, which pyo3 derives from BaseException and does not export.
        if type(error).__name__ != "PanicException":
            raise
        return [window]
    return pieces if sum(map(len, pieces)) == len(window) else [window]
