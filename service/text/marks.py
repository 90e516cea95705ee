"""Marks around the words of a line: at its beginning and end they are set aside, at the end of a sentence they are
written as the target language writes them."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING

from service.text.languages import separates_sentences_with_spaces

if TYPE_CHECKING:
    from service.text.edits import Span

MOST_MARKS = 12
"""That are set aside one after the other."""
_PAIRS = dict(zip("([{（【「『《〈“‘«‹„\"'`*_~", ")]}）】」』》〉”’»›“\"'`*_~", strict=True))
_EITHER = frozenset("\"'`*_~")
"""Marks that open and close alike."""

_LEADING = re.compile(
    r"[-*+•‣⁃◦▪▫●○■□◆◇►▶▸→⇒➜➤✓✔✗✘·※☐☑☒♪♫♩§¶=~|](?=\s)\s*|[–—―]+\s*|-(?=[A-ZÀ-Ý])|-{2,}\s*|[|]+\s*"
    r"|#{1,6}\s+|>+\s*(?=\S)|\[[ xX✓✔]?\]\s*|\(?[0-9]{1,3}[.)](?=\s)\s*|\(?[A-Za-z]\)\s+"
    r"|[a-z]\.\s+(?=\S)|(?<![^\s(\[] )(?:[A-Z]\.\s){0,4}[A-LN-Z]\.\s+(?=[A-ZÀ-Ý][\w'’]{0,40}\s[a-zà-ÿ])"
    r"|[A-Z][.．、]\s*(?=[\u4e00-\u9fff])|(?:[ivx]{2,5}|[IVX]{2,5})[.)]\s+"
    r"|[0-9]{1,2}(?:\.[0-9]{1,2}){1,4}\.\s+|[0-9]{1,2}[°º]\s+(?=[A-ZÀ-Ý][\w'’]{0,40}\s[a-zà-ÿ])|[0-9]{1,3}、\s*|[（(]?[一二三四五六七八九十]{1,3}[、）)]\s*|[①-⓿❶-➓㈠-㈩㊀-㊉]\s*|(?:…+|\.{2,})\s*(?=\w)"
)  # fmt: skip
_TRAILING = re.compile(r"(?:\s*[|♪♫♩†‡✓✔]|[~～]{1,9}|\s+#{1,6}|\\)\s*$")
# A star that no other belongs to is of a note.
_STARRED = re.compile(r"[^*]*[\w.!?…](\*{1,3})")
_HEAD_MARKS = frozenset(").、．°º")
_STOPS = ".!?…。！？．｡؟。:：;；,，、‽⁇⁈⁉‼"
_STOPS_AND_SPACES = _STOPS + " \t\u00a0\u2009\u202f\u3000"
_CLOSING = re.compile(r"[\"'”’»›)\]）」』】》*_]+\s*$")

_TO_PLAIN = str.maketrans(
    {"。": ".", "！": "!", "？": "?", "：": ":", "；": ";", "，": ",", "、": ",", "．": ".", "｡": "."}
)
_TO_WIDE = str.maketrans({".": "。", "!": "！", "?": "？", ":": "：", ";": "；", ",": "，"})


def inside_marks(text: str, start: int, end: int) -> Span:
    """The part of text[start:end] that is left without marks around it: of lists, headings, quotes, check boxes, notes.

    Brackets and quotes go only together, and only if what is between them is all that they enclose.
    """
    if _is_bare(text, start, end):
        return start, end
    for _ in range(MOST_MARKS):
        before = start, end
        start, end = _trimmed(text, start, end)
        leading = _LEADING.match(text, start, end)
        if leading and leading.end() < end:
            start = leading.end()
        trailing = _TRAILING.search(text[start:end])
        if trailing and trailing.start() > 0:
            end = start + trailing.start()
        if end > start and text[end - 1] == "*" and (starred := _STARRED.fullmatch(text, start, end)):
            end = starred.start(1)
        start, end = _without_pair(text, start, end)
        if (start, end) == before:
            break
    return start, end


def _is_bare(text: str, start: int, end: int) -> bool:
    """Whether it surely has no marks around it, as most sentences."""
    if (
        end - start < 4
        or not (text[start].isalpha() or text[start].isdecimal())
        or not (text[end - 1].isalnum() or text[end - 1] in _STOPS)
    ):
        return False
    return _HEAD_MARKS.isdisjoint(text[start : start + 4])


def _trimmed(text: str, start: int, end: int) -> Span:
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end


def _without_pair(text: str, start: int, end: int) -> Span:
    """Without the pair of marks that encloses all of it, and the stop behind that."""
    if end - start < 3 or text[start] not in _PAIRS:
        return start, end
    opening, closing = text[start], _PAIRS[text[start]]
    last = end - 1
    if text[last] != closing:
        last -= len(tail(text[start:end]))
    if text[last] != closing or last <= start + 1:
        return start, end
    inside = text[start + 1 : last]
    if opening in _EITHER:
        width = len(inside) - len(inside.lstrip(opening)) + 1
        enclosed = inside.endswith(opening * (width - 1)) and opening not in inside.strip(opening)
    else:
        enclosed = _balanced(inside, opening, closing)
    return (start + 1, last) if enclosed else (start, end)


def _balanced(inside: str, opening: str, closing: str) -> bool:
    depth = 0
    for character in inside:
        depth += (character == opening) - (character == closing)
        if depth < 0:
            return False
    return depth == 0


def tail(text: str) -> str:
    """The stops at the end of a sentence, with the spaces between them; empty where a quote or bracket comes last."""
    body = text.rstrip(_STOPS_AND_SPACES)
    ending = text[len(body) :]
    return ending if body and not ending.isspace() else ""


@functools.lru_cache(maxsize=1000)
def stop_to_read(ending: str, language: str) -> str:
    """What stands for the `tail` of a sentence when a model reads it: one stop at most."""
    marks = ending.translate(_TO_PLAIN)
    stop = next((mark for mark in "?!" if mark in marks), "." if "." in marks or "…" in marks else "")
    return written_stop(stop, language) if stop else ""


@functools.lru_cache(maxsize=1000)
def written_stop(ending: str, language: str) -> str:
    """The stops of a `tail`, of any language, as this one has them."""
    marks = "".join(ending.split()).translate(_TO_PLAIN)
    if not separates_sentences_with_spaces(language):
        return re.sub(r"…+|\.{2,}", "……", marks).translate(_TO_WIDE)
    marks = re.sub("…{2,}", "…", marks)
    return " " + marks if language == "fr" and marks and marks[0] in "!?:;" else marks


def with_stop(translation: str, ending: str, language: str) -> tuple[int, str]:
    """How a translation ends as its source does: up to where it stays, and the stops of `ending`, or none, instead."""
    own = tail(translation)
    body = len(translation) - len(own)
    keeps = len(translation), ""
    if not own and ending and (closing := _CLOSING.search(translation)) and tail(translation[: closing.start()]):
        return keeps  # the model put the stop inside the quotes
    if own and not ending and _is_abbreviation(translation[:body], own):
        return keeps
    return body, written_stop(ending, language)


def _is_abbreviation(body: str, own: str) -> bool:
    return own == "." and bool(
        re.search(r"(?:^|[\s.])(?:[A-Za-zÀ-ÿ]|[Ee]tc|[MD]r|Mrs|[Mm]lle|[Mm]me|St|Inc|Ltd|Jr|Co)$", body)
    )
