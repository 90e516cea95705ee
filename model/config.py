"""The architecture of a Transformer as plain, frozen, validated values. Torch-free."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from model.errors import CheckpointError

NormPlacement = Literal["post", "pre"]
PositionKind = Literal["sinusoidal", "learned"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Sizes and choices of one encoder-decoder Transformer (Vaswani et al. 2017, section 3).

    The defaults are the paper's base model except for depth, which is split into encoder and decoder.
    """

    vocabulary_size: int
    d_model: int = 512
    num_heads: int = 8
    d_ff: int = 2048
    encoder_layers: int = 6
    decoder_layers: int = 6
    dropout: float = 0.1
    norm: NormPlacement = "post"
    positions: PositionKind = "sinusoidal"
    max_positions: int = 1024
    """Longest sequence, in tokens, that positions exist for."""

    def __post_init__(self) -> None:
        for name in (
            "vocabulary_size",
            "d_model",
            "num_heads",
            "d_ff",
            "encoder_layers",
            "decoder_layers",
            "max_positions",
        ):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise CheckpointError(f"model config: {name} must be a whole number of at least 1, not {value!r}")
        if self.d_model % self.num_heads:
            raise CheckpointError(
                f"model config: d_model {self.d_model} is not divisible by num_heads {self.num_heads}"
            )
        if self.d_model % 2:
            raise CheckpointError(f"model config: d_model must be even for sine/cosine pairs, not {self.d_model}")
        if not isinstance(self.dropout, int | float) or not 0.0 <= self.dropout < 1.0:
            raise CheckpointError(f"model config: dropout must be in [0, 1), not {self.dropout!r}")
        if self.norm not in ("post", "pre"):
            raise CheckpointError(f"model config: norm must be 'post' or 'pre', not {self.norm!r}")
        if self.positions not in ("sinusoidal", "learned"):
            raise CheckpointError(f"model config: positions must be 'sinusoidal' or 'learned', not {self.positions!r}")

    @property
    def d_head(self) -> int:
        """Width of one attention head."""
        return self.d_model // self.num_heads

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON-ready values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ModelConfig:
        """The config that `to_dict` wrote.

        Raises:
            CheckpointError: a field is unknown, missing or out of range.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise CheckpointError(
                f"model config: unknown field {unknown[0]!r}; known fields: {', '.join(sorted(known))}"
            )
        if "vocabulary_size" not in values:
            raise CheckpointError("model config: vocabulary_size is missing")
        return cls(**values)
