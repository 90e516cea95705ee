"""A bundle's graphs as calls on arrays. With `providers` and `device` the only place that touches ONNX Runtime.

Shapes: N sentences, K beams a sentence, R = N K rows, S source tokens (padded), H heads, d head width, P places a row.
"""

from __future__ import annotations

import itertools
import logging
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before the import: a thread would report home otherwise
import onnxruntime

from model.bundle import GraphName, Manifest, check_files, read_manifest
from model.errors import BundleError
from model.vocabulary import PAD_ID
from service.arrays import Array, next_power_of_two, round_up
from service.engine.decoder.batches import of_one_length, packs
from service.engine.decoder.columns import ShortlistColumns
from service.engine.decoder.cpu import int8_saturates
from service.engine.decoder.device import DeviceGraphs, move_graphs
from service.engine.decoder.device_store import DeviceStore
from service.engine.decoder.host_store import HostStore
from service.engine.decoder.prepacked import prepacked
from service.engine.decoder.providers import CPU, CUDA, wanted_providers
from service.engine.decoder.slots import Sizes, Slots, StepSpec, padded_length
from service.engine.types import Device, DeviceError

_log = logging.getLogger(__name__)

PACK_TOKENS = 96
"""Tokens of one run of an encoder that takes sentences end to end: every token is held against every other, so more
would cost more than the products gain."""

_DECODING: tuple[GraphName, ...] = ("encoder", "decoder", "columns")


