"""Text to ids and back, with SentencePiece (Kudo & Richardson 2018). Torch-free.

Normalisation is the identity: punctuation, script and spaces of a text survive `decode(encode(text))`. Characters the
vocabulary has never seen fall back to their UTF-8 bytes, so no text is unknown. Two exceptions: U+2581, SentencePiece's
own mark of a space, comes back as a space, and half a surrogate pair, which UTF-8 cannot express, as U+FFFD.

A direction is chosen by one tag, the target language, in front of the source: `<2en> ▁Je ▁suis ▁étudiant . </s>`. Text
cannot contain a tag: "<2en>" in a text is five characters like any others.

Carriers, see `model.carriers`, are pieces of their own, with no space added or lost beside them.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import sentencepiece

from model.errors import VocabularyError

CARRIERS = tuple(chr(0x100000 + index) for index in range(16))
"""Of the last private-use plane, whose characters hardly any text has."""
PAD_ID = 0
UNK_ID = 1
BOS_ID = 2
EOS_ID = 3


def language_tag(language: str) -> str:
    """The token that asks for `language` as the target."""
    return f"<2{language}>"


class Vocabulary:
    """A trained SentencePiece model together with its special ids and language tags."""

    def __init__(self, processor: sentencepiece.SentencePieceProcessor) -> None:
        self._processor = processor
        self._tags = _read_tags(processor)

    @classmethod
    def load(cls, path: Path) -> Vocabulary:
        """The vocabulary in the file `path`.

        Raises:
            VocabularyError: the file is missing, is not a SentencePiece model, or has other special ids.
        """
        if not path.is_file():
            raise VocabularyError(f"{path}: no such vocabulary; train one with: python -m model vocabulary")
        processor = sentencepiece.SentencePieceProcessor()
        try:
            processor.LoadFromSerializedProto(path.read_bytes())
        except RuntimeError as error:
            raise VocabularyError(f"{path}: not a SentencePiece model") from error
        found = (processor.pad_id(), processor.unk_id(), processor.bos_id(), processor.eos_id())
        if found != (PAD_ID, UNK_ID, BOS_ID, EOS_ID):
            raise VocabularyError(
                f"{path}: pad, unk, bos, eos must be {(PAD_ID, UNK_ID, BOS_ID, EOS_ID)}, found {found}; "
                "train one with: python -m model vocabulary"
            )
        return cls(processor)

    def __len__(self) -> int:
        return int(self._processor.GetPieceSize())

    @property
    def languages(self) -> tuple[str, ...]:
        """Languages that have a tag, in alphabetical order."""
        return tuple(sorted(self._tags))

    @property
    def carrier_ids(self) -> tuple[int, ...]:
        """Ids of the pieces that are carriers, in the order of `CARRIERS`; none in a vocabulary made without them."""
        found = (self._processor.PieceToId(carrier) for carrier in CARRIERS)
        return tuple(int(index) for index in found if index != UNK_ID)

    def tag_id(self, language: str) -> int:
        """Id of the tag for the target language.

        Raises:
            VocabularyError: the vocabulary has no tag for it.
        """
        try:
            return self._tags[language]
        except KeyError:
            raise VocabularyError(
                f"the vocabulary has no tag for language {language!r}; it has {', '.join(self.languages)}"
            ) from None

    def piece_id(self, piece: str) -> int | None:
        """Id of the piece, written as `pieces` writes it; None if the vocabulary has no such piece."""
        index = int(self._processor.PieceToId(piece))
        return None if index == UNK_ID and piece != self._processor.IdToPiece(UNK_ID) else index

    def encode(self, text: str) -> list[int]:
        """Pieces of `text`, without any special token."""
        ids: list[int] = self._processor.EncodeAsIds(as_encodable(text))
        return ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """`encode` of many texts, in parallel."""
        ids: list[list[int]] = self._processor.Encode(
            [as_encodable(text) for text in texts], out_type=int, num_threads=os.cpu_count() or 1
        )
        return ids

    def encode_source(self, text: str, target_language: str) -> list[int]:
        """What the encoder reads: target-language tag, pieces, end token."""
        return [self.tag_id(target_language), *self.encode(text), EOS_ID]

    @property
    def source_size(self) -> int:
        """Tokens a source may consist of."""
        return len(self)

    @property
    def unknown_id(self) -> int:
        """What stands for characters that have no piece; never in fact, for there are pieces for bytes."""
        return UNK_ID

    @property
    def unspoken(self) -> tuple[int, ...]:
        """Ids that are no part of a text: special ones and tags."""
        return (PAD_ID, UNK_ID, BOS_ID, EOS_ID, *map(self.tag_id, self.languages))

    @property
    def copies(self) -> range:
        """Of each source id the target id of the same piece: both sides share one vocabulary."""
        return range(len(self))

    def wanted_by(self, target: str) -> int:
        """The id in a source that asks for this target language."""
        return self.tag_id(target)

    def encode_target(self, text: str) -> list[int]:
        """Pieces of a target text: both sides share one vocabulary."""
        return self.encode(text)

    def source_frame(self, source: str, target: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Ids before and behind the pieces of a source: the target language's tag, and the end token."""
        return (self.tag_id(target),), (EOS_ID,)

    def target_prefix(self, target: str) -> tuple[int, ...]:
        """Ids that an output begins with before its text: none."""
        return ()

    def decode(self, ids: Sequence[int]) -> str:
        """Text of `ids`; special tokens and tags vanish, bytes that are not UTF-8 become U+FFFD."""
        text: str = self._processor.DecodeIds([int(i) for i in ids])
        return text

    def encode_spans(self, text: str) -> list[tuple[int, int]]:
        """Where each piece of `encode(text)` stands in `text`: half-open, in Unicode code points, in order.

        `text` has no half of a surrogate pair. A piece that begins a word begins with the space before it. The bytes
        of one character all have its span.
        """
        mapping = self._processor.Encode(text, return_type="offset_mapping")
        return self._share_bytes(mapping["ids"], mapping["offsets"])

    def decode_spans(self, ids: Sequence[int]) -> list[tuple[int, int]]:
        """Where each of `ids` stands in `decode(ids)`, as with `encode_spans`; special tokens and tags are empty."""
        mapping = self._processor.Decode([int(i) for i in ids], return_type="offset_mapping")
        return self._share_bytes(ids, mapping["offsets"])

    def _share_bytes(self, ids: Sequence[int], spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """SentencePiece gives a character to its last byte and leaves the bytes before it empty."""
        for index in reversed(range(len(spans) - 1)):
            start, end = spans[index]
            if start == end and self._processor.IsByte(int(ids[index])):
                spans[index] = spans[index + 1]
        return spans

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """The piece of each id as the model sees it, e.g. `▁suis`, `</s>`, `<2en>`."""
        return [str(self._processor.IdToPiece(int(i))) for i in ids]

    def source_pieces(self, ids: Sequence[int]) -> list[str]:
        """The same of source ids."""
        return self.pieces(ids)


def as_encodable(text: str) -> str:
    """`text` with U+FFFD in place of each half of a surrogate pair."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def _read_tags(processor: sentencepiece.SentencePieceProcessor) -> dict[str, int]:
    tags = {}
    for index in range(processor.GetPieceSize()):
        piece = processor.IdToPiece(index)
        if processor.IsControl(index) and piece.startswith("<2") and piece.endswith(">"):
            tags[piece[2:-1]] = index
    return tags


def train_vocabulary(
    sentences: Iterable[str],
    path: Path,
    *,
    size: int,
    languages: Sequence[str],
    character_coverage: float = 0.9998,
    seed: int = 1,
) -> Vocabulary:
    """Train a unigram vocabulary of `size` pieces on `sentences` and write it to `path`.

    Raises:
        VocabularyError: SentencePiece refuses, for example because `size` is too large for the text.
    """
    # Read to the end first: an exception inside SentencePiece's own iteration would lose its type.
    sentences = list(sentences)
    sentencepiece.set_random_generator_seed(seed)
    # Written to memory: a file's name, a scratch folder's even, would become part of the vocabulary.
    trained = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.Train(
            sentence_iterator=iter(sentences),
            model_writer=trained,
            model_type="unigram",
            vocab_size=size,
            character_coverage=character_coverage,
            byte_fallback=True,
            # Identity, and every space kept: NFKC would turn a full-width comma into an ASCII one.
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            split_digits=True,
            control_symbols=[language_tag(language) for language in languages],
            user_defined_symbols=list(CARRIERS),
            pad_id=PAD_ID,
            unk_id=UNK_ID,
            bos_id=BOS_ID,
            eos_id=EOS_ID,
            max_sentence_length=16384,
            shuffle_input_sentence=False,
            num_threads=os.cpu_count() or 1,
            minloglevel=2,
        )
    except (RuntimeError, OSError) as error:
        raise VocabularyError(f"{path}: SentencePiece could not train a vocabulary of {size}: {error}") from error
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(path.name + ".partial")
    scratch.write_bytes(trained.getvalue())
    os.replace(scratch, path)
    return Vocabulary.load(path)
