"""Arrays that stay on a device, and the graphs that run over them: encoder, decoder, and those that move state.

The device may be the CPU: then the tests see what a GPU would compute.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnxruntime import OrtValue

from model.bundle import MOVES, GraphName, Manifest, StateSpec
from service.arrays import Array
from service.engine.decoder.providers import CUDA

Run = Callable[[], None]


def move_graphs(states: Iterable[StateSpec]) -> tuple[GraphName, ...]:
    """The graphs that move these states on a device."""
    return tuple(name for kind in dict.fromkeys(state.kind for state in states) for name in MOVES[kind])


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
        self.uses_cuda_graphs = graphs
        self._device = "cuda" if decoder.get_providers()[0] == CUDA else "cpu"
        moves = {
            name: onnxruntime.InferenceSession(directory / manifest.graphs[name].file, options, encoder.get_providers())
            for name in move_graphs(manifest.states)
        }
        self._sessions: dict[GraphName, onnxruntime.InferenceSession] = {
            "encoder": encoder,
            "decoder": decoder,
            **moves,
        }
        self._captured = 0

    def empty(self, shape: Sequence[int], dtype: npt.DTypeLike) -> Buffer:
        """A new array; what it holds is not defined."""
        value = OrtValue.ortvalue_from_shape_and_type(list(shape), np.dtype(dtype).type, self._device, 0)
        return Buffer(value, np.dtype(dtype).type, tuple(shape))

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
