"""Marks around words, and the stops at the end of sentences."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.text.marks import inside_marks, stop_to_read, tail, with_stop, written_stop


def inside(text: str) -> str:
    return text[slice(*inside_marks(text, 0, len(text)))]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- a b", "a b"), ("• a", "a"), ("> > a", "a"), ("## a ##", "a"), ("[x] a", "a"), ("a) b", "b"), ("12. b", "b"),
        ("(A) b", "b"), ("“a b”", "a b"), ("“a b”.", "a b"),
        ("« a b »", "a b"), ("**a**", "a"), ("(a)", "a"), ("♪ a ♪", "a"),
        ("— a", "a"), ("-A", "A"), ("...a", "a"), ("三、好", "好"), ("① a", "a"), ("「好。」", "好。"),
        ("“a” b “c”", "“a” b “c”"), ("(a) b (c)", "b (c)"), ("A. Einstein", "A. Einstein"),
        ("A. The door opens", "The door opens"), ("M. Petit est là", "M. Petit est là"), ("① a b", "a b"),
        ("J. K. Rowling is here", "Rowling is here"), ("a b*", "a b"), ("B、好的", "好的"), ("a b~", "a b"),
        ("1° La porte est là", "La porte est là"), ("20° C", "20° C"),
        ("-a", "-a"), ("C'est l'été", "C'est l'été"),
        ("it's 'so", "it's 'so"), ("#a", "#a"), ("5 - 3", "5 - 3"),
    ],
)  # fmt: skip
def test_marks_around_words(text: str, words: str) -> None:
    assert inside(text) == words


@given(st.text("-*#>[]()“”«»\"'ab .1", max_size=30))
def test_what_is_inside_is_a_part_and_keeps_the_letters(text: str) -> None:
    start, end = inside_marks(text, 0, len(text))
    assert 0 <= start <= end <= len(text)
    outside = text[:start] + text[end:]
    assert sum(map(str.isalpha, outside)) <= 12  # letters of lists, one each


@pytest.mark.parametrize(
    ("source", "target", "text", "translation", "expected"),
    [
        ("zh", "en", "我爱你！", "I love you.", "I love you!"),
        ("fr", "en", "Le chat dort !", "The cat sleeps.", "The cat sleeps!"),
        ("en", "fr", "The cat sleeps…", "Le chat dort.", "Le chat dort…"),
        ("en", "fr", "Help", "Aidez-vous !", "Aidez-vous"),
        ("en", "fr", "Really?", "Vraiment.", "Vraiment ?"),
        ("en", "fr", "Stop!!!", "Arrêtez ! ! !", "Arrêtez !!!"),
        ("en", "zh", "Really?!", "真的吗？", "真的吗？！"),
        ("en", "zh", "Wait...", "等等。", "等等……"),
        ("zh", "en", "等等……", "Wait.", "Wait…"),
        ("en", "fr", "Name:", "Nom", "Nom :"),
        ("fr", "en", "Nom :", "Name", "Name:"),
        ("en", "fr", "He said so.", "Il dit : « Oui. »", "Il dit : « Oui. »"),
        ("en", "fr", "Tea, milk etc", "Thé, lait etc.", "Thé, lait etc."),
        ("en", "fr", "The door", "La porte", "La porte"),
    ],
)
def test_a_translation_ends_as_its_source_does(
    source: str, target: str, text: str, translation: str, expected: str
) -> None:
    end, stop = with_stop(translation, tail(text), target)
    assert translation[:end] + stop == expected
    assert len(stop_to_read(tail(text), source).strip()) <= 1


@given(st.text("ab", min_size=1), st.text(".!?…。！？ ", max_size=5), st.sampled_from(["en", "fr", "zh"]))
def test_the_stop_of_the_model_never_stays_beside_that_of_the_source(text: str, stop: str, language: str) -> None:
    end, written = with_stop(text + "!", stop, language)
    assert text[:end] + written == text + written_stop(stop, language)
