"""The encoder-decoder Transformer (Vaswani et al. 2017, section 3), to be read beside the paper.

Shapes: B sentences, S source tokens, T target tokens, L layers, H heads, D d_model, V vocabulary.
Masks are True where attention may look.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.attention import MultiHeadAttention, causal_mask
from model.config import Activation, ModelConfig
from model.dropout import Dropout
from model.network import Attention, EncoderDecoder, new_norm, places_of

_ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "relu": functional.relu,
    "gelu": functional.gelu,
    "gelu_tanh": functools.partial(functional.gelu, approximate="tanh"),
    "gelu_sigmoid": lambda x: x * torch.sigmoid(1.702 * x),
    "swish": functional.silu,
}


class FeedForward(nn.Module):
    """Two linear maps with a ReLU, or another activation, between; the same at every position (section 3.3)."""

    def __init__(self, d_model: int, d_ff: int, activation: Activation = "relu") -> None:
        super().__init__()
        self.activation = activation
        self.inner = nn.Linear(d_model, d_ff)
        self.outer = nn.Linear(d_ff, d_model)
        for projection in (self.inner, self.outer):
            nn.init.xavier_uniform_(projection.weight)
            nn.init.zeros_(projection.bias)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, D] -> [B, T, D]."""
        y: Tensor = self.outer(_ACTIVATIONS[self.activation](self.inner(x)))
        return y


