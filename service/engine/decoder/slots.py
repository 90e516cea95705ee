"""Memory of the running rows of one beam size: who joins gets the next slot, who leaves is replaced by the last.

Buffers stay where they are between steps; the decoder reads and writes them in place. They grow by doubling.

Shapes: N sentences running, K beams a sentence, R = N K rows, S source tokens (padded), P places a row, C candidates.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from model.bundle import StateSpec
from service.arrays import Array, round_up
from service.engine.decoder.columns import ShortlistColumns

SOURCE_MULTIPLE = 16
"""Memory is padded to multiples of this. Attention over lengths that are such multiples gives the same bits whatever
the multiple, over other lengths it does not: a sentence's result would depend on its neighbours'."""

_FIRST_SENTENCES = 8
_FIRST_PLACES = 32
_FEWEST_SOURCE = 2 * SOURCE_MULTIPLE
"""Memory has room for sources of this length: new buffers now and then cost more than attention to empty places."""
_MOST_STEPS, _STEP_BYTES = 256, 32 * 2**20
"""Bound steps that are kept, and bytes of their results: with control of repetition and long prefixes there would be
ever more of them."""
_KEPT_BYTES = 128 * 2**20
"""Buffers larger than this together are given back when the last sentence leaves."""


def padded_length(source_tokens: int) -> int:
    """The length that the memory of so many source tokens is padded to."""
    return round_up(source_tokens, SOURCE_MULTIPLE)


class StepRuntime(Protocol):
    """What slots need of the runtime."""

    @property
    def states(self) -> tuple[StateSpec, ...]:
        """Decoder state as the bundle declares it."""

    @property
    def min_rows(self) -> int:
        """Fewest rows of a step."""

    @property
    def max_places(self) -> int:
        """Longest output, in tokens."""

    @property
    def vocabulary_size(self) -> int:
        """V, the pieces in the vocabulary."""

    def open_columns(self, beam_size: int) -> ShortlistColumns | None:
        """What the output projection reads for the running sentences; None if it considers every token."""

    def bind_step(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> Callable[[], None]:
        """A step over these arrays."""


class Slots:
    """State of the running sentences of one beam size K; sentence n has slot n and the rows n K to n K + K - 1."""

    token_ids: npt.NDArray[np.int64]  # [*, K] the last token of each beam
    lengths: npt.NDArray[np.int32]  # [*, K] places each row has filled

    def __init__(self, runtime: StepRuntime, beam_size: int) -> None:
        self._runtime = runtime
        self._beam_size = beam_size
        self._memory_states = [state for state in runtime.states if state.kind == "per_source"]
        self._row_states = [state for state in runtime.states if state.kind != "per_source"]
        self._replaced = [state for state in self._row_states if state.kind == "replaced"]
        self._longest = np.zeros((), np.int32)
        self._columns = runtime.open_columns(beam_size)
        self.count = 0
        self.padding = 0.0
        """Share of the places in the memory of the running sentences that hold nothing."""
        self._sizes = {"N": max(_FIRST_SENTENCES, runtime.min_rows), "S": 0, "P": _FIRST_PLACES}
        self._arena = _Arena()
        self._lay_out()

    def _lay_out(self) -> None:
        """Buffers of the sizes wanted, with what the running sentences have in the old ones."""
        sentences, beams, rows = self._sizes["N"], self._beam_size, self.count * self._beam_size
        place = self._arena.place
        self.token_ids = place("token_ids", np.int64, (sentences, beams), self.count)
        self.lengths = place("lengths", np.int32, (sentences, beams), self.count)
        self._source_lengths = place("source_lengths", np.int64, (sentences,), self.count)
        self._source_mask = place("source_mask", np.bool_, (sentences, self._sizes["S"]), self.count)
        per_sentence = {
            state.input: place(state.input, state.dtype, self._shape(state), self.count)
            for state in self._memory_states
        }
        per_row = {state.input: place(state.input, state.dtype, self._shape(state), rows) for state in self._row_states}
        self._states: dict[str, Array] = {**per_sentence, **per_row}
        self._successors = {state.input: np.zeros_like(self._states[state.input]) for state in self._replaced}
        self._forget_steps()

    def _forget_steps(self) -> None:
        self._steps: dict[tuple[int, int], _BoundStep] = {}
        self._step_bytes = 0

    def _shape(self, state: StateSpec) -> tuple[int, ...]:
        sizes = {**self._sizes, "R": self._sizes["N"] * self._beam_size}
        return tuple(sizes[size] if isinstance(size, str) else size for size in state.shape)

    @property
    def max_candidates(self) -> int:
        """All the tokens a row may choose from: padding of a shortlist has no probability."""
        self._settle_columns()
        return self._runtime.vocabulary_size if self._columns is None else self._columns.width

    @property
    def num_output_columns(self) -> int:
        """Columns of the output projection that a step computes."""
        self._settle_columns()
        return self._runtime.vocabulary_size if self._columns is None else self._columns.num_columns

    def join(self, memory: Mapping[str, Array]) -> None:
        """Sentences with the memory [n, ...] that `Runtime.encode` made take the next slots; their rows are empty."""
        added, source = memory["source_mask"].shape
        self._ensure(N=self.count + added, S=padded_length(source))
        new = slice(self.count, self.count + added)
        self._source_lengths[new] = source - memory["source_mask"][:, ::-1].argmax(axis=1)
        self._source_mask[new] = 0
        self._source_mask[new, :source] = memory["source_mask"]
        for state in self._memory_states:
            buffer = self._states[state.input]
            buffer[(new, *_up_to(source, state, "S"))] = memory[state.input]
        self.lengths[new] = 0
        for state in self._replaced:
            self._states[state.input][new.start * self._beam_size : new.stop * self._beam_size] = 0
        self.count += added
        self._note_padding()
        if self._columns is not None:
            self._columns.join(memory["shortlist"])

    def _settle_columns(self) -> None:
        if self._columns is not None and self._columns.settle():
            self._forget_steps()

    def _ensure(self, **wanted: int) -> None:
        """Grow what is too small: sentences and places by doubling, sources to the longest of those that run."""
        sizes = dict(self._sizes)
        while sizes["N"] < wanted.get("N", 0):
            sizes["N"] *= 2
        if "S" in wanted:
            longest = padded_length(int(self._source_lengths[: self.count].max(initial=0)))
            sizes["S"] = max(wanted["S"], longest, _FEWEST_SOURCE)
        while sizes["P"] < wanted.get("P", 0):
            sizes["P"] = min(2 * sizes["P"], max(self._runtime.max_places, wanted["P"]))
        if not self.count:
            sizes["P"] = max(_FIRST_PLACES, wanted.get("P", 0))
        if sizes != self._sizes:
            self._sizes = sizes
            self._lay_out()

    def leave(self, gone: Sequence[int]) -> npt.NDArray[np.int64]:
        """Free the slots `gone`; returns, for each slot that remains, the slot its sentence had before."""
        left = self.count - len(gone)
        kept = np.arange(left)
        holes = [slot for slot in gone if slot < left]
        movers = sorted(set(range(left, self.count)) - set(gone))
        kept[holes] = movers
        if self._columns is not None:
            self._settle_columns()
            self._columns.leave(kept, gone)
        if holes:
            self._move(np.array(movers), np.array(holes))
        # A step may take a free slot along as company: it must not seem longer than the rows that run.
        self.lengths[left : self.count] = 0
        self.count = left
        self._note_padding()
        if not left and self._arena.size > _KEPT_BYTES:
            self._sizes["N"] = max(_FIRST_SENTENCES, self._runtime.min_rows)
            self._arena = _Arena()
            self._lay_out()
        return kept

    def _note_padding(self) -> None:
        if self.count:
            self.padding = 1.0 - float(self._source_mask[: self.count].mean())

    def _move(self, source: Array, target: Array) -> None:
        filled = int(self.lengths[: self.count].max(initial=0))
        buffers: list[Array] = [self.token_ids, self.lengths, self._source_lengths, self._source_mask]
        for buffer in buffers + [self._states[state.input] for state in self._memory_states]:
            buffer[target] = buffer[source]
        beams = np.arange(self._beam_size)
        rows_from = (source[:, None] * self._beam_size + beams).ravel()
        rows_to = (target[:, None] * self._beam_size + beams).ravel()
        self._copy_rows(rows_from, rows_to, filled)

    def reorder(self, beam_indices: npt.NDArray[np.int64]) -> None:
        """Let the rows of each sentence continue the beams [N, K] they come from; rows that stay cost nothing."""
        first = np.arange(self.count)[:, None] * self._beam_size
        source = (first + beam_indices).ravel()
        target = np.flatnonzero(source != np.arange(source.size))
        if target.size:
            self._copy_rows(source[target], target, int(self.lengths[: self.count].max()))

    def _copy_rows(self, source: Array, target: Array, filled: int) -> None:
        for state in self._row_states:
            buffer = self._states[state.input]
            part: tuple[Any, ...] = _up_to(filled, state, "P") if state.kind == "growing" else ()
            buffer[(target, *part)] = buffer[(source, *part)]

    def step(self, num_candidates: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """One token for every row.

        Returns:
            Log-probabilities [R, C] of the best next tokens, best first, and their ids [R, C]; both are overwritten by
            a later step.
        """
        self._settle_columns()
        longest = int(self.lengths[: self.count].max()) + 1
        if longest > self._sizes["P"]:
            self._ensure(P=longest)
        self._longest[...] = longest
        # In floating point a lone row would be computed by another kernel: a free slot keeps it company.
        sentences = max(self.count, round_up(self._runtime.min_rows, self._beam_size) // self._beam_size)
        step = self._bound(sentences, num_candidates)
        step.run()
        for state in self._replaced:
            self._states[state.input][...] = self._successors[state.input]
        rows = self.count * self._beam_size
        return step.log_probs[:rows], step.ids[:rows]

    def _bound(self, sentences: int, num_candidates: int) -> _BoundStep:
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

    def _bind(self, sentences: int, num_candidates: int) -> _BoundStep:
        rows = sentences * self._beam_size
        log_probs = np.zeros((rows, num_candidates), np.float32)
        ids = np.zeros((rows, num_candidates), np.int64)
        inputs: dict[str, Array] = {
            "token_ids": self.token_ids[:sentences],
            "lengths": self.lengths.reshape(-1)[:rows],
            "longest": self._longest,
            "num_candidates": np.array([num_candidates]),
            "source_mask": self._source_mask[:sentences],
        }
        if self._columns is not None:
            inputs |= self._columns.inputs(sentences)
        outputs: dict[str, Array] = {"candidate_log_probs": log_probs, "candidate_ids": ids}
        for state in self._memory_states:
            inputs[state.input] = self._states[state.input][:sentences]
        for state in self._row_states:
            inputs[state.input] = self._states[state.input][:rows]
            # Growing state is written where it lies; state that is replaced must not change while it is read.
            grows = state.kind == "growing"
            outputs[state.output] = (self._states if grows else self._successors)[state.input][:rows]
        return _BoundStep(self._runtime.bind_step(inputs, outputs), log_probs, ids)


class _Arena:
    """Memory for buffers that change their shape: it is asked of the system once, not at every change."""

    def __init__(self) -> None:
        self._flat: dict[str, Array] = {}
        self._views: dict[str, Array] = {}

    @property
    def size(self) -> int:
        """Bytes held."""
        return sum(flat.nbytes for flat in self._flat.values())

    def place(self, name: str, dtype: npt.DTypeLike, shape: tuple[int, ...], kept: int) -> Array:
        """The buffer of this name in a new shape; its first `kept` rows keep what they have, as far as it fits."""
        needed = math.prod(shape)
        old = self._views.get(name)
        rows = old[:kept].copy() if old is not None and kept and old.shape != shape else None
        if name not in self._flat or self._flat[name].size < needed:
            self._flat[name] = np.zeros(needed, dtype)
        view = self._flat[name][:needed].reshape(shape)
        if rows is not None:
            common = tuple(map(slice, map(min, rows.shape, shape)))
            view[:kept] = 0
            view[common] = rows[common]
        self._views[name] = view
        return view


@dataclasses.dataclass(frozen=True, slots=True)
class _BoundStep:
    """A step over fixed buffers, and where it leaves its results."""

    run: Callable[[], None]
    log_probs: npt.NDArray[np.float32]
    ids: npt.NDArray[np.int64]

    @property
    def nbytes(self) -> int:
        """Bytes of its results."""
        return self.log_probs.nbytes + self.ids.nbytes


def _up_to(size: int, state: StateSpec, axis: str) -> tuple[Any, ...]:
    """Index of the axes after the first: all of each, but `size` entries of the axis named."""
    return tuple(slice(size) if name == axis else slice(None) for name in state.shape[1:])
