"""Restricted self-attention: block by block it is what full attention under a mask is, and nothing n by n is made."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from model.attention import MultiHeadAttention, causal_mask
from model.config import SimilarityKind
from model.window import window_mask
from tests.model.tiny import tiny_model


def lengths_mask(*lengths: int) -> Tensor:
    return torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]


def restricted(window: int, *, is_causal: bool, similarity: SimilarityKind = "scaled_dot") -> MultiHeadAttention:
    torch.manual_seed(5)
    return MultiHeadAttention(16, 4, similarity, window, is_causal=is_causal)


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("window", [1, 2, 3, 5, 12])
@torch.no_grad()
def test_blocks_give_what_full_attention_gives_under_the_mask(window: int, is_causal: bool) -> None:
    attention = restricted(window, is_causal=is_causal)
    x, mask = torch.randn(3, 13, 16), lengths_mask(13, 7, 2)
    expected, weights = attention.with_weights(x, x, mask[:, None])
    assert (weights[:, :, ~window_mask(13, window, is_causal=is_causal)] == 0).all()
    torch.testing.assert_close(attention(x, x, mask[:, None])[mask], expected[mask], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("similarity", get_args(SimilarityKind))
@torch.no_grad()
def test_blocks_take_every_similarity(similarity: SimilarityKind) -> None:
    attention = restricted(4, is_causal=True, similarity=similarity)
    x, mask = torch.randn(2, 10, 16), torch.ones(2, 1, 10, dtype=torch.bool)
    torch.testing.assert_close(attention(x, x, mask), attention.with_weights(x, x, mask)[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("window", [9, 10, 64])
@torch.no_grad()
def test_a_window_as_long_as_the_sequence_is_full_attention_to_the_bit(window: int) -> None:
    x, mask = torch.randn(2, 9, 16), lengths_mask(9, 6)[:, None]
    assert torch.equal(restricted(window, is_causal=False)(x, x, mask), restricted(99, is_causal=False)(x, x, mask))
    model, wide = tiny_model(), tiny_model(window=window)
    ids, targets = torch.randint(4, 30, (2, 9)), torch.randint(4, 30, (2, 9))
    assert torch.equal(model(ids, mask[:, 0], targets), wide(ids, mask[:, 0], targets))


@torch.no_grad()
def test_one_position_of_one_sees_itself_alone() -> None:
    attention = restricted(1, is_causal=False)
    x = torch.randn(1, 5, 16)
    alone = torch.cat([attention(row, row, torch.ones(1, 1, 1, dtype=torch.bool)) for row in x.split(1, dim=1)], dim=1)
    torch.testing.assert_close(attention(x, x, torch.ones(1, 1, 5, dtype=torch.bool)), alone)


@torch.no_grad()
def test_a_restricted_network_gives_the_logits_that_its_attention_maps_explain() -> None:
    model = tiny_model(window=3)
    ids, targets, mask = torch.randint(4, 30, (2, 11)), torch.randint(4, 30, (2, 8)), lengths_mask(11, 6)
    logits, attention = model.with_attention(ids, mask, targets)
    torch.testing.assert_close(model(ids, mask, targets), logits, rtol=1e-4, atol=1e-5)
    assert all(weights.isfinite().all() for weights in attention.encoder)
    assert all((weights[:, :, 0, 3:] == 0).all() for weights in attention.encoder)
    assert all((weights[:, :, 7, :5] == 0).all() for weights in attention.decoder)
    full = tiny_model()(ids, mask, targets)
    assert not torch.allclose(full, logits, atol=1e-3), "the window of 3 is felt"


def test_gradients_are_those_of_full_attention_under_the_mask() -> None:
    attention = restricted(3, is_causal=True)
    mask = lengths_mask(8, 3)
    x = torch.randn(2, 8, 16, requires_grad=True)
    gradients = []
    for output in (attention(x, x, mask[:, None]), attention.with_weights(x, x, mask[:, None])[0]):
        (gradient,) = torch.autograd.grad(output[mask].square().sum(), x)
        gradients.append(gradient)
    assert gradients[0].isfinite().all()
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-5)


class _Largest(TorchDispatchMode):
    """The numbers of the largest tensor that any operator makes."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, func: Callable, types: object, args: tuple = (), kwargs: dict | None = None) -> object:
        result = func(*args, **(kwargs or {}))
        for each in result if isinstance(result, tuple | list) else (result,):
            if isinstance(each, Tensor):
                self.numbers = max(self.numbers, each.numel())
        return result


@torch.no_grad()
def test_memory_grows_with_the_length_and_not_with_its_square() -> None:
    model, full = tiny_model(window=8, max_positions=2048), tiny_model(max_positions=2048)
    largest = {}
    for name, network in (("window", model), ("full", full)):
        for length in (256, 1024):
            ids = torch.randint(4, 30, (1, length))
            with _Largest() as seen:
                network.train()(ids, torch.ones(1, length, dtype=torch.bool), ids)
            largest[name, length] = seen.numbers
    assert largest["full", 1024] == 16 * largest["full", 256]
    # The decoder looks at all of the source: that product stays, and has one row a target token.
    encoder = {}
    for length in (256, 1024):
        ids = torch.randint(4, 30, (1, length))
        with _Largest() as seen:
            model.encode(ids, torch.ones(1, length, dtype=torch.bool))
        encoder[length] = seen.numbers
    assert encoder[1024] == 4 * encoder[256]


def test_windows_of_the_decoder_look_back_only() -> None:
    expected = causal_mask(6)[0] & ~causal_mask(6)[0].tril(-2)
    assert torch.equal(window_mask(6, 2, is_causal=True), expected)