class Runtime:
    """The graphs of one bundle on one device. Not thread-safe: one thread owns it."""

    def __init__(
        self,
        directory: Path,
        manifest: Manifest,
        *,
        device: Device,
        threads: int,
        cuda_graphs: bool = False,
        state_on_device: bool = False,
    ) -> None:
        """`cuda_graphs`: record decoder steps on CUDA and replay them. `state_on_device`: leave the state where the
        graphs run, as on CUDA, even if they run on the CPU: for tests."""
        self.manifest = manifest
        wanted = wanted_providers(device, manifest.precision)
        self._has_seven_bits = _saturates(manifest)
        options = _session_options(manifest, threads)
        self._encoder = _open(directory, manifest, "encoder", options, wanted.providers)
        # What the first session got, and not what was wanted: CUDA that cannot start says so at every attempt.
        running = self._encoder.get_providers()
        self.provider: str = running[0]
        self.fallback = wanted.confirm(self.provider)
        """Why the graphs do not run on CUDA, if that was wanted."""
        self._decoder = _open(directory, manifest, "decoder", options, running, cuda_graphs=cuda_graphs)
        self._on_device: DeviceGraphs | None = None
        if self.provider == CUDA or state_on_device:
            graphs = cuda_graphs and self.provider == CUDA
            self._on_device = self._open_device_graphs(directory, options, graphs=graphs)
        self._columns = _open(directory, manifest, "columns", options, [CPU]) if manifest.has_shortlist else None
        if self._has_seven_bits:
            _log.warning("this processor has no VNNI: int8 runs slower, and its output projection with 7 bits")
        self._packs = "sentences" in {tensor.name for tensor in manifest.graphs["encoder"].inputs}
        self._encoder_outputs = [output.name for output in manifest.graphs["encoder"].outputs]
        inputs_of = {state.output: state.input for state in manifest.states if state.kind == "per_source"}
        self._memory_inputs = [inputs_of[name] for name in self._encoder_outputs]
        # In floating point a product of one row takes another kernel than the same row among others and differs in the
        # last bits; integer products are exact.
        min_rows = 1 if manifest.precision == "int8" else 2
        self.spec = StepSpec(manifest.states, manifest.limits.target_tokens, manifest.vocabulary_size, min_rows)

    def _open_device_graphs(
        self, directory: Path, options: onnxruntime.SessionOptions, *, graphs: bool
    ) -> DeviceGraphs:
        graphs_there = set(self.manifest.graphs)
        if "columns" in graphs_there or not graphs_there.issuperset(move_graphs(self.manifest.states)):
            raise DeviceError("this bundle cannot keep its state on a device; export it again with --precision fp16")
        return DeviceGraphs(directory, self.manifest, self._encoder, self._decoder, options, graphs=graphs)

    def open_slots(self, beam_size: int, max_rows: int) -> Slots:
        """Room for the running sentences of one beam size; CUDA graphs reserve it for `max_rows` rows."""
        graphs = self._on_device
        if graphs is not None:
            fixed = self._fixed_sizes(beam_size, max_rows) if graphs.uses_cuda_graphs else None
            return Slots(DeviceStore(self.spec, beam_size, graphs, fixed), beam_size)
        columns = None
        if self._columns is not None:
            columns = ShortlistColumns(self._columns_of, self.spec.vocabulary_size, beam_size)
        return Slots(HostStore(self.spec, beam_size, self._bind_step), beam_size, columns)

    def _fixed_sizes(self, beam_size: int, max_rows: int) -> Sizes:
        limits = self.manifest.limits
        fewest = round_up(self.spec.min_rows, beam_size) // beam_size
        sentences = next_power_of_two(max(max_rows // beam_size, fewest))
        return Sizes(sentences, next_power_of_two(padded_length(limits.source_tokens)), limits.target_tokens)

    def _columns_of(self, ids: Array) -> dict[str, Array]:
        session = self._columns
        assert session is not None
        names = [output.name for output in session.get_outputs()]
        columns = dict(zip(names, session.run(names, {"ids": ids}), strict=True))
        if self._has_seven_bits:  # what is an input ONNX Runtime cannot convert beforehand
            columns["output_weights"] = halved(columns["output_weights"])
            columns["output_scales"] = columns["output_scales"] * 2
        return columns

    def encoder_tokens(self, source_tokens: int) -> int:
        """What a source of so many tokens takes of an encoder run, in tokens."""
        return source_tokens if self._packs else padded_length(source_tokens)

    def runs(self, lengths: Sequence[int]) -> list[list[int]]:
        """Which sources, by index, are encoded in one run."""
        return packs(lengths, PACK_TOKENS) if self._packs else of_one_length([padded_length(each) for each in lengths])

    def encode(self, sources: Sequence[Sequence[int]]) -> dict[str, Any]:
        """Memory of the sentences of one run, S as the longest needs, where the decoder's state is, and `source_mask`
        [N, S] on the host: the decoder's inputs by name."""
        if self._on_device is not None:
            return self._encode_on_device(self._on_device, sources)
        mask = _mask(sources, self.encoder_tokens(max(map(len, sources))))
        outputs = (self._encode_packed if self._packs else self._encode_padded)(sources, mask)
        return {"source_mask": mask, **dict(zip(self._memory_inputs, outputs, strict=True))}

    def _encode_padded(self, sources: Sequence[Sequence[int]], mask: Array) -> list[Array]:
        source_ids = np.full(mask.shape, PAD_ID, np.int64)
        source_ids[mask] = _end_to_end(sources)
        return list(self._encoder.run(self._encoder_outputs, {"source_ids": source_ids, "source_mask": mask}))

    def _encode_packed(self, sources: Sequence[Sequence[int]], mask: Array) -> list[Array]:
        sentences, positions = np.nonzero(mask)
        inputs = {"source_ids": _end_to_end(sources), "positions": positions, "sentences": sentences}
        outputs = self._encoder.run(self._encoder_outputs, inputs)
        return outputs if len(sources) == 1 else [_unpacked(output, list(map(len, sources))) for output in outputs]

    def _encode_on_device(self, graphs: DeviceGraphs, sources: Sequence[Sequence[int]]) -> dict[str, Any]:
        # Few different shapes: the first sentence is encoded again and again, and that is not used.
        count = len(sources)
        company = [*sources, *[sources[0]] * (next_power_of_two(count) - count)]
        mask = _mask(company, padded_length(max(map(len, sources))))
        source_ids = np.full(mask.shape, PAD_ID, np.int64)
        source_ids[mask] = _end_to_end(company)
        states = [state for state in self.spec.states if state.kind == "per_source"]
        sizes = Sizes(*mask.shape)
        memory = {state.output: graphs.empty(sizes.of(state.shape, 1), state.dtype) for state in states}
        graphs.bind("encoder", {"source_ids": source_ids, "source_mask": mask}, memory)()
        return {"source_mask": mask[:count], **{state.input: memory[state.output].first(count) for state in states}}

    def _bind_step(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> Callable[[], None]:
        """A decoder step that reads and writes these arrays where they lie; call it as often as their content
        changes."""
        # Arrays are not copied; bound so and not as an `OrtValue` each, which takes twice as long.
        binding = self._decoder.io_binding()
        for name, array in inputs.items():
            binding.bind_cpu_input(name, array)
        for name, array in outputs.items():
            binding.bind_output(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        arrays = (*inputs.values(), *outputs.values())  # are to live as long as the binding

        def run(kept: tuple[Array, ...] = arrays) -> None:
            self._decoder.run_with_iobinding(binding)

        return run


def halved(weights: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
    """Half of each number, rounded to the nearest, in the middle to the even one."""
    # In integers: the division of NumPy goes by way of 16-bit floating point, which takes thirty times as long.
    half = weights >> 1
    half += weights & half & 1
    return half


def _mask(sources: Sequence[Sequence[int]], length: int) -> Array:
    """[N, S], True at tokens."""
    mask: Array = np.arange(length) < np.array([len(source) for source in sources])[:, None]
    return mask


def _end_to_end(sources: Sequence[Sequence[int]]) -> Array:
    """All tokens, one sentence after the other."""
    return np.fromiter(itertools.chain.from_iterable(sources), np.int64)


def _unpacked(packed: Array, lengths: Sequence[int]) -> Array:
    """Sentences end to end [1, H, T, d] -> side by side [N, H, S, d], zero behind their ends."""
    _, heads, _, width = packed.shape
    memory = np.zeros((len(lengths), heads, max(lengths), width), packed.dtype)
    end = 0
    for row, length in enumerate(lengths):
        begin, end = end, end + length
        memory[row, :, :length] = packed[0, :, begin:end]
    return memory


def load_runtime(
    directory: Path, *, device: Device, threads: int, cuda_graphs: bool = False, cache: Path | None = None
) -> Runtime:
    """Check a bundle's files and open its graphs; `cache`: see `service.engine.decoder.prepacked`.

    Raises:
        BundleError: the bundle is missing, damaged, or ONNX Runtime cannot read it.
        DeviceError: the device cannot run it.
    """
    manifest = read_manifest(directory)
    check_files(directory, manifest)
    graphs: list[GraphName] = [name for name in _DECODING if name in manifest.graphs]
    place = prepacked(directory, manifest, graphs, cache, lambda: _session_options(manifest, threads))
    try:
        return Runtime(place, manifest, device=device, threads=threads, cuda_graphs=cuda_graphs)
    except (RuntimeError, ValueError) as error:
        if isinstance(error, DeviceError):
            raise
        raise BundleError(f"{directory}: ONNX Runtime cannot open the graphs: {error}") from error


def _open(
    directory: Path,
    manifest: Manifest,
    graph: GraphName,
    options: onnxruntime.SessionOptions,
    providers: Sequence[str],
    *,
    cuda_graphs: bool = False,
) -> onnxruntime.InferenceSession:
    # By default every session's arena doubles whenever it grows: twice the memory that is used.
    settings = {CUDA: {"arena_extend_strategy": "kSameAsRequested", "enable_cuda_graph": str(int(cuda_graphs))}}
    asked = [(name, settings.get(name, {})) for name in providers]
    return onnxruntime.InferenceSession(directory / manifest.graphs[graph].file, options, asked)


def _saturates(manifest: Manifest) -> bool:
    return manifest.precision == "int8" and int8_saturates()


def _session_options(manifest: Manifest, threads: int) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or len(os.sched_getaffinity(0))
    options.inter_op_num_threads = 1
    # It remembers an allocation plan for every combination of shapes ever seen: memory that only grows.
    options.enable_mem_pattern = False
    # Encoder and decoder have a pool of threads each; the one that waits must not spin on the other's core.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if _saturates(manifest):
        # Constant weights are converted for a kernel that does not saturate, and takes twice as long.
        options.add_session_config_entry("session.x64quantprecision", "1")
    options.log_severity_level = 3
    return options


class ScorerGraph:
    """The graph that scores whole targets, in a session of its own. Not thread-safe: one thread owns it."""

    def __init__(
        self, directory: Path, manifest: Manifest, *, device: Device, threads: int, cache: Path | None = None
    ) -> None:
        self._spec = manifest.graphs["scorer"]
        self.vocabulary_size = manifest.vocabulary_size
        wanted = wanted_providers(device, manifest.precision)
        place = prepacked(directory, manifest, ["scorer"], cache, lambda: _session_options(manifest, threads))
        self._session = _open(place, manifest, "scorer", _session_options(manifest, threads), wanted.providers)
        wanted.confirm(self._session.get_providers()[0])

    def score(self, inputs: Mapping[str, Array], attention: Sequence[str]) -> tuple[Array, dict[str, Array]]:
        """token_log_probs [N, T], and the attention of these kinds by kind."""
        names = ["token_log_probs", *(f"{kind}_attention" for kind in attention)]
        log_probs, *weights = self._session.run(names, dict(inputs))
        return log_probs, dict(zip(attention, weights, strict=True))

    def numbers(self, source_length: int, target_length: int) -> int:
        """How many numbers the outputs of one row are, with the log-probabilities of the whole vocabulary."""
        sizes = {"N": 1, "S": source_length, "T": target_length}
        shapes = [[sizes[size] if isinstance(size, str) else size for size in out.shape] for out in self._spec.outputs]
        return sum(math.prod(shape) for shape in shapes) + target_length * self.vocabulary_size


class InternalsGraph:
    """The graph that tells what happens inside the network, in a session of its own. Not thread-safe."""

    def __init__(self, directory: Path, manifest: Manifest, *, device: Device, threads: int) -> None:
        wanted = wanted_providers(device, manifest.precision)
        options = _session_options(manifest, threads)
        self._session = _open(directory, manifest, "internals", options, wanted.providers)
        wanted.confirm(self._session.get_providers()[0])

    def outputs(self, names: Sequence[str], source_ids: Sequence[int], target_ids: Sequence[int]) -> dict[str, Array]:
        """Outputs of these names, see `export.internals`; target_ids has the start first."""
        inputs = {"source_ids": np.array([source_ids]), "target_ids": np.array([target_ids])}
        return dict(zip(names, self._session.run(list(names), inputs), strict=True))
