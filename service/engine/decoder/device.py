"""Arrays that stay on a device, and the graphs that run over them: encoder, decoder, and those that move state.

The device may be the CPU: then the tests see what a GPU would compute.
Shapes: N sentences, S source tokens (padded).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnxruntime import OrtValue

from model.bundle import GraphName, Manifest, StateSpec
from model.vocabulary import PAD_ID
from service.arrays import Array, next_power_of_two
from service.engine.decoder.providers import CUDA

Run = Callable[[], None]

MOVES: tuple[GraphName, ...] = ("take_memory", "put_memory", "take_past", "put_past")


@dataclasses.dataclass(frozen=True, slots=True)
class Buffer:
    """An array on the device, or the first rows of one."""

    owner: OrtValue
    dtype: npt.DTypeLike
    shape: tuple[int, ...]

    def first(self, count: int) -> Buffer:
        """Its first `count` rows."""
        return dataclasses.replace(self, shape=(count, *self.shape[1:]))

    def write(self, values: Array) -> None:
        """Copy `values`, as many as the whole array has, to the device."""
        self.owner.update_inplace(values)

    def read(self) -> Array:
        """A copy of the whole array."""
        values: Array = self.owner.numpy()
        return values

    @property
    def nbytes(self) -> int:
        """Bytes of these rows."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


class DeviceGraphs:
    """The graphs of one bundle with inputs and outputs on the device. Not thread-safe: one thread owns it."""

    def __init__(
        self,
        directory: Path,
        manifest: Manifest,
        encoder: onnxruntime.InferenceSession,
        decoder: onnxruntime.InferenceSession,
        options: onnxruntime.SessionOptions,
        *,
        graphs: bool,
    ) -> None:
        """`graphs`: the decoder's session was opened with CUDA graphs enabled."""
        self.manifest = manifest
        self.uses_cuda_graphs = graphs
        self._device = "cuda" if decoder.get_providers()[0] == CUDA else "cpu"
        moves = {
            name: onnxruntime.InferenceSession(directory / manifest.graphs[name].file, options, encoder.get_providers())
            for name in MOVES
        }
        self._sessions: dict[GraphName, onnxruntime.InferenceSession] = {
            "encoder": encoder,
            "decoder": decoder,
            **moves,
        }
        self._captured = 0

    @property
    def states(self) -> tuple[StateSpec, ...]:
        """Decoder state as the bundle declares it."""
        return self.manifest.states

    @property
    def max_places(self) -> int:
        """Longest output, in tokens."""
        return self.manifest.limits.target_tokens

    @property
    def vocabulary_size(self) -> int:
        """V, the pieces in the vocabulary."""
        return self.manifest.vocabulary_size

    def empty(self, shape: Sequence[int], dtype: npt.DTypeLike) -> Buffer:
        """A new array; what it holds is not defined."""
        value = OrtValue.ortvalue_from_shape_and_type(list(shape), np.dtype(dtype).type, self._device, 0)
        return Buffer(value, np.dtype(dtype).type, tuple(shape))

    def encode(self, sources: Sequence[Sequence[int]], length: int) -> dict[str, Any]:
        """Memory [N, ...] of sentences padded to `length` S, by the decoder's names, left on the device; `source_mask`
        [N, S] on the host."""
        # Few different shapes: rows of padding are encoded along, and not used.
        source_ids = np.full((next_power_of_two(len(sources)), length), PAD_ID, np.int64)
        for row, source in enumerate(sources):
            source_ids[row, : len(source)] = source
        source_ids[len(sources) :] = source_ids[0]
        lengths = [len(source) for source in sources]
        lengths += lengths[:1] * (len(source_ids) - len(sources))
        mask = np.arange(length) < np.array(lengths)[:, None]
        sizes = {"N": len(source_ids), "S": length}
        memory = {
            state.output: self.empty(resolved(state.shape, sizes), state.dtype)
            for state in self.states
            if state.kind == "per_source"
        }
        self.bind("encoder", {"source_ids": source_ids, "source_mask": mask}, memory)()
        count = len(sources)
        named = {state.input: memory[state.output].first(count) for state in self.states if state.output in memory}
        return {"source_mask": mask[:count], **named}

    def bind(
        self,
        graph: GraphName,
        inputs: Mapping[str, Buffer | Array],
        outputs: Mapping[str, Buffer],
        *,
        capture: bool = False,
    ) -> Run:
        """A run of a graph that reads and writes these arrays where they lie; call it as often as their content
        changes. An input that is a plain array is taken from the host at every run.

        `capture`: record the run as a CUDA graph, if that is enabled; then every input but scalars is on the device.
        """
        session = self._sessions[graph]
        binding = session.io_binding()
        for name, value in inputs.items():
            if isinstance(value, Buffer):
                binding.bind_input(name, self._device, 0, value.dtype, value.shape, value.owner.data_ptr())
            else:
                binding.bind_ortvalue_input(name, OrtValue.ortvalue_from_numpy(value))
        for name, value in outputs.items():
            binding.bind_output(name, self._device, 0, value.dtype, value.shape, value.owner.data_ptr())
        options = self._run_options(graph, capture)
        kept = (dict(inputs), dict(outputs))  # bound by address: they must live as long as the binding

        def run(_: object = kept) -> None:
            session.run_with_iobinding(binding, options)

        return run

    def _run_options(self, graph: GraphName, capture: bool) -> onnxruntime.RunOptions | None:
        if graph != "decoder" or not self.uses_cuda_graphs:
            return None
        options = onnxruntime.RunOptions()
        self._captured += capture
        options.add_run_config_entry("gpu_graph_id", str(self._captured if capture else -1))
        return options


def resolved(shape: Sequence[int | str], sizes: Mapping[str, int]) -> list[int]:
    """A declared shape with numbers for its names."""
    return [sizes[size] if isinstance(size, str) else size for size in shape]
