"""What the model reads of a sentence: the characters it was trained on, each where the writer's stands."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.text.characters import in_known_characters


@given(st.text(), st.sampled_from(["zh", "fr", "en", "ja", "tr"]))
def test_every_character_stays_where_it_is(text: str, language: str) -> None:
    read = in_known_characters(text, language)
    assert len(read) == len(text)
    assert in_known_characters(read, language) == read
    for old, new in zip(text, read, strict=True):
        assert old.isspace() >= new.isspace()
        assert old.isalnum() == new.isalnum()


@pytest.mark.parametrize(
    ("text", "language", "read"),
    [
        ("Où est-il\u00a0? «\u202fIci\u202f»", "fr", "Où est-il ? « Ici »"),
        ("Ｉ　ｓａｗ　３　ｃａｔｓ！", "en", "I saw 3 cats!"),
        ("我有３个ＵＳＢ，真的！", "zh", "我有3个USB，真的！"),
        ("Ａ！", "fr", "A!"),
        ("LA BATTERIE EST À PLAT.", "fr", "La batterie est à plat."),
        ("« OÙ ES-TU ? »", "fr", "« OÙ ES-TU ? »"),  # six letters
        ("TOM AND I'LL WAIT, I PROMISE", "en", "Tom and I'll wait, I promise"),
        ("IS IT IN KIEL?", "en", "Is it in kiel?"),
    ],
)
def test_what_is_read(text: str, language: str, read: str) -> None:
    assert in_known_characters(text, language) == read


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("UNESCO", "fr"),
        ("INTERNATIONAL", "en"),  # one word may be a name
        ("THE USA and NATO", "en"),
        ("AB CD 12", "en"),
        ("NBA CBA WTO 今天开会", "zh"),
        ("C'est l’été : 3 000 €…", "fr"),
    ],
)
def test_what_is_left_alone(text: str, language: str) -> None:
    assert in_known_characters(text, language) == text
