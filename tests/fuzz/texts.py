"""Texts made by Hypothesis: words, what is copied, numbers, lines, mark-up."""

from __future__ import annotations

import string
from collections.abc import Sequence

from hypothesis import strategies as st

WORDS = {
    "en": "the a door cat house is are open I you we and but never station water tea book very Monday Tom's don't if",
    "fr": "la le porte chat maison est sont ouverte je tu nous et mais jamais gare l'eau thé livre très lundi d'accord",
    "zh": "门 开 了 我 爱 你 书 在 哪里 去 车站 今天 天气 好 和 不 他 小 水 朋友 喜欢 我们 三 一点",
}
LETTERS = {
    "en": string.ascii_lowercase,
    "fr": string.ascii_lowercase + "éèàçêœù",
    "zh": "门开了我爱你书在去车站今天气好和不他水",
}
STOPS = {"en": ("", ".", "!", "?", "…", "..."), "fr": ("", ".", " !", " ?", "…"), "zh": ("", "。", "！", "？", "……")}
ENDS = ("\n", "\r\n", "\n\n", "\r", "\u2028", "\x0b", "\n \n")
MARKS = ("", "", "", "- ", "• ", "1. ", "a) ", "> ", "## ", "[ ] ", "♪ ", "— ", "  ", "\t")
INVISIBLE = "\u00ad\u200b\u2060\ufeff\u200e\u200f\u0007\u202a"
EMOJI = ("❤️", "👩‍👩‍👧", "👍🏽", "🇫🇷", "☕", "😀", "1️⃣", "🙂‍↔️")
FOREIGN = ("Спасибо", "Доброе утро", "안녕하세요", "שלום", "Καλημέρα", "こんにちは", "नमस्ते", "สวัสดี", "سلام")
# What has no letter of English, French or Chinese.
NO_LETTERS = (*string.digits, *".,;:!?()[]{}<>-–—…'\"«»“”*_~=+/\\|^°§•→%€$&@# \t\n", *EMOJI, *FOREIGN, "，", "。", "　")

identifier = st.text(string.ascii_lowercase, min_size=2, max_size=6)
number = st.integers(0, 99)


def _filled(pattern: str) -> st.SearchStrategy[str]:
    """The pattern with an identifier for each I and a number for each N."""
    parts: list[st.SearchStrategy[str]] = []
    for character in pattern:
        parts.append(identifier if character == "I" else number.map(str) if character == "N" else st.just(character))
    return st.tuples(*parts).map("".join)


PLACEHOLDERS = (
    "{I}",
    "{{I}}",
    "{{I.I}}",
    "%(I)s",
    "%N$s",
    "${I}",
    "%s",
    "%d",
    "{N}",
    "$I",
    "<%= I %>",
    "{I, plural, other {# I}}",
)
ADDRESSES = (
    "https://I.org/I/N?I=N&I=I#I",
    "http://I.I.com",
    "www.I.net/I",
    "I.I@I.org",
    "I@I.fr",
    "I.com",
    "ftp://I/I",
)
NAMES = (
    "I.txt", "I_I.pdf", "/I/I", "~/I/I.py", "C:\\I\\I", "#I", "@I", ":I_I:", "I_I", "I.I.I", "Ctrl+Shift+N", "vN.N.N",
    "0xN", "--I-I", "I()", "I::I", "iI9", "MPN", "./I/I.md",
)  # fmt: skip
OTHERS = ("`I I`", "N.N.N.N", "+33 6 12 34 56 78", "[N]", "<br/>", "&amp;", "<I/>", "2.N.N")


def one_of_patterns(*groups: Sequence[str]) -> st.SearchStrategy[str]:
    """One of all these patterns, filled."""
    return st.sampled_from([pattern for group in groups for pattern in group]).flatmap(_filled)


verbatim = st.one_of(
    one_of_patterns(PLACEHOLDERS), one_of_patterns(ADDRESSES), one_of_patterns(NAMES), one_of_patterns(OTHERS),
    st.sampled_from(EMOJI), st.sampled_from(FOREIGN),
)  # fmt: skip


def words(language: str) -> st.SearchStrategy[str]:
    """One of the language, or letters of it that are none."""
    known = st.sampled_from(WORDS[language].split())
    return st.one_of(known, known, known, st.text(LETTERS[language], min_size=1, max_size=7), known.map(str.upper))


