"""Capitals that are no part of a word's spelling: read as in a sentence, and given back."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal

Case = Literal["sentence", "title", "capitals"]
CountPieces = Callable[[str], int]
"""Of a word with a space before it."""

CASELESS_READING = frozenset({"de", "lb"})
"""Languages in which a capital tells what a word is: they are read as they are written."""
FEWEST_CAPITALS = 5
"""Of a sentence that is taken for one written in capitals: fewer may be an abbreviation."""
FEWEST_TITLE_WORDS = 3
"""Of a title in which even words that may be names are read in small letters."""

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
# The capital first: there are few, and what stands before is looked at only there.
_HAS_CAPITAL_INSIDE = re.compile(r"[A-ZÀ-ÖØ-Þ](?<=[^\W\d_].)")
_SMALL = frozenset(
    (
        "a", "an", "and", "as", "at", "but", "by", "for", "from", "in", "into", "of", "on", "or", "per",
        "the", "to", "up", "via", "with", "à", "au", "aux", "avec", "ce", "ces", "d", "dans", "de", "des",
        "du", "en", "et", "l", "la", "le", "les", "ou", "par", "pour", "sans", "sous", "sur", "un", "une",
        "y", "el", "los", "las", "del", "por", "con", "que", "e", "il", "lo", "gli", "di", "da",
    )
)  # fmt: skip


def case_of(text: str) -> Case:
    """How the letters of a sentence are written."""
    if text.isupper():
        letters, words = sum(map(str.isupper, text)), _WORD.findall(text)
        return "capitals" if letters >= FEWEST_CAPITALS and len(words) > 1 else _case_of_one(words)
    words = []
    for match in _WORD.finditer(text):
        word = match.group()
        if not word[0].isupper() and word not in _SMALL:
            return "sentence"  # as most are, so that the rest need not be read
        words.append(word)
    if len(words) < 2:
        return "sentence"
    # An abbreviation has its capitals anywhere.
    capitals = [word for word in words if word[0].isupper() and not word.isupper()]
    return "title" if len(capitals) > 1 and words[-1][0].isupper() else "sentence"


def _case_of_one(words: list[str]) -> Case:
    return "capitals" if len(words) == 1 and len(words[0]) > 3 else "sentence"


def in_sentence_case(text: str, language: str, count: CountPieces) -> tuple[str, Case]:
    """`text` in as many code points, in the case in which its words are most likely known, and what it was in.

    Args:
        text: of any `Case`; in a sentence only words with capitals in odd places change.
        language: capitals of some are left alone.
        count: how many pieces of the vocabulary a word takes.
    """
    if text[1:] == text[1:].lower():
        return text, "sentence"
    case = case_of(text)
    is_plain = case == "sentence" and (text.isupper() or not _HAS_CAPITAL_INSIDE.search(text))
    if language in CASELESS_READING or is_plain:
        return text, "sentence"
    words = list(_WORD.finditer(text))
    few = len(words) < FEWEST_TITLE_WORDS
    parts: list[str] = []
    end = 0
    for index, match in enumerate(words):
        parts += (text[end : match.start()], _read(match.group(), index == 0, case, language, count, few))
        end = match.end()
    changed = "".join((*parts, text[end:]))
    # A title of names alone is a sentence like any other.
    return changed, "sentence" if case == "title" and changed == text else case


def _read(word: str, is_first: bool, case: Case, language: str, count: CountPieces, few: bool) -> str:
    if case == "title":
        return word if is_first else _title_word(word, language, count, few)
    return _best(word, is_first, language, count, case) if case == "capitals" or _is_odd(word) else word


def _is_odd(word: str) -> bool:
    return len(word) > 1 and bool(_HAS_CAPITAL_INSIDE.search(word))


def _title_word(word: str, language: str, count: CountPieces, few: bool) -> str:
    small = word.lower()
    if (
        len(small) != len(word)
        or word == "I"
        or (len(word) > 1 and word.isupper())
        or (language == "en" and small.startswith(("i'", "i’")))
    ):
        return word
    lowered, own = count(small), count(word)
    return small if lowered < own or (lowered == own and (not few or small in _SMALL)) else word


def _best(word: str, is_first: bool, language: str, count: CountPieces, case: Case) -> str:
    """The spelling in the fewest pieces; of those as short, the one with the fewest capitals."""
    small, capital = word.lower(), word[:1] + word[1:].lower()
    if len(small) != len(word) or len(capital) != len(word):
        return word
    if language == "en" and (word == "I" or small.startswith(("i'", "i’"))):
        return capital
    forms = [capital, word] if is_first and word[0].isupper() else [small, capital, word]
    if is_first and case == "capitals":
        return word if count(word) < min(count(small), count(capital)) and len(word) < 5 else capital
    return min(forms, key=count)


def in_case(text: str, case: Case) -> str:
    """A translation in the case of its source, in as many code points."""
    if case == "capitals":
        return "".join(capital if len(capital := letter.upper()) == 1 else letter for letter in text)
    if case == "title":
        return _WORD.sub(lambda match: in_case(match.group()[0], "capitals") + match.group()[1:], text)
    return text
