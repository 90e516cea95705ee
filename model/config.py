"""The architecture of a network as plain, frozen, validated values. Torch-free.

Our own networks and those of others (`export.importers`) differ in these values only: whatever runs, exports or
measures a network reads them and knows no system's name.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, get_args

from model.errors import CheckpointError

Architecture = Literal["transformer", "lstm"]
SimilarityKind = Literal["scaled_dot", "dot", "bilinear", "additive", "cosine"]
"""How a query and a key are compared: `model.similarity` has the formulas."""
NormPlacement = Literal["post", "pre", "none"]
NormKind = Literal["layer", "rms"]
Activation = Literal["relu", "gelu", "gelu_tanh", "gelu_sigmoid", "swish"]
"""gelu: exact, by the error function. gelu_tanh, gelu_sigmoid: its two approximations (Hendrycks & Gimpel 2016)."""
PositionKind = Literal["sinusoidal", "learned", "none"]
SinusoidLayout = Literal["interleaved", "halves", "tensor2tensor"]
"""interleaved: sine and cosine in turn, as in the paper. halves: all sines, then all cosines (Marian). tensor2tensor:
in halves, with the frequencies spread so that the last one is 1/10000 exactly (fairseq)."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Sizes and choices of one encoder-decoder network: a Transformer (Vaswani et al. 2017, section 3) or an LSTM
    (Bahdanau et al. 2015).

    The defaults are the base model of the Transformer's paper except for depth, which is split into encoder and
    decoder. An LSTM reads `d_model` (the width of its embedding and of its states), the depths, `dropout`,
    `similarity`, `attention` and what concerns vocabulary and output; it has no use for the rest, which must be left
    as it is.
    """

    architecture: Architecture = "transformer"

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
    similarity: SimilarityKind = "scaled_dot"
    attention: bool = True
    """Whether an LSTM's decoder looks at the source; without it all it knows of it is the encoder's last state."""
    window: int | None = None
    """Self-attention sees only positions fewer than this away; None: all."""
    residuals: bool = True
    """Whether a sub-layer's input is added to its output."""
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
        self._check_architecture()
        self._check_widths()
        self._check_ids()

    def _check_architecture(self) -> None:
        if self.architecture == "transformer" and not self.attention:
            raise CheckpointError("model config: a transformer is made of attention; attention = false is for an lstm")
        if self.architecture == "lstm":
            defaults = {field.name: field.default for field in dataclasses.fields(self)}
            for name in _TRANSFORMER_ONLY:
                if getattr(self, name) != defaults[name]:
                    raise CheckpointError(f"model config: an lstm has no {name}; leave it out")

    def _check_widths(self) -> None:
        for name, heads in (("num_heads", self.num_heads), ("decoder_num_heads", self.heads_of_decoder)):
            if self.architecture == "transformer" and self.d_model % heads:
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
        return 1 if self.architecture == "lstm" else self.decoder_num_heads or self.num_heads

    @property
    def attention_stacks(self) -> dict[str, tuple[int, int]]:
        """How many layers, and heads in each, look from source to source, target to target and target to source."""
        if self.architecture == "lstm":
            return {"encoder": (0, 1), "decoder": (0, 1), "cross": (int(self.attention), 1)}
        decoder = (self.decoder_layers, self.heads_of_decoder)
        return {"encoder": (self.encoder_layers, self.num_heads), "decoder": decoder, "cross": decoder}

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
_OPTIONAL_SIZES = ("target_vocabulary_size", "decoder_num_heads", "decoder_d_ff", "window")
_IDS = ("pad_id", "unk_id", "start_id", "eos_id", "position_offset")
_CHOICES: Mapping[str, tuple[Any, ...]] = {
    "architecture": get_args(Architecture),
    "similarity": get_args(SimilarityKind),
    "norm": get_args(NormPlacement),
    "norm_kind": get_args(NormKind),
    "activation": get_args(Activation),
    "positions": get_args(PositionKind),
    "position_layout": get_args(SinusoidLayout),
    **dict.fromkeys(
        (
            "attention", "residuals", "embedding_norm", "scale_embedding", "shared_embedding", "tied_output",
            "output_bias",
        ),
        (True, False),
    ),
}  # fmt: skip
_TRANSFORMER_ONLY = (
    "num_heads", "decoder_num_heads", "d_ff", "decoder_d_ff", "window", "residuals", "norm", "norm_kind",
    "norm_epsilon", "embedding_norm", "activation", "positions", "position_layout", "position_offset",
)  # fmt: skip


def _require_whole_number(name: str, value: object, *, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise CheckpointError(f"model config: {name} must be a whole number of at least {least}, not {value!r}")
