"""Tokenisers of other systems' networks: SentencePiece cuts, lists of tokens give the ids. Torch-free.

Marian (two SentencePiece models, `vocab.json` or `vocab.yml`), fairseq's M2M-100 and NLLB (one model, language codes
behind its pieces) and CTranslate2's packages (`source_vocabulary`, `target_vocabulary`) differ in their lists and in
the tokens before and behind a text; both are data: `tokens.json` and `model.bundle.TokenizerSpec`.

A text cannot contain a special token or a language's tag: "</s>" and ">>fra<<" in a text are characters like others.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import sentencepiece

from model.bundle import (
    SOURCE_PIECES_FILE,
    TARGET_PIECES_FILE,
    TOKENS_FILE,
    VOCABULARY_FILE,
    Manifest,
    TokenizerSpec,
)
from model.errors import BundleError, VocabularyError
from model.vocabulary import Vocabulary, as_encodable

Frame = tuple[tuple[int, ...], tuple[int, ...]]
"""Ids before and ids behind the pieces of a source."""


class Tokenizer(Protocol):
    """What everything that handles text needs of a tokeniser; `Vocabulary` and `ListedTokenizer` are two."""

    def __len__(self) -> int:
        """Tokens an output may consist of."""

    @property
    def source_size(self) -> int:
        """Tokens a source may consist of."""

    @property
    def unknown_id(self) -> int:
        """What `encode_target` gives for characters that it has no piece for."""

    @property
    def carrier_ids(self) -> tuple[int, ...]:
        """Ids of pieces that stand for spans which come back as they were."""

    @property
    def unspoken(self) -> Collection[int]:
        """Target ids that are no part of a text: tags and special tokens."""

    @property
    def copies(self) -> Sequence[int]:
        """Of each source id the target id of the same token, -1 if there is none."""

    def wanted_by(self, target: str) -> int | None:
        """The id in a source that asks for this target language; None where nothing in a source does."""

    def encode(self, text: str) -> list[int]:
        """Pieces of a source text, without any special token."""

    def encode_target(self, text: str) -> list[int]:
        """The same of a target text."""

    def source_frame(self, source: str, target: str) -> Frame:
        """What surrounds the pieces of a source in the language `source` that is wanted in `target`."""

    def target_prefix(self, target: str) -> tuple[int, ...]:
        """Ids that an output in the language `target` begins with before its text."""

    def decode(self, ids: Sequence[int]) -> str:
        """Text of target ids; special tokens vanish."""

    def encode_spans(self, text: str) -> list[tuple[int, int]]:
        """Where each piece of `encode(text)` stands in `text`, half-open, in Unicode code points."""

    def decode_spans(self, ids: Sequence[int]) -> list[tuple[int, int]]:
        """Where each of `ids` stands in `decode(ids)`; special tokens are empty."""

    def source_pieces(self, ids: Sequence[int]) -> list[str]:
        """The tokens of source ids as the model sees them."""

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """The same of target ids."""


class ListedTokenizer:
    """SentencePiece pieces looked up in a list of tokens, one for each side or one for both."""

    def __init__(
        self,
        processors: tuple[sentencepiece.SentencePieceProcessor, sentencepiece.SentencePieceProcessor],
        tokens: tuple[Sequence[str], Sequence[str]],
        spec: TokenizerSpec,
        *,
        unk: str = "<unk>",
        special: Sequence[str] = (),
    ) -> None:
        """`processors` and `tokens` of source and target; `special` tokens and tags are no part of a text."""
        self._source_processor, self._target_processor = processors
        self._source_tokens, self._target_tokens = tokens
        self._source_ids = _ids(self._source_tokens)
        self._target_ids = self._source_ids if tokens[0] is tokens[1] else _ids(self._target_tokens)
        self._unknown = (_id(self._source_ids, unk), _id(self._target_ids, unk))
        silent = {unk, *special, *spec.tags.values()}
        self._silent = frozenset(self._target_ids[token] for token in silent if token in self._target_ids)
        self._spec = spec

    def __len__(self) -> int:
        return len(self._target_tokens)

    @property
    def source_size(self) -> int:
        """Tokens a source may consist of."""
        return len(self._source_tokens)

    @property
    def unknown_id(self) -> int:
        """What `encode_target` gives for characters that it has no piece for."""
        return self._unknown[1]

    @property
    def carrier_ids(self) -> tuple[int, ...]:
        """None: such pieces are known to our own tokeniser only."""
        return ()

    @property
    def unspoken(self) -> Collection[int]:
        """Target ids that are no part of a text: tags and special tokens."""
        return self._silent

    @property
    def copies(self) -> Sequence[int]:
        """Of each source id the target id of the same token, -1 if there is none."""
        if self._source_tokens is self._target_tokens:
            return range(len(self._source_tokens))
        return [self._target_ids.get(token, -1) for token in self._source_tokens]

    def wanted_by(self, target: str) -> int | None:
        """The id in a source that asks for this target language; None where nothing in a source does."""
        if "{target}" not in self._spec.source_prefix:
            return None
        return _id(self._source_ids, self._filled("{target}", "", target))

    def encode(self, text: str) -> list[int]:
        """Pieces of a source text, without any special token."""
        pieces = self._source_processor.EncodeAsPieces(as_encodable(text))
        return [self._source_ids.get(piece, self._unknown[0]) for piece in pieces]

    def encode_target(self, text: str) -> list[int]:
        """The same of a target text."""
        pieces = self._target_processor.EncodeAsPieces(as_encodable(text))
        return [self._target_ids.get(piece, self._unknown[1]) for piece in pieces]

    def source_frame(self, source: str, target: str) -> Frame:
        """What surrounds the pieces of a source in the language `source` that is wanted in `target`."""
        before, behind = self._spec.source_prefix, self._spec.source_suffix
        return (
            tuple(_id(self._source_ids, self._filled(token, source, target)) for token in before),
            tuple(_id(self._source_ids, self._filled(token, source, target)) for token in behind),
        )

    def target_prefix(self, target: str) -> tuple[int, ...]:
        """Ids that an output in the language `target` begins with before its text."""
        return tuple(_id(self._target_ids, self._filled(token, "", target)) for token in self._spec.target_prefix)

    def _filled(self, token: str, source: str, target: str) -> str:
        language = {"{source}": source, "{target}": target}.get(token)
        return token if language is None else self._spec.tags.get(language, language)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of target ids; special tokens and tags vanish, as they do in `transformers` with
        `skip_special_tokens`."""
        text: str = self._target_processor.DecodePieces(self._spoken(ids))
        return text.strip()

    def _spoken(self, ids: Sequence[int]) -> list[str]:
        return [self._target_tokens[i] for i in ids if i not in self._silent]

    def encode_spans(self, text: str) -> list[tuple[int, int]]:
        """Where each piece of `encode(text)` stands in `text`, half-open, in Unicode code points.

        A piece that begins a word begins with the space before it; the bytes of one character all have its span.
        """
        mapping = self._source_processor.Encode(text, return_type="offset_mapping")
        return _with_bytes_shared(self._source_processor, mapping["ids"], mapping["offsets"])

    def decode_spans(self, ids: Sequence[int]) -> list[tuple[int, int]]:
        """Where each of `ids` stands in `decode(ids)`; special tokens and tags are empty."""
        mapping = self._target_processor.Decode(self._spoken(ids), return_type="offset_mapping")
        spoken = _with_bytes_shared(self._target_processor, mapping["ids"], mapping["offsets"])
        text = str(mapping["text"])
        skipped, end = len(text) - len(text.lstrip()), len(text.strip())
        places = iter((min(max(a - skipped, 0), end), min(max(b - skipped, 0), end)) for a, b in spoken)
        spans, last = [], 0
        for token in ids:
            spans.append((last, last) if token in self._silent else next(places))
            last = spans[-1][1]
        return spans

    def source_pieces(self, ids: Sequence[int]) -> list[str]:
        """The tokens of source ids as the model sees them, e.g. `▁suis`, `</s>`, `fra_Latn`."""
        return [self._source_tokens[i] for i in ids]

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """The same of target ids."""
        return [self._target_tokens[i] for i in ids]


