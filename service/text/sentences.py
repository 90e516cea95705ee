"""One line of text to spans: sentences, and parts of sentences too long for the model. Nothing is lost or moved."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import sentencex

from service.text.abbreviations import BEFORE_ANYTHING_ELSE, BEFORE_NAMES

if TYPE_CHECKING:
    from service.text.edits import Span

WINDOW = 1000
"""Code points handed to the splitter at once: its time grows with the square of the length of Chinese text."""


_SPACE = re.compile(r"\s")
# Where a sentence may be cut, best first: after a clause mark (ASCII ones only before a space, "3,000" is a number),
# before a word that begins a clause, then before a space.
_CUTS = (
    re.compile(r"[。！？；，：、…—]+|[.!?;,:]+(?=\s)"),
    re.compile(
        r"(?=\s(?:and then|and after|and when|and|but|because|when|while|so that|so|then|after|before|although|which"
        r"|who|if|or|where|et puis|et|mais|parce|car|quand|lorsque|puis|donc|alors|après|avant|qui|que|si|ou|où|und"
        r"|aber|weil|als|wenn|dass|oder|y|pero|porque|cuando|o)\s)|(?<=[了的])(?=[我你他她它我们然后但因所])",
        re.IGNORECASE,
    ),
    re.compile(r"(?=\s)"),
)
_JOINERS = frozenset("\u200d\ufe0e\ufe0f")


def sentence_spans(line: str, language: str) -> Iterator[Span]:
    """Spans of the sentences of `line`, which holds no line break; surrounding whitespace belongs to no span."""
    start = 0
    while start < len(line):
        window = line[start : start + WINDOW]
        lengths = list(_joined(_segment(window, language), language))
        if start + len(window) < len(line) and len(lengths) > 1:
            # The window may have cut its last sentence: see that one again, whole, in the next window.
            lengths.pop()
        for length in lengths:
            span = trim(line, start, start + length)
            if span[0] < span[1]:
                yield span
            start += length


_BEFORE_WORD = re.compile(r"[\s(\[«“\"'’]")
_LONGEST_ABBREVIATION = 20
_INITIALS = re.compile(r"(?:[A-ZÀ-Þ]\.[ -]?){1,3}\s*")
_NAMES = {language: frozenset(words.split()) for language, words in BEFORE_NAMES.items()}
_OTHERS = {language: frozenset(words.split()) for language, words in BEFORE_ANYTHING_ELSE.items()}


def _joined(pieces: Sequence[str], language: str) -> Iterator[int]:
    """Lengths of the pieces, those as one between which only an abbreviation ends."""
    length, before = 0, ""
    for piece in pieces:
        if length and not _ends_with_abbreviation(before, piece, language):
            yield length
            length = 0
        length += len(piece)
        before = piece
    if length:
        yield length


def _ends_with_abbreviation(before: str, after: str, language: str) -> bool:
    stripped = before.rstrip()
    first = after.lstrip()[:1]
    if not first or not stripped.endswith("."):
        return False
    if not before[-1].isspace():
        return first == "-"
    if len(stripped) < _LONGEST_ABBREVIATION and _INITIALS.fullmatch(before):
        return True
    word = _BEFORE_WORD.split(stripped[-_LONGEST_ABBREVIATION:-1])[-1].lstrip("-").lower()
    if not word[:1].isalpha():
        return False
    if word in _NAMES.get(language, ()) or (word in _NAMES["en"] and language not in _NAMES):
        return True
    if first.islower() or first.isdigit():
        return word in _OTHERS.get(language, _OTHERS["en"]) or first.islower() or len(word) == 1
    return False


def trim(text: str, start: int, end: int) -> Span:
    """The span without whitespace at its ends; empty at `start` if there is nothing else."""
    part = text[start:end]
    stripped = part.strip()
    if not stripped:
        return start, start
    first = start + len(part) - len(part.lstrip())
    return first, first + len(stripped)


def cuts_of_long(part: str) -> int:
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
