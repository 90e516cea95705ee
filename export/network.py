"""A network that is to become a bundle, wherever it comes from, and what is said of it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from export.languages import described_languages
from model import bundle
from model.bundle import AlignmentMethod, LanguageGroup, TokenizerSpec
from model.checkpoint import CONFIG_FILE, VOCABULARY_FILE, WEIGHTS_FILE, load_checkpoint
from model.lexical import LEXICAL_FILE
from model.network import EncoderDecoder
from model.shortlist import SHORTLIST_FILE
from model.tokenizers import Tokenizer

CARD_FILE = bundle.MODEL_CARD_FILE


@dataclasses.dataclass(frozen=True, slots=True)
class Network:
    """Weights and tokeniser, and what the manifest is to say of them."""

    name: str
    model: EncoderDecoder
    tokenizer: Tokenizer
    tokenizer_spec: TokenizerSpec
    languages: tuple[LanguageGroup, ...]
    language_names: Mapping[str, str]
    files: Mapping[str, Path | bytes]
    """What the bundle holds beside its graphs, by its name there: a file to copy, or content."""
    provenance: Mapping[str, Any]
    licence: str | None = None
    origin: str | None = None
    quality: tuple[dict[str, Any], ...] = ()
    alignment: Mapping[str, AlignmentMethod] = dataclasses.field(default_factory=dict)
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()
    """What somebody who imports it should know, a sentence each."""
    with_internals: bool = False
    """Whether its bundle gets the graph `internals`, if the network is one that can be looked into so."""

    def pairs(self) -> tuple[tuple[str, str], ...]:
        """The first pairs of source and target that it translates, at most `_MOST_PAIRS`."""
        pairs = ((s, t) for group in self.languages for s in group.sources for t in group.targets if s != t)
        return tuple(pair for pair, _ in zip(pairs, range(_MOST_PAIRS), strict=False))


_MOST_PAIRS = 12


def own_network(
    directory: Path,
    *,
    shortlist: bool = True,
    quality: tuple[dict[str, Any], ...] = (),
    alignment: Mapping[str, AlignmentMethod] | None = None,
) -> Network:
    """One of our own checkpoints; `shortlist` False leaves out its shortlist.

    Raises:
        CheckpointError: the checkpoint cannot be read.
    """
    checkpoint = load_checkpoint(directory)
    description = json.loads((directory / CONFIG_FILE).read_text(encoding="utf-8"))
    pairs = [direction.partition("-")[::2] for direction in checkpoint.directions]
    described = described_languages(pairs)
    optional = [LEXICAL_FILE, CARD_FILE, *([SHORTLIST_FILE] if shortlist else [])]
    files = {name: directory / name for name in optional if (directory / name).is_file()}
    return Network(
        name=checkpoint.name,
        model=checkpoint.model,
        tokenizer=checkpoint.vocabulary,
        tokenizer_spec=TokenizerSpec(carriers=checkpoint.vocabulary.carrier_ids),
        languages=described["languages"],
        language_names=described["language_names"],
        files={bundle.VOCABULARY_FILE: directory / VOCABULARY_FILE, **files},
        provenance={
            "training": description["training"],
            "checkpoint_sha256": bundle.sha256(directory / WEIGHTS_FILE),
        },
        quality=quality,
        alignment=alignment or {},
    )
