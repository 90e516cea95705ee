"""Spans that must come back verbatim, and the characters that carry them through a translation. Torch-free.

A carrier is one private-use character that is a piece of the vocabulary. `put_carriers` replaces each span (a number,
a URL, a placeholder, a name in a Chinese sentence) by a carrier of its own; the model learns to copy carriers to where
they belong, and `restore` puts the spans back. Training and serving call the same functions.
"""

from __future__ import annotations

import dataclasses
import random
import re
import unicodedata
from collections.abc import Sequence
from itertools import groupby

CARRIERS = tuple(chr(0x100000 + index) for index in range(16))
"""Of the last private-use plane, whose characters hardly any text has."""

_URL = r"(?:https?|ftps?|file|mailto|tel|ssh|git)://?[^\s<>\"“”«»（）【】，。；！？、\uac00-\ud7af\u3040-\u9fff]+|www\.[A-Za-z0-9-]+\.[^\s<>\"“”«»（）【】，。；！？、\u3040-\u9fff]+"
_DOMAIN = (
    r"\b[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.(?:com|org|net|edu|gov|io|dev)\b(?:/[A-Za-z0-9_./?=&%#~+-]*[A-Za-z0-9_/])?"
)
_EMAIL = r"[A-Za-z0-9][A-Za-z0-9._%+-]*@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}"
_CODE = r"```.+?```|`[^`\n]+`"
_PLACEHOLDER = (
    r"\{\{[^{}\n]*\}\}|\$\{[^{}\n]*\}|#\{[^{}\n]*\}|\{[A-Za-z0-9_.:!]*\}|<%[^%\n]*%>|%%[A-Za-z0-9_]+%%"
    r"|%\([A-Za-z0-9_.]+\)[-+0-9.]*[A-Za-z]|%\d+(?:\$[-+0-9.]*[A-Za-z]|(?![\d\s.,%)]))|%[-+0]?(?:\d*\.\d+)?(?:l{1,2}|z)?[sdifuxXgcp@](?![A-Za-z0-9])"
    r"|__[A-Za-z0-9_]+__|\$[A-Z_][A-Z0-9_]+"
)
_TAG = r"</?[A-Za-z][^<>\n]*>|<!--.*?-->|&(?:[A-Za-z][A-Za-z0-9]{1,8}|#\d{1,7}|#x[0-9A-Fa-f]{1,6});"
_PATH = (
    r"[A-Za-z]:[\\/][\w.\\/$~+@-]*[\w\\/]|\\\\[\w.$-]+(?:\\[\w.$-]+)+|(?<![A-Za-z0-9_À-ɏ/.<~])(?:~|\.{1,2})?/(?:[\w.@%+~-]+/)*[\w.@%+~-]*\w/?"
    r"|(?<![A-Za-z0-9_À-ɏ/])(?:[a-z0-9_.-]+/){2,}[\w.-]*\w"
)
_NAME = (
    r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"
    r"|(?<![A-Za-z0-9_À-ɏ@#])[@#][A-Za-z_][A-Za-z0-9_]*"
    r"|(?<![^\s(\[|])--?[A-Za-z][A-Za-z0-9]*(?:-[A-Za-z0-9]+)*(?:=[^\s,;]*\w)?"
    r"|\b(?:Ctrl|Alt|Shift|Cmd|Win)\+(?:(?:Ctrl|Alt|Shift|Cmd|Win)\+)*[A-Za-z0-9]+"
    r"|\b[A-Za-z_][A-Za-z0-9_]*(?:(?:\.|::|->)[A-Za-z_][A-Za-z0-9_]*)*\(\)"
    r"|\b[A-Za-z0-9]+(?:_[A-Za-z0-9]+)+\b"
    r"|\b[a-z]+(?:[A-Z][a-z0-9]+)+\b"
    r"|\b[\w-]+(?:\.[\w-]+)*\.(?:txt|md|rst|html?|css|jsx?|tsx?|json|ya?ml|toml|xml|csv|tsv|ini|cfg|conf|log|py|rb|rs|go|java|c|h|cpp|sh|bat|exe|dll|so|zip|gz|tar|pdf|docx?|xlsx?|pptx?|odt|ods|png|jpe?g|gif|svg|mp[34]|wav)\b"
    r"|\bv[0-9]+(?:\.[0-9]+)+\b|\b[A-Za-z]+[0-9][A-Za-z0-9]*(?:-[A-Za-z0-9]+)*\b|\b[A-Z][A-Z0-9]*(?:-[0-9]+)+\b"
    r"|\b[A-Za-z_][A-Za-z0-9_]+(?:\.[A-Za-z_][A-Za-z0-9_]+){2,}\b"
)
_NUMBER = (
    r"(?<![\d.,])(?:\d{1,3}(?:[\u0020\u00a0\u202f]\d{3})+(?:[.,]\d+)?|\d+(?:[.,:/\-\u2013’'hH]\d+)+|\d{3,})"
    r"(?!\d)(?![万亿千百兆十])"
)
_EMOJI = (
    "(?:[\U0001f1e6-\U0001f1ff]{2}|[0-9#*]\ufe0f?\u20e3"
    "|[\u00a9\u00ae\u203c\u2049\u2122\u2139\u2194-\u21aa\u231a-\u23ff\u25aa-\u27bf\u2934\u2935\u2b05-\u2b55\U0001f000-\U0001faff]"
    "[\ufe0e\ufe0f\U0001f3fb-\U0001f3ff]*"
    "(?:\u200d[\u2190-\u2bff\U0001f000-\U0001faff][\ufe0e\ufe0f\U0001f3fb-\U0001f3ff]*)*)+"
)
_PRIVATE = "[\ue000-\uf8ff\U000f0000-\U0010ffff]+"
_LATIN_NAME = r"[A-Za-zÀ-ɏ][A-Za-z0-9À-ɏ'’.&+#_-]*(?:(?<=[A-Za-z0-9+#])|(?=\b))(?: [A-Z][A-Za-z0-9À-ɏ'’&+#_-]*)*"

