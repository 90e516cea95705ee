"""Which source words a target word comes from: evidence as a matrix, links as pairs, and how far they are from gold.

Shapes: L decoder layers, H heads, S source tokens and T target tokens (special ones included), I source words, J target
words.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from model.bundle import AlignmentMethod
    from service.arrays import Array
    from service.text.edits import Span

Link = tuple[int, int]
"""(source word, target word)."""

_NEIGHBOURS = ((-1, 0), (0, -1), (1, 0), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1))


def membership(token_spans: Sequence[Span], words: Sequence[Span]) -> Array:
    """[tokens, words]: the share of each token's characters that lie in each word; rows of empty tokens are 0."""
    tokens = np.array(token_spans, np.float64).reshape(-1, 1, 2)
    bounds = np.array(words, np.float64).reshape(1, -1, 2)
    overlap = np.minimum(tokens[..., 1], bounds[..., 1]) - np.maximum(tokens[..., 0], bounds[..., 0])
    lengths = tokens[..., 1] - tokens[..., 0]
    shares: Array = overlap.clip(min=0) / np.maximum(lengths, 1)
    return shares


def attention_evidence(cross: Array, source: Array, target: Array, method: AlignmentMethod) -> Array:
    """[J, I]: how much of a target word's attention is on each source word.

    Args:
        cross: [L, H, T, S], the end token's row last.
        source: [S, I], `membership` of the source tokens.
        target: [T, J], `membership` of the target tokens.
        method: which heads and rows.
    """
    heads = np.mean([cross[layer, head] for layer, head in method.heads], axis=0)
    # The end token has no row that reads it, and belongs to no word.
    rows = heads[:-1] if method.row == "predicts" else heads[1:]
    return by_words(rows, source, target[:-1])


def by_words(evidence: Array, source: Array, target: Array) -> Array:
    """[J, I]: the evidence [T, S] of tokens, the mean over a target word's, the sum over a source word's.

    Args:
        evidence: of which source token a target token is.
        source: [S, I], `membership` of the source tokens.
        target: [T, J], `membership` of the target tokens.
    """
    mean = target / np.maximum(target.sum(axis=0), 1e-9)
    of_words: Array = mean.T @ evidence @ source
    return of_words


def erasure_evidence(token_log_probs: Array, target: Array) -> Array:
    """[J, I]: by how many nats each target word becomes less likely when the model does not see a source word.

    Args:
        token_log_probs: [1 + I, T], of the target with the whole source, then without each source word.
        target: [T, J], `membership` of the target tokens.
    """
    lost = token_log_probs[:1] - token_log_probs[1:]
    evidence: Array = (lost @ target).T.clip(min=0)
    return evidence


def near_diagonal(evidence: Array, strength: float) -> Array:
    """The evidence [J, I], less of it the farther from the diagonal; `strength` 0 changes nothing."""
    targets, sources = evidence.shape
    places = (np.arange(targets)[:, None] + 0.5) / max(targets, 1), (np.arange(sources) + 0.5) / max(sources, 1)
    weighted: Array = evidence * np.exp(-strength * np.abs(places[0] - places[1]))
    return weighted


def link(evidence: Array, symmetrisation: str, backward: Array | None = None) -> set[Link]:
    """Links from evidence [J, I], of `backward` [J, I] where the source words choose by other evidence."""
    of_target = _best_of_rows(evidence)
    of_source = {(i, j) for j, i in _best_of_rows((evidence if backward is None else backward).T)}
    if symmetrisation == "target":
        return of_target
    if symmetrisation == "source":
        return of_source
    if symmetrisation == "intersection":
        return of_target & of_source
    if symmetrisation == "union":
        return of_target | of_source
    return _grow_diagonal(of_target & of_source, of_target | of_source)


def _best_of_rows(evidence: Array) -> set[Link]:
    """(column, row) of the largest entry of each row that has one above 0."""
    if evidence.shape[1] == 0:
        return set()
    best = evidence.argmax(axis=1)
    return {(int(column), row) for row, column in enumerate(best) if evidence[row, column] > 0}


def _grow_diagonal(links: set[Link], candidates: AbstractSet[Link]) -> set[Link]:
    """Add neighbours of links, as long as one of their two words has no link yet (Koehn et al. 2003)."""
    links = set(links)
    linked = ({i for i, _ in links}, {j for _, j in links})
    grown = True
    while grown:
        grown = False
        for i, j in sorted(links):
            for di, dj in _NEIGHBOURS:
                new = (i + di, j + dj)
                if new in candidates and new not in links and (new[0] not in linked[0] or new[1] not in linked[1]):
                    links.add(new)
                    linked[0].add(new[0])
                    linked[1].add(new[1])
                    grown = True
    return links


def shares(evidence: Array) -> Array:
    """The evidence [J, I] as shares of each target word's: rows sum to 1, or are 0 where there is none."""
    total = evidence.sum(axis=1, keepdims=True)
    parts: Array = evidence / np.where(total > 0, total, 1)
    return parts


@dataclasses.dataclass(frozen=True, slots=True)
class GoldAlignment:
    """One sentence pair as people linked it."""

    sure: frozenset[Link]
    possible: frozenset[Link]
    """The sure ones too."""


def alignment_error_rate(found: Iterable[AbstractSet[Link]], gold: Iterable[GoldAlignment]) -> float:
    """AER of a corpus (Och & Ney 2003): 1 - (|A & S| + |A & P|) / (|A| + |S|), from 0, perfect, to 1."""
    hits = size = 0
    for links, wanted in zip(found, gold, strict=True):
        hits += len(links & wanted.sure) + len(links & wanted.possible)
        size += len(links) + len(wanted.sure)
    return 1 - hits / size if size else 0.0
