"""Abbreviations in capitals that a model does not know: it would make a word of them."""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING

from service.text.case import case_of
from service.text.document import Copied

if TYPE_CHECKING:
    from service.text.case import CountPieces
    from service.text.document import Sentence

_SHORT_WORDS = frozenset(
    (
        "ai", "am", "an", "as", "at", "au", "be", "by", "ce", "do", "du", "en", "es", "et", "go", "he", "hi", "if",
        "il", "in", "is", "it", "je", "la", "le", "ma", "me", "my", "ne", "ni", "no", "of", "oh", "ok", "on", "or",
        "ou", "sa", "se", "si", "so", "ta", "te", "to", "tu", "un", "up", "us", "va", "vu", "we",
    )
)  # fmt: skip
"""Of two letters, in English and French: such pieces a vocabulary has for parts of words, too."""
_TWO_CAPITALS = re.compile("[A-Z][A-Z]")
_CAPITALS = re.compile(r"(?<![\w'’.-])[A-Z]{2,5}(?=['’]s\b|[^\w'’-]|$)")


def with_acronyms(sentence: Sentence, count: CountPieces) -> Sentence:
    """The sentence with those copied that are no word the vocabulary has as one piece: "DOG" is a dog."""
    if not _TWO_CAPITALS.search(sentence.text):
        return sentence  # as most are, so that the rest need not be looked for
    found = _CAPITALS.search(sentence.text)
    if found is None or case_of(sentence.text) != "sentence":
        return sentence
    taken = (*sentence.spans, *sentence.asides)
    more = [
        Copied(*match.span(), "name", match.group())
        for match in _CAPITALS.finditer(sentence.text, found.start())
        if not any(span.start < match.end() and match.start() < span.end for span in taken)
        and not _is_known(match.group(), count)
    ]
    return dataclasses.replace(sentence, spans=tuple(sorted((*sentence.spans, *more)))) if more else sentence


def _is_known(word: str, count: CountPieces) -> bool:
    if count(word) == 1:
        return True
    small = word.lower()
    return small in _SHORT_WORDS if len(word) == 2 else min(count(small), count(word.capitalize())) == 1
