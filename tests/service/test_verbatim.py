"""What is a URL, an e-mail address, an emoji, and what only looks like one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.text import verbatim
from service.text.verbatim import stretches, verbatim_spans

LONG = 100_000
MOST_TRIES = 1024
"""Of a repetition with a bound, and of all that are nested in it."""


def found(text: str, language: str = "en") -> list[str]:
    return [text[start:end] for start, end in verbatim_spans(text, language)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://x.y.", ["https://x.y"]),
        ("(see HTTPS://x.y/a_(b)), ok", ["HTTPS://x.y/a_(b)"]),
        ("see (https://x.y/a_(b)", ["https://x.y/a_(b)"]),
        ("**https://x.y** 'ftp://a/b' <http://c>", ["https://x.y", "ftp://a/b", "http://c"]),
        ("https://x.y/?a=1,2&b[]=3#d!? Ok", ["https://x.y/?a=1,2&b[]=3#d"]),
        ("http://localhost:8000/ and https://[::1]:80/a", ["http://localhost:8000/", "https://[::1]:80/a"]),
        ("https://fr.wikipedia.org/wiki/Été, https://zh.wikipedia.org/wiki/中国", [
            "https://fr.wikipedia.org/wiki/Été", "https://zh.wikipedia.org/wiki/中国",
        ]),
        ("www.example.org/help?x and WWW.a.b", ["www.example.org/help?x", "WWW.a.b"]),
        ("on example.com, docs.example.co.uk/a, bit.ly/x, écologie.gouv.fr:80/a.", [
            "example.com", "docs.example.co.uk/a", "bit.ly/x", "écologie.gouv.fr:80/a",
        ]),
        ("anna.meyer+x@mail.example.org, mailto:li_wei@example.cn; A@B.COM!", [
            "anna.meyer+x@mail.example.org", "mailto:li_wei@example.cn", "A@B.COM",
        ]),
        ("l'adresse d'info@example.com.Puis", ["info@example.com"]),
        ("a ❤️b 👩‍👩‍👧 👍🏽🎉 🇫🇷 1️⃣#⃣ 🙂‍↔️ 🏴󠁧󠁢󠁥󠁮󠁧󠁿 ☕ ©️", [
            "❤️", "👩‍👩‍👧", "👍🏽🎉", "🇫🇷", "1️⃣#⃣", "🙂‍↔️", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "☕", "©️",
        ]),
        ("e.g. i.e./or end.Then 3.14 10:30 p.m. and/or c.-à-d. J.-C. U.S.A. 1.000,00 ok.it fini.de va.Ca", []),
        ("@tom #tag user@host http:// www. :// @ C:\\a ./a ~/b a.b.c © 5 → « » … ①", []),
    ],
)  # fmt: skip
def test_what_is_copied(text: str, expected: list[str]) -> None:
    assert found(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("请看https://example.com/a?b=1，谢谢", ["https://example.com/a?b=1"]),
        ("访问https://example.com。好（www.a.cn/b）吗", ["https://example.com", "www.a.cn/b"]),
        ("去example.com查看详情，写信到anna@example.com请回复", ["example.com", "anna@example.com"]),
        ("很高兴😀😀明天见", ["😀😀"]),
        ("网址：https://x.y:80/a,谢谢", ["https://x.y:80/a"]),
    ],
)
def test_in_chinese_an_address_ends_where_chinese_begins(text: str, expected: list[str]) -> None:
    assert found(text, "zh") == expected


WORDS = st.text(st.characters(categories=("L", "N", "Zs", "P")), max_size=20)
VERBATIM = st.sampled_from(
    ("https://a.b/c?d=1", "ftp://a.b", "www.example.org/a", "example.com", "a.b@example.org", "😀", "👩‍👩‍👧", "🇫🇷", "1️⃣")
)
AROUND = st.sampled_from(
    [(" ", " "), ("(", ")"), ("（", "）"), ('"', '"'), (" ", ". "), (" ", ", "), ("：", "。"), ("«", "»")]
)


@settings(deadline=None)
@given(WORDS, VERBATIM, AROUND, WORDS, st.sampled_from(["en", "zh"]))
def test_it_is_found_whatever_stands_around(
    before: str, part: str, around: tuple[str, str], after: str, language: str
) -> None:
    assert part in found(f"{before} {around[0]}{part}{around[1]} {after}", language)


@settings(deadline=None)
@given(st.text(), st.sampled_from(["en", "zh"]))
def test_the_hint_hides_nothing(text: str, language: str) -> None:
    pattern = verbatim._SPACED if language == "en" else verbatim._UNSPACED
    assert verbatim_spans(text, language) == [match.span() for match in pattern.finditer(text)]


def repetitions(parsed: Any, tries: int = 1) -> Iterator[int]:
    """For each repetition that can give back what it took, how often it and those around it may try."""
    for operation, argument in parsed:
        name = str(operation)
        if name == "MAX_REPEAT":
            tries_inside = tries * argument[1]
            yield tries_inside
            yield from repetitions(argument[2], tries_inside)
        else:
            for part in argument if isinstance(argument, tuple | list) else ():
                for each in part if isinstance(part, list) else [part]:
                    if type(each).__name__ == "SubPattern":
                        yield from repetitions(each, tries)


@pytest.mark.parametrize("pattern", [verbatim._SPACED, verbatim._UNSPACED, verbatim._HINT, verbatim._NEEDS_SPACE])
def test_what_can_backtrack_has_a_bound(pattern: re.Pattern[str]) -> None:
    parser: Any = re._parser  # type: ignore[attr-defined]
    assert max(repetitions(parser.parse(pattern.pattern)), default=0) <= MOST_TRIES
    # The count sees what it should.
    assert max(repetitions(parser.parse("(?:b|(?:a+)*)c"))) > MOST_TRIES


ADVERSARIAL = (
    "a", "a.", "a@", "_", "-a", "www.a(", "www.a[", "a://b(c", "a://", "a.b@", "mailto:", ".", "(", "(😀", "😀*", "😀)",
    "*", "1\ufe0f", "\u200d", "❤\u200d", "é.", "www.a'", "http://a.b/(", "#⃣", "a:", "A.b-",
)  # fmt: skip


@pytest.mark.parametrize("unit", ADVERSARIAL)
@pytest.mark.parametrize("language", ["en", "zh"])
def test_long_lines_are_cut_whole(unit: str, language: str) -> None:
    for line in (unit * (LONG // len(unit)), "www.a" + unit * (LONG // len(unit)) + " 😀"):
        end = 0
        for (start, next_end), _ in stretches(line, language):
            assert end <= start <= next_end
            end = next_end
        assert end <= len(line)
