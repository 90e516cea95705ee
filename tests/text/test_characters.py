"""What the model reads of a sentence: the characters it was trained on, each where the writer's stands."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.text.characters import _SPACED_TABLE, _UNSPACED_TABLE, in_known_characters, in_plain_characters


@given(st.text(), st.sampled_from(["zh", "fr", "en", "ja", "tr"]))
def test_every_character_stays_where_it_is(text: str, language: str) -> None:
    read = in_known_characters(text, language)
    assert len(read) == len(text)
    assert in_known_characters(read, language) == read
    for old, new in zip(text, read, strict=True):
        assert old.isspace() >= new.isspace()
        assert old.isalnum() == new.isalnum()


@pytest.mark.parametrize(("language", "table"), [("en", _SPACED_TABLE), ("zh", _UNSPACED_TABLE)])
def test_no_character_is_passed_over(language: str, table: dict[int, str | int]) -> None:
    for code in range(0x110000):
        character = chr(code)
        assert in_known_characters(character, language) == character.translate(table)


@pytest.mark.parametrize(
    ("text", "language", "read"),
    [
        ("Où est-il\u00a0? «\u202fIci\u202f»", "fr", "Où est-il ? « Ici »"),
        ("Ｉ　ｓａｗ　３　ｃａｔｓ！", "en", "I saw 3 cats!"),
        ("我有３个ＵＳＢ，真的！", "zh", "我有3个USB，真的！"),
        ("Ａ！", "fr", "A!"),
    ],
)
def test_what_is_read(text: str, language: str, read: str) -> None:
    assert in_known_characters(text, language) == read


INVISIBLE = "\u00ad\u200b\u2060\ufeff\u200e\u200f\u202a\u202c\u0007\u0000\u200d\u200c\ufe0f"
SIMPLE = st.text(st.sampled_from("abc déÉçÀ.,!?'我你 12"), max_size=20)


@given(st.one_of(st.text(), st.text(alphabet="Aé´ \u0301\u200b\ufb01\u02bc1", max_size=8)))
@example("A\u200b´A")
@example("A´A")
def test_plain_characters_are_plain(text: str) -> None:
    plain = in_plain_characters(text)
    assert in_plain_characters(plain.text).text == plain.text
    assert plain.old == text


@given(st.lists(st.sampled_from((*"abc éà我。 ", "n\u0303", "ﬁ", "\u00ad", "\u200b", "❤️", "👩\u200d👧"))).map("".join))
def test_each_plain_character_stands_for_what_it_was(text: str) -> None:
    plain = in_plain_characters(text)
    end = 0
    for place, character in enumerate(plain.text):
        start, stop = plain.old_span((place, place + 1))
        assert 0 <= start < stop
        assert stop >= end
        composed = unicodedata.normalize("NFKC", text[start:stop])
        assert character in composed or character in text[start:stop]
        end = stop


@given(SIMPLE, st.data())
def test_invisible_characters_change_nothing(text: str, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(text)))
    with_one = text[:place] + data.draw(st.sampled_from(INVISIBLE)) + text[place:]
    assert in_plain_characters(with_one).text == text


@given(SIMPLE)
def test_decomposed_letters_are_composed(text: str) -> None:
    assert in_plain_characters(unicodedata.normalize("NFD", text)).text == text


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("My oﬃce", "My office"),
        ("⼈⽊", "人木"),
        ("ｶﾞ｡", "ガ。"),
        ("𝐀𝑏ℂ", "AbC"),
        ("Itʼs non\u2011stop", "It's non-stop"),
        ("한국", "한국"),
        ("e\u00ad\u0301t\u200be\u0301", "été"),
        (
            "❤️ 👩\u200d👩\u200d👧 1️⃣ 🏴\U000e0067\U000e0062\U000e007f",
            "❤️ 👩\u200d👩\u200d👧 1️⃣ 🏴\U000e0067\U000e0062\U000e007f",
        ),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("a\tb\r\nc\u2028d\u0085e", "a\tb\r\nc\u2028d\u0085e"),
        ("l´été m² 3 000 € “a”…", "l'été m² 3 000 € “a”…"),
    ],
)
def test_what_a_text_is_read_as(text: str, plain: str) -> None:
    assert in_plain_characters(text).text == plain