_ANYWHERE = re.compile(
    "|".join((_PRIVATE, _CODE, _URL, _EMAIL, _DOMAIN, _PLACEHOLDER, _TAG, _PATH, _NAME, _NUMBER, _EMOJI)),
    re.ASCII | re.DOTALL,
)
_IN_CHINESE = re.compile(_LATIN_NAME)
_CLOSING = ".,;:!?)]}'\"…"
"""What ends a sentence or a bracket rather than the address before it."""
_SCRIPTS = {"zh": ("CJK", "LATIN", "BOPOMOFO", "HALFWIDTH", "FULLWIDTH", "IDEOGRAPHIC"), "default": ("LATIN",)}
"""How the names of the letters begin that a sentence in the language may have; others are foreign script."""


@dataclasses.dataclass(frozen=True, slots=True)
class Span:
    """text[start:end], in code points."""

    start: int
    end: int


def find_spans(text: str, language: str) -> list[Span]:
    """The spans of a sentence in `language` that must come back verbatim, in order, none overlapping another."""
    found = [_trimmed(text, match) for match in _ANYWHERE.finditer(text)]
    found = [span for span in found if span.start < span.end]
    more = _foreign_runs(text, language)
    if language == "zh":
        more += [_trimmed(text, match) for match in _IN_CHINESE.finditer(text)]
    for span in more:
        if span.start < span.end and not any(span.start < other.end and other.start < span.end for other in found):
            found.append(span)
    return sorted(found, key=lambda span: span.start)


def _trimmed(text: str, match: re.Match[str]) -> Span:
    """The match without the marks at its end that belong to the sentence, as far as it is an address or a name."""
    start, end = match.span()
    if text[start] in "`<{$%&" or unicodedata.category(text[start]) in ("Co", "So"):
        return Span(start, end)
    while end > start + 1 and text[end - 1] in _CLOSING and not _closes_its_own(text[start:end]):
        end -= 1
    return Span(start, end)


def _closes_its_own(found: str) -> bool:
    pairs = {")": "(", "]": "[", "}": "{"}
    opening = pairs.get(found[-1])
    return opening is not None and found.count(opening) >= found.count(found[-1])


def _foreign_runs(text: str, language: str) -> list[Span]:
    """Runs of letters of scripts that the language is not written in, with the marks and spaces inside a run."""
    spans: list[Span] = []
    for foreign, group in groupby(enumerate(text), key=lambda place: _is_foreign(place[1], language)):
        places = [index for index, _ in group]
        if not foreign:
            continue
        start, end = places[0], places[-1] + 1
        if spans and not text[spans[-1].end : start].strip():
            start = spans.pop().start
        spans.append(Span(start, end))
    return spans


def _is_foreign(character: str, language: str) -> bool:
    if character < "\u0250":
        return False
    category = unicodedata.category(character)
    if category[0] not in "LM" or category == "Lm":
        return False
    name = unicodedata.name(character, "")
    return not name.startswith((*_SCRIPTS.get(language, _SCRIPTS["default"]), "COMBINING", "VARIATION"))


def put_carriers(text: str, spans: Sequence[Span], rng: random.Random) -> tuple[str, dict[str, str]]:
    """`text` with a carrier, drawn at random, in place of each of the first sixteen `spans`.

    Equal spans get a carrier each. Returns the text and what each carrier stands for. Carriers that the text has
    itself must be among the spans, which `find_spans` sees to.
    """
    drawn = rng.sample(CARRIERS, min(len(spans), len(CARRIERS)))
    parts: list[str] = []
    carried: dict[str, str] = {}
    end = 0
    for span, carrier in zip(spans, drawn, strict=False):
        carried[carrier] = text[span.start : span.end]
        parts += (text[end : span.start], carrier)
        end = span.end
    return "".join((*parts, text[end:])), carried


def restore(text: str, carried: dict[str, str]) -> str:
    """`text` with what each carrier stands for in its place."""
    return re.sub("|".join(CARRIERS), lambda match: carried.get(match.group(), match.group()), text)


def put_carriers_on_both(source: str, target: str, source_language: str, rng: random.Random) -> tuple[str, str] | None:
    """The pair with the spans that both sides have, each equally often, carried on both; None if there are none."""
    spans = find_spans(source, source_language)
    texts = [source[span.start : span.end] for span in spans]
    shared = [
        span
        for span, text in zip(spans, texts, strict=True)
        if texts.count(text) == 1 and _occurrences(text, target) == 1 and source.count(text) == 1
    ][: len(CARRIERS)]
    if not shared:
        return None
    changed, carried = put_carriers(source, shared, rng)
    # Longest first: one span may be part of another.
    for carrier, text in sorted(carried.items(), key=lambda item: -len(item[1])):
        target = re.sub(_whole(text), carrier, target, count=1)
    # A carrier that one side has of itself would stand for nothing on the other.
    sides = (set(CARRIERS) & set(side) for side in (changed, target))
    return (changed, target) if all(side == carried.keys() for side in sides) else None


def _occurrences(text: str, target: str) -> int:
    return len(re.findall(_whole(text), target))


def _whole(text: str) -> str:
    """A pattern of `text` that is no part of a longer word or number."""
    before = r"(?<![A-Za-z0-9_])" if text[0].isalnum() else ""
    after = r"(?![A-Za-z0-9_])" if text[-1].isalnum() else ""
    return before + re.escape(text) + after