class Residual(nn.Module):
    """What surrounds every sub-layer: residual connection, dropout and layer normalisation.

    post: LayerNorm(x + Sublayer(x)), the paper's.
    pre: x + Sublayer(LayerNorm(x)), steadier to train (Xiong et al. 2020).
    none: x + Sublayer(x).
    Without `residuals` x is not added, in any of them.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.norm = nn.Identity() if config.norm == "none" else new_norm(config)
        self.dropout = Dropout(config.dropout)
        self.pre = config.norm == "pre"
        self.adds = config.residuals

    def forward(self, x: Tensor, sublayer: Callable[[Tensor], Tensor]) -> Tensor:
        """x [B, T, D] -> [B, T, D]."""
        if self.pre:
            y = self.dropout(sublayer(self.norm(x)))
            return x + y if self.adds else y
        y = self.dropout(sublayer(x))
        normed: Tensor = self.norm(x + y if self.adds else y)
        return normed


class EncoderLayer(nn.Module):
    """Self-attention, then feed-forward (section 3.1)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.self_attention = MultiHeadAttention(config.d_model, config.num_heads, config.similarity, config.window)
        self.feed_forward = FeedForward(config.d_model, config.d_ff, config.activation)
        self.residuals = nn.ModuleList(Residual(config) for _ in range(2))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x [B, S, D], mask [B, 1, S] -> [B, S, D]."""
        x = self.residuals[0](x, lambda y: self.self_attention(y, y, mask))
        x = self.residuals[1](x, self.feed_forward)
        return x

    def with_weights(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """`forward`, and the self-attention weights [B, H, S, S]."""
        seen: list[Tensor] = []
        x = self.residuals[0](x, _recording(self.self_attention, seen, None, mask))
        return self.residuals[1](x, self.feed_forward), seen[0]


class DecoderLayer(nn.Module):
    """Masked self-attention, encoder-decoder attention, then feed-forward (section 3.1)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        heads, similarity = config.heads_of_decoder, config.similarity
        self.self_attention = MultiHeadAttention(config.d_model, heads, similarity, config.window, is_causal=True)
        self.cross_attention = MultiHeadAttention(config.d_model, heads, similarity)
        self.feed_forward = FeedForward(config.d_model, config.d_ff_of_decoder, config.activation)
        self.residuals = nn.ModuleList(Residual(config) for _ in range(3))

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor, memory_mask: Tensor) -> Tensor:
        """x [B, T, D], memory [B, S, D], mask [B, T, T], or [B, 1, T] where self-attention is restricted (see
        `MultiHeadAttention.is_blockwise`), memory_mask [B, 1, S] -> [B, T, D]."""
        x = self.residuals[0](x, lambda y: self.self_attention(y, y, mask))
        x = self.residuals[1](x, lambda y: self.cross_attention(y, memory, memory_mask))
        x = self.residuals[2](x, self.feed_forward)
        return x

    def with_weights(
        self, x: Tensor, memory: Tensor, mask: Tensor, memory_mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """`forward`, and the weights of self-attention [B, H, T, T] and of encoder-decoder attention [B, H, T, S]."""
        seen: list[Tensor] = []
        x = self.residuals[0](x, _recording(self.self_attention, seen, None, mask))
        x = self.residuals[1](x, _recording(self.cross_attention, seen, memory, memory_mask))
        return self.residuals[2](x, self.feed_forward), seen[0], seen[1]


def _recording(
    attention: MultiHeadAttention, seen: list[Tensor], memory: Tensor | None, mask: Tensor
) -> Callable[[Tensor], Tensor]:
    """The attention as a sub-layer that appends its weights to `seen`; `memory` None means self-attention."""

    def sublayer(y: Tensor) -> Tensor:
        context, weights = attention.with_weights(y, y if memory is None else memory, mask)
        seen.append(weights)
        return context

    return sublayer


class Transformer(EncoderDecoder):
    """Attention alone."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.encoder = nn.ModuleList(EncoderLayer(config) for _ in range(config.encoder_layers))
        self.decoder = nn.ModuleList(DecoderLayer(config) for _ in range(config.decoder_layers))
        # Pre-norm leaves the sum of residuals unnormalised: one norm closes each stack.
        closes = config.norm == "pre"
        self.encoder_norm = new_norm(config) if closes else nn.Identity()
        self.decoder_norm = new_norm(config) if closes else nn.Identity()

    @property
    def last_module(self) -> nn.Module:
        """The norm that closes the decoder, or what stands for it."""
        return self.decoder_norm

    def encode(self, source_ids: Tensor, source_mask: Tensor) -> Tensor:
        """source_ids [B, S], source_mask [B, S] -> memory [B, S, D]."""
        x = self.embedding(source_ids, places_of(source_ids))
        for layer in self.encoder:
            x = layer(x, source_mask[:, None, :])
        memory: Tensor = self.encoder_norm(x)
        return memory

    def decode(self, target_ids: Tensor, memory: Tensor, source_mask: Tensor) -> Tensor:
        """target_ids [B, T] (starting with BOS) -> states [B, T, D]; row t has seen target_ids[:, :t+1]."""
        x = self.target_embedding(target_ids, places_of(target_ids))
        mask = self._target_mask(target_ids)
        for layer in self.decoder:
            x = layer(x, memory, mask, source_mask[:, None, :])
        states: Tensor = self.decoder_norm(x)
        return states

    def _target_mask(self, target_ids: Tensor) -> Tensor:
        """What self-attention of the decoder may see, as `DecoderLayer.forward` wants it: nothing n by n if it is
        restricted."""
        length, device = target_ids.shape[1], target_ids.device
        if self.config.window is not None and self.config.window < length:
            return torch.ones(1, 1, length, dtype=torch.bool, device=device)
        return causal_mask(length, device)

    def expanded(self, memory: Tensor, rows: int) -> Tensor:
        """The memory [1, S, D] of one source as that of `rows` rows."""
        return memory.expand(rows, -1, -1)

    def states_with_attention(
        self, source_ids: Tensor, source_mask: Tensor, target_ids: Tensor
    ) -> tuple[Tensor, Attention]:
        """What `project` makes logits of [B, T, D], and every attention weight."""
        encoder_weights, decoder_weights, cross_weights = [], [], []
        memory = self.embedding(source_ids, places_of(source_ids))
        for layer in self.encoder:
            memory, weights = layer.with_weights(memory, source_mask[:, None, :])
            encoder_weights.append(weights)
        memory = self.encoder_norm(memory)
        x = self.target_embedding(target_ids, places_of(target_ids))
        mask = causal_mask(target_ids.shape[1], target_ids.device)
        for layer in self.decoder:
            x, weights, cross = layer.with_weights(x, memory, mask, source_mask[:, None, :])
            decoder_weights.append(weights)
            cross_weights.append(cross)
        return self.decoder_norm(x), Attention(tuple(encoder_weights), tuple(decoder_weights), tuple(cross_weights))
