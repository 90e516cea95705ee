"""The output projection of the running sentences: only the columns that some shortlist needs, side by side.

A column stays where it is while its sentence runs; when too many are of sentences long gone, they are laid out anew.
Column 0 stands for no token. Sentences that join together get their columns together, before the next step.

Shapes: N sentences running, K beams a sentence, R = N K rows, L tokens a shortlist, U columns, D width of a state, V
pieces in the vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from model.shortlist import NOTHING
from service.arrays import Array, round_up

IntArray = npt.NDArray[np.int64]

LENGTH_MULTIPLE = 64
"""Shortlists are padded to multiples of this: the sum of a softmax then has the same order, and the same bits, whatever
the longest shortlist of the company."""

_FIRST_SENTENCES = 8
_WEIGHTS, _BIAS = "output_weights", "output_bias"
_COLUMN_MULTIPLE = 256
"""Columns are added in blocks of so many: all of them are computed, used or not, and new blocks mean new buffers."""


class ShortlistColumns:
    """What `ShortlistOnly` takes as inputs, for the running sentences of one beam size."""

    def __init__(
        self, columns_of: Callable[[IntArray], Mapping[str, Array]], vocabulary_size: int, beam_size: int
    ) -> None:
        """`columns_of`: weights, and scales if there are any, of token ids; the last axis is that of the ids."""
        self._columns_of = columns_of
        self._beam_size = beam_size
        self._nothing = np.array([NOTHING])
        self._users = np.zeros(vocabulary_size, np.int64)  # running sentences that need the token
        self._place = np.zeros(vocabulary_size, np.int64)  # its column; 0 if it has none
        self._ids = np.full((_FIRST_SENTENCES, beam_size, LENGTH_MULTIPLE), NOTHING, np.int64)
        self._columns = np.zeros_like(self._ids)
        self._lists: list[IntArray] = []
        self._settled = 0  # sentences, the first of all, whose columns are in place
        self._weights: dict[str, Array] = {}
        self._lay_out(np.zeros(0, np.int64))

    @property
    def width(self) -> int:
        """L: the longest a shortlist may be without new buffers."""
        return self._ids.shape[2]

    @property
    def num_columns(self) -> int:
        """U, the columns that a step computes."""
        return len(self._weights[_BIAS])

    def join(self, shortlists: IntArray) -> None:
        """Add sentences with shortlists [n, *], padded at the end; `settle` before the next step."""
        added = [row[: np.count_nonzero(row != NOTHING)] for row in shortlists]
        self._lists += added
        for shortlist in added:
            self._users[shortlist] += 1

    def settle(self) -> bool:
        """Lay out the columns of those who joined; whether the buffers are others than before."""
        before, after = self._settled, len(self._lists)
        if before == after:
            return False
        self._settled = after
        width, longest = self.width, round_up(max(map(len, self._lists[before:])), LENGTH_MULTIPLE)
        roomy = before or longest <= width < 2 * longest
        moved = self._ensure(after, max(width, longest) if roomy else longest)
        needed = self._users.nonzero()[0]
        # Columns of those who left are computed until then; with nobody running there is nothing to keep.
        if not before or 1.5 * len(needed) + _COLUMN_MULTIPLE < self._used:
            moved |= self._lay_out(needed)
            self._write(range(after))
            return moved
        moved |= self._add_columns(needed[self._place[needed] == 0])
        self._write(range(before, after))
        return moved

    def leave(self, kept: IntArray, gone: Sequence[int]) -> None:
        """Sentence n is now the one that was at kept[n]; those at `gone` are no more. All of them are settled."""
        for slot in gone:
            self._users[self._lists[slot]] -= 1
        moved = (kept != np.arange(len(kept))).nonzero()[0]
        self._ids[moved], self._columns[moved] = self._ids[kept[moved]], self._columns[kept[moved]]
        # A free slot may keep a lone row company: it must not point to columns that are no more.
        self._columns[len(kept) : len(self._lists)] = 0
        self._lists = [self._lists[slot] for slot in kept.tolist()]
        self._settled = len(kept)

    def inputs(self, sentences: int) -> dict[str, Array]:
        """The decoder's inputs for the first `sentences`; they change where they lie."""
        rows = sentences * self._beam_size
        return {
            "shortlist_ids": self._ids[:sentences].reshape(rows, -1),
            "shortlist_columns": self._columns[:sentences].reshape(rows, -1),
            **self._weights,
        }

    def _ensure(self, sentences: int, width: int) -> bool:
        have = self._ids.shape
        if have[0] >= sentences and have[2] == width:
            return False
        shape = (max(have[0], 2 * sentences), self._beam_size, width)
        ids, columns = np.full(shape, NOTHING, np.int64), np.zeros(shape, np.int64)
        common = min(have[2], width)
        ids[: have[0], :, :common], columns[: have[0], :, :common] = (
            self._ids[..., :common], self._columns[..., :common],
        )  # fmt: skip
        self._ids, self._columns = ids, columns
        return True

    def _write(self, slots: Sequence[int]) -> None:
        for slot in slots:
            shortlist = self._lists[slot]
            self._ids[slot, :, : len(shortlist)] = shortlist
            self._ids[slot, :, len(shortlist) :] = NOTHING
            self._columns[slot, :, : len(shortlist)] = self._place[shortlist]
            self._columns[slot, :, len(shortlist) :] = 0

    def _lay_out(self, ids: IntArray) -> bool:
        """The columns of `ids`, in order, and no others; whether that took new buffers."""
        first = self._made(np.concatenate([self._nothing, ids]))
        first[_BIAS][0] = -np.inf
        self._used = len(ids) + 1
        self._place[:] = 0
        self._place[ids] = np.arange(1, self._used)
        capacity = round_up(self._used, _COLUMN_MULTIPLE)
        # One sentence after another needs about as many: the old buffers, and the step bound to them, will often do.
        if self._weights and capacity <= self.num_columns <= capacity + _COLUMN_MULTIPLE:
            for name, values in first.items():
                self._weights[name][..., : self._used] = values
            return False
        self._weights = {name: _widened(value, capacity) for name, value in first.items()}
        return True

    def _made(self, ids: IntArray) -> dict[str, Array]:
        """Weights, scales and biases of these tokens; where a network has no biases they are zero."""
        found = dict(self._columns_of(ids))
        weights = found[_WEIGHTS].dtype
        usual = np.zeros(len(ids), weights if weights.kind == "f" else np.float32)
        return {**found, _BIAS: np.array(found.get(_BIAS, usual))}

    def _add_columns(self, ids: IntArray) -> bool:
        """Put the columns of `ids` after those there are; whether that took new buffers."""
        if not len(ids):
            return False
        used = self._used + len(ids)
        grows = used > self.num_columns
        if grows:
            capacity = round_up(used, _COLUMN_MULTIPLE)
            self._weights = {name: _widened(value, capacity) for name, value in self._weights.items()}
        for name, values in self._made(ids).items():
            self._weights[name][..., self._used : used] = values
        self._place[ids] = np.arange(self._used, used)
        self._used = used
        return grows


def _widened(values: Array, size: int) -> Array:
    """`values` with zeros after them on the last axis."""
    wide = np.zeros((*values.shape[:-1], size), values.dtype)
    wide[..., : values.shape[-1]] = values
    return wide
