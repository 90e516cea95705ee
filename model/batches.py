"""Texts mixed into batches of similar length and bounded size, read anew in every epoch, in an order that a seed fixes.

Shapes: B sentences, S source tokens, T target tokens.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model.augmentation import UNCHANGED, Shares, read_pairs_anew
from model.corpus import Pair
from model.errors import DataError
from model.vocabulary import BOS_ID, EOS_ID, PAD_ID, Vocabulary

IntArray = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True, slots=True)
class Ragged:
    """Many id sequences end to end: row i is flat[offsets[i]:offsets[i + 1]]."""

    flat: npt.NDArray[np.int32]
    offsets: IntArray

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]]) -> Ragged:
        """Pack `rows`."""
        offsets = np.zeros(len(rows) + 1, dtype=np.int64)
        np.cumsum([len(row) for row in rows], out=offsets[1:])
        flat = np.fromiter((i for row in rows for i in row), dtype=np.int32, count=int(offsets[-1]))
        return cls(flat, offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> npt.NDArray[np.int32]:
        return self.flat[self.offsets[index] : self.offsets[index + 1]]

    @property
    def lengths(self) -> IntArray:
        """Tokens of each row."""
        return np.diff(self.offsets)


@dataclasses.dataclass(frozen=True, slots=True)
class Batch:
    """Padded ids, ready for teacher forcing."""

    source_ids: Tensor  # [B, S]
    source_mask: Tensor  # [B, S], True at real tokens
    target_ids: Tensor  # [B, T]: BOS, then the target
    labels: Tensor  # [B, T]: the target, then EOS

    def to(self, device: torch.device) -> Batch:
        """The batch on another device."""
        return Batch(*(getattr(self, field.name).to(device) for field in dataclasses.fields(self)))

    def rows(self, chosen: slice) -> Batch:
        """Some of the sentences, padded as they are."""
        return Batch(*(getattr(self, field.name)[chosen] for field in dataclasses.fields(self)))

    @property
    def num_target_tokens(self) -> int:
        """Labels that count."""
        return int((self.labels != PAD_ID).sum())


def pad(rows: Sequence[Sequence[int] | npt.NDArray[np.int32]]) -> Tensor:
    """Rows of ids as one tensor [B, longest], PAD at the end."""
    padded = np.full((len(rows), max(len(row) for row in rows)), PAD_ID, dtype=np.int64)
    for index, row in enumerate(rows):
        padded[index, : len(row)] = row
    return torch.from_numpy(padded)


def make_batch(
    sources: Sequence[Sequence[int] | npt.NDArray[np.int32]], targets: Sequence[Sequence[int] | npt.NDArray[np.int32]]
) -> Batch:
    """A batch of complete sources and bare targets."""
    source_ids = pad(sources)
    return Batch(
        source_ids=source_ids,
        source_mask=source_ids != PAD_ID,
        target_ids=pad([[BOS_ID, *target] for target in targets]),
        labels=pad([[*target, EOS_ID] for target in targets]),
    )


@dataclasses.dataclass(frozen=True, slots=True)
class TrainingText:
    """One direction of one text, and how an epoch reads it."""

    name: str
    languages: tuple[str, str]
    pairs: Sequence[Pair]
    passes: float = 1.0
    shares: Shares = UNCHANGED

    def rows(self, epoch: int, seed: int) -> list[int]:
        """The rows that an epoch reads: the next `passes` times as many as there are, of one shuffling after another.

        So every pair has been read once before one is read a second time, however small `passes` is.
        """
        size = len(self.pairs)
        start, end = (round(number * self.passes * size) for number in (epoch, epoch + 1))
        shuffled = {
            number: np.random.default_rng((seed, number)).permutation(size)
            for number in range(start // size, -(-end // size))
        }
        return [int(shuffled[place // size][place % size]) for place in range(start, end)]


class Mixture:
    """Texts read together: an epoch reads each `passes` times, changed anew, in batches of at most `batch_tokens`."""

    def __init__(
        self, texts: Sequence[TrainingText], vocabulary: Vocabulary, *, batch_tokens: int, longest: int, seed: int
    ) -> None:
        self._texts = tuple(texts)
        self._vocabulary = vocabulary
        self._batch_tokens = batch_tokens
        self._longest = longest
        self._seed = seed

    def epoch(self, number: int) -> Epoch:
        """Epoch `number`; the same for the same seed.

        Raises:
            DataError: no pair is left.
            VocabularyError: the vocabulary lacks the tag of a target language.
        """
        read = [self._read(index, number) for index in range(len(self._texts))]
        return Epoch(read, self._batch_tokens, np.random.default_rng((self._seed, number)))

    def _read(self, index: int, number: int) -> EncodedText:
        text = self._texts[index]
        rng = random.Random(f"{self._seed} {number} {index}")
        rows = text.rows(number, self._seed + index)
        pairs = read_pairs_anew(text.pairs, rows, text.languages, text.shares, rng)
        tag = self._vocabulary.tag_id(text.languages[1])
        sources = [[tag, *ids, EOS_ID] for ids in self._vocabulary.encode_batch([source for source, _ in pairs])]
        targets = self._vocabulary.encode_batch([target for _, target in pairs])
        kept = [i for i in range(len(pairs)) if len(sources[i]) <= self._longest and len(targets[i]) < self._longest]
        return EncodedText(
            text.name, Ragged.of([sources[i] for i in kept]), Ragged.of([targets[i] for i in kept]), len(pairs)
        )


@dataclasses.dataclass(frozen=True, slots=True)
class EncodedText:
    """What one epoch reads of one text. Sources are complete (tag, pieces, EOS); targets are pieces only."""

    name: str
    source: Ragged
    target: Ragged
    read: int
    """Pairs, those left out as too long among them."""

    @property
    def target_tokens(self) -> int:
        """Labels, EOS included."""
        return len(self.target.flat) + len(self.target)


class Epoch:
    """Batches of pairs of like lengths, in random order."""

    def __init__(self, texts: Sequence[EncodedText], batch_tokens: int, rng: np.random.Generator) -> None:
        self.texts = tuple(texts)
        chosen = np.concatenate([_every_row(index, len(text.source)) for index, text in enumerate(texts)])
        if not len(chosen):
            raise DataError("no training pair is left; raise training.longest or give longer files")
        order = rng.permutation(len(chosen))
        source = np.concatenate([text.source.lengths for text in texts])
        # +1: the end (or start) token of the target.
        target = np.concatenate([text.target.lengths + 1 for text in texts])
        longer = np.maximum(source, target)
        # By the longer side, then by the target: both sides of a batch have little padding.
        order = order[np.lexsort((source[order], target[order], longer[order]))]
        batches = list(_cut(chosen[order], longer[order], batch_tokens))
        self._batches = [batches[index] for index in rng.permutation(len(batches))]

    def __len__(self) -> int:
        return len(self._batches)

    def batch(self, index: int) -> Batch:
        """The tensors of batch `index`."""
        examples = self._batches[index]
        return make_batch(
            [self.texts[text].source[row] for text, row in examples],
            [self.texts[text].target[row] for text, row in examples],
        )


def _every_row(text: int, size: int) -> IntArray:
    return np.stack([np.full(size, text), np.arange(size)], axis=1)


def _cut(examples: IntArray, lengths: IntArray, batch_tokens: int) -> Iterator[IntArray]:
    start = 0
    for end in range(1, len(examples) + 1):
        full = end < len(examples) and (end - start + 1) * lengths[end] > batch_tokens
        if full or end == len(examples):
            yield examples[start:end]
            start = end
