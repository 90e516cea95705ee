"""The running sentences of one beam size: who joins gets the next slot, who leaves is replaced by the last.

Decoder state is in a store, of which there are two: `host_store` and `device_store`. A store has an object, or several,
for each kind of state; here is only which sentence is where.

Shapes: N sentences running, K beams a sentence, R = N K rows, S source tokens (padded), P places a row, C candidates.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from model.bundle import StateSpec
from service.arrays import Array, round_up
from service.engine.decoder.columns import ShortlistColumns

Ints = npt.NDArray[np.int64]
Scalar = TypeVar("Scalar", bound=np.generic)

SOURCE_MULTIPLE = 16
"""Memory is padded to multiples of this. Attention over lengths that are such multiples gives the same bits whatever
the multiple, over other lengths it does not: a sentence's result would depend on its neighbours'."""

_MOST_STEPS, _STEP_BYTES = 256, 32 * 2**20
"""Bound steps that are kept, and bytes of their results: with control of repetition and long prefixes there would be
ever more of them."""


def padded_length(source_tokens: int) -> int:
    """The length that the memory of so many source tokens is padded to."""
    return round_up(source_tokens, SOURCE_MULTIPLE)


@dataclasses.dataclass(frozen=True, slots=True)
class StepSpec:
    """What a bundle says of a decoder step."""

    states: tuple[StateSpec, ...]
    max_places: int
    """Longest output, in tokens."""
    vocabulary_size: int
    """V, the pieces in the vocabulary."""
    min_rows: int = 1
    """Fewest rows of a step."""


@dataclasses.dataclass(frozen=True, slots=True)
class Sizes:
    """How much a store has room for."""

    sentences: int = 8
    source: int = 0
    places: int = 32

    def of(self, shape: Sequence[int | str], beam_size: int) -> tuple[int, ...]:
        """A declared shape in numbers."""
        names = {"N": self.sentences, "R": self.sentences * beam_size, "S": self.source, "P": self.places}
        return tuple(names[size] if isinstance(size, str) else size for size in shape)


class State(abc.ABC):
    """Decoder state of one kind. Its own rows are sentences, or beams if it follows them."""

    follows_beams = True
    """Whether it has a row for each beam, which another beam may continue."""

    @property
    @abc.abstractmethod
    def nbytes(self) -> int:
        """Bytes held."""

    @abc.abstractmethod
    def lay_out(self, sizes: Sizes, kept: int) -> None:
        """Make room for other sizes, or for nothing; the first `kept` of its own rows keep what they have."""

    @abc.abstractmethod
    def copy(self, source: Ints, target: Ints, filled: int) -> None:
        """Let each of its own rows `target` have what `source` has, of places the first `filled`."""

    @abc.abstractmethod
    def bind(self, sentences: int) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """What a step over so many sentences reads, and what it writes, by the graph's names."""

    def join(self, new: slice, memory: Mapping[str, Any]) -> None:  # noqa: B027
        """Begin the sentences of these slots, with the memory that the encoder made of them."""

    def advance(self) -> None:  # noqa: B027
        """Take over what a step has written, if it was not written in place."""


@dataclasses.dataclass(frozen=True, slots=True)
class BoundStep:
    """A step over fixed arrays."""

    run: Callable[[], tuple[npt.NDArray[np.float32], Ints]]
    """Compute; returns log-probabilities [R, C] and ids [R, C], which a later step may overwrite."""
    nbytes: int
    """Bytes of its results."""


class Store(abc.ABC):
    """Where decoder state lies."""

    kept_bytes: int
    """State that is larger than this is given back when the last sentence leaves."""

    def __init__(self, spec: StepSpec, states: Sequence[State], first: Sizes, *, is_fixed: bool = False) -> None:
        """`first`: what it has room for at first, or always if it `is_fixed`."""
        self.spec = spec
        self.states = states
        self.first = first
        self.is_fixed = is_fixed

    @abc.abstractmethod
    def source_places(self, needed: int, have: int) -> int:
        """How long memory should be if running sentences need so much of it, and it is so long."""

    @abc.abstractmethod
    def step_sentences(self, needed: int) -> int:
        """Over how many sentences a step runs if so many are needed."""

    @abc.abstractmethod
    def bind(
        self, inputs: Mapping[str, Array], reads: Mapping[str, Any], writes: Mapping[str, Any], num_candidates: int
    ) -> BoundStep:
        """A step that reads the host's `inputs`, and state `reads`, where they lie, and writes the state `writes`."""