def joined(language: str, parts: Sequence[str]) -> str:
    """As a sentence has them: in Chinese without spaces, but around what is not Chinese."""
    if language != "zh":
        return " ".join(parts)
    text = ""
    for part in parts:
        text += (
            " " if text and not ("\u4e00" <= part[0] <= "\u9fff" and "\u4e00" <= text[-1] <= "\u9fff") else ""
        ) + part
    return text


@st.composite
def sentences(draw: st.DrawFn, language: str, extra: st.SearchStrategy[str] | None = None) -> tuple[str, list[str]]:
    """A sentence, and what of `extra` was put between its words."""
    parts = draw(st.lists(words(language), min_size=1, max_size=7))
    inserted = draw(st.lists(extra, min_size=1, max_size=3)) if extra is not None else []
    for part in inserted:
        parts.insert(draw(st.integers(0, len(parts))), part)
    return joined(language, parts) + draw(st.sampled_from(STOPS[language])), inserted


@st.composite
def texts(draw: st.DrawFn, language: str, extra: st.SearchStrategy[str] | None = None) -> tuple[str, list[str]]:
    """Lines of sentences with marks before them, and what of `extra` is in them."""
    text, inserted = "", []
    for _ in range(draw(st.integers(1, 3))):
        text += draw(st.sampled_from(MARKS))
        for index in range(draw(st.integers(0, 2))):
            sentence, parts = draw(sentences(language, extra))
            text += draw(st.sampled_from((" ", "\t", "  ", " | "))) * (index > 0) + sentence
            inserted += parts
        text += draw(st.sampled_from(ENDS))
    return text, inserted


def numbers(language: str) -> st.SearchStrategy[str]:
    """As the language writes them: plain, grouped, with decimals, money, dates, times."""
    whole = st.integers(0, 10_000_000)
    group, point = {"en": (",", "."), "fr": ("\u202f", ","), "zh": (",", ".")}[language]
    grouped = whole.map(lambda value: f"{value:,}".replace(",", group))
    decimals = st.tuples(st.integers(0, 5000), st.integers(0, 99)).map(lambda both: f"{both[0]}{point}{both[1]:02}")
    date = st.dates().map(str)
    time = st.times().map(lambda value: f"{value.hour}:{value.minute:02}")
    kinds = [number.map(str), whole.map(str), grouped, decimals, date, time, decimals.map("{}%".format)]
    if language == "zh":
        kinds += [
            st.integers(1, 9000).map("{}万".format),
            st.dates().map(lambda day: f"{day.year}年{day.month}月{day.day}日"),
        ]
    else:
        kinds += [decimals.map("€{}".format if language == "en" else "{} €".format)]
    return st.one_of(kinds)


BLOCKS = ("p", "div", "h1", "li", "td")
INLINE = ('<a href="/x?a=1&amp;b=2">', "<b>", "<em>", '<span class="x y">', "<i>", '<b id="i">')
ALONE = ("<br>", "<br/>", '<img src="a.png">', "&amp;", "&lt;", "&nbsp;", "<!-- a <b> note -->", "<code>x = 1</code>")


@st.composite
def inline(draw: st.DrawFn, language: str, depth: int = 0) -> str:
    """Words, and elements of words."""
    parts = []
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.integers(0, 5))
        if kind == 0 and depth < 3:
            tag = draw(st.sampled_from(INLINE))
            parts.append(f"{tag}{draw(inline(language, depth + 1))}</{tag[1:].split('>')[0].split()[0]}>")
        elif kind == 1:
            parts.append(draw(st.sampled_from(ALONE)))
        else:
            parts.append(draw(words(language)))
    return draw(st.sampled_from((" ", " ", ""))).join(parts) if language != "zh" else "".join(parts)


@st.composite
def html(draw: st.DrawFn, language: str, depth: int = 0) -> str:
    """Blocks in blocks, well-formed."""
    made = []
    for _ in range(draw(st.integers(1, 2))):
        name = draw(st.sampled_from(BLOCKS))
        is_leaf = depth == 2 or name in ("p", "h1") or draw(st.booleans())
        content = draw(inline(language)) if is_leaf else draw(html(language, depth + 1))
        made.append(f"<{name}>{content}{draw(st.sampled_from(STOPS[language]))}</{name}>")
    return draw(st.sampled_from(("", "\n", "\n  "))).join(made)
