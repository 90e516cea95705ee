"""Each similarity by its formula, term by term."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch
from torch import Tensor

from model.config import SimilarityKind
from model.similarity import Additive, Bilinear, Cosine, Dot, new_similarity

KINDS = pytest.mark.parametrize("kind", get_args(SimilarityKind))
H, T, S, D = 2, 3, 4, 6


def term_by_term(similarity: Dot, kind: SimilarityKind, query: Tensor, key: Tensor, head: int) -> float:
    """The formula of one query [d] and one key [d], as the module's docstring has it."""
    dot = sum(q * k for q, k in zip(query.tolist(), key.tolist(), strict=True))
    if kind == "dot":
        return dot
    if kind == "scaled_dot":
        return dot / math.sqrt(len(query))
    if kind == "bilinear":
        assert isinstance(similarity, Bilinear)
        weight = similarity.weight[head].tolist()
        return sum(query[i].item() * weight[i][j] * key[j].item() for i in range(len(query)) for j in range(len(key)))
    if kind == "additive":
        assert isinstance(similarity, Additive)
        hidden = similarity.query_weight[head] @ query + similarity.key_weight[head] @ key
        return sum(
            v * math.tanh(x) for v, x in zip(similarity.vector[head, :, 0].tolist(), hidden.tolist(), strict=True)
        )
    assert isinstance(similarity, Cosine)
    lengths = math.sqrt(sum(q * q for q in query.tolist())) * math.sqrt(sum(k * k for k in key.tolist()))
    return similarity.sharpness[head].item() * dot / lengths


@KINDS
@torch.no_grad()
def test_scores_are_the_formula(kind: SimilarityKind) -> None:
    torch.manual_seed(1)
    similarity = new_similarity(kind, H, D)
    query, key = torch.randn(H, T, D), torch.randn(H, S, D)
    scores = similarity.forward(query, key)
    expected = [
        [[term_by_term(similarity, kind, query[h, t], key[h, s], h) for s in range(S)] for t in range(T)]
        for h in range(H)
    ]
    torch.testing.assert_close(scores, torch.tensor(expected), rtol=1e-4, atol=1e-5)


@KINDS
@torch.no_grad()
def test_keys_prepared_once_give_the_same_scores(kind: SimilarityKind) -> None:
    torch.manual_seed(2)
    similarity = new_similarity(kind, H, D)
    query, key = torch.randn(5, H, T, D), torch.randn(5, H, S, D)
    prepared = similarity.scores(query, similarity.keys(key))
    torch.testing.assert_close(prepared, similarity.forward(query, key), rtol=1e-5, atol=1e-5)


@KINDS
@torch.no_grad()
def test_scores_of_random_vectors_begin_with_a_spread_of_one_apart_from_the_plain_product(kind: SimilarityKind) -> None:
    torch.manual_seed(3)
    width = 64
    scores = new_similarity(kind, 1, width).forward(torch.randn(1, 300, width), torch.randn(1, 300, width))
    expected = math.sqrt(width) if kind == "dot" else 1.0
    # tanh of a sum of two such products has a spread below one.
    assert expected * (0.5 if kind == "additive" else 0.85) < scores.std().item() < expected * 1.2


def test_a_product_of_zero_means_perpendicular() -> None:
    perpendicular, parallel = torch.tensor([[0.0, 2.0]]), torch.tensor([[3.0, 0.0]])
    query = torch.tensor([[1.0, 0.0]])
    assert Dot().forward(query, perpendicular).item() == 0.0
    cosine = new_similarity("cosine", 1, 2)
    scores = cosine.forward(query[None], torch.cat([perpendicular, parallel])[None])[0, 0] / math.sqrt(2)
    torch.testing.assert_close(scores, torch.tensor([0.0, 1.0]))
