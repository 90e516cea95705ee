"""The only place that touches ONNX Runtime: a bundle's graphs as two calls, `encode` and `step`.

Shapes: N sentences, K beams a sentence, S source tokens, T tokens decoded so far, V vocabulary, C = 2K candidates.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before the import: a thread would report home otherwise
import onnxruntime
from onnxruntime import OrtValue

from model.bundle import Manifest, check_files, read_manifest
from model.errors import BundleError
from model.vocabulary import PAD_ID

Array = npt.NDArray[Any]
State = Mapping[str, OrtValue]
"""Decoder inputs by name that live on the device between steps."""

Device = Literal["auto", "cpu", "cuda"]
CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


class DeviceError(RuntimeError):
    """The device that was asked for cannot run this bundle; the text is one sentence for the operator."""


@dataclasses.dataclass(frozen=True, slots=True)
class Candidates:
    """The best continuations of each sentence, best first."""

    log_probs: Array  # [N, C] of the whole hypothesis
    origins: Array  # [N, C] the beam each continues
    token_ids: Array  # [N, C]


class Runtime:
    """The graphs of one bundle on one device. Not thread-safe: one thread owns it."""

    def __init__(self, directory: Path, manifest: Manifest, *, device: Device, threads: int) -> None:
        self.manifest = manifest
        providers = _providers(device, manifest)
        options = _session_options(threads)
        self._encoder = onnxruntime.InferenceSession(directory / manifest.graphs["encoder"].file, options, providers)
        self._decoder = onnxruntime.InferenceSession(directory / manifest.graphs["decoder"].file, options, providers)
        self.provider: str = self._decoder.get_providers()[0]
        _require_device(device, self.provider)
        self._encoder_outputs = [output.name for output in manifest.graphs["encoder"].outputs]
        self._decoder_outputs = [output.name for output in manifest.graphs["decoder"].outputs]
        self._memory_inputs = {s.output: s.input for s in manifest.states if s.kind == "per_source"}
        self._beam_states = [s for s in manifest.states if s.kind != "per_source"]

    def encode(self, sources: Sequence[Sequence[int]]) -> State:
        """Encode sentences; returns what every later step reads: source mask [N, S] and memory."""
        longest = max(len(source) for source in sources)
        source_ids = np.full((len(sources), longest), PAD_ID, np.int64)
        for row, source in enumerate(sources):
            source_ids[row, : len(source)] = source
        source_mask = OrtValue.ortvalue_from_numpy(source_ids != PAD_ID)
        inputs = {"source_ids": OrtValue.ortvalue_from_numpy(source_ids), "source_mask": source_mask}
        outputs = self._encoder.run_with_ort_values(self._encoder_outputs, inputs)
        memory = dict(zip(self._encoder_outputs, outputs, strict=True))
        return {"source_mask": source_mask, **{self._memory_inputs[name]: value for name, value in memory.items()}}

    def empty_past(self, sentences: int, beams: int) -> State:
        """Decoder state before the first token: growing states have length 0, replaced ones are zero."""
        sizes = {"N": sentences, "K": beams, "T": 0}
        return {
            state.input: OrtValue.ortvalue_from_numpy(
                np.zeros([sizes[size] if isinstance(size, str) else size for size in state.shape], state.dtype)
            )
            for state in self._beam_states
        }

    def step(
        self, token_ids: Array, position: int, beam_indices: Array, log_probs: Array, memory: State, past: State
    ) -> tuple[Candidates, State]:
        """One token for every beam.

        Args:
            token_ids: [N, K] int64, the last token of each beam.
            position: where it stands, from 0.
            beam_indices: [N, K] int64, the row of `past` that each beam continues.
            log_probs: [N, K] float32; -inf for a beam that is none.
            memory: from `encode`.
            past: from `empty_past` or the step before.

        Returns:
            The candidates and the next `past`.
        """
        inputs = {
            "token_ids": OrtValue.ortvalue_from_numpy(token_ids),
            "positions": OrtValue.ortvalue_from_numpy(np.full_like(token_ids, position)),
            "beam_indices": OrtValue.ortvalue_from_numpy(beam_indices),
            "log_probs": OrtValue.ortvalue_from_numpy(log_probs),
            **memory,
            **past,
        }
        values = self._decoder.run_with_ort_values(self._decoder_outputs, inputs)
        outputs = dict(zip(self._decoder_outputs, values, strict=True))
        origins, tokens = np.divmod(outputs["candidate_indices"].numpy(), self.manifest.vocabulary_size)
        candidates = Candidates(outputs["candidate_log_probs"].numpy(), origins, tokens)
        return candidates, {state.input: outputs[state.output] for state in self._beam_states}


def keep_sentences(state: State, kept: Array) -> State:
    """The rows `kept` [M] of every tensor [N, ...] of a state."""
    return {name: OrtValue.ortvalue_from_numpy(value.numpy()[kept]) for name, value in state.items()}


def load_runtime(directory: Path, *, device: Device, threads: int) -> Runtime:
    """Check a bundle's files and open its graphs.

    Raises:
        BundleError: the bundle is missing, damaged, or ONNX Runtime cannot read it.
        DeviceError: the device cannot run it.
    """
    manifest = read_manifest(directory)
    check_files(directory, manifest)
    try:
        return Runtime(directory, manifest, device=device, threads=threads)
    except (RuntimeError, ValueError) as error:
        if isinstance(error, DeviceError):
            raise
        raise BundleError(f"{directory}: ONNX Runtime cannot open the graphs: {error}") from error


def _session_options(threads: int) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or len(os.sched_getaffinity(0))
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return options


def _providers(device: Device, manifest: Manifest) -> list[str]:
    """int8 graphs use operators that only the CPU has, so `auto` takes CUDA for fp16 bundles alone."""
    if device == "cuda" and manifest.precision == "int8":
        raise DeviceError("an int8 bundle runs on the CPU only; export with --precision fp16 for CUDA")
    wants_cuda = device == "cuda" or (device == "auto" and manifest.precision == "fp16")
    if wants_cuda and CUDA in onnxruntime.get_available_providers():
        return [CUDA, CPU]
    if device == "cuda":
        raise DeviceError("this ONNX Runtime has no CUDA; install the gpu extra (onnxruntime-gpu) instead of cpu")
    return [CPU]


def _require_device(device: Device, provider: str) -> None:
    """ONNX Runtime falls back to the CPU without an exception when CUDA cannot start."""
    if device == "cuda" and provider != CUDA:
        raise DeviceError("CUDA was asked for but could not start: check the driver and the CUDA and cuDNN libraries")
