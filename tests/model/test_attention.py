"""Equation (1), by numbers that can be worked out by hand, and multi-head attention on both of its paths."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model.attention import MultiHeadAttention, attend, attention_weights, causal_mask
from model.config import SimilarityKind
from model.similarity import Dot, ScaledDot

STATES = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
QUERY = torch.tensor([[0.5, 0.5]])


def test_worked_example_weights_are_the_softmax_of_dot_products() -> None:
    weights = attention_weights(QUERY, STATES, None, Dot().forward)
    expected = torch.tensor([[math.exp(1.5), math.exp(3.5)]]) / (math.exp(1.5) + math.exp(3.5))
    torch.testing.assert_close(weights, expected)
    assert [round(weight, 6) for weight in weights[0].tolist()] == [0.119203, 0.880797]


@pytest.mark.parametrize(
    ("similarity", "scores", "weights", "context"),
    [
        (Dot(), [1.5, 3.5], [0.119203, 0.880797], [2.761594, 3.761594]),
        (ScaledDot(), [1.060660, 2.474874], [0.195570, 0.804430], [2.608859, 3.608859]),
    ],
    ids=["dot", "scaled"],
)
def test_an_lstms_decoder_state_looks_at_its_encoders_states(
    similarity: Dot, scores: list[float], weights: list[float], context: list[float]
) -> None:
    found_context, found_weights = attend(QUERY, STATES, STATES, None, similarity.forward)
    for found, expected in (
        (similarity.forward(QUERY, STATES), scores),
        (found_weights, weights),
        (found_context, context),
    ):
        torch.testing.assert_close(found[0], torch.tensor(expected), rtol=0, atol=1e-6)


def test_sizes_of_six_tokens_of_width_512_in_eight_heads() -> None:
    attention = MultiHeadAttention(512, 8)
    assert all(each.weight.shape == (512, 512) for each in (attention.query, attention.key, attention.value))
    x = torch.randn(1, 6, 512)
    assert attention.split_heads(attention.key(x)).shape == (1, 8, 6, 64), "d_k is 64, however many tokens there are"
    output, weights = attention.with_weights(x, x, torch.ones(1, 1, 6, dtype=torch.bool))
    assert (weights.shape, output.shape) == ((1, 8, 6, 6), (1, 6, 512))
    torch.testing.assert_close(weights.sum(-1), torch.ones(1, 8, 6))


def test_default_scale_is_one_over_the_root_of_the_width() -> None:
    query, key = torch.randn(2, 3, 16), torch.randn(2, 5, 16)
    expected = attention_weights(query, key * 0.25, None, Dot().forward)
    torch.testing.assert_close(attention_weights(query, key, None), expected, rtol=0, atol=0)


def test_masked_weight_is_exactly_zero_and_the_others_are_those_without_it() -> None:
    mask = torch.tensor([[True, False]])
    assert attention_weights(QUERY, STATES, mask).tolist() == [[1.0, 0.0]]


@given(st.integers(1, 4), st.integers(1, 5), st.integers(0, 1000))
def test_every_row_of_weights_sums_to_one(queries: int, keys: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(queries, keys, generator=generator) < 0.5
    mask[:, 0] = True
    weights = attention_weights(
        torch.randn(queries, 8, generator=generator) * 5, torch.randn(keys, 8, generator=generator) * 5, mask
    )
    torch.testing.assert_close(weights.sum(-1), torch.ones(queries))
    assert (weights[~mask] == 0).all()


def test_causal_mask_is_the_lower_triangle() -> None:
    assert causal_mask(3).tolist() == [[[True, False, False], [True, True, False], [True, True, True]]]


@pytest.mark.parametrize("similarity", get_args(SimilarityKind))
@pytest.mark.parametrize("queries", [1, 7])
def test_the_two_paths_are_equal(queries: int, similarity: SimilarityKind) -> None:
    torch.manual_seed(3)
    attention = MultiHeadAttention(16, 4, similarity)
    states, memory = torch.randn(3, queries, 16), torch.randn(3, 9, 16)
    mask = torch.rand(3, queries, 9) < 0.7
    mask[..., 0] = True
    explicit, weights = attention.with_weights(states, memory, mask)
    assert weights.shape == (3, 4, queries, 9)
    torch.testing.assert_close(attention(states, memory, mask), explicit, rtol=0, atol=1e-5)
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, 4, queries))


def test_heads_are_split_and_merged_without_loss() -> None:
    attention = MultiHeadAttention(12, 3)
    x = torch.randn(2, 5, 12)
    heads = attention.split_heads(x)
    assert heads.shape == (2, 3, 5, 4)
    assert torch.equal(heads[:, 1], x[..., 4:8])
    assert torch.equal(attention.merge_heads(heads), x)


def test_attention_without_positions_does_not_see_the_order_of_keys() -> None:
    attention = MultiHeadAttention(16, 4)
    states, memory = torch.randn(1, 2, 16), torch.randn(1, 6, 16)
    mask = torch.ones(1, 1, 6, dtype=torch.bool)
    shuffled = memory[:, torch.randperm(6)]
    torch.testing.assert_close(attention(states, memory, mask), attention(states, shuffled, mask))
