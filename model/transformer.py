"""The encoder-decoder Transformer (Vaswani et al. 2017, section 3), to be read beside the paper.

Shapes: B sentences, S source tokens, T target tokens, L layers, H heads, D d_model, V vocabulary.
Masks are True where attention may look.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.attention import MultiHeadAttention, causal_mask
from model.config import Activation, ModelConfig
from model.dropout import Dropout
from model.positions import LearnedPositions, SinusoidalPositions


@dataclasses.dataclass(frozen=True, slots=True)
class Attention:
    """Every attention weight of one forward pass, one tensor a layer."""

    encoder: tuple[Tensor, ...]  # L x [B, H, S, S]
    decoder: tuple[Tensor, ...]  # L x [B, H, T, T]
    cross: tuple[Tensor, ...]  # L x [B, H, T, S]


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


def _norm(config: ModelConfig) -> nn.Module:
    kind = nn.LayerNorm if config.norm_kind == "layer" else nn.RMSNorm
    return kind(config.d_model, eps=config.norm_epsilon)


class Residual(nn.Module):
    """What surrounds every sub-layer: residual connection, dropout and layer normalisation.

    post: LayerNorm(x + Sublayer(x)), the paper's.
    pre: x + Sublayer(LayerNorm(x)), steadier to train (Xiong et al. 2020).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.norm = _norm(config)
        self.dropout = Dropout(config.dropout)
        self.pre = config.norm == "pre"

    def forward(self, x: Tensor, sublayer: Callable[[Tensor], Tensor]) -> Tensor:
        """x [B, T, D] -> [B, T, D]."""
        if self.pre:
            return x + self.dropout(sublayer(self.norm(x)))
        normed: Tensor = self.norm(x + self.dropout(sublayer(x)))
        return normed


class EncoderLayer(nn.Module):
    """Self-attention, then feed-forward (section 3.1)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.self_attention = MultiHeadAttention(config.d_model, config.num_heads)
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
        self.self_attention = MultiHeadAttention(config.d_model, config.heads_of_decoder)
        self.cross_attention = MultiHeadAttention(config.d_model, config.heads_of_decoder)
        self.feed_forward = FeedForward(config.d_model, config.d_ff_of_decoder, config.activation)
        self.residuals = nn.ModuleList(Residual(config) for _ in range(3))

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor, memory_mask: Tensor) -> Tensor:
        """x [B, T, D], memory [B, S, D], mask [B, T, T], memory_mask [B, 1, S] -> [B, T, D]."""
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


class Embedding(nn.Module):
    """Tokens and positions as vectors; the same matrix may project the decoder's output (section 3.4)."""

    def __init__(self, config: ModelConfig, vocabulary_size: int) -> None:
        super().__init__()
        padding = config.pad_id if config.pad_id < vocabulary_size else None
        self.tokens = nn.Embedding(vocabulary_size, config.d_model, padding_idx=padding)
        nn.init.normal_(self.tokens.weight, std=config.d_model**-0.5)
        rows = config.position_offset + config.max_positions
        if config.positions == "sinusoidal":
            self.positions: nn.Module = SinusoidalPositions(rows, config.d_model, config.position_layout)
        else:
            self.positions = LearnedPositions(rows, config.d_model)
        self.offset = config.position_offset
        self.norm = _norm(config) if config.embedding_norm else nn.Identity()
        self.dropout = Dropout(config.dropout)
        self.scale = math.sqrt(config.d_model) if config.scale_embedding else 1.0

    def forward(self, ids: Tensor, positions: Tensor) -> Tensor:
        """ids [B, T], positions broadcastable to [B, T] -> [B, T, D]."""
        tokens = self.tokens(ids) if self.scale == 1.0 else self.tokens(ids) * self.scale
        places = positions if self.offset == 0 else positions + self.offset
        vectors: Tensor = self.dropout(self.norm(tokens + self.positions(places)))
        return vectors


