"""The n best versions of a text, from the n best of each of its sentences."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence

from service.engine.types import Hypothesis

ScoredText = tuple[str, float]


def distinct_texts(hypotheses: Sequence[Hypothesis], texts: Sequence[str]) -> dict[str, Hypothesis]:
    """Texts with their hypotheses, best first, each text once: many token sequences spell the same."""
    found: dict[str, Hypothesis] = {}
    for hypothesis, text in zip(hypotheses, texts, strict=True):
        found.setdefault(text, hypothesis)
    return found


def ranked_versions(sentences: Sequence[Sequence[ScoredText]], alternatives: int) -> Iterator[list[str]]:
    """The best version, as one text for each sentence, then up to `alternatives` that differ from it in one sentence.

    Versions are ordered by how much score the replaced sentence gives up, so the sentence the model was least sure of
    is the first to change. For a single sentence this is its n-best list.
    """
    best = [candidates[0][0] for candidates in sentences]
    yield best
    replacements = (
        (candidates[0][1] - score, position, text)
        for position, candidates in enumerate(sentences)
        for text, score in candidates[1:]
    )
    for _, position, text in heapq.nsmallest(alternatives, replacements):
        yield [*best[:position], text, *best[position + 1 :]]
