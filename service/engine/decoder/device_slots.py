"""`Slots` for a device: the state of the running rows lies there, only ids and scores cross to the host and back.

A sentence keeps its slot until it leaves; nothing moves when one does. Steps run over a power of two of slots, those
between the sentences and behind them included: they are computed and ignored. State moves in whole graphs (`take_`,
`put_`): when beams continue others, when slots are laid side by side again, when buffers grow.

Shapes: N slots, K beams a sentence, R = N K rows, S source tokens (padded), P places a row, C candidates.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from model.bundle import GraphName, StateSpec
from service.arrays import Array, next_power_of_two, round_up
from service.engine.decoder.device import Buffer, Run, resolved

Ints = npt.NDArray[np.int64]
Set = dict[str, Buffer]
Kind = Literal["memory", "past"]
_MOVES: dict[Kind, tuple[GraphName, GraphName]] = {
    "memory": ("take_memory", "put_memory"),
    "past": ("take_past", "put_past"),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Sizes:
    """How much the buffers hold."""

    sentences: int = 8
    source: int = 16
    places: int = 32


class Graphs(Protocol):
    """What slots need of the graphs: the real ones are `service.engine.device.DeviceGraphs`."""

    @property
    def uses_cuda_graphs(self) -> bool:
        """Whether steps are recorded and replayed."""

    @property
    def states(self) -> tuple[StateSpec, ...]:
        """Decoder state as the bundle declares it."""

    @property
    def max_places(self) -> int:
        """Longest output, in tokens."""

    @property
    def vocabulary_size(self) -> int:
        """V, the pieces in the vocabulary."""

    def empty(self, shape: Sequence[int], dtype: npt.DTypeLike) -> Buffer:
        """A new array."""

    def bind(
        self,
        graph: GraphName,
        inputs: Mapping[str, Buffer | Array],
        outputs: Mapping[str, Buffer],
        *,
        capture: bool = False,
    ) -> Run:
        """A run of a graph over these arrays."""


class DeviceSlots:
    """State of the running sentences of one beam size K on a device; the same calls as `Slots`."""

    token_ids: npt.NDArray[np.int64]  # [*, K] the last token of each beam
    lengths: npt.NDArray[np.int32]  # [*, K] places each row has filled

    def __init__(self, graphs: Graphs, beam_size: int, *, min_rows: int = 1, fixed: Sizes | None = None) -> None:
        """`fixed`: sizes that never change, as CUDA graphs need them; None: buffers grow by doubling."""
        if graphs.uses_cuda_graphs and fixed is None:
            raise ValueError("CUDA graphs need buffers of fixed sizes")
        self._graphs = graphs
        self._beam_size = beam_size
        self._fewest = next_power_of_two(round_up(min_rows, beam_size) // beam_size)
        self._is_fixed = fixed is not None
        self._first = fixed or Sizes(sentences=max(self._fewest, Sizes().sentences))
        self._states: dict[Kind, list[StateSpec]] = {
            "memory": [state for state in graphs.states if state.kind == "per_source"],
            "past": [state for state in graphs.states if state.kind == "growing"],
        }
        self.count = 0
        self.padding = 0.0
        """Share of the places in the memory of the running sentences that hold nothing."""
        self._slots = np.zeros(0, np.int64)
        self._longest = np.zeros((), np.int32)
        self.token_ids = np.zeros((0, beam_size), np.int64)
        self.lengths = np.zeros((0, beam_size), np.int32)
        self._start_anew()

    def _start_anew(self) -> None:
        self._sizes = self._first
        self._current: dict[Kind, Set] = {"memory": self._new_set("memory"), "past": self._new_set("past")}
        self._resized()
        self._mask = np.zeros((self._sizes.sentences, self._sizes.source), np.bool_)
        self._device_mask = self._graphs.empty(self._mask.shape, np.bool_)

    def _new_set(self, kind: Kind) -> Set:
        sizes = {
            "N": self._sizes.sentences, "R": self._sizes.sentences * self._beam_size,
            "S": self._sizes.source, "P": self._sizes.places,
        }  # fmt: skip
        return {
            state.input: self._graphs.empty(resolved(state.shape, sizes), state.dtype) for state in self._states[kind]
        }

    def _resized(self) -> None:
        self._spare: dict[Kind, Set] = {}
        self._steps: dict[tuple[int, int, int, int], _BoundStep] = {}

    @property
    def max_candidates(self) -> int:
        """All the tokens a row may choose from."""
        return self._graphs.vocabulary_size

    @property
    def num_output_columns(self) -> int:
        """Columns of the output projection that a step computes."""
        return self._graphs.vocabulary_size

    @property
    def nbytes(self) -> int:
        """Bytes of state on the device."""
        sets = [*self._current.values(), *self._spare.values()]
        return sum(buffer.nbytes for some in sets for buffer in some.values())

    def join(self, memory: Mapping[str, Any]) -> None:
        """Sentences with the memory [n, ...] that `DeviceGraphs.encode` made take free slots; their rows are empty."""
        mask: Array = memory["source_mask"]
        added, source = mask.shape
        self._ensure(sentences=self.count + added, source=source)
        free = np.setdiff1d(np.arange(self._sizes.sentences), self._slots)[:added]
        self._put("memory", self._current["memory"], {s.input: memory[s.input] for s in self._states["memory"]}, free)
        self._mask[free] = False
        self._mask[free, :source] = mask
        self._device_mask.write(self._mask)
        self._slots = np.concatenate([self._slots, free])
        start = np.zeros((added, self._beam_size))
        self.token_ids = np.concatenate([self.token_ids[: self.count], start.astype(np.int64)])
        self.lengths = np.concatenate([self.lengths[: self.count], start.astype(np.int32)])
        self.count += added
        self._note_padding()

    def leave(self, gone: Sequence[int]) -> npt.NDArray[np.int64]:
        """Free the slots of the sentences `gone`; returns, for each that remains, the number it had before."""
        kept = np.setdiff1d(np.arange(self.count), np.asarray(gone, np.int64))
        self.count = len(kept)
        self._slots, self.token_ids, self.lengths = self._slots[kept], self.token_ids[kept], self.lengths[kept]
        if not self.count and not self._is_fixed and self._sizes != self._first:
            self._start_anew()
        self._note_padding()
        return kept

    def _note_padding(self) -> None:
        if self.count:
            self.padding = 1.0 - float(self._mask[self._slots].mean())

    def reorder(self, beam_indices: npt.NDArray[np.int64]) -> None:
        """Let the rows of each sentence continue the beams [N, K] they come from."""
        if (beam_indices == np.arange(self._beam_size)).all():
            return
        rows = np.arange(self._step_slots() * self._beam_size).reshape(-1, self._beam_size)
        rows[self._slots] = self._slots[:, None] * self._beam_size + beam_indices
        self._take("past", rows.ravel())

    def step(self, num_candidates: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """One token for every row.

        Returns:
            Log-probabilities [R, C] of the best next tokens, best first, and their ids [R, C].
        """
        longest = int(self.lengths.max()) + 1
        self._ensure(places=longest)
        self._lay_side_by_side()
        self._longest[...] = self._sizes.places if self._is_fixed else longest
        slots = self._step_slots()
        key = (slots, num_candidates, id(self._current["memory"]), id(self._current["past"]))
        if key not in self._steps:
            self._steps[key] = self._bind(slots, num_candidates)
        step = self._steps[key]
        for buffer, values in ((step.token_ids, self.token_ids), (step.lengths, self.lengths)):
            spread = np.zeros((slots, self._beam_size), values.dtype)
            spread[self._slots] = values
            buffer.write(spread.reshape(buffer.shape))
        step.run()
        results = (step.log_probs.read(), step.ids.read())
        log_probs, ids = (
            values.reshape(slots, self._beam_size, num_candidates)[self._slots].reshape(-1, num_candidates)
            for values in results
        )
        return log_probs, ids

    def _step_slots(self) -> int:
        """Slots of a step: a power of two that holds every sentence."""
        return max(self._fewest, next_power_of_two(int(self._slots.max(initial=0)) + 1))

    def _lay_side_by_side(self) -> None:
        """Once half of the slots of a step are free, close the gaps."""
        slots = max(self._fewest, next_power_of_two(self.count))
        if slots == self._step_slots():
            return
        sentences = np.zeros(slots, np.int64)
        sentences[: self.count] = self._slots
        self._take("memory", sentences)
        self._take("past", (sentences[:, None] * self._beam_size + np.arange(self._beam_size)).ravel())
        self._mask[: self.count] = self._mask[self._slots]
        self._device_mask.write(self._mask)
        self._slots = np.arange(self.count)

    def _ensure(self, *, sentences: int = 0, source: int = 0, places: int = 0) -> None:
        """Grow what is too small to the next power of two."""
        have = self._sizes
        wanted = Sizes(
            sentences=max(have.sentences, next_power_of_two(sentences)),
            source=max(have.source, next_power_of_two(source)),
            places=max(have.places, min(next_power_of_two(places), max(self._graphs.max_places, places))),
        )
        if wanted == have:
            return
        if self._is_fixed:
            raise ValueError(f"{wanted} is more than the fixed {have}")
        self._sizes = wanted
        old = self._current
        self._current = {"memory": self._new_set("memory"), "past": self._new_set("past")}
        self._resized()
        if self.count:
            rows = (self._slots[:, None] * self._beam_size + np.arange(self._beam_size)).ravel()
            self._grow("memory", old["memory"], self._slots)
            self._grow("past", old["past"], rows)
        mask = np.zeros((wanted.sentences, wanted.source), np.bool_)
        mask[: have.sentences, : have.source] = self._mask
        self._mask = mask
        self._device_mask = self._graphs.empty(mask.shape, np.bool_)
        self._device_mask.write(mask)

    def _grow(self, kind: Kind, old: Set, rows: Ints) -> None:
        taken = {name: self._graphs.empty((len(rows), *buffer.shape[1:]), buffer.dtype) for name, buffer in old.items()}
        self._run_take(kind, old, taken, rows)
        self._put(kind, self._current[kind], taken, rows)

    def _put(self, kind: Kind, states: Set, parts: Set, rows: Ints) -> None:
        """Row b of `parts` becomes row rows[b] of `states`. Places that parts do not have get copies of their last:
        they are masked, or written before they are read."""
        places = next(iter(states.values())).shape[2]
        available = next(iter(parts.values())).shape[2]
        inputs: dict[str, Buffer | Array] = {**states, **{f"part_{name}": part for name, part in parts.items()}}
        inputs |= {"rows": rows, "places": np.minimum(np.arange(places), available - 1)}
        self._graphs.bind(_MOVES[kind][1], inputs, {f"put_{name}": state for name, state in states.items()})()

    def _take(self, kind: Kind, rows: Ints) -> None:
        """Let row r of the current state be what row rows[r] was, for the first rows."""
        if kind not in self._spare:
            self._spare[kind] = self._new_set(kind)
        spare, current = self._spare[kind], self._current[kind]
        self._run_take(kind, current, {name: buffer.first(len(rows)) for name, buffer in spare.items()}, rows)
        self._current[kind], self._spare[kind] = spare, current

    def _run_take(self, kind: Kind, states: Set, taken: Set, rows: Ints) -> None:
        outputs = {f"taken_{name}": buffer for name, buffer in taken.items()}
        self._graphs.bind(_MOVES[kind][0], {**states, "rows": rows}, outputs)()

    def _bind(self, slots: int, num_candidates: int) -> _BoundStep:
        rows = slots * self._beam_size
        empty = self._graphs.empty
        token_ids, lengths = empty((slots, self._beam_size), np.int64), empty((rows,), np.int32)
        log_probs, ids = empty((rows, num_candidates), np.float32), empty((rows, num_candidates), np.int64)
        past = {name: buffer.first(rows) for name, buffer in self._current["past"].items()}
        inputs: dict[str, Buffer | Array] = {
            "token_ids": token_ids,
            "lengths": lengths,
            "longest": self._longest,
            "num_candidates": np.array([num_candidates]),
            "source_mask": self._device_mask.first(slots),
            **{name: buffer.first(slots) for name, buffer in self._current["memory"].items()},
            **past,
        }
        outputs = {"candidate_log_probs": log_probs, "candidate_ids": ids}
        # Written where it lies.
        outputs |= {state.output: past[state.input] for state in self._states["past"]}
        # A graph is for what comes again and again: constraints ask for other numbers of candidates.
        usual = num_candidates == self._beam_size + 1
        run = self._graphs.bind("decoder", inputs, outputs, capture=usual)
        return _BoundStep(run, token_ids, lengths, log_probs, ids)


@dataclasses.dataclass(frozen=True, slots=True)
class _BoundStep:
    """A step over fixed buffers: where it finds the tokens and where it leaves its results."""

    run: Run
    token_ids: Buffer
    lengths: Buffer
    log_probs: Buffer
    ids: Buffer
