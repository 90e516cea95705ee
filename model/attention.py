"""Attention: how much each query looks at each key (Vaswani et al. 2017, section 3.2).

Shapes: B sentences, H heads, T queries, S keys, D d_model, d = D / H. Masks are True where a query may look.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


def attention_weights(query: Tensor, key: Tensor, mask: Tensor | None, scale: float | None = None) -> Tensor:
    """softmax(Q K^T * scale): equation (1) without V.

    Args:
        query: [..., T, d].
        key: [..., S, d].
        mask: broadcastable to [..., T, S]; a False position gets the weight 0 exactly.
        scale: 1 / sqrt(d) when None ("scaled dot product"); 1.0 gives the plain dot product.

    Returns:
        Weights [..., T, S]; each row sums to 1.
    """
    scale = 1.0 / math.sqrt(query.shape[-1]) if scale is None else scale
    similarity = query @ key.transpose(-2, -1) * scale
    if mask is not None:
        similarity = similarity.masked_fill(~mask, -math.inf)
    return similarity.softmax(dim=-1)


def attend(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float | None = None
) -> tuple[Tensor, Tensor]:
    """Equation (1): the mean of `value` under `attention_weights`. Returns (context [..., T, d], weights)."""
    weights = attention_weights(query, key, mask, scale)
    return weights @ value, weights


class MultiHeadAttention(nn.Module):
    """H attentions side by side, each in its own d-dimensional projection (section 3.2.2)."""

    def __init__(self, d_model: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query = nn.Linear(d_model, d_model)
        self.key = nn.Linear(d_model, d_model)
        self.value = nn.Linear(d_model, d_model)
        self.output = nn.Linear(d_model, d_model)
        for projection in (self.query, self.key, self.value, self.output):
            nn.init.xavier_uniform_(projection.weight)
            nn.init.zeros_(projection.bias)

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
        if self.training and states.device.type == "cpu":
            return self.with_weights(states, memory, mask)[0]
        context = functional.scaled_dot_product_attention(
            self.split_heads(self.query(states)),
            self.split_heads(self.key(memory)),
            self.split_heads(self.value(memory)),
            attn_mask=mask[:, None],
        )
        output: Tensor = self.output(self.merge_heads(context))
        return output

    def with_weights(self, states: Tensor, memory: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """`forward`, and the weights of every head [B, H, T, S]."""
        context, weights = attend(
            self.split_heads(self.query(states)),
            self.split_heads(self.key(memory)),
            self.split_heads(self.value(memory)),
            mask[:, None],
        )
        return self.output(self.merge_heads(context)), weights


def causal_mask(length: int, device: torch.device | None = None) -> Tensor:
    """[1, T, T]: position t may look at positions 0..t (section 3.2.3, masked self-attention)."""
    return torch.ones(1, length, length, dtype=torch.bool, device=device).tril()
