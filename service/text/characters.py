"""Sentences in the characters of training text, which is not how everybody writes."""

from __future__ import annotations

import re

from service.text.languages import separates_sentences_with_spaces

FEWEST_CAPITALS = 8
"""Of a sentence that is taken for one written in capitals: fewer may be an abbreviation."""

_SPACES = dict.fromkeys((0x09, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x202F, 0x205F, 0x3000), " ")
_WIDE_LETTERS = {
    code: code - 0xFEE0 for code in (*range(0xFF10, 0xFF1A), *range(0xFF21, 0xFF3B), *range(0xFF41, 0xFF5B))
}
_WIDE = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}
# Chinese and Japanese have wide punctuation of their own.
_UNSPACED_TABLE = _SPACES | _WIDE_LETTERS
_SPACED_TABLE = _SPACES | _WIDE
_WORD = re.compile(r"[^\W\d_]{2,}")
_LONE_I = re.compile(r"\bi\b")


def in_known_characters(text: str, language: str) -> str:
    """`text` in as many code points, so that what stands where in one stands there in the other.

    Every kind of space is the plain one, full-width letters and digits are plain ones, and so is full-width punctuation
    where the language has none. A sentence all in capitals has only its first letter in capitals.
    """
    if not separates_sentences_with_spaces(language):
        return text.translate(_UNSPACED_TABLE)
    plain = text.translate(_SPACED_TABLE)
    return _in_sentence_case(plain, language) if _is_shouted(plain) else plain


def _is_shouted(text: str) -> bool:
    return text.isupper() and sum(map(str.isupper, text)) >= FEWEST_CAPITALS and len(_WORD.findall(text)) > 1


def _in_sentence_case(text: str, language: str) -> str:
    # The small form of a few letters, such as the Turkish dotted I, is two characters.
    small = "".join(lowered if len(lowered := letter.lower()) == 1 else letter for letter in text)
    if language == "en":
        small = _LONE_I.sub("I", small)
    first = next(place for place, letter in enumerate(text) if letter.isupper())
    return small[:first] + text[first] + small[first + 1 :]