class Slots:
    """The running sentences of one beam size K; sentence n has slot n and the rows n K to n K + K - 1.

    Which of these rows holds which beam changes from step to step: a beam that goes on stays where it is, so that state
    is copied only for those of which one became two. Callers number beams by rank and know nothing of rows.
    """

    token_ids: Ints  # [*, K] the last token of each beam
    lengths: npt.NDArray[np.int32]  # [*, K] places each row has filled

    def __init__(self, store: Store, beam_size: int, columns: ShortlistColumns | None = None) -> None:
        """`columns`: what the output projection reads for running sentences; None if it considers every token."""
        self._store = store
        self._spec = store.spec
        self._beam_size = beam_size
        self.columns = columns
        self._fewest = round_up(self._spec.min_rows, beam_size) // beam_size
        self._longest = np.zeros((), np.int32)
        self._earlier = np.tri(beam_size, k=-1, dtype=np.bool_)
        self.token_ids = np.zeros((0, beam_size), np.int64)
        self.lengths = np.zeros((0, beam_size), np.int32)
        self._row_of = np.zeros((0, beam_size), np.int64)  # the row of each beam, among all rows
        self._row_tokens = self.token_ids  # [*, K] the last token of each row
        self._source_lengths = np.zeros(0, np.int64)
        self._source_mask = np.zeros((0, 0), np.bool_)
        self.count = 0
        self.padding = 0.0
        """Share of the places in the memory of the running sentences that hold nothing."""
        self._sizes = store.first
        self._lay_out()

    def _lay_out(self) -> None:
        """Arrays of the sizes wanted, with what the running sentences have in the old ones."""
        sentences, kept = self._sizes.sentences, self.count
        self.token_ids = _resized(self.token_ids, (sentences, self._beam_size), kept)
        self.lengths = _resized(self.lengths, (sentences, self._beam_size), kept)
        self._row_of = _resized(self._row_of, (sentences, self._beam_size), kept)
        self._row_tokens = self.token_ids if self._beam_size == 1 else np.zeros_like(self.token_ids)
        self._source_lengths = _resized(self._source_lengths, (sentences,), kept)
        self._source_mask = _resized(self._source_mask, (sentences, self._sizes.source), kept)
        for state in self._store.states:
            state.lay_out(self._sizes, kept * self._beam_size if state.follows_beams else kept)
        self._forget_steps()

    def _forget_steps(self) -> None:
        self._steps: dict[tuple[int, int], BoundStep] = {}
        self._step_bytes = 0

    @property
    def max_candidates(self) -> int:
        """All the tokens a row may choose from: padding of a shortlist has no probability."""
        self._settle_columns()
        return self._spec.vocabulary_size if self.columns is None else self.columns.width

    @property
    def nbytes(self) -> int:
        """Bytes of state."""
        return sum(state.nbytes for state in self._store.states)

    def join(self, memory: Mapping[str, Any]) -> None:
        """Sentences with the memory [n, ...] that `Runtime.encode` made take the next slots; their rows are empty."""
        added, source = memory["source_mask"].shape
        self._fit(sentences=self.count + added, source=source)
        new = slice(self.count, self.count + added)
        self._source_lengths[new] = source - memory["source_mask"][:, ::-1].argmax(axis=1)
        self._source_mask[new] = False
        self._source_mask[new, :source] = memory["source_mask"]
        self.lengths[new] = 0
        self._row_of[new] = np.arange(new.start * self._beam_size, new.stop * self._beam_size).reshape(added, -1)
        for state in self._store.states:
            state.join(new, memory)
        self.count += added
        self._note_padding()
        if self.columns is not None:
            self.columns.join(memory["shortlist"])

    def _settle_columns(self) -> None:
        if self.columns is not None and self.columns.settle():
            self._forget_steps()

    def _fit(self, *, sentences: int = 0, source: int = 0, places: int = 0) -> None:
        """Grow what is too small: sentences and places by doubling, sources as the store likes it."""
        have, first = self._sizes, self._store.first
        idle = not self.count
        if source:
            needed = max(padded_length(source), padded_length(int(self._source_lengths[: self.count].max(initial=0))))
            source = self._store.source_places(needed, first.source if idle else have.source)
        most = max(self._spec.max_places, places, first.places)
        wanted = Sizes(
            _doubled(have.sentences, sentences),
            source or have.source,
            max(first.places, places) if idle else min(_doubled(have.places, places), most),
        )
        if wanted == have:
            return
        if self._store.is_fixed:
            raise ValueError(f"{wanted} is more than the fixed {have}")
        self._sizes = wanted
        self._lay_out()

    def leave(self, gone: Sequence[int]) -> Ints:
        """Free the slots `gone`; returns, for each slot that remains, the slot its sentence had before."""
        left = self.count - len(gone)
        kept = np.arange(left)
        holes = [slot for slot in gone if slot < left]
        movers = sorted(set(range(left, self.count)) - set(gone))
        kept[holes] = movers
        if self.columns is not None:
            self._settle_columns()
            self.columns.leave(kept, gone)
        if holes:
            self._move(np.array(movers), np.array(holes))
        # A step may take a free slot along as company: it must not seem longer than the rows that run.
        self.lengths[left : self.count] = 0
        self.count = left
        self._note_padding()
        if not left and self.nbytes > self._store.kept_bytes and not self._store.is_fixed:
            for sizes in (Sizes(0, 0, 0), self._store.first):
                self._sizes = sizes
                self._lay_out()
        return kept

    def _note_padding(self) -> None:
        if self.count:
            mask = self._source_mask[: self.count]
            self.padding = 1.0 - int(np.count_nonzero(mask)) / mask.size

    def _move(self, source: Ints, target: Ints) -> None:
        filled = int(self.lengths[: self.count].max(initial=0))
        for values in (self.token_ids, self.lengths, self._source_lengths, self._source_mask):
            values[target] = values[source]
        beams = np.arange(self._beam_size)
        rows_from, rows_to = ((slots[:, None] * self._beam_size + beams).ravel() for slots in (source, target))
        self._row_of[target] = self._row_of[source] + self._beam_size * (target - source)[:, None]
        for state in self._store.states:
            if state.follows_beams:
                state.copy(rows_from, rows_to, filled)
            else:
                state.copy(source, target, filled)

    def reorder(self, beam_indices: Ints) -> None:
        """Let the beams of each sentence continue the beams [N, K] they come from; only beams that are continued more
        than once are copied, into rows of those that are not continued."""
        rows = self._row_of[np.arange(self.count)[:, None], beam_indices]
        again = ((rows[:, :, None] == rows[:, None, :]) & self._earlier).any(axis=2)
        if again.any():
            is_free = np.ones(rows.size, np.bool_)
            is_free[rows.ravel()] = False
            # A sentence has as many free rows as beams without one, and both are in the order of sentences.
            source, target = rows[again], is_free.nonzero()[0]
            filled = int(self.lengths[: self.count].max())
            for state in self._store.states:
                if state.follows_beams:
                    state.copy(source, target, filled)
            rows[again] = target
        self._row_of[: self.count] = rows

    def step(self, num_candidates: int) -> tuple[npt.NDArray[np.float32], Ints]:
        """One token for every row.

        Returns:
            For the beams of all sentences log-probabilities [R, C] of the best next tokens, best first, and their ids
            [R, C]; both may be overwritten by a later step.
        """
        self._settle_columns()
        longest = int(self.lengths[: self.count].max()) + 1
        if longest > self._sizes.places:
            self._fit(places=longest)
        self._longest[...] = self._sizes.places if self._store.is_fixed else longest
        row_of = self._row_of[: self.count].ravel()
        if self._beam_size > 1:
            self._row_tokens.reshape(-1)[row_of] = self.token_ids[: self.count].ravel()
        # In floating point a lone row would be computed by another kernel: a free slot keeps it company.
        log_probs, ids = self._bound(self._store.step_sentences(max(self.count, self._fewest)), num_candidates).run()
        for state in self._store.states:
            state.advance()
        if self._beam_size > 1:
            return log_probs[row_of], ids[row_of]
        return log_probs[: self.count], ids[: self.count]

    def _bound(self, sentences: int, num_candidates: int) -> BoundStep:
        """The step of this size, bound before or now; those not used for longest are given up."""
        key = (sentences, num_candidates)
        step = self._steps.pop(key, None)
        if step is None:
            step = self._bind(sentences, num_candidates)
            self._step_bytes += step.nbytes
        self._steps[key] = step  # the last is the one used last
        while len(self._steps) > 1 and (self._step_bytes > _STEP_BYTES or len(self._steps) > _MOST_STEPS):
            self._step_bytes -= self._steps.pop(next(iter(self._steps))).nbytes
        return step

    def _bind(self, sentences: int, num_candidates: int) -> BoundStep:
        rows = sentences * self._beam_size
        inputs: dict[str, Array] = {
            "token_ids": self._row_tokens[:sentences],
            "lengths": self.lengths.reshape(-1)[:rows],
            "source_mask": self._source_mask[:sentences],
            "longest": self._longest,
            "num_candidates": np.array([num_candidates]),
        }
        if self.columns is not None:
            inputs |= self.columns.inputs(sentences)
        reads: dict[str, Any] = {}
        writes: dict[str, Any] = {}
        for state in self._store.states:
            of_state = state.bind(sentences)
            reads |= of_state[0]
            writes |= of_state[1]
        return self._store.bind(inputs, reads, writes, num_candidates)


def _resized(values: npt.NDArray[Scalar], shape: tuple[int, ...], kept: int) -> npt.NDArray[Scalar]:
    """Zeros of this shape, with the first `kept` rows of `values` as far as they fit."""
    result = np.zeros(shape, values.dtype)
    common = (slice(kept), *map(slice, map(min, values.shape[1:], shape[1:])))
    result[common] = values[common]
    return result


def _doubled(have: int, needed: int) -> int:
    """`have`, doubled until it is enough."""
    while have < needed:
        have *= 2
    return have
