"""Attention: how much each query looks at each key (Vaswani et al. 2017, section 3.2).

Shapes: B sentences, H heads, T queries, S keys, D d_model, d = D / H. Masks are True where a query may look.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.config import SimilarityKind
from model.similarity import Dot, ScaledDot, new_similarity
from model.window import attend_within_window, window_mask

Similarity = Callable[[Tensor, Tensor], Tensor]
_SCALED_DOT = ScaledDot().forward


def attention_weights(query: Tensor, key: Tensor, mask: Tensor | None, similarity: Similarity = _SCALED_DOT) -> Tensor:
    """softmax(similarity(Q, K)): equation (1) without V, which is softmax(Q K^T / sqrt(d)).

    Args:
        query: [..., T, d].
        key: [..., S, d].
        mask: broadcastable to [..., T, S]; a False position gets the weight 0 exactly.
        similarity: [..., T, d] and [..., S, d] -> [..., T, S], one of `model.similarity`.

    Returns:
        Weights [..., T, S]; each row sums to 1.
    """
    scores = similarity(query, key)
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    return scores.softmax(dim=-1)


def attend(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, similarity: Similarity = _SCALED_DOT
) -> tuple[Tensor, Tensor]:
    """Equation (1): the mean of `value` under `attention_weights`. Returns (context [..., T, d], weights).

    One code for every attention: a Transformer's, whose query, key and value are projections, and an LSTM's, whose
    query is the decoder's state and whose key and value both are the encoder's states.
    """
    weights = attention_weights(query, key, mask, similarity)
    return weights @ value, weights


class MultiHeadAttention(nn.Module):
    """H attentions side by side, each in its own d-dimensional projection (section 3.2.2)."""

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        similarity: SimilarityKind = "scaled_dot",
        window: int | None = None,
        *,
        is_causal: bool = False,
    ) -> None:
        """`window`: of self-attention, see `model.window`; `is_causal`: whether it looks back only."""
        super().__init__()
        self.num_heads = num_heads
        self.window = window
        self.is_causal = is_causal
        self.query = nn.Linear(d_model, d_model)
        self.key = nn.Linear(d_model, d_model)
        self.value = nn.Linear(d_model, d_model)
        self.output = nn.Linear(d_model, d_model)
        for projection in (self.query, self.key, self.value, self.output):
            nn.init.xavier_uniform_(projection.weight)
            nn.init.zeros_(projection.bias)
        self.similarity = new_similarity(similarity, num_heads, d_model // num_heads)

    @property
    def dot_scale(self) -> float | None:
        """What products of query and key are multiplied by; None where the similarity is no such product."""
        if type(self.similarity) is ScaledDot:
            return float((self.key.out_features // self.num_heads) ** -0.5)
        return 1.0 if type(self.similarity) is Dot else None

    def split_heads(self, x: Tensor) -> Tensor:
        """[B, T, D] -> [B, H, T, d]."""
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

    def merge_heads(self, x: Tensor) -> Tensor:
        """[B, H, T, d] -> [B, T, D]."""
        return x.transpose(1, 2).flatten(-2)

    def forward(self, states: Tensor, memory: Tensor, mask: Tensor) -> Tensor:
        """Look from `states` [B, T, D] at `memory` [B, S, D] where `mask` [B, 1 or T, S] allows. -> [B, T, D].

        The fused kernel computes what `with_weights` spells out; the tests hold the two equal. The backward pass of
        the fused kernel is slow on CPUs, a fifth of a training step, so training spells it out there.
        """
        if self.is_blockwise(memory.shape[1]):
            return self._blockwise(states, mask)
        if self.dot_scale is None or (self.training and states.device.type == "cpu"):
            return self.with_weights(states, memory, mask)[0]
        context = functional.scaled_dot_product_attention(
            self.split_heads(self.query(states)),
            self.split_heads(self.key(memory)),
            self.split_heads(self.value(memory)),
            attn_mask=mask[:, None],
            scale=None if type(self.similarity) is ScaledDot else self.dot_scale,
        )
        output: Tensor = self.output(self.merge_heads(context))
        return output

    def is_blockwise(self, length: int) -> bool:
        """Whether self-attention over so many positions is restricted. Then `forward` takes a mask of one row, which
        says what is padding; which positions are near, and not ahead, it knows."""
        return self.window is not None and self.window < length

    def _blockwise(self, states: Tensor, mask: Tensor) -> Tensor:
        assert self.window is not None
        query, key, value = (self.split_heads(each(states)) for each in (self.query, self.key, self.value))
        context = attend_within_window(
            query, key, value, mask[:, 0], self.window, self.similarity, is_causal=self.is_causal
        )
        output: Tensor = self.output(self.merge_heads(context))
        return output

    def with_weights(self, states: Tensor, memory: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """`forward`, and the weights of every head [B, H, T, S]."""
        if self.window is not None:
            near = window_mask(memory.shape[1], self.window, is_causal=self.is_causal, device=mask.device)
            # Padding that sees nothing would be no number, and spoil what is multiplied by its weight of zero.
            mask = mask & near | torch.eye(memory.shape[1], dtype=torch.bool, device=mask.device)
        context, weights = attend(
            self.split_heads(self.query(states)),
            self.split_heads(self.key(memory)),
            self.split_heads(self.value(memory)),
            mask[:, None],
            self.similarity,
        )
        return self.output(self.merge_heads(context)), weights


def causal_mask(length: int, device: torch.device | None = None) -> Tensor:
    """[1, T, T]: position t may look at positions 0..t (section 3.2.3, masked self-attention)."""
    return torch.ones(1, length, length, dtype=torch.bool, device=device).tril()
