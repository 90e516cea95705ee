"""Spans that must come back verbatim, and the characters that carry them through a translation. Torch-free.

A carrier is one private-use character that is a piece of the vocabulary. `put_carriers` replaces each span (a number,
a URL, a placeholder, a name in a Chinese sentence) by a carrier of its own; the model learns to copy carriers to where
they belong, and `restore` puts the spans back. What a span is says `model.spans`, to training and serving alike.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from model.spans import FoundSpan, find_spans
from model.vocabulary import CARRIERS


def put_carriers(text: str, spans: Sequence[FoundSpan], rng: random.Random) -> tuple[str, dict[str, str]]:
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
