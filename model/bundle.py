"""The contract between `export` and `service`: what a bundle directory holds and what its manifest says. Torch-free.

A bundle is `manifest.json`, the graphs, one weights file they share, the vocabulary and the model card. The manifest
names every file with its SHA-256. Decoder state is declared, not assumed: an engine that handles the three kinds of
state serves any autoregressive model, an LSTM with attention as well as a Transformer.

Shapes: N sentences, K beams a sentence, R = N K rows, S source tokens, P places of a row's cache, C candidates.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from model.errors import BundleError

FORMAT = 3
"""The format that is written; format 2, which had one list of directions and our own tokeniser only, is still read."""
MANIFEST_FILE = "manifest.json"
WEIGHTS_FILE = "weights.bin"
VOCABULARY_FILE = "vocabulary.spm"
"""SentencePiece model of our own tokeniser."""
SOURCE_PIECES_FILE, TARGET_PIECES_FILE, TOKENS_FILE = "source.spm", "target.spm", "tokens.json"
"""SentencePiece models of a `listed` tokeniser, one if both sides share it, and the tokens in order of their ids."""
MODEL_CARD_FILE = "MODEL_CARD.md"

Precision = Literal["fp32", "int8", "fp16"]
GraphName = Literal[
    "encoder", "decoder", "scorer", "columns", "take_memory", "put_memory", "take_past", "put_past", "take_replaced",
    "put_replaced", "internals",
]  # fmt: skip
"""columns: of the output projection, for shortlists. take_, put_: move state where arrays cannot be indexed, on a
device, see `MOVES`; an int8 bundle has none. internals: the numbers inside the network for one sentence, for the page
`/learn`; a bundle need not have it."""
StateKind = Literal["per_source", "growing", "replaced"]
"""per_source: made by the encoder once a sentence, never changed, shared by its beams [N, ...].
growing: P places a row [R, ..., P, ...]; a step fills each row's next place where it lies; follows its beam.
replaced: rewritten at every step, same shape [R, ...]; follows its beam. A step reads it before it writes any of it, so
that both may lie in one place, and what a row begins with is the step's affair."""

MOVES: Mapping[StateKind, tuple[GraphName, GraphName]] = {
    "per_source": ("take_memory", "put_memory"),
    "growing": ("take_past", "put_past"),
    "replaced": ("take_replaced", "put_replaced"),
}
"""The graphs that move each kind of state on a device: rows out of it, and rows into it."""


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
    """Ids with a meaning of their own, in the target vocabulary."""

    pad: int
    unk: int
    bos: int
    """What the decoder reads first; Marian's networks take `pad` for it, fairseq's `eos`."""
    eos: int


OWN_IDS = SpecialIds(pad=0, unk=1, bos=2, eos=3)
"""Those of our own vocabularies, see `model.vocabulary`."""

Script = Annotated[str, Field(pattern=r"^[A-Z][a-z]{3}$")]
"""An ISO 15924 code: `Latn`, `Cyrl`, `Hant`."""
LanguageCode = Annotated[str, Field(pattern=r"^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*$")]
"""A BCP-47 tag: `fr`, `zh-Hant`, `pt-BR`."""


