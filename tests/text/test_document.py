"""Text to segments and back."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.text import document
from service.text.characters import in_plain_characters
from service.text.document import Document, Sentence
from service.text.lines import is_plain
from service.text.sentences import sentence_spans
from service.text.terms import Terms

LANGUAGES = st.sampled_from(["zh", "fr", "en", "ja", "xx"])
# Much of what splits, glues and breaks, between anything else.
CHARACTERS = "aD我. \t\r\n\u2028\u00a0\u3000!?。！，…,;«»\"'“”1😀\u200d\u0301\x00\x85\ufeff()（）*[]#>-|_`<"
AWKWARD = st.text(st.sampled_from(CHARACTERS))
SPANS = (
    "https://a.b/c?d=1",
    "www.example.org",
    "anna@example.org",
    "{0}",
    "19.95",
    "<b>",
    "</b>",
    "%s",
    "`x`",
    "notes.txt",
)
MIXED = st.lists(st.sampled_from((*CHARACTERS, *SPANS, "❤️", "👩‍👩‍👧🇫🇷", "1️⃣", "Доброе утро", "**"))).map("".join)
APART = st.lists(st.sampled_from((*"aD我. \n!。，'(“1", *SPANS, "❤️", "👩‍👩‍👧🇫🇷", "Доброе утро"))).map(" ".join)
TEXTS = st.one_of(st.text(), AWKWARD, MIXED, st.text().map(lambda text: text * 200))


def count_bytes(sentence: Sentence) -> int:
    return len((sentence.text + sentence.stop).encode("utf-8", "replace")) + 1 + 1000 * max(0, len(sentence.spans) - 4)


def parse(text: str, language: str = "en", limit: int = 1000) -> Document:
    return Document.parse(text, language, count_bytes, limit)


def texts_of(document: Document) -> tuple[str, ...]:
    return tuple(segment.text for segment in document.translatable)


@settings(deadline=None)
@given(TEXTS, LANGUAGES, st.integers(6, 60))
def test_unchanged_segments_give_the_text_back(text: str, language: str, limit: int) -> None:
    document = parse(text, language, limit)
    same = [document.plain.text[slice(*segment.place)] for segment in document.translatable]
    # Between languages that space alike nothing at all changes but characters that nobody sees.
    expected = in_plain_characters(text).text if same else text
    assert in_plain_characters(document.translate(same, "fr", "en")).text == in_plain_characters(expected).text
    assert document.translate(same, "zh", "ja") == document.translate(same, "fr", "en")


@settings(deadline=None)
@given(TEXTS, LANGUAGES, st.integers(6, 60))
def test_segments_are_ordered_spans_of_the_source_within_the_limit(text: str, language: str, limit: int) -> None:
    end = 0
    document = parse(text, language, limit)
    for segment in document.segments:
        # Parts of a ligature that was cut for its length are at the same place.
        assert end <= segment.start or document.plain.edits
        assert segment.start < segment.end <= len(text)
        assert segment.text == text[segment.start : segment.end]
        end = segment.end
        sentence = segment.sentence
        if sentence is not None:
            assert sentence.text.strip() == sentence.text != ""
            assert any(map(str.isalpha, sentence.text))
            for span in (*sentence.spans, *sentence.asides):
                assert 0 <= span.start < span.end <= len(sentence.text)


@settings(deadline=None)
@given(APART, LANGUAGES)
def test_what_is_copied_is_in_a_sentence_or_between(text: str, language: str) -> None:
    """Every span is verbatim in the text without its translatable parts, or known to a sentence."""
    document = parse(text, language)
    between = document.translate(["\ufffd"] * len(document.sentences), language, language)
    known = [span.text for sentence in document.sentences for span in (*sentence.spans, *sentence.asides)]
    for part in ("https://a.b/c?d=1", "{0}", "👩‍👩‍👧🇫🇷"):
        assert between.count(part) + sum(each.count(part) for each in known) == text.count(part)


@settings(deadline=None)
@given(AWKWARD, LANGUAGES, LANGUAGES)
def test_line_breaks_stay_where_they_were(text: str, source: str, target: str) -> None:
    document = parse(text, source)
    translated = document.translate(["X"] * len(document.sentences), source, target)
    # A mark at the end: the last line may be nothing but a character that nobody sees, which is dropped.
    assert [line[-1:] for line in (translated + "|").splitlines(True)[:-1]] == [
        line[-1:] for line in (text + "|").splitlines(True)[:-1]
    ]


@pytest.mark.parametrize(
    ("language", "text", "sentences"),
    [
        ("en", "Hello World. My name is Jonas.", ("Hello World.", "My name is Jonas.")),
        ("en", "I met Dr. Smith at 5 p.m. today.", ("I met Dr. Smith at 5 p.m. today.",)),
        ("en", "It costs 3.50 dollars, e.g. here. Ok?", ("It costs 3.50 dollars, e.g. here.", "Ok?")),
        ("en", "It is approx. 8 metres. See fig. 3 now.", ("It is approx. 8 metres.", "See fig. 3 now.")),
        ("fr", "Bonjour M. Dupont. Ça va ? Oui !", ("Bonjour M. Dupont.", "Ça va ?", "Oui !")),
        ("fr", "M. Petit arrive demain.", ("M. Petit arrive demain.",)),
        ("fr", "Mme. Petit est là. C. Dupont aussi.", ("Mme. Petit est là.", "C. Dupont aussi.")),
        ("fr", "Né en 50 av. J.-C. il est mort en janv. 12.", ("Né en 50 av. J.-C. il est mort en janv. 12.",)),
        ("fr", "Voir p. ex. le texte.", ("Voir p. ex. le texte.",)),
        ("zh", "今天天气很好。我爱你！好吗？好", ("今天天气很好。", "我爱你！", "好吗？", "好")),
        ("zh", "我们明天一起去看《摔跤吧！爸爸》好吗？好！", ("我们明天一起去看《摔跤吧！爸爸》好吗？", "好！")),
        ("en", "Go to https://a.b/c.d. Then wait. Ok?", ("Go to https://a.b/c.d.", "Then wait.", "Ok?")),
        ("en", "Good night! Спасибо. See you soon.", ("Good night!", "See you soon.")),
        ("zh", "请看https://a.b/c，谢谢。他在这里。", ("请看https://a.b/c，谢谢。", "他在这里。")),
        ("en", "(https://a.b), [1] 😀!", ()),
    ],
)
def test_sentences(language: str, text: str, sentences: tuple[str, ...]) -> None:
    assert texts_of(parse(text, language)) == sentences


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("bread\tmilk\t water", ("bread", "milk", "water")),
        ("Name:   Tom", ("Name:", "Tom")),
        ("- The door is open.", ("The door is open.",)),
        ("• The door", ("The door",)),
        ("> [ ] a) The door", ("The door",)),
        ("“The door is open.”", ("The door is open.",)),
        ("## **The door**", ("The door",)),
        ("The door is open.[3]", ("The door is open.",)),
        ("1. First item", ("First item",)),
        ("♪ la la ♪", ("la la",)),
        ("| a | b c |", ("a", "b c")),
        ("Name: ________", ("Name:",)),
        ("Thank you! 🙏 Bye", ("Thank you!", "Bye")),
        ("[00:04.000 --> 00:06.500] Come in.", ("Come in.",)),
        ("<p>water</p>", ("water",)),
        ("A line<br>and <b>another</b>.<br/>Good.", ("A line", "and <b>another</b>.", "Good.")),
        ("<ul><li>bread</li><li>milk</li></ul>", ("bread", "milk")),
        ("cat . . . . dog", ("cat", "dog")),
        ("3.1 The door opens. It is 3.5 now.", ("The door opens.", "It is 3.5 now.")),
        ("“A” and “B”", ("“A” and “B”",)),
        ("I am (really) here", ("I am (really) here",)),
        ("Do it:\n```\nx = open('a')\n```\nGood.", ("Do it:", "Good.")),
        ("---\ntitle: x\n---\nGood.", ("Good.",)),
        ("<script>let a = 1\n</script> <!-- no\nway --> Good.", ("Good.",)),
        ("19.95", ()),
        ("Доброе утро", ()),
        ("menu.file.open", ()),
        ('{"open": true}', ()),
    ],
)
def test_marks_cells_and_blocks_are_set_aside(text: str, parts: tuple[str, ...]) -> None:
    document = parse(text)
    assert texts_of(document) == parts
    assert document.translate([*parts], "en", "fr") == text


@pytest.mark.parametrize(
    ("text", "stop"),
    [("It is so.", "."), ("Ça va ?!", " ?!"), ("No", ""), ("Wait…", "…"), ("Name :", " :")],
)
def test_the_stop_is_no_part_of_the_text(text: str, stop: str) -> None:
    (sentence,) = parse(text, "fr").sentences
    assert (sentence.text, sentence.stop) == (text[: len(text) - len(stop)], stop)


def test_a_sentence_knows_what_is_copied_and_what_is_set_aside() -> None:
    (sentence,) = parse('See <a href="/x">my house</a> at 19:45 ❤️ now.').sentences
    assert [(span.kind, span.text) for span in sentence.spans] == [("number", "19:45")]
    assert [span.text for span in sentence.asides] == ['<a href="/x">', "</a>", "❤️"]


def test_copied_text_is_what_was_sent() -> None:
    (sentence,) = parse("Open cafe\u0301\u00ad.txt now").sentences
    assert sentence.text == "Open café.txt now"
    assert [span.text for span in sentence.spans] == ["cafe\u0301\u00ad.txt"]


def test_terms_come_first() -> None:
    terms = Terms({"big house": "manoir", "house": "maison", "ACME": None})
    document = Document.parse("The Big House and the house of ACME, acme", "en", count_bytes, 1000, terms)
    (sentence,) = document.sentences
    assert [(span.kind, span.text) for span in sentence.spans] == [
        ("term", "manoir"), ("term", "maison"), ("name", "ACME"),
    ]  # fmt: skip


def test_dnt_is_copied_between_its_tags() -> None:
    (sentence,) = parse("I like <dnt>Green Tea</dnt> very much").sentences
    assert [span.text for span in sentence.spans] == ["Green Tea"]
    assert [span.text for span in sentence.asides] == ["<dnt>", "</dnt>"]


@pytest.mark.parametrize(
    ("text", "limit", "parts"),
    [
        # After a clause, near the middle; a number's comma is no clause.
        ("one two 3,000 four, five six seven", 25, ("one two 3,000 four,", "five six seven")),
        ("he read the news and fed the cat", 25, ("he read the news", "and fed the cat")),
        # No clause: at a space. No space: anywhere, but never inside a letter with its accent.
        ("aaaa bbbb cccc", 10, ("aaaa bbbb", "cccc")),
        ("aaaaaaaa", 6, ("aaaa", "aaaa")),
        ("aae\u0323\u0323aa", 9, ("aae\u0323\u0323", "aa")),
        # Never inside what is copied.
        ("a {0} {1} {2} {3} {4} {5} b", 100, ("a", "{0} {1} {2} {3} {4} {5} b")),
    ],
)
def test_long_sentences_are_cut_where_it_hurts_least(text: str, limit: int, parts: tuple[str, ...]) -> None:
    document = parse(text, "en", limit)
    assert "".join(texts_of(document)).replace(" ", "") == "".join(parts).replace(" ", "")
    if "{" not in text:
        assert texts_of(document) == parts
    assert document.split_sentences == 1


def test_a_capital_before_a_wide_space_and_a_full_stop_does_not_break_the_splitter() -> None:
    assert list(sentence_spans("Vitamine D\u00a0. C'est tout.", "fr"))


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
        ("zh", "en", "我爱你。\N{GRINNING FACE}", "[0]\N{GRINNING FACE}"),
        ("zh", "en", "“门开了。”他说。", "“[0]” [1]"),
        ("fr", "en", "« Voir ! »", "« [0] »"),
    ],
)
def test_spacing_between_sentences(source: str, target: str, text: str, expected: str) -> None:
    document = parse(text, source)
    targets = [f"[{index}]" for index in range(len(document.sentences))]
    assert document.translate(targets, source, target) == expected


def test_parts_take_the_place_of_a_sentence() -> None:
    document = parse("See 19.95 and go. Ok?")
    cut = document.replaced([[((0, 3), None), ((4, 9), "19,95"), ((10, 16), None)], [((0, 2), None)]])
    assert texts_of(cut) == ("See", "and go.", "Ok?")
    assert cut.translate(["A", "B", "C"], "en", "fr") == "A 19,95 B C"


@pytest.mark.parametrize(
    "text",
    [
        "我爱你。" * 25_000,
        "a" * 100_000,
        "a, " * 33_000,
        ". " * 50_000,
        '"' * 100_000,
        "1.5 a\t" * 20_000,
        f"{'a' * 50_000}. b. {'x-' * 20_000}. c",
    ],
)
def test_long_texts_come_back(text: str) -> None:
    document = parse(text, "zh", 250)
    same = [document.plain.text[slice(*segment.place)] for segment in document.translatable]
    assert document.translate(same, "fr", "en") == text


LINES = st.one_of(
    st.text("abÉé '’,-.!?…Aiz", max_size=20),
    st.lists(st.sampled_from(["The", "cat", "sleeps", "est-il", "-x", "d’un", "McDonald", "--", ",", "!", "  "]),
             max_size=6).map(" ".join),
    st.text("我爱你，。！？、a1", max_size=12),
)  # fmt: skip


PLAIN_TEXTS = st.one_of(LINES, st.lists(LINES, min_size=2, max_size=3).map("\n".join), AWKWARD)


@settings(max_examples=2000, deadline=None)
@given(text=PLAIN_TEXTS, language=st.sampled_from(["en", "fr", "zh", "ru"]), limit=st.sampled_from([12, 90, 1000]))
def test_a_plain_text_is_what_the_long_way_makes_of_it(text: str, language: str, limit: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        short = parse(text, language, limit)
        patch.setattr(document, "is_plain", lambda line, language: False)
        assert short == parse(text, language, limit)


@pytest.mark.parametrize(
    ("line", "language"),
    [
        ("The cat sleeps.", "en"),
        ("Où est-il allé, ton frère ?", "fr"),
        ("Help me", "en"),
        ("我昨天没去，因为我病了。", "zh"),
    ],
)
def test_most_sentences_are_plain(line: str, language: str) -> None:
    assert is_plain(line, language)


@pytest.mark.parametrize(
    "line",
    [
        "A line ",
        "It is 7.",
        "An iPhone.",
        "A  b c",
        "Good. Night.",
        "Спасибо",
        "- a line",
        "Use -x now",
        "我 love 你",
    ],
)
def test_others_are_not(line: str) -> None:
    assert not is_plain(line, "en")


@pytest.mark.parametrize(
    "set_aside",
    [
        '<a href="/x?a=1&amp;b=2">',
        "<!-- a,b;c(d) -->",
        "\n```\nx?y:z(1)\n```\n",
        '<img src="a,b.png" alt="x;y">',
        "<b><i>",
    ],
)
def test_what_is_set_aside_between_chinese_sentences_is_spaced_by_nobody(set_aside: str) -> None:
    for source in (f"{set_aside}你好。", f"你好。{set_aside}再见。", f"你好。{set_aside}"):
        document = Document.parse(source, "zh", len, 100)
        assert set_aside in document.translate(["Hello"] * len(document.translatable), "zh", "en"), source