class Output(nn.Module):
    """The output projection where it is not just the target embedding's matrix."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.weight = None if config.tied_output else nn.Parameter(torch.zeros(config.output_size, config.d_model))
        self.bias = nn.Parameter(torch.zeros(config.output_size)) if config.output_bias else None


class Transformer(nn.Module):
    """Source ids to memory to target logits.

    In the paper, and in our own networks, one embedding matrix serves source, target and output projection; in others
    (`model.config`) each may have its own, and tokens a bias.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = Embedding(config, config.vocabulary_size)
        self.own_target_embedding = None if config.shared_embedding else Embedding(config, config.output_size)
        self.output = Output(config)
        self.encoder = nn.ModuleList(EncoderLayer(config) for _ in range(config.encoder_layers))
        self.decoder = nn.ModuleList(DecoderLayer(config) for _ in range(config.decoder_layers))
        # Pre-norm leaves the sum of residuals unnormalised: one norm closes each stack.
        closes = config.norm == "pre"
        self.encoder_norm = _norm(config) if closes else nn.Identity()
        self.decoder_norm = _norm(config) if closes else nn.Identity()

    @property
    def target_embedding(self) -> Embedding:
        """Embedding of the tokens the decoder reads."""
        return self.own_target_embedding or self.embedding

    @property
    def output_weight(self) -> Tensor:
        """The output projection's matrix [V, D]."""
        return self.target_embedding.tokens.weight if self.output.weight is None else self.output.weight

    def project(self, states: Tensor) -> Tensor:
        """states [..., D] -> logits [..., V]."""
        return functional.linear(states, self.output_weight, self.output.bias)

    def encode(self, source_ids: Tensor, source_mask: Tensor) -> Tensor:
        """source_ids [B, S], source_mask [B, S] -> memory [B, S, D]."""
        x = self.embedding(source_ids, _positions(source_ids))
        for layer in self.encoder:
            x = layer(x, source_mask[:, None, :])
        memory: Tensor = self.encoder_norm(x)
        return memory

    def decode(self, target_ids: Tensor, memory: Tensor, source_mask: Tensor) -> Tensor:
        """target_ids [B, T] (starting with BOS) -> states [B, T, D]; row t has seen target_ids[:, :t+1]."""
        x = self.target_embedding(target_ids, _positions(target_ids))
        mask = causal_mask(target_ids.shape[1], target_ids.device)
        for layer in self.decoder:
            x = layer(x, memory, mask, source_mask[:, None, :])
        states: Tensor = self.decoder_norm(x)
        return states

    def forward(self, source_ids: Tensor, source_mask: Tensor, target_ids: Tensor) -> Tensor:
        """Teacher-forced logits [B, T, V]; target_ids [B, T] starts with BOS."""
        memory = self.encode(source_ids, source_mask)
        return self.project(self.decode(target_ids, memory, source_mask))

    def with_attention(self, source_ids: Tensor, source_mask: Tensor, target_ids: Tensor) -> tuple[Tensor, Attention]:
        """`forward`, and every attention weight."""
        states, attention = self.states_with_attention(source_ids, source_mask, target_ids)
        return self.project(states), attention

    def states_with_attention(
        self, source_ids: Tensor, source_mask: Tensor, target_ids: Tensor
    ) -> tuple[Tensor, Attention]:
        """What `project` makes logits of [B, T, D], and every attention weight."""
        encoder_weights, decoder_weights, cross_weights = [], [], []
        memory = self.embedding(source_ids, _positions(source_ids))
        for layer in self.encoder:
            memory, weights = layer.with_weights(memory, source_mask[:, None, :])
            encoder_weights.append(weights)
        memory = self.encoder_norm(memory)
        x = self.target_embedding(target_ids, _positions(target_ids))
        mask = causal_mask(target_ids.shape[1], target_ids.device)
        for layer in self.decoder:
            x, weights, cross = layer.with_weights(x, memory, mask, source_mask[:, None, :])
            decoder_weights.append(weights)
            cross_weights.append(cross)
        return self.decoder_norm(x), Attention(tuple(encoder_weights), tuple(decoder_weights), tuple(cross_weights))

    @classmethod
    def from_weights(cls, config: ModelConfig, weights: Mapping[str, Tensor]) -> Transformer:
        """A network in evaluation mode that holds these very tensors: nothing is copied, nor made up first.

        Raises:
            RuntimeError: names or shapes differ from the config's; the message lists them.
        """
        with torch.device("meta"):
            model = cls(config)
        model.load_state_dict(dict(weights), assign=True)
        for module in model.modules():
            if isinstance(module, SinusoidalPositions):
                module.make_table()
        return model.eval()

    def num_parameters(self) -> int:
        """Trainable numbers; the shared embedding counts once."""
        return sum(parameter.numel() for parameter in self.parameters())


def _positions(ids: Tensor) -> Tensor:
    """[1, T]: 0, 1, 2, ... for ids [B, T]."""
    return torch.arange(ids.shape[1], device=ids.device)[None, :]