class LanguageGroup(_Part):
    """Every one of the sources is translated to every other one of the targets: 200 languages are one group and not
    40,000 pairs."""

    sources: tuple[LanguageCode, ...] = Field(min_length=1)
    targets: tuple[LanguageCode, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _has_a_pair(self) -> LanguageGroup:
        if not any(source != target for source in self.sources for target in self.targets):
            raise ValueError("a group of languages needs a source and a target that differ")
        return self


TokenizerKind = Literal["attend", "listed"]
"""attend: our own, where the number of a SentencePiece piece is its id (`model.vocabulary`). listed: the pieces of one
or two SentencePiece models are looked up in lists of tokens (`model.tokenizers`), as Marian and fairseq do."""


class TokenizerSpec(_Part):
    """How text becomes ids and ids become text."""

    kind: TokenizerKind = "attend"
    source_prefix: tuple[str, ...] = ()
    """Tokens before a source's pieces; `{source}` and `{target}` stand for the tags of the languages."""
    source_suffix: tuple[str, ...] = ()
    """Tokens behind them."""
    target_prefix: tuple[str, ...] = ()
    """Tokens that every output begins with, without choice and at no cost: they are no part of the text."""
    tags: dict[LanguageCode, str] = {}
    """The tokens that stand for languages: `fra_Latn`, `__fr__`, `>>fra<<` for `fr`."""
    case: Literal["kept", "folded"] = "kept"
    """folded: the tokeniser lower-cases what it reads."""
    carriers: tuple[int, ...] = ()
    """Ids of pieces that stand for spans which come back as they were; empty if the model knows none."""
    scripts: tuple[Script, ...] = ()
    """ISO 15924 codes of the scripts the model was trained on; empty if nobody knows."""


class DecoderSpec(_Part):
    """What kind of network writes the output, for readers that want to know before they open a graph."""

    architecture: str = "transformer"
    state_kinds: tuple[StateKind, ...] = ("per_source", "growing")
    """The kinds of state it has, each once: a reader refuses those it cannot keep."""
    suppressed_ids: tuple[int, ...] = ()
    """Ids that have a probability but are never chosen; the decoder's graph sees to it."""


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
    """With all that the tokeniser puts before and behind the pieces."""
    target_prefix: tuple[int, ...] = ()
    """What the tokeniser puts before every output, at no cost."""
    target_ids: tuple[int, ...]
    """Without that and without the end token."""
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
    languages: tuple[LanguageGroup, ...] = Field(min_length=1)
    """Groups of sources and targets, the pair of most concern first."""
    language_names: dict[LanguageCode, str] = {}
    """English names; a language that is missing here has none but its code."""
    tokenizer: TokenizerSpec = TokenizerSpec()
    decoder: DecoderSpec = DecoderSpec()
    special_ids: SpecialIds
    vocabulary_size: int
    """Tokens an output may consist of."""
    source_vocabulary_size: int
    """Tokens a source may consist of: the same vocabulary unless the tokeniser has two."""
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
    licence: str | None = None
    """SPDX identifier of the weights' licence as their origin states it, or its words; None if it states none."""
    origin: str | None = None
    """Where the weights were had from, e.g. `Helsinki-NLP/opus-mt-de-en`; None for our own."""
    priority: int = 0
    """Of several bundles for one pair the one with the highest serves it."""
    extra: dict[str, Any] = {}
    """Whatever else a maker wants to keep; no reader depends on it."""
    files: dict[str, str]
    """SHA-256 of every other file in the directory."""

    @model_validator(mode="after")
    def _kinds_of_state_are_those_of_the_states(self) -> Manifest:
        kinds = {state.kind for state in self.states}
        if kinds != set(self.decoder.state_kinds):
            raise ValueError(f"decoder.state_kinds are not the kinds of the states: {', '.join(sorted(kinds))}")
        return self

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Every (source, target) once, in the order of the groups."""
        seen: set[tuple[str, str]] = set()
        for group in self.languages:
            for pair in ((source, target) for source in group.sources for target in group.targets):
                if pair[0] != pair[1] and pair not in seen:
                    seen.add(pair)
                    yield pair

    @property
    def has_shortlist(self) -> bool:
        """Whether an output is chosen among the tokens that its source lets expect, and not among all."""
        return "columns" in self.graphs

    @property
    def directions(self) -> tuple[str, ...]:
        """The pairs as `fr-en`."""
        return tuple(f"{source}-{target}" for source, target in self.pairs())


def language_groups(pairs: Sequence[tuple[str, str]]) -> tuple[LanguageGroup, ...]:
    """Groups that make exactly these pairs: sources that have the same targets share one."""
    targets: dict[str, tuple[str, ...]] = {}
    for source, target in pairs:
        targets[source] = (*targets.get(source, ()), target)
    sources: dict[tuple[str, ...], tuple[str, ...]] = {}
    for source, its_targets in targets.items():
        sources[its_targets] = (*sources.get(its_targets, ()), source)
    return tuple(
        LanguageGroup(sources=its_sources, targets=its_targets) for its_targets, its_sources in sources.items()
    )


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Write `manifest` into `directory`, with a checksum of what it says."""
    values = manifest.model_dump(mode="json")
    text = json.dumps({**values, _CHECKSUM: _checksum_of(values)}, indent=2, ensure_ascii=False)
    (directory / MANIFEST_FILE).write_text(text + "\n", encoding="utf-8")


_CHECKSUM = "checksum"


def _checksum_of(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _check_content(path: Path, values: dict[str, Any]) -> None:
    """Takes the checksum out, and raises `BundleError` if it is another's; formerly there was none."""
    expected = values.pop(_CHECKSUM, None)
    if expected is not None and expected != _checksum_of(values):
        hint = f"who changes it by hand takes `{_CHECKSUM}` out"
        raise BundleError(f"{path}: damaged: its checksum is not that of its content ({hint})")


def read_manifest(directory: Path) -> Manifest:
    """The manifest of a bundle directory.

    Raises:
        BundleError: missing, damaged, or of another format.
    """
    path = directory / MANIFEST_FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BundleError(f"{path}: no such file; make a bundle with: python -m export CHECKPOINT BUNDLE") from None
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path}: not a manifest of format {FORMAT}: {error}") from error
    found = values.get("format") if isinstance(values, dict) else None
    if isinstance(found, int) and found not in (_OLD_FORMAT, FORMAT):
        formats = f"formats {_OLD_FORMAT} and {FORMAT}"
        raise BundleError(f"{path}: format {found}, this version reads {formats}; export it again")
    if isinstance(values, dict):
        _check_content(path, values)
    try:
        return Manifest.model_validate(_renewed(values) if found == _OLD_FORMAT else values)
    except (ValidationError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"{path}: not a manifest of format {found or FORMAT}: {error}") from error


_OLD_FORMAT = 2


def _renewed(values: dict[str, Any]) -> dict[str, Any]:
    """What a manifest of format 2 says, in format 3. It knew our own tokeniser and the Transformer only."""
    kept = {key: value for key, value in values.items() if key != "directions"}
    pairs = [(source, target) for source, _, target in (each.partition("-") for each in values["directions"])]
    return {
        **kept,
        "format": FORMAT,
        "languages": language_groups(pairs),
        "decoder": {"state_kinds": list(dict.fromkeys(state["kind"] for state in values["states"]))},
        "source_vocabulary_size": values["vocabulary_size"],
    }


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


def check_files(directory: Path, manifest: Manifest, only: str = "") -> None:
    """Compare every file with its hash, or those whose names end as `only`.

    Raises:
        BundleError: a file is missing or differs; the message names it.
    """
    files = {name: expected for name, expected in manifest.files.items() if name.endswith(only)}
    for name, expected in files.items():
        path = directory / name
        if not path.is_file():
            raise BundleError(f"{path}: the manifest names this file, but it is missing")
        if sha256(path) != expected:
            raise BundleError(f"{path}: damaged: its SHA-256 is not the manifest's")
