"""Decoder state on a device: it stays there, only ids, lengths and scores cross to the host and back.

Steps run over a power of two of sentences, and arrays have powers of two of places, so that few sizes occur: what is
too much is computed and ignored. State moves in whole graphs, `take_` and `put_`: when a sentence leaves, when beams
continue others, when arrays grow. The device may be the CPU: then the tests see what a GPU would compute.

Shapes: K beams a sentence, R rows, B rows that move, C candidates.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from model.bundle import MOVES, StateKind
from service.arrays import Array, next_power_of_two, round_up
from service.engine.decoder.device import Buffer, DeviceGraphs
from service.engine.decoder.slots import BoundStep, Ints, Sizes, State, StepSpec, Store

_FIRST_SOURCE = 16
_SCALARS = ("longest", "num_candidates")


class DeviceStore(Store):
    """Steps over state on the device of the graphs."""

    kept_bytes = 128 * 2**20

    def __init__(self, spec: StepSpec, beam_size: int, graphs: DeviceGraphs, fixed: Sizes | None = None) -> None:
        """`fixed`: sizes that never change, as CUDA graphs need them; None: arrays grow."""
        if graphs.uses_cuda_graphs and fixed is None:
            raise ValueError("CUDA graphs need arrays of fixed sizes")
        fewest = next_power_of_two(round_up(spec.min_rows, beam_size) // beam_size)
        first = fixed or Sizes(max(fewest, Sizes().sentences), _FIRST_SOURCE)
        kinds = dict.fromkeys(state.kind for state in spec.states)
        states = [_DeviceStates(kind, spec, beam_size, graphs) for kind in kinds]
        super().__init__(spec, states, first, is_fixed=fixed is not None)
        self._graphs = graphs
        # A CUDA graph is for what comes again and again: constraints ask for other numbers of candidates.
        self._usual_candidates = beam_size + 1

    def source_places(self, needed: int, have: int) -> int:
        """A power of two, and never fewer while something runs."""
        return max(have, next_power_of_two(needed))

    def step_sentences(self, needed: int) -> int:
        """A power of two."""
        return next_power_of_two(needed)

    def bind(
        self,
        inputs: Mapping[str, Array],
        reads: Mapping[str, Buffer],
        writes: Mapping[str, Buffer],
        num_candidates: int,
    ) -> BoundStep:
        """A step over this state, and over copies of the host's arrays (but scalars) that are sent at every run."""
        empty, shape = self._graphs.empty, (inputs["lengths"].size, num_candidates)
        sent = {name: empty(values.shape, values.dtype) for name, values in inputs.items() if name not in _SCALARS}
        log_probs, ids = empty(shape, np.float32), empty(shape, np.int64)
        outputs = {"candidate_log_probs": log_probs, "candidate_ids": ids, **writes}
        capture = num_candidates == self._usual_candidates
        step = self._graphs.bind("decoder", {**inputs, **sent, **reads}, outputs, capture=capture)

        def run() -> tuple[npt.NDArray[np.float32], Ints]:
            for name, buffer in sent.items():
                buffer.write(inputs[name])
            step()
            return log_probs.read(), ids.read()

        return BoundStep(run, log_probs.nbytes + ids.nbytes)


class _DeviceStates(State):
    """All states of one kind, which move together. A step writes them in place."""

    def __init__(self, kind: StateKind, spec: StepSpec, beam_size: int, graphs: DeviceGraphs) -> None:
        self._specs = [state for state in spec.states if state.kind == kind]
        self._take, self._put = MOVES[kind]
        self._has_places = any(isinstance(state.shape[2], str) for state in self._specs)
        self._beam_size = beam_size
        self._graphs = graphs
        self._current: dict[str, Buffer] = {}
        self._moving: dict[str, Buffer] = {}
        self.follows_beams = kind != "per_source"

    @property
    def nbytes(self) -> int:
        return sum(buffer.nbytes for buffer in (*self._current.values(), *self._moving.values()))

    def lay_out(self, sizes: Sizes, kept: int) -> None:
        old, rows = self._current, np.arange(kept)
        self._current = {
            state.input: self._graphs.empty(sizes.of(state.shape, self._beam_size), state.dtype)
            for state in self._specs
        }
        self._moving = {}
        if kept:
            taken = {name: self._graphs.empty((kept, *buffer.shape[1:]), buffer.dtype) for name, buffer in old.items()}
            self._put_rows(self._take_rows(old, taken, rows), rows)

    def join(self, new: slice, memory: Mapping[str, Any]) -> None:
        if not self.follows_beams:
            self._put_rows({name: memory[name] for name in self._current}, np.arange(new.start, new.stop))

    def copy(self, source: Ints, target: Ints, filled: int) -> None:
        if not self._moving:
            self._moving = {name: self._graphs.empty(each.shape, each.dtype) for name, each in self._current.items()}
        taken = {name: buffer.first(len(source)) for name, buffer in self._moving.items()}
        self._put_rows(self._take_rows(self._current, taken, source), target)

    def bind(self, sentences: int) -> tuple[dict[str, Buffer], dict[str, Buffer]]:
        rows = sentences * self._beam_size if self.follows_beams else sentences
        reads = {name: buffer.first(rows) for name, buffer in self._current.items()}
        return reads, {state.output: reads[state.input] for state in self._specs if self.follows_beams}

    def _take_rows(self, states: Mapping[str, Buffer], taken: dict[str, Buffer], rows: Ints) -> dict[str, Buffer]:
        """Row b of `taken` becomes row rows[b] of `states`."""
        outputs = {f"taken_{name}": buffer for name, buffer in taken.items()}
        self._graphs.bind(self._take, {**states, "rows": rows}, outputs)()
        return taken

    def _put_rows(self, parts: Mapping[str, Buffer], rows: Ints) -> None:
        """Row b of `parts` becomes row rows[b] of the state. Places that parts do not have get copies of their last:
        they are masked, or written before they are read."""
        states = self._current
        inputs: dict[str, Buffer | Array] = {**states, **{f"part_{name}": part for name, part in parts.items()}}
        inputs["rows"] = rows
        if self._has_places:  # the first state has them, if any has
            places, available = (next(iter(some.values())).shape[2] for some in (states, parts))
            inputs["places"] = np.minimum(np.arange(places), available - 1)
        self._graphs.bind(self._put, inputs, {f"put_{name}": state for name, state in states.items()})()