def _ids(tokens: Sequence[str]) -> dict[str, int]:
    """The first place of each token."""
    return {token: place for place, token in reversed(list(enumerate(tokens)))}


def _id(ids: Mapping[str, int], token: str) -> int:
    if token not in ids:
        raise VocabularyError(f"the vocabulary has no token {token!r}")
    return ids[token]


def _with_bytes_shared(
    processor: sentencepiece.SentencePieceProcessor, ids: Sequence[int], spans: Sequence[tuple[int, int]]
) -> list[tuple[int, int]]:
    """SentencePiece gives a character to its last byte and leaves the bytes before it empty."""
    shared = [(int(start), int(end)) for start, end in spans]
    for index in reversed(range(len(shared) - 1)):
        if shared[index][0] == shared[index][1] and processor.IsByte(int(ids[index])):
            shared[index] = shared[index + 1]
    return shared


def load_processor(path: Path) -> sentencepiece.SentencePieceProcessor:
    """The SentencePiece model in a file.

    Raises:
        VocabularyError: missing, or something else.
    """
    processor = sentencepiece.SentencePieceProcessor()
    try:
        processor.LoadFromSerializedProto(path.read_bytes())
    except FileNotFoundError:
        raise VocabularyError(f"{path}: no such file; the tokeniser needs it") from None
    except (OSError, RuntimeError) as error:
        raise VocabularyError(f"{path}: not a SentencePiece model") from error
    return processor


