"""What an importer finds out about a network's tokeniser, and how a bundle keeps it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from export.importers.request import Languages
from model.bundle import SOURCE_PIECES_FILE, TARGET_PIECES_FILE, TOKENS_FILE, TokenizerSpec
from model.errors import VocabularyError
from model.tokenizers import ListedTokenizer, load_processor


@dataclasses.dataclass(frozen=True, slots=True)
class Tokens:
    """A `listed` tokeniser before the sizes of the embeddings are known."""

    source_pieces: Path
    target_pieces: Path | None
    """None: the source's."""
    source: Sequence[str]
    target: Sequence[str] | None
    unk: str
    special: Sequence[str]
    spec: TokenizerSpec
    languages: Languages

    @property
    def unk_id(self) -> int:
        """Id of the target token that stands for what is in no list."""
        tokens = self.source if self.target is None else self.target
        if self.unk not in tokens:
            raise VocabularyError(f"the vocabulary has no token {self.unk!r}")
        return list(tokens).index(self.unk)

    def _lists(self, source_size: int, target_size: int) -> tuple[list[str], list[str] | None]:
        source = filled(self.source, source_size)
        return source, None if self.target is None else filled(self.target, target_size)

    def tokenizer(self, source_size: int, target_size: int) -> ListedTokenizer:
        """The tokeniser, its lists as long as the embeddings."""
        source, target = self._lists(source_size, target_size)
        reads = load_processor(self.source_pieces)
        writes = load_processor(self.target_pieces) if self.target_pieces else reads
        lists = (source, source if target is None else target)
        return ListedTokenizer((reads, writes), lists, self.spec, unk=self.unk, special=self.special)

    def files(self, source_size: int, target_size: int) -> Mapping[str, Path | bytes]:
        """What a bundle keeps of it."""
        source, target = self._lists(source_size, target_size)
        lists = {"unk": self.unk, "special": list(self.special), "source": source, "target": target}
        both = {} if self.target_pieces is None else {TARGET_PIECES_FILE: self.target_pieces}
        return {
            SOURCE_PIECES_FILE: self.source_pieces,
            **both,
            TOKENS_FILE: json.dumps(lists, ensure_ascii=False).encode(),
        }


def filled(tokens: Sequence[str], size: int) -> list[str]:
    """As many tokens as an embedding has rows; those without a name are never made by a text.

    Raises:
        VocabularyError: there are more tokens than rows.
    """
    if len(tokens) > size:
        raise VocabularyError(f"the vocabulary has {len(tokens)} tokens, the network {size}")
    return [*tokens, *(f"<unnamed {place}>" for place in range(len(tokens), size))]


def by_id(ids: Mapping[str, int], path: Path) -> list[str]:
    """The tokens of a vocab.json in the order of their ids.

    Raises:
        VocabularyError: an id is no number, or is far beyond the number of tokens.
    """
    if not ids or not all(isinstance(place, int) and 0 <= place < 2 * len(ids) + 1024 for place in ids.values()):
        raise VocabularyError(f"{path}: not a list of tokens and their ids")
    tokens = [f"<unnamed {place}>" for place in range(max(ids.values()) + 1)]
    for token, place in ids.items():
        tokens[place] = token
    return tokens


def folds_case(pieces: Path) -> bool:
    """Whether a SentencePiece model lower-cases what it reads."""
    processor = load_processor(pieces)
    probe = "AÉŽΣДԱ"
    return bool(processor.Normalize(probe) != probe and processor.Normalize(probe).strip("▁ ") == probe.lower())
