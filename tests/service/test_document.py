"""Text to segments and back."""

from __future__ import annotations

import gzip
import itertools
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.text.document import Document, Segment
from service.text.sentences import sentence_spans, split_long
from service.text.verbatim import verbatim_spans

LANGUAGES = st.sampled_from(["zh", "fr", "en", "ja", "xx"])
# Much of what splits, glues and breaks, between anything else.
CHARACTERS = "aD我. \t\r\n\u2028\u00a0\u3000!?。！，…,;«»\"'“”1😀\u200d\u0301\x00\x85\ufeff()（）*"
AWKWARD = st.text(st.sampled_from(CHARACTERS))
ADDRESSES = ("https://a.b/c?d=1", "www.example.org", "anna@example.org", "example.com/(x)", "http://")
WITH_ADDRESSES = st.lists(st.sampled_from((*CHARACTERS, *ADDRESSES, "❤️", "👩‍👩‍👧🇫🇷", "1️⃣"))).map("".join)
TEXTS = st.one_of(st.text(), AWKWARD, WITH_ADDRESSES, st.text().map(lambda text: text * 200))
ROOT = Path(__file__).parents[2]


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
        assert segment.translatable == (
            any(map(str.isalpha, segment.text)) and segment.text not in copied(text, language)
        )
        end = segment.end


@settings(deadline=None)
@given(TEXTS, LANGUAGES)
def test_between_segments_there_is_no_letter_and_mostly_only_whitespace(text: str, language: str) -> None:
    end = 0
    marks = ""
    for segment in (*parse(text, language).segments, Segment(len(text), len(text), "", False)):
        marks += text[end : segment.start]
        end = segment.end
    assert not any(map(str.isalnum, marks))
    assert copied(text, language) or marks.strip() == ""


def copied(text: str, language: str) -> list[str]:
    return [line[start:end] for line in text.splitlines() for start, end in verbatim_spans(line, language)]


@settings(deadline=None)
@given(TEXTS, st.sampled_from([("zh", "en"), ("en", "zh"), ("fr", "en"), ("zh", "ja")]), st.integers(6, 60))
def test_addresses_and_emoji_come_back_in_order(text: str, direction: tuple[str, str], limit: int) -> None:
    document = parse(text, direction[0], limit)
    targets = [f"<{index}>" for index in range(len(document.translatable))]
    translated, spans = document.place(targets, *direction)
    assert [translated[slice(*span)] for span in spans] == targets
    end = 0
    for part in copied(text, direction[0]):
        end = translated.index(part, end) + len(part)


def before_there_was_anything_to_copy(text: str, language: str, limit: int) -> list[tuple[int, int]]:
    lines = itertools.accumulate((len(line) for line in text.splitlines(True)), initial=0)
    return [
        (line_start + start, line_start + end)
        for line_start, line in zip(lines, text.splitlines(), strict=False)
        for span in sentence_spans(line, language)
        for start, end in (
            split_long(line, *span, count_bytes, limit) if any(map(str.isalpha, line[slice(*span)])) else [span]
        )
    ]


def samples() -> list[tuple[str, str]]:
    tsv = (ROOT / "benchmarks" / name for name in ("sentences.tsv", "everyday_sentences.tsv"))
    rows = [line.split("\t") for path in tsv for line in path.read_text(encoding="utf-8").splitlines()]
    with gzip.open(ROOT / "model/recipes/demo-data/tatoeba.tsv.gz", "rt", encoding="utf-8") as demo:
        rows += [line.rstrip("\n").split("\t") for line in itertools.islice(demo, 1000)]
    cells = [cell for row in rows for cell in row if len(cell) > 5]
    return [(cell, "zh" if any("\u3400" < each < "\u9fff" for each in cell) else "fr") for cell in cells]


def test_text_with_nothing_to_copy_is_segmented_as_before() -> None:
    compared = 0
    for text, language in samples():
        if copied(text, language):
            continue
        spans = [(segment.start, segment.end) for segment in parse(text, language, 60).segments]
        assert spans == before_there_was_anything_to_copy(text, language, 60), text
        compared += 1
    assert compared > 1000


@pytest.mark.parametrize(
    ("language", "text", "sentences"),
    [
        ("en", "Go to https://a.b/c.d. Then wait. Ok?", ("Go to", "Then wait.", "Ok?")),
        ("en", "It is good. See www.a.org!", ("It is good.", "See")),
        ("en", "The cat (see https://a.b) is here (really).", ("The cat", "see", "is here (really).")),
        ("en", 'He said "yes" 😀 and "https://a.b", too.', ('He said "yes"', "and", "too.")),
        ("fr", "Le site « https://a.b » est **https://c.d** lent.", ("Le site", "est", "lent.")),
        ("zh", "请看https://a.b/c，谢谢。他在（见www.a.cn）这里。", ("请看", "谢谢。", "他在", "见", "这里。")),
        ("en", "(https://a.b), [1] 😀!", ()),
    ],
)
def test_what_is_copied_ends_one_sentence_and_begins_another(
    language: str, text: str, sentences: tuple[str, ...]
) -> None:
    assert parse(text, language).translatable == sentences


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
        ("en", "zh", "I do. \N{GRINNING FACE} You do.", "[0]\N{GRINNING FACE}[1]"),
        # An address keeps its spaces: Chinese letters next to it would become a part of it.
        ("en", "zh", "See https://a.b (or a@b.cn), Tom.", "[0] https://a.b ([1] a@b.cn), [2]"),
        ("zh", "en", "请看https://a.b，谢谢。", "[0] https://a.b, [1]"),
        ("zh", "en", "他在（https://a.b）这里。\n（a@b.cn）。\n", "[0] (https://a.b) [1]\n(a@b.cn).\n"),
        ("zh", "en", "我爱你\N{GRINNING FACE}。", "[0] \N{GRINNING FACE}."),
        ("zh", "ja", "请看https://a.b，谢谢。", "[0]https://a.b，[1]"),
        ("fr", "en", "Voir « https://a.b » !", "[0] « https://a.b » !"),
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
