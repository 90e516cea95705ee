"""Lexical translation probabilities: how likely a piece is translated by another, learned from the training pairs.

Two of Brown et al.'s (1993) models, one for each direction, learn together: a link counts by the product of what both
say of it (alignment by agreement, Liang et al. 2006), and for less the farther it is from the diagonal (Dyer et al.
2013). What aligns words (`service.explain.hmm`) starts from these probabilities.

Shapes: V pieces in the vocabulary, E entries of a table, C cells (every source piece with every target piece of its
pair), K different cells.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from model.arrays import Array, loaded_arrays, save_arrays
from model.bundle import Manifest
from model.errors import BundleError
from model.shortlist import Pair

if TYPE_CHECKING:
    from model.tokenizers import Tokenizer

LEXICAL_FILE = "lexical.npz"
_ROUNDS = 5
_LONGEST = 60
"""Pairs with a longer side are left out: they have the most cells and say the least."""
_DIAGONAL = 4.0
_LEAST_PROBABILITY = 1e-3
_UNKNOWN = 1e-4
"""Of two pieces that are not in the table."""
_COPIED = 0.1
"""Of a piece that is not in the table and itself: names and numbers are copied."""


@dataclasses.dataclass(frozen=True, slots=True)
class LexicalTable:
    """Probabilities between the pieces of two languages, in both directions."""

    keys: Array  # [E] int64, source * V + target, ascending
    target_given_source: Array  # [E] float32
    source_given_target: Array  # [E] float32
    vocabulary_size: int
    has_copies: bool = True
    """Whether equal ids are equal pieces: two vocabularies have ids of their own."""

    def between(self, source_ids: Sequence[int], target_ids: Sequence[int]) -> tuple[Array, Array]:
        """For I source and J target pieces: p(target | source) and p(source | target), each [J, I]."""
        source, target = np.asarray(source_ids, np.int64)[None, :], np.asarray(target_ids, np.int64)[:, None]
        wanted = source * self.vocabulary_size + target
        places = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        known = self.keys[places] == wanted
        otherwise = np.where((source == target) & self.has_copies, _COPIED, _UNKNOWN)
        return (
            np.where(known, self.target_given_source[places], otherwise),
            np.where(known, self.source_given_target[places], otherwise),
        )

    def reversed(self) -> LexicalTable:
        """The same for translations the other way."""
        source, target = np.divmod(self.keys, self.vocabulary_size)
        keys = target * self.vocabulary_size + source
        order = np.argsort(keys)
        return LexicalTable(
            keys[order],
            self.source_given_target[order],
            self.target_given_source[order],
            self.vocabulary_size,
            self.has_copies,
        )


def learn_table(pairs: Sequence[Pair], vocabulary_size: int) -> LexicalTable:
    """Learn from (source pieces, target pieces) by expectation maximisation."""
    short = [pair for pair in pairs if min(map(len, pair)) > 0 and max(map(len, pair)) <= _LONGEST]
    cells = _Cells.in_pairs(short, vocabulary_size)
    source, target = np.divmod(cells.keys, vocabulary_size)
    forward, backward = (np.full(len(cells.keys), 1 / vocabulary_size, np.float32) for _ in range(2))
    for turn in range(_ROUNDS):
        of_target = cells.shares(forward, cells.target_tokens)
        of_source = cells.shares(backward, cells.source_tokens)
        if turn == 0:  # nothing is known yet that both could agree on
            counts = cells.count(of_target), cells.count(of_source)
            seen = np.bincount(source, counts[0], vocabulary_size), np.bincount(target, counts[1], vocabulary_size)
        else:
            agreed = cells.count(of_target * of_source)
            counts = agreed, agreed
            seen = cells.seen
        forward = (counts[0] / np.maximum(seen[0][source], 1e-9)).astype(np.float32)
        backward = (counts[1] / np.maximum(seen[1][target], 1e-9)).astype(np.float32)
    kept = (forward > _LEAST_PROBABILITY) & (backward > _LEAST_PROBABILITY)
    return LexicalTable(cells.keys[kept], forward[kept], backward[kept], vocabulary_size)


@dataclasses.dataclass(frozen=True, slots=True)
class _Cells:
    """Every source piece of every pair with every target piece of it."""

    keys: Array  # [K] the different (source, target), ascending
    entries: Array  # [C] which of them a cell is
    source_tokens: Array  # [C] of which source token in the text, counted through, a cell is
    target_tokens: Array  # [C]
    nearness: Array  # [C] from 1, on the diagonal, down
    seen: tuple[Array, Array]  # [V] how often each piece stands in the source, in the target

    @classmethod
    def in_pairs(cls, pairs: Sequence[Pair], vocabulary_size: int) -> _Cells:
        source, target = (np.concatenate([np.asarray(pair[side], np.int32) for pair in pairs]) for side in (0, 1))
        rows, columns = (np.array([len(pair[side]) for pair in pairs]) for side in (0, 1))
        sizes = rows * columns
        within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        widths = np.repeat(columns, sizes)
        row, column = np.divmod(within, widths)
        distance = np.abs((row + 0.5) / np.repeat(rows, sizes) - (column + 0.5) / widths)
        source_tokens = (np.repeat(np.cumsum(rows) - rows, sizes) + row).astype(np.int32)
        target_tokens = (np.repeat(np.cumsum(columns) - columns, sizes) + column).astype(np.int32)
        links = source[source_tokens].astype(np.int64) * vocabulary_size + target[target_tokens]
        keys, places = np.unique(links, return_inverse=True)
        seen = (np.bincount(source, minlength=vocabulary_size), np.bincount(target, minlength=vocabulary_size))
        nearness = np.exp(-_DIAGONAL * distance).astype(np.float32)
        return cls(keys, places.astype(np.int32), source_tokens, target_tokens, nearness, seen)

    def shares(self, probabilities: Array, tokens: Array) -> Array:
        """[C]: how much of its token each cell explains; those of a token sum to 1."""
        weights = probabilities[self.entries] * self.nearness
        total = np.bincount(tokens, weights).astype(np.float32)
        return np.asarray(weights / total[tokens])

    def count(self, expected: Array) -> Array:
        """[K]: the sum of each (source, target)."""
        return np.bincount(self.entries, expected, len(self.keys))


def save_tables(path: Path, tables: Mapping[str, LexicalTable]) -> None:
    """Write one file with a table for each pair of languages, e.g. `fr-en`, or `zh-Hant_en` where a hyphen would not
    say which is which; it appears whole or not at all."""
    arrays: dict[str, Array] = {}
    for direction, table in tables.items():
        source, target = np.divmod(table.keys, table.vocabulary_size)
        arrays[f"{direction}.source"], arrays[f"{direction}.target"] = source.astype(np.int32), target.astype(np.int32)
        arrays[f"{direction}.target_given_source"] = table.target_given_source.astype(np.float16)
        arrays[f"{direction}.source_given_target"] = table.source_given_target.astype(np.float16)
    save_arrays(path, arrays)


def load_tables(path: Path, vocabulary: Tokenizer) -> dict[str, LexicalTable]:
    """What `save_tables` wrote, by direction, both ways.

    Raises:
        BundleError: missing, damaged, or made for another vocabulary.
    """
    tables: dict[str, LexicalTable] = {}
    size = max(vocabulary.source_size, len(vocabulary))
    with loaded_arrays(path, "no lexical translation probabilities") as values:
        for direction in sorted({name.partition(".")[0] for name in values}):
            table = _table(values, direction, vocabulary)
            if not len(table.keys) or max(values[f"{direction}.{side}"].max() for side in _SIDES) >= size:
                raise BundleError(f"{path}: made for another vocabulary")
            source, _, target = direction.partition("_" if "_" in direction else "-")
            tables |= {f"{source}-{target}": table, f"{target}-{source}": table.reversed()}
    return tables


def lexical_tables(directory: Path, manifest: Manifest, vocabulary: Tokenizer) -> dict[str, LexicalTable]:
    """The tables of a bundle, by direction; none if it has none and needs none.

    Raises:
        BundleError: damaged, or one is missing that the bundle's alignments need.
    """
    tables = load_tables(directory / LEXICAL_FILE, vocabulary) if LEXICAL_FILE in manifest.files else {}
    for direction, method in manifest.alignment.items():
        if method.evidence == "hmm" and direction not in tables:
            raise BundleError(
                f"{directory}: {direction} is aligned by hmm, but {LEXICAL_FILE} says nothing of it; make it with: "
                "python -m model lexical RECIPE CHECKPOINT"
            )
    return tables


_SIDES = ("source", "target")


def _table(values: Mapping[str, Array], direction: str, vocabulary: Tokenizer) -> LexicalTable:
    size = max(vocabulary.source_size, len(vocabulary))
    has_copies = list(vocabulary.copies) == list(range(vocabulary.source_size))
    source, target = (values[f"{direction}.{side}"].astype(np.int64) for side in _SIDES)
    forward, backward = (
        values[f"{direction}.{name}"].astype(np.float32) for name in ("target_given_source", "source_given_target")
    )
    return LexicalTable(source * size + target, forward, backward, size, has_copies)
