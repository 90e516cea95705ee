"""Titles and capitals, read as sentences and given back."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.vocabulary import Vocabulary
from service.text.case import _HAS_CAPITAL_INSIDE, _SMALL, _WORD, case_of, in_case, in_sentence_case
from tests.bundles import PRETRAINED

VOCABULARY = Vocabulary.load(PRETRAINED / "vocabulary.spm")


def count(word: str) -> int:
    return len(VOCABULARY.encode(word))


@pytest.mark.parametrize(
    ("text", "language", "read", "case"),
    [
        ("Open The Big Door", "en", "Open the big door", "title"),
        ("La Porte Est Ouverte", "fr", "La porte est ouverte", "title"),
        ("The Lord of the Rings", "en", "The lord of the rings", "title"),
        ("Log In", "en", "Log in", "title"),
        ("The Man From NASA", "en", "The man from NASA", "title"),
        ("THE DOOR IS OPEN", "en", "The door is open", "capitals"),
        ("LA BATTERIE EST À PLAT", "fr", "La batterie est à plat", "capitals"),
        ("I'LL BE THERE, I PROMISE", "en", "I'll be there, I promise", "capitals"),
        ("The DOg is big", "en", "The dog is big", "sentence"),
        ("New York", "en", "New York", "sentence"),
        ("Tom", "en", "Tom", "sentence"),
        ("I have a TV", "en", "I have a TV", "sentence"),
        ("UNO", "en", "UNO", "sentence"),
        ("Der Große Rote Hund", "de", "Der Große Rote Hund", "sentence"),
        ("今天天气很好", "zh", "今天天气很好", "sentence"),
    ],
)
def test_what_is_read(text: str, language: str, read: str, case: str) -> None:
    assert in_sentence_case(text, language, count) == (read, case)


def test_abbreviations_make_no_title() -> None:
    assert [case_of(text) for text in ("The USA and the UK", "NASA Is Here")] == ["sentence", "title"]


SPELT = st.lists(
    st.sampled_from(["The", "the", "of", "Cat", "cat", "CAT", "McDonald", "l'Été", "L'", "x", "3", "-", "ÉTÉ", "ß"]),
    max_size=6,
).map(" ".join)  # fmt: skip


@settings(max_examples=1000)
@given(st.text() | SPELT)
def test_most_sentences_are_told_by_their_first_word_in_small_letters(text: str) -> None:
    """The short way says what all the words say."""
    words = [match.group() for match in _WORD.finditer(text)]
    others = [word for word in words if not word[0].isupper() and word not in _SMALL]
    if not text.isupper() and (others or len(words) < 2):
        assert case_of(text) == "sentence"
    # And a capital inside a word is found wherever one stands behind a letter.
    inside = re.search(r"(?<=[^\W\d_])[A-ZÀ-ÖØ-Þ]", text)
    assert bool(_HAS_CAPITAL_INSIDE.search(text)) == bool(inside)


@given(st.text(), st.sampled_from(["en", "fr", "tr"]))
def test_every_character_stays_where_it_is(text: str, language: str) -> None:
    read, case = in_sentence_case(text, language, len)
    assert len(read) == len(text)
    assert read.casefold() == text.casefold() or len(read.casefold()) != len(text.casefold())
    assert len(in_case(text, case)) == len(text)


def test_a_translation_is_given_the_case_of_its_source() -> None:
    assert in_case("la porte d'été", "capitals") == "LA PORTE D'ÉTÉ"
    assert in_case("ouvrez la porte", "title") == "Ouvrez La Porte"
    assert in_case("groß", "capitals") == "GROß"
