"""The contract between `export` and `service`: what a bundle directory holds and what its manifest says. Torch-free.

A bundle is `manifest.json`, the graphs, one weights file they share, the vocabulary and the model card. The manifest
names every file with its SHA-256. Decoder state is declared, not assumed: an engine that handles the three kinds of
state serves any autoregressive model, an LSTM with attention as well as a Transformer.

Shapes: N sentences, K beams a sentence, R = N K rows, S source tokens, P places of a row's cache, C candidates.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from model.errors import BundleError

FORMAT = 2
MANIFEST_FILE = "manifest.json"
WEIGHTS_FILE = "weights.bin"
VOCABULARY_FILE = "vocabulary.spm"
MODEL_CARD_FILE = "MODEL_CARD.md"

Precision = Literal["fp32", "int8", "fp16"]
GraphName = Literal[
    "encoder", "decoder", "scorer", "columns", "take_memory", "put_memory", "take_past", "put_past"
]  # fmt: skip
"""columns: of the output projection, for shortlists. take_, put_: move state (memory: per_source, past: growing) where
arrays cannot be indexed, on a device; an int8 bundle has none."""
StateKind = Literal["per_source", "growing", "replaced"]
"""per_source: made by the encoder once a sentence, never changed, shared by its beams [N, ...].
growing: P places a row [R, ..., P, ...]; a step fills each row's next place where it lies; follows its beam.
replaced: rewritten at every step, same shape [R, ...]; follows its beam."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TensorSpec(_Part):
    """One graph input or output; a dimension is a number or a name."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


class GraphSpec(_Part):
    """One ONNX graph."""

    file: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


class StateSpec(_Part):
    """One tensor of decoder state: where it enters the decoder and where its successor leaves."""

    kind: StateKind
    input: str
    output: str
    """For per_source: the encoder's output. Otherwise: the decoder's."""
    dtype: str
    shape: tuple[int | str, ...]


class SpecialIds(_Part):
    """Ids with a meaning of their own."""

    pad: int
    unk: int
    bos: int
    eos: int


class Limits(_Part):
    """What the graphs were made and verified for, in tokens, tag and end included."""

    source_tokens: int = Field(ge=3)
    target_tokens: int = Field(ge=2)

    def output_tokens(self, source_tokens: int) -> int:
        """Most tokens an output has unless a caller says otherwise: twice the source and ten more, if there is room."""
        return min(2 * source_tokens + 10, self.target_tokens)


class SelfTest(_Part):
    """A sentence, and what the graphs gave for it when the bundle was made: greedy, without options."""

    source_ids: tuple[int, ...]
    """Target-language tag, pieces, end token."""
    target_ids: tuple[int, ...]
    """Without the end token."""
    log_prob: float
    """Natural logarithm, summed over the tokens, the end token included."""


class AlignmentMethod(_Part):
    """How source and target words are linked; `python -m service align-eval` measures which way is best."""

    evidence: Literal["attention", "erasure", "hmm"]
    """attention: how much the decoder looks at a source word. erasure: how much less likely a target word becomes when
    the model does not see the source word. hmm: how often words stood in each other's translations in the training
    text, and their order; the model is not asked."""
    heads: tuple[tuple[int, int], ...] = ()
    """(layer, head) of the encoder-decoder attentions that are averaged; for `attention` only."""
    row: Literal["predicts", "consumes"] = "predicts"
    """Which row of the attention belongs to a target token: the one that predicts it, or the next, which reads it."""
    diagonal: float = Field(default=0.0, ge=0)
    """How much evidence far from the diagonal counts for less: exp(-diagonal |i/I - j/J|) for word i of I, j of J."""
    symmetrisation: Literal["target", "source", "intersection", "union", "grow-diag"] = "grow-diag"
    """target: each target word's best source word. source: each source word's best target word. Others: of both."""
    aer: float | None = None
    """Alignment error rate on sentences it was not chosen on; None: never measured."""

    @model_validator(mode="after")
    def _attention_has_heads(self) -> AlignmentMethod:
        if (self.evidence == "attention") != bool(self.heads):
            raise ValueError("an alignment by attention names its heads, others have none")
        return self


class Manifest(_Part):
    """The whole description of a bundle."""

    format: int
    name: str
    version: str
    precision: Precision
    directions: tuple[str, ...] = Field(min_length=1)
    special_ids: SpecialIds
    vocabulary_size: int
    limits: Limits
    graphs: dict[GraphName, GraphSpec]
    states: tuple[StateSpec, ...]
    architecture: dict[str, Any]
    provenance: dict[str, Any]
    """Where the weights come from: checkpoint, recipe, tools and their versions."""
    agreement: dict[str, Any]
    """Measured against PyTorch at export."""
    quality: tuple[dict[str, Any], ...] = ()
    """Scores with signatures, as `python -m service evaluate` prints them."""
    self_tests: tuple[SelfTest, ...] = ()
    """What whoever loads the bundle can try before trusting it."""
    alignment: dict[str, AlignmentMethod] = {}
    """What is best for each direction, as `python -m service align-eval` wrote it."""
    files: dict[str, str]
    """SHA-256 of every other file in the directory."""


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Write `manifest` into `directory`."""
    (directory / MANIFEST_FILE).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")


def read_manifest(directory: Path) -> Manifest:
    """The manifest of a bundle directory.

    Raises:
        BundleError: missing, damaged, or of another format.
    """
    path = directory / MANIFEST_FILE
    try:
        manifest = Manifest.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BundleError(f"{path}: no such file; make a bundle with: python -m export CHECKPOINT BUNDLE") from None
    except (UnicodeDecodeError, ValidationError) as error:
        raise BundleError(f"{path}: not a manifest of format {FORMAT}: {error}") from error
    if manifest.format != FORMAT:
        raise BundleError(f"{path}: format {manifest.format}, this version reads format {FORMAT}; export it again")
    return manifest


_ALIGNMENTS = TypeAdapter(dict[str, AlignmentMethod])


def read_alignment(path: Path) -> dict[str, AlignmentMethod]:
    """A method for each direction, from what `python -m service align-eval --out` wrote.

    Raises:
        BundleError: missing, or something else.
    """
    try:
        return _ALIGNMENTS.validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        raise BundleError(f"{path}: not what align-eval wrote: {error}") from error


def check_files(directory: Path, manifest: Manifest) -> None:
    """Compare every file with its hash.

    Raises:
        BundleError: a file is missing or differs; the message names it.
    """
    for name, expected in manifest.files.items():
        path = directory / name
        if not path.is_file():
            raise BundleError(f"{path}: the manifest names this file, but it is missing")
        if sha256(path) != expected:
            raise BundleError(f"{path}: damaged: its SHA-256 is not the manifest's")
