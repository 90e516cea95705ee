"""What is copied or set aside, and what only looks like it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model import spans
from model.spans import FoundSpan, find_spans, scripts_of
from service.text import separators
from service.text.lines import cells, masked, spans_of

LONG = 100_000
MOST_TRIES = 1024
"""Of a repetition with a bound, and of all that are nested in it."""


def found(text: str, language: str = "en") -> list[str]:
    return [text[start:end] for start, end, _ in find_spans(text, language)]


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
        ("e.g. i.e./or end.Then p.m. and/or c.-à-d. J.-C. U.S.A. ok.it fini.de va.Ca", []),
        ("user@host http:// www. :// @ a.b.c © 5 → « » … ①", []),
    ],
)  # fmt: skip
def test_addresses_and_emoji(text: str, expected: list[str]) -> None:
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


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The price is 19.95 of 318,640 or €7.40, 12 % and 12.5%.", ["19.95", "318,640", "€7.40", "12.5%"]),
        ("On 2031-04-09 at 19:45, 10.20.30.40 and 1990–1995", ["2031-04-09", "19:45", "10.20.30.40", "1990–1995"]),
        ("Call +33 1 23 45 67 89, 06 12 34 56 78 or (555) 123-4567.", [
            "+33 1 23 45 67 89", "06 12 34 56 78", "(555) 123-4567",
        ]),
        ("Hi {{order.id}} %1$s %(file)s %s %d {0} ${a} $HOME %@ %{b} %1", [
            "{{order.id}}", "%1$s", "%(file)s", "%s", "%d", "{0}", "${a}", "$HOME", "%@", "%{b}", "%1",
        ]),
        ("See {n, plural, one {# cat} other {# cats}}.", ["{n, plural, one {# cat} other {# cats}}"]),
        ('<p class="a">x</p> &amp; <br/> <!-- a --> `npm start` [3]', [
            '<p class="a">', "</p>", "&amp;", "<br/>", "<!-- a -->", "`npm start`", "[3]",
        ]),
        ("notes.txt D:\\Data\\Music /etc/hosts ./a.sh ~/b docs/a.md", [
            "notes.txt", "D:\\Data\\Music", "/etc/hosts", "./a.sh", "~/b", "docs/a.md",
        ]),
        ("#music @anna :smile: foo_bar() a::b menu.file.open iPhone JavaScript C++ C# .NET", [
            "#music", "@anna", ":smile:", "foo_bar()", "a::b", "menu.file.open", "iPhone", "JavaScript", "C++",
            "C#", ".NET",
        ]),
        ("MP3 COVID-19 F-16 4K x86 0x1F Ctrl+Alt+K --help 7d1f0c2a-4b6e-4f80-9a3c-5e2d1b0f8a77", [
            "MP3", "COVID-19", "F-16", "4K", "x86", "0x1F", "Ctrl+Alt+K", "--help",
            "7d1f0c2a-4b6e-4f80-9a3c-5e2d1b0f8a77",
        ]),
        ("[00:04.000 --> 00:06.500] Come in.", ["[00:04.000 --> 00:06.500]"]),
        ("My friend 小明 says Доброе утро, Tom", ["小明", "Доброе утро"]),
        ("The -p and --quiet options, Win-R, Ctrl-C, stat.h; c'est fini.c'est", [
            "-p", "--quiet", "Win-R", "Ctrl-C", "stat.h",
        ]),
        ("A C\u0430t with a Cyrillic letter", ["C\u0430t"]),
        ("The 21st of 5 kg, 10am, 50% off, and/or, 3rd, 1 to 9, it's e.g. J.-C. c'est-à-dire.", []),
        ("a < b and c > d; 2 + 3 = 5; x - y", []),
    ],
)  # fmt: skip
def test_what_is_copied(text: str, expected: list[str]) -> None:
    assert found(text) == expected


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("zh", "我用iPhone打Tom的电话。", ["iPhone", "Tom"]),
        ("zh", "打开notes.txt，在10:30看/etc/hosts", ["notes.txt", "10:30", "/etc/hosts"]),
        ("zh", "2028年5月3日到5月9日，请打06 12 34 56 78", ["2028年5月3日", "5月9日", "06 12 34 56 78"]),
        ("zh", "价格是￥49.90", ["￥49.90"]),
        (
            "en",
            "GET /users/{id}/posts, {a}{b} at 10.1000/xyz.1, <kbd>x</kbd>.",
            [
                "/users/{id}/posts",
                "{a}{b}",
                "10.1000/xyz.1",
                "<kbd>x</kbd>",
            ],
        ),
        ("en", "@:a.b and @.lower:(c) but @: d", ["@:a.b", "@.lower:(c)"]),
        ("zh", "有318万人，3万只，第2章", ["318万", "3万"]),
        ("zh", "안녕하세요", ["안녕하세요"]),
        ("zh", "全局锁（GIL），CPU、GPU type(x)，Name: value 行", ["GIL", "CPU", "GPU type", "x", "Name: value"]),
        ("ru", "Открой Windows сейчас", ["Windows"]),
        ("fr", "Il a 318 640 habitants, 12,5 % et 7,40 € à 18h42.", ["318 640", "12,5 %", "7,40 €", "18h42"]),
        ("ja", "これはテストです", []),
    ],
)
def test_what_is_copied_depends_on_the_language(language: str, text: str, expected: list[str]) -> None:
    assert found(text, language) == expected


def test_scripts_of_languages() -> None:
    assert scripts_of("en") == ("Latn",)
    assert scripts_of("zt") == ("Hani", "Bopo")
    assert scripts_of("ja") == ("Hani", "Hira", "Kana")
    assert scripts_of("uk") == ("Cyrl",)
    assert scripts_of("xx-nonsense!") == ("Latn",)


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


# Signs of which every pattern has one or more, and what stands around them.
SIGNS = st.lists(
    st.sampled_from([*"aA9 .-_:/\\@#$%&{}[]()<>`+*'\"\n", *"éh我\u00b2€", "Ctrl", "Win", "-p", "www", "->"]),
    max_size=12,
).map("".join)  # fmt: skip


@settings(deadline=None, max_examples=500)
@given(st.text() | SIGNS, st.sampled_from(["en", "zh"]))
def test_the_hint_hides_nothing(text: str, language: str) -> None:
    pattern = spans._SPACED if language == "en" else spans._UNSPACED
    found = {span for span in find_spans(text, language) if span.kind != "script"}
    assert found == set(spans._together([spans._found(match) for match in pattern.finditer(text)]))


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


@pytest.mark.parametrize(
    "pattern", [spans._SPACED, spans._UNSPACED, spans._HINT, separators._NEEDS_SPACE], ids=range(4)
)
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
        found = spans_of(line, language)
        in_order(found, line)
        end = 0
        for start, next_end in cells(line, masked(line, found), found):
            assert end <= start <= next_end
            end = next_end
        assert end <= len(line)


def in_order(found: list[FoundSpan], text: str) -> None:
    end = 0
    for span in found:
        assert end <= span.start < span.end
        end = span.end
    assert end <= len(text)


@settings(deadline=None)
@given(st.text(), st.sampled_from(["en", "zh", "fr", "ru", "ja", "xx"]))
def test_spans_are_in_order_and_do_not_overlap(text: str, language: str) -> None:
    in_order(spans_of(text, language), text)
    assert len(masked(text, spans_of(text, language))) == len(text)