def save_tokens(
    path: Path, source: Sequence[str], target: Sequence[str] | None, *, unk: str, special: Sequence[str]
) -> None:
    """Write the tokens of both sides in the order of their ids; `target` None: the source's."""
    values = {"unk": unk, "special": list(special), "source": list(source), "target": target and list(target)}
    path.write_text(json.dumps(values, ensure_ascii=False), encoding="utf-8")


def load_listed(directory: Path, spec: TokenizerSpec) -> ListedTokenizer:
    """The tokeniser whose files are in a bundle.

    Raises:
        VocabularyError: a file is missing or damaged.
    """
    path = directory / TOKENS_FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        source, target = values["source"], values["target"] or values["source"]
        unk, special = values["unk"], values["special"]
    except FileNotFoundError:
        raise VocabularyError(f"{path}: no such file; the tokeniser needs it") from None
    except (ValueError, KeyError, TypeError) as error:
        raise VocabularyError(f"{path}: not a list of tokens: {error}") from error
    reads = load_processor(directory / SOURCE_PIECES_FILE)
    has_two = (directory / TARGET_PIECES_FILE).is_file()
    writes = load_processor(directory / TARGET_PIECES_FILE) if has_two else reads
    return ListedTokenizer((reads, writes), (source, target), spec, unk=unk, special=special)


def load_tokenizer(directory: Path, manifest: Manifest) -> Tokenizer:
    """The tokeniser of a bundle.

    Raises:
        VocabularyError: a file is missing or damaged.
        BundleError: the tokeniser is not the manifest's.
    """
    if manifest.tokenizer.kind == "attend":
        tokenizer: Tokenizer = Vocabulary.load(directory / VOCABULARY_FILE)
    else:
        tokenizer = load_listed(directory, manifest.tokenizer)
    sizes = (tokenizer.source_size, len(tokenizer))
    if sizes != (manifest.source_vocabulary_size, manifest.vocabulary_size):
        raise BundleError(f"{directory}: {sizes[1]} pieces in the vocabulary, not as many as the manifest says")
    return tokenizer
