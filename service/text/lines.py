"""One line of text to its cells, and what of it is copied or set aside."""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from model.spans import SET_ASIDE, FoundSpan, find_spans, merged, scripts_of
from service.text.marks import inside_marks
from service.text.terms import NO_TERMS

if TYPE_CHECKING:
    from service.text.edits import Span
    from service.text.terms import Terms

MOST_MARKS = 8
"""Kinds of marks that may stand around a line, one in another."""
_CELLS = re.compile(
    r"[^\S\n]*(?:\t|[^\S\t]{2,}|[^\S\n]*\|[^\S\n]*|_{2,}|\.{4,}|(?:\.[ \u00a0]){3,}\.?|-{3,}|={3,}|…{3,}|·{3,})\s*"
)
_CELL_HINTS = (
    "\t",
    "  ",
    "|",
    "__",
    "....",
    ". . ",
    "---",
    "===",
    "………",
    "···",
    "\u00a0",
    "\u3000",
    "\u2003",
    "\u202f",
    "\x1f",
)
_FENCES = re.compile(r"^[ \t]*(```+|~~~+)[^\n]*\n.*?(?:^[ \t]*\1[^\n]*$|\Z)", re.MULTILINE | re.DOTALL)
_RAW = re.compile(r"<(script|style|pre|textarea)\b[^>]*>.*?</\1\s*>|<!--.*?-->", re.DOTALL | re.IGNORECASE)
_FRONT = re.compile(r"\A---[ \t]*\n.*?\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_EMPHASIS = re.compile(
    r"(?<![\w*])(\*{1,3})(?=[^\s*])([^*\n]{1,2000}?)(?<=[^\s*])(\1)(?![\w*])|(?<!\w)(_{1,2})(?=[^\s_])([^_\n]{1,2000}?)(?<=[^\s_])(\4)(?!\w)"
    r"|(~~|==)(?=[^\s~=])([^~=\n]{1,2000}?)(?<=[^\s~=])(\7)"
)
_LINK = re.compile(
    r"(!?\[)([^\[\]\n]{1,1000}+)(\]\([^()\s]{0,2000}(?:\([^()\s]{0,500}\))?[^()\s]{0,500}(?:\s\"[^\"\n]*\")?\)|\]\[[^\[\]\n]{0,200}\])"
)
_DNT = re.compile(r"<dnt>(.*?)</dnt>", re.IGNORECASE)
_BLOCK = re.compile(
    r"</?(?:address|article|aside|blockquote|body|br|button|caption|center|dd|details|div|dl|dt|fieldset|figcaption|figure"
    r"|footer|form|h[1-6]|head|header|hr|html|legend|li|main|nav|ol|option|p|section|select|summary|table|tbody|td|tfoot|th"
    r"|thead|title|tr|ul)(?![\w:-])",
    re.IGNORECASE,
)
# "3.1 What it does" is a heading, and 3.1 no decimal.
_SECTION = re.compile(r"[0-9]{1,2}(?:\.[0-9]{1,2}){1,4}\s+(?=[A-ZÀ-Ý][\w'’]{0,40}\s[a-zà-ÿ])")
_TAG_SIGNS = re.compile("[\U000f0000-\U000fffff]")


_LETTERS = "A-Za-zÀ-ÖØ-öø-ÿŒœ"
_PLAIN_SPACED = re.compile(
    f"[{_LETTERS}][{_LETTERS} ,;'’]*(?:(?<=[{_LETTERS}])-[a-zß-öø-ÿœ][{_LETTERS} ,;'’]*)*[.!?…]?"
)
_PLAIN_HAN = re.compile("[\u4e00-\u9fff][\u4e00-\u9fff，]*[。！？]?")
_NOT_PLAIN = re.compile("  |[a-z][A-Z]| $")
_FEWEST_PLAIN, _MOST_PLAIN = 4, 500


def is_plain(line: str, language: str) -> bool:
    """Whether a line surely is one sentence with nothing to copy, set aside or take apart, as most are.

    It has letters of the language, spaces, commas and apostrophes, and one stop at its end at most. Others may be as
    plain; of these it costs a hundredth to know it.
    """
    if not _FEWEST_PLAIN <= len(line) <= _MOST_PLAIN:
        return False
    scripts = scripts_of(language)
    if "Latn" in scripts:
        return _PLAIN_SPACED.fullmatch(line) is not None and not _NOT_PLAIN.search(line)
    return "Hani" in scripts and _PLAIN_HAN.fullmatch(line) is not None


def blocks(text: str) -> list[Span]:
    """What spans lines and is copied whole: fenced code, scripts, styles, preformatted text, comments, front matter."""
    if "```" not in text and "~~~" not in text and "<" not in text and not text.startswith("---"):
        return []
    found = [match.span() for pattern in (_FRONT, _FENCES, _RAW) for match in pattern.finditer(text)]
    kept: list[Span] = []
    for span in sorted(found):
        if not kept or span[0] >= kept[-1][1]:
            kept.append(span)
    return kept


