"""Encoded corpora mixed into batches of similar length and bounded size, in an order that a seed fixes.

Shapes: B sentences, S source tokens, T target tokens.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model.errors import DataError
from model.vocabulary import BOS_ID, EOS_ID, PAD_ID

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
class EncodedCorpus:
    """One direction of one text. Sources are complete (tag, pieces, EOS); targets are pieces only."""

    name: str
    source: Ragged
    target: Ragged
    passes: float


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


class Mixture:
    """Corpora read together: an epoch takes each one `passes` times, in batches of at most `batch_tokens`."""

    def __init__(self, corpora: Sequence[EncodedCorpus], batch_tokens: int, seed: int) -> None:
        if not any(len(corpus.source) for corpus in corpora):
            raise DataError("no training pair is left; raise training.longest or give longer files")
        self._corpora = tuple(corpora)
        self._batch_tokens = batch_tokens
        self._seed = seed
        # +1: the end (or start) token of the target.
        self._lengths = np.concatenate([np.maximum(c.source.lengths, c.target.lengths + 1) for c in corpora])
        self._starts = np.cumsum([0] + [len(corpus.source) for corpus in corpora])

    def epoch(self, number: int) -> list[IntArray]:
        """The batches of epoch `number`, each an array [B, 2] of (corpus, row); the same for the same seed."""
        rng = np.random.default_rng((self._seed, number))
        chosen = np.concatenate([self._draw(index, rng) for index in range(len(self._corpora))])
        rng.shuffle(chosen)
        lengths = self._lengths[self._starts[chosen[:, 0]] + chosen[:, 1]]
        order = np.argsort(lengths, kind="stable")
        batches = list(self._cut(chosen[order], lengths[order]))
        return [batches[index] for index in rng.permutation(len(batches))]

    def _draw(self, index: int, rng: np.random.Generator) -> IntArray:
        corpus = self._corpora[index]
        size = len(corpus.source)
        whole = int(corpus.passes)
        part = rng.choice(size, round((corpus.passes - whole) * size), replace=False)
        rows = np.concatenate([np.tile(np.arange(size), whole), part])
        return np.stack([np.full(len(rows), index), rows], axis=1)

    def _cut(self, examples: IntArray, lengths: IntArray) -> Iterator[IntArray]:
        start = 0
        for end in range(1, len(examples) + 1):
            full = end < len(examples) and (end - start + 1) * lengths[end] > self._batch_tokens
            if full or end == len(examples):
                yield examples[start:end]
                start = end

    def batch(self, examples: IntArray) -> Batch:
        """The tensors of one array that `epoch` returned."""
        return make_batch(
            [self._corpora[c].source[r] for c, r in examples], [self._corpora[c].target[r] for c, r in examples]
        )
