"""What every network here has: embeddings, an output projection, and the calls that training, search and export make.

Shapes: B sentences, S source tokens, T target tokens, L layers, H heads, D d_model, V vocabulary.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.config import ModelConfig
from model.dropout import Dropout
from model.positions import LearnedPositions, SinusoidalPositions

Memory = Any
"""What a network's `encode` makes of sources and its `decode` reads: only the network knows what it is."""


@dataclasses.dataclass(frozen=True, slots=True)
class Attention:
    """Every attention weight of one forward pass, one tensor a layer."""

    encoder: tuple[Tensor, ...]  # L x [B, H, S, S]
    decoder: tuple[Tensor, ...]  # L x [B, H, T, T]
    cross: tuple[Tensor, ...]  # L x [B, H, T, S]


def new_norm(config: ModelConfig) -> nn.Module:
    """The normalisation that the config asks for."""
    kind = nn.LayerNorm if config.norm_kind == "layer" else nn.RMSNorm
    return kind(config.d_model, eps=config.norm_epsilon)


class Embedding(nn.Module):
    """Tokens and positions as vectors; the same matrix may project the decoder's output (section 3.4)."""

    def __init__(self, config: ModelConfig, vocabulary_size: int) -> None:
        super().__init__()
        padding = config.pad_id if config.pad_id < vocabulary_size else None
        self.tokens = nn.Embedding(vocabulary_size, config.d_model, padding_idx=padding)
        nn.init.normal_(self.tokens.weight, std=config.d_model**-0.5)
        self.positions = _new_positions(config)
        self.offset = config.position_offset
        self.norm = new_norm(config) if config.embedding_norm else nn.Identity()
        self.dropout = Dropout(config.dropout)
        self.scale = math.sqrt(config.d_model) if config.scale_embedding else 1.0

    def forward(self, ids: Tensor, positions: Tensor) -> Tensor:
        """ids [B, T], positions broadcastable to [B, T] -> [B, T, D]."""
        tokens = self.tokens(ids) if self.scale == 1.0 else self.tokens(ids) * self.scale
        if self.positions is not None:
            places = positions if self.offset == 0 else positions + self.offset
            tokens = tokens + self.positions(places)
        return _as_autocast(self.dropout(self.norm(tokens)))


def _as_autocast(vectors: Tensor) -> Tensor:
    """The vectors in the precision that products are computed in.

    What a layer adds to them then has it too. In fp32, a sixth of a training step on a CPU would be conversions.
    """
    kind = vectors.device.type
    return vectors.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else vectors


def _new_positions(config: ModelConfig) -> nn.Module | None:
    """None for a network that cannot tell places apart, and for one that reads one token after another anyway."""
    if config.positions == "none" or config.architecture == "lstm":
        return None
    rows = config.position_offset + config.max_positions
    if config.positions == "learned":
        return LearnedPositions(rows, config.d_model)
    return SinusoidalPositions(rows, config.d_model, config.position_layout)


class Output(nn.Module):
    """The output projection where it is not just the target embedding's matrix."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.weight = None if config.tied_output else nn.Parameter(torch.zeros(config.output_size, config.d_model))
        self.bias = nn.Parameter(torch.zeros(config.output_size)) if config.output_bias else None


class EncoderDecoder(nn.Module):
    """Source ids to memory to target logits: what the architectures share.

    In the paper, and in our own networks, one embedding matrix serves source, target and output projection; in others
    (`model.config`) each may have its own, and tokens a bias.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = Embedding(config, config.vocabulary_size)
        self.own_target_embedding = None if config.shared_embedding else Embedding(config, config.output_size)
        self.output = Output(config)

    @property
    def last_module(self) -> nn.Module:
        """The module whose output `project` takes, and which is used for nothing else."""
        raise NotImplementedError

    def encode(self, source_ids: Tensor, source_mask: Tensor) -> Memory:
        """source_ids [B, S], source_mask [B, S] -> memory."""
        raise NotImplementedError

    def decode(self, target_ids: Tensor, memory: Memory, source_mask: Tensor) -> Tensor:
        """target_ids [B, T] (starting with BOS) -> states [B, T, D]; row t has seen target_ids[:, :t+1]."""
        raise NotImplementedError

    def expanded(self, memory: Memory, rows: int) -> Memory:
        """The memory of one source as that of `rows` rows."""
        raise NotImplementedError

    def states_with_attention(
        self, source_ids: Tensor, source_mask: Tensor, target_ids: Tensor
    ) -> tuple[Tensor, Attention]:
        """What `project` makes logits of [B, T, D], and every attention weight."""
        raise NotImplementedError

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

    def forward(self, source_ids: Tensor, source_mask: Tensor, target_ids: Tensor) -> Tensor:
        """Teacher-forced logits [B, T, V]; target_ids [B, T] starts with BOS."""
        memory = self.encode(source_ids, source_mask)
        return self.project(self.decode(target_ids, memory, source_mask))

    def with_attention(self, source_ids: Tensor, source_mask: Tensor, target_ids: Tensor) -> tuple[Tensor, Attention]:
        """`forward`, and every attention weight."""
        states, attention = self.states_with_attention(source_ids, source_mask, target_ids)
        return self.project(states), attention

    @classmethod
    def from_weights(cls, config: ModelConfig, weights: Mapping[str, Tensor]) -> Self:
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


def places_of(ids: Tensor) -> Tensor:
    """[1, T]: 0, 1, 2, ... for ids [B, T]."""
    return torch.arange(ids.shape[1], device=ids.device)[None, :]
