"""Decoder state in the host's memory: arrays stay where they are between steps, which read and write them in place.

Shapes: N sentences running, K beams a sentence, R = N K rows, S source tokens (padded), P places a row, C candidates.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from model.bundle import StateKind, StateSpec
from service.arrays import Array
from service.engine.decoder.slots import SOURCE_MULTIPLE, BoundStep, Ints, Sizes, State, StepSpec, Store

_FEWEST_SOURCE = 2 * SOURCE_MULTIPLE
"""Memory has room for sources of this length: new arrays now and then cost more than attention to empty places."""

Bind = Callable[[Mapping[str, Array], Mapping[str, Array]], Callable[[], None]]
"""Inputs and outputs of a decoder step by name -> the step over these very arrays."""


class HostStore(Store):
    """A step runs over the sentences that there are, and arrays are as long as these need."""

    # Eight sentences of 256 tokens with four beams are more: asking for that again costs a millisecond of their second.
    kept_bytes = 8 * 2**20

    def __init__(self, spec: StepSpec, beam_size: int, bind: Bind) -> None:
        first = Sizes(sentences=max(Sizes().sentences, spec.min_rows))
        super().__init__(spec, [_KINDS[state.kind](state, beam_size) for state in spec.states], first)
        self._bind = bind

    def source_places(self, needed: int, have: int) -> int:
        """As many as running sentences need."""
        return max(needed, _FEWEST_SOURCE)

    def step_sentences(self, needed: int) -> int:
        """As many as are needed."""
        return needed

    def bind(
        self, inputs: Mapping[str, Array], reads: Mapping[str, Array], writes: Mapping[str, Array], num_candidates: int
    ) -> BoundStep:
        """A step over these very arrays."""
        shape = (inputs["lengths"].size, num_candidates)
        log_probs, ids = np.zeros(shape, np.float32), np.zeros(shape, np.int64)
        outputs: dict[str, Array] = {"candidate_log_probs": log_probs, "candidate_ids": ids, **writes}
        step = self._bind({**inputs, **reads}, outputs)

        def run() -> tuple[npt.NDArray[np.float32], Ints]:
            step()
            return log_probs, ids

        return BoundStep(run, log_probs.nbytes + ids.nbytes)


class _HostState(State):
    """One state: an array with a row for each sentence, or for each beam. A step writes it in place."""

    def __init__(self, spec: StateSpec, beam_size: int) -> None:
        self._spec = spec
        self._beam_size = beam_size
        self._values = self._memory = np.zeros(0, spec.dtype)
        places = next((axis for axis, name in enumerate(spec.shape) if name in ("S", "P")), 1)
        self._before: tuple[Any, ...] = (slice(None),) * (places - 1)
        """Index of the axes between the first and that of places."""

    @property
    def nbytes(self) -> int:
        return self._memory.nbytes

    def lay_out(self, sizes: Sizes, kept: int) -> None:
        shape, old = sizes.of(self._spec.shape, self._beam_size), self._values
        if shape == old.shape:
            return
        rows = old[:kept].copy() if kept else None
        needed = math.prod(shape)
        # Memory is asked of the system once, not at every change of shape.
        if self._memory.size < needed or not needed:
            self._memory = np.zeros(needed, self._spec.dtype)
        self._values = self._memory[:needed].reshape(shape)
        if rows is not None:
            common = tuple(map(slice, map(min, rows.shape, shape)))
            self._values[:kept] = 0
            self._values[common] = rows[common]

    def copy(self, source: Ints, target: Ints, filled: int) -> None:
        if len(source) == 1:  # as when one sentence leaves: by numbers nothing is copied twice
            self._values[target[0]] = self._values[source[0]]
        else:
            self._values[target] = self._values[source]

    def bind(self, sentences: int) -> tuple[dict[str, Array], dict[str, Array]]:
        rows = self._values[: sentences * self._beam_size]
        return {self._spec.input: rows}, {self._spec.output: rows}


class _PerSource(_HostState):
    """Made by the encoder, and read by all beams of a sentence; a step writes none of it."""

    follows_beams = False

    def join(self, new: slice, memory: Mapping[str, Array]) -> None:
        source = memory["source_mask"].shape[1]
        self._values[(new, *self._before, slice(source))] = memory[self._spec.input]

    def bind(self, sentences: int) -> tuple[dict[str, Array], dict[str, Array]]:
        return {self._spec.input: self._values[:sentences]}, {}


class _Growing(_HostState):
    """A step writes the next place of each row."""

    def copy(self, source: Ints, target: Ints, filled: int) -> None:
        part: tuple[Any, ...] = (*self._before, slice(filled))
        if len(source) == 1:
            self._values[(target[0], *part)] = self._values[(source[0], *part)]
        else:
            self._values[(target, *part)] = self._values[(source, *part)]


class _Replaced(_HostState):
    """Zero at first. A step writes all of it anew and must not change what it reads: there are two arrays."""

    def lay_out(self, sizes: Sizes, kept: int) -> None:
        super().lay_out(sizes, kept)
        self._successor = np.zeros_like(self._values)

    def join(self, new: slice, memory: Mapping[str, Array]) -> None:
        self._values[new.start * self._beam_size : new.stop * self._beam_size] = 0

    def bind(self, sentences: int) -> tuple[dict[str, Array], dict[str, Array]]:
        rows = slice(sentences * self._beam_size)
        return {self._spec.input: self._values[rows]}, {self._spec.output: self._successor[rows]}

    def advance(self) -> None:
        self._values[...] = self._successor


_KINDS: dict[StateKind, type[_HostState]] = {"per_source": _PerSource, "growing": _Growing, "replaced": _Replaced}