def spans_of(line: str, language: str, terms: Terms = NO_TERMS, *, has_tags: bool = False) -> list[FoundSpan]:
    """What is copied and what is set aside in a line, in order, none overlapping another.

    Args:
        line: without line breaks.
        language: of the line.
        terms: what the caller wants copied or replaced; it comes first.
        has_tags: characters of a private plane stand for tags, and nothing else is one.
    """
    found = list(terms.spans(line))
    if has_tags:
        found = merged(found, (FoundSpan(*match.span(), "tag") for match in _TAG_SIGNS.finditer(line)))
    if "<dnt>" in line.lower():
        found = merged(found, (span for match in _DNT.finditer(line) for span in _untranslated(match)))
    if "](" in line or "][" in line:
        found = merged(found, (span for match in _LINK.finditer(line) for span in _ends(match, (1, 3))))
    regular = find_spans(line, language)
    if any(mark in line for mark in "*_~="):
        found = merged(found, _emphasis(line, regular))
    return merged(found, regular) if found else regular


def _emphasis(line: str, regular: Sequence[FoundSpan]) -> Iterator[FoundSpan]:
    """Marks of emphasis that are not in code, an address or a name."""
    opaque = [span for span in regular if span.kind in ("code", "address", "placeholder", "name")]
    starts = [span.start for span in opaque]
    for match in _EMPHASIS.finditer(line):
        places = (match.start(), match.end() - 1)
        before = ((bisect.bisect_right(starts, place) - 1, place) for place in places)
        if not any(index >= 0 and place < opaque[index].end for index, place in before):
            yield from _marks(match)


def _untranslated(match: re.Match[str]) -> Iterator[FoundSpan]:
    yield FoundSpan(match.start(), match.start(1), "tag")
    if match.group(1):
        yield FoundSpan(*match.span(1), "name")
    yield FoundSpan(match.end(1), match.end(), "tag")


def _ends(match: re.Match[str], groups: tuple[int, int]) -> Iterator[FoundSpan]:
    yield from (FoundSpan(*match.span(group), "tag") for group in groups)


def _marks(match: re.Match[str]) -> Iterator[FoundSpan]:
    first = next(group for group in (1, 4, 7) if match.group(group) is not None)
    yield from _ends(match, (first, first + 2))


def masked(line: str, spans: Sequence[FoundSpan]) -> str:
    """The line, as long, with letters in place of what is copied and nothing that is a mark in place of what is set
    aside: so that neither is taken apart, nor for the end of a sentence."""
    parts, end = [], 0
    for span in spans:
        length = span.end - span.start
        parts.append(line[end : span.start])
        if span.kind == "number":
            parts.append("".join(letter if letter.isdigit() else "0" for letter in line[span.start : span.end]))
        elif span.kind in SET_ASIDE:
            parts.append("\ufffc" * length)
        else:
            parts.append("X" + "x" * (length - 1))
        end = span.end
    return "".join((*parts, line[end:]))


def cells(line: str, mask: str, spans: Sequence[FoundSpan]) -> Iterator[Span]:
    """The parts of a line between tabs, runs of spaces, blanks, bars and tags of blocks, without the marks around
    them."""
    found = [match.span() for match in _CELLS.finditer(mask)] if any(hint in mask for hint in _CELL_HINTS) else []
    blocks_of_html = [span[:2] for span in spans if span.kind == "tag" and _BLOCK.match(line, span.start)]
    start = 0
    for first, last in sorted((*found, *blocks_of_html)) if blocks_of_html else found:
        if last > max(first, start):
            yield inside(line, mask, start, max(first, start), spans)
            start = last
    yield inside(line, mask, start, len(line), spans)


def spans_between(spans: Sequence[FoundSpan], start: int, end: int) -> Sequence[FoundSpan]:
    """Those of `spans`, which are in order, that begin there."""
    return spans[bisect.bisect_left(spans, (start,)) : bisect.bisect_left(spans, (end,))] if spans else spans


def inside(line: str, mask: str, start: int, end: int, spans: Sequence[FoundSpan]) -> Span:
    """The part without marks around it, and without what is set aside at its ends."""
    if start >= end:
        return start, start
    spans = spans_between(spans, start, end)
    starts = {span.start: span.end for span in spans if span.kind in SET_ASIDE or line[span.start] == "["}
    starts |= {
        span.start: section.end()
        for span in spans
        if span.kind == "number" and (section := _SECTION.match(line, span.start)) and section.end() <= end
    }
    ends = {span.end: span.start for span in spans if span.kind in SET_ASIDE}
    for _ in range(MOST_MARKS if spans else 1):
        before = start, end
        start = min(starts.get(start, start), end)
        end = max(ends.get(end, end), start)
        start, end = inside_marks(mask, start, end)
        if (start, end) == before or start >= end:
            break
    return start, max(start, end)
