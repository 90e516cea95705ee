"""The architecture of a Transformer as plain, frozen, validated values. Torch-free.

Our own networks and those of others (`export.importers`) differ in these values only: whatever runs, exports or
measures a network reads them and knows no system's name.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, get_args

from model.errors import CheckpointError

NormPlacement = Literal["post", "pre"]
NormKind = Literal["layer", "rms"]
Activation = Literal["relu", "gelu", "gelu_tanh", "gelu_sigmoid", "swish"]
"""gelu: exact, by the error function. gelu_tanh, gelu_sigmoid: its two approximations (Hendrycks & Gimpel 2016)."""
PositionKind = Literal["sinusoidal", "learned"]
SinusoidLayout = Literal["interleaved", "halves", "tensor2tensor"]
"""interleaved: sine and cosine in turn, as in the paper. halves: all sines, then all cosines (Marian). tensor2tensor:
in halves, with the frequencies spread so that the last one is 1/10000 exactly (fairseq)."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Sizes and choices of one encoder-decoder Transformer (Vaswani et al. 2017, section 3).

    The defaults are the paper's base model except for depth, which is split into encoder and decoder.
    """

    vocabulary_size: int
    """Of the source, and of the target unless it has a vocabulary of its own."""
    target_vocabulary_size: int | None = None
    d_model: int = 512
    num_heads: int = 8
    decoder_num_heads: int | None = None
    """None: as many as the encoder has."""
    d_ff: int = 2048
    decoder_d_ff: int | None = None
    """None: as in the encoder."""
    encoder_layers: int = 6
    decoder_layers: int = 6
    dropout: float = 0.1
    norm: NormPlacement = "post"
    norm_kind: NormKind = "layer"
    norm_epsilon: float = 1e-5
    """What is added to a variance before its root is taken."""
    embedding_norm: bool = False
    """Whether a norm follows the embedding of tokens and positions."""
    activation: Activation = "relu"
    positions: PositionKind = "sinusoidal"
    position_layout: SinusoidLayout = "interleaved"
    position_offset: int = 0
    """Row of the table of positions at which a sentence begins."""
    max_positions: int = 1024
    """Longest sequence, in tokens, that positions exist for."""
    scale_embedding: bool = True
    """Whether embeddings are multiplied by sqrt(d_model)."""
    shared_embedding: bool = True
    """Whether source and target tokens have one matrix."""
    tied_output: bool = True
    """Whether the target tokens' matrix projects the decoder's output too."""
    output_bias: bool = False
    """Whether each token has a number that is added to its logit."""
    pad_id: int = 0
    unk_id: int = 1
    start_id: int = 2
    """What the decoder reads first."""
    eos_id: int = 3
    excluded_ids: tuple[int, ...] = (0, 1, 2)
    """Target tokens that have no probability at all: it is shared among the others."""
    suppressed_ids: tuple[int, ...] = ()
    """Target tokens that have a probability and are never chosen."""

    def __post_init__(self) -> None:
        for name in _SIZES:
            _require_whole_number(name, getattr(self, name), least=1)
        for name in _OPTIONAL_SIZES:
            if getattr(self, name) is not None:
                _require_whole_number(name, getattr(self, name), least=1)
        for name in _IDS:
            _require_whole_number(name, getattr(self, name), least=0)
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                allowed = " or ".join(map(repr, choices))
                raise CheckpointError(f"model config: {name} must be {allowed}, not {getattr(self, name)!r}")
        self._check_widths()
        self._check_ids()

    def _check_widths(self) -> None:
        for name, heads in (("num_heads", self.num_heads), ("decoder_num_heads", self.heads_of_decoder)):
            if self.d_model % heads:
                raise CheckpointError(f"model config: d_model {self.d_model} is not divisible by {name} {heads}")
        if self.d_model % 2:
            raise CheckpointError(f"model config: d_model must be even for sine/cosine pairs, not {self.d_model}")
        if not isinstance(self.dropout, int | float) or not 0.0 <= self.dropout < 1.0:
            raise CheckpointError(f"model config: dropout must be in [0, 1), not {self.dropout!r}")
        if not isinstance(self.norm_epsilon, int | float) or not 0.0 < self.norm_epsilon < 1.0:
            raise CheckpointError(f"model config: norm_epsilon must be in (0, 1), not {self.norm_epsilon!r}")
        if self.shared_embedding and self.target_vocabulary_size not in (None, self.vocabulary_size):
            raise CheckpointError("model config: vocabularies of two sizes cannot have a shared_embedding")

    def _check_ids(self) -> None:
        for name in ("excluded_ids", "suppressed_ids"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
            for each in getattr(self, name):
                _require_whole_number(name, each, least=0)

    @property
    def d_head(self) -> int:
        """Width of one attention head of the encoder."""
        return self.d_model // self.num_heads

    @property
    def heads_of_decoder(self) -> int:
        """Attention heads of a decoder layer."""
        return self.decoder_num_heads or self.num_heads

    @property
    def d_ff_of_decoder(self) -> int:
        """Width inside a decoder layer's feed-forward."""
        return self.decoder_d_ff or self.d_ff

    @property
    def output_size(self) -> int:
        """Tokens the target vocabulary has."""
        return self.target_vocabulary_size or self.vocabulary_size

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


_SIZES = ("vocabulary_size", "d_model", "num_heads", "d_ff", "encoder_layers", "decoder_layers", "max_positions")
_OPTIONAL_SIZES = ("target_vocabulary_size", "decoder_num_heads", "decoder_d_ff")
_IDS = ("pad_id", "unk_id", "start_id", "eos_id", "position_offset")
_CHOICES: Mapping[str, tuple[Any, ...]] = {
    "norm": get_args(NormPlacement),
    "norm_kind": get_args(NormKind),
    "activation": get_args(Activation),
    "positions": get_args(PositionKind),
    "position_layout": get_args(SinusoidLayout),
    **dict.fromkeys(
        ("embedding_norm", "scale_embedding", "shared_embedding", "tied_output", "output_bias"), (True, False)
    ),
}


def _require_whole_number(name: str, value: object, *, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise CheckpointError(f"model config: {name} must be a whole number of at least {least}, not {value!r}")
