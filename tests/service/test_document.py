"""Text to segments and back."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.text.document import Document

LANGUAGES = st.sampled_from(["zh", "fr", "en", "ja", "xx"])
# Much of what splits, glues and breaks, between anything else.
AWKWARD = st.text(st.sampled_from("aD我. \t\r\n\u2028\u00a0\u3000!?。！，…,;«»\"'“”1😀\u200d\u0301\x00\x85\ufeff"))
TEXTS = st.one_of(st.text(), AWKWARD, st.text().map(lambda text: text * 200))


def count_bytes(text: str) -> int:
    return len(text.encode()) + 1


def parse(text: str, language: str = "en", limit: int = 1000) -> Document:
    return Document.parse(text, language, count_bytes, limit)


@settings(deadline=None)
@given(TEXTS, LANGUAGES, st.integers(6, 60))
def test_unchanged_segments_give_the_source_back(text: str, language: str, limit: int) -> None:
    document = parse(text, language, limit)
    assert document.restore() == text
    # Between languages that space alike nothing at all changes.
    assert document.translate(document.translatable, "fr", "en") == text
    assert document.translate(document.translatable, "zh", "ja") == text


@settings(deadline=None)
@given(TEXTS, LANGUAGES, st.integers(6, 60))
def test_segments_are_ordered_spans_of_the_source_within_the_limit(text: str, language: str, limit: int) -> None:
    end = 0
    for segment in parse(text, language, limit).segments:
        assert end <= segment.start < segment.end <= len(text)
        assert segment.text == text[segment.start : segment.end] == segment.text.strip()
        assert not segment.translatable or len(segment.text) == 1 or count_bytes(segment.text) <= limit
        assert segment.translatable == any(map(str.isalpha, segment.text))
        end = segment.end


@settings(deadline=None)
@given(TEXTS, LANGUAGES)
def test_between_segments_there_is_only_whitespace(text: str, language: str) -> None:
    end = 0
    for segment in parse(text, language).segments:
        assert text[end : segment.start].strip() == ""
        end = segment.end
    assert text[end:].strip() == ""


@settings(deadline=None)
@given(AWKWARD, LANGUAGES, LANGUAGES)
def test_line_breaks_stay_where_they_were(text: str, source: str, target: str) -> None:
    document = parse(text, source)
    translated = document.translate(["X"] * len(document.translatable), source, target)
    assert [line[-1:] for line in translated.splitlines(True)[:-1]] == [
        line[-1:] for line in text.splitlines(True)[:-1]
    ]


@pytest.mark.parametrize(
    ("language", "text", "sentences"),
    [
        ("en", "Hello World. My name is Jonas.", ("Hello World.", "My name is Jonas.")),
        ("en", "I met Dr. Smith at 5 p.m. today.", ("I met Dr. Smith at 5 p.m. today.",)),
        ("en", "It costs 3.50 dollars, e.g. here. Ok?", ("It costs 3.50 dollars, e.g. here.", "Ok?")),
        ("fr", "Bonjour M. Dupont. Ça va ? Oui !", ("Bonjour M. Dupont.", "Ça va ?", "Oui !")),
        ("zh", "今天天气很好。我爱你！好吗？好", ("今天天气很好。", "我爱你！", "好吗？", "好")),
        ("zh", "我们明天一起去看《摔跤吧！爸爸》好吗？好！", ("我们明天一起去看《摔跤吧！爸爸》好吗？", "好！")),
    ],
)
def test_sentences(language: str, text: str, sentences: tuple[str, ...]) -> None:
    assert parse(text, language).translatable == sentences


@pytest.mark.parametrize(
    ("text", "limit", "parts"),
    [
        # After a clause, near the middle; a number's comma is no clause.
        ("one two 3,000 four, five six seven", 25, ("one two 3,000 four,", "five six seven")),
        ("我喜欢咖啡，你喜欢茶", 25, ("我喜欢咖啡，", "你喜欢茶")),
        # No clause: at a space. No space: anywhere, but never inside a letter with its accent.
        ("aaaa bbbb cccc", 10, ("aaaa bbbb", "cccc")),
        ("aaaaaaaa", 6, ("aaaa", "aaaa")),
        ("aae\u0301\u0301aa", 8, ("aae\u0301\u0301", "aa")),
    ],
)
def test_long_sentences_are_cut_where_it_hurts_least(text: str, limit: int, parts: tuple[str, ...]) -> None:
    document = parse(text, "en", limit)
    assert document.translatable == parts
    assert document.split_sentences == 1


def test_a_capital_before_a_wide_space_and_a_full_stop_does_not_break_the_splitter() -> None:
    text = "Vitamine D\u00a0. C'est tout."
    assert parse(text, "fr").restore() == text


@pytest.mark.parametrize(
    ("source", "target", "text", "expected"),
    [
        ("zh", "en", "我爱你。你爱我。", "[0] [1]"),
        ("en", "zh", "I do. You do.", "[0][1]"),
        ("zh", "zt", "我爱你。你爱我。", "[0][1]"),
        ("en", "fr", "I do. You do.", "[0] [1]"),
        ("en", "zh", "I do.\nYou do.\n", "[0]\n[1]\n"),
        ("en", "zh", "1. 2. 3.", "1. 2. 3."),
        ("zh", "en", "  我爱你。\u3000你爱我。", "  [0]\u3000[1]"),
        ("en", "zh", "\N{GRINNING FACE}\n", "\N{GRINNING FACE}\n"),
    ],
)
def test_spacing_between_sentences(source: str, target: str, text: str, expected: str) -> None:
    document = parse(text, source)
    targets = [f"[{index}]" for index in range(len(document.translatable))]
    assert document.translate(targets, source, target) == expected


@pytest.mark.parametrize("text", ["我爱你。" * 25_000, "a" * 100_000, "a, " * 33_000, ". " * 50_000, '"' * 100_000])
def test_long_texts_take_time_in_proportion(text: str) -> None:
    began = time.monotonic()
    assert parse(text, "zh", 250).restore() == text
    assert time.monotonic() - began < 20  # a fraction of a second on an idle machine; quadratic would be minutes
