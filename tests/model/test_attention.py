"""Equation (1), by numbers that can be worked out by hand, and multi-head attention on both of its paths."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model.attention import MultiHeadAttention, attend, attention_weights, causal_mask

STATES = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
QUERY = torch.tensor([[0.5, 0.5]])


def test_worked_example_weights_are_the_softmax_of_dot_products() -> None:
    weights = attention_weights(QUERY, STATES, mask=None, scale=1.0)
    expected = torch.tensor([[math.exp(1.5), math.exp(3.5)]]) / (math.exp(1.5) + math.exp(3.5))
    torch.testing.assert_close(weights, expected)
    assert [round(weight, 4) for weight in weights[0].tolist()] == [0.1192, 0.8808]


def test_worked_example_context_is_the_weighted_sum_of_states() -> None:
    context, _ = attend(QUERY, STATES, STATES, mask=None, scale=1.0)
    expected = [0.1192 * 1 + 0.8808 * 3, 0.1192 * 2 + 0.8808 * 4]
    assert [round(x, 4) for x in context[0].tolist()] == [round(x, 4) for x in expected]


def test_default_scale_is_one_over_the_root_of_the_width() -> None:
    query, key = torch.randn(2, 3, 16), torch.randn(2, 5, 16)
    expected = attention_weights(query, key, None, scale=0.25)
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


@pytest.mark.parametrize("queries", [1, 7])
def test_fused_path_equals_explicit_weights(queries: int) -> None:
    torch.manual_seed(3)
    attention = MultiHeadAttention(16, 4)
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
