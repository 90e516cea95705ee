"""From a bundle directory to an engine that answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from model.bundle import VOCABULARY_FILE, Manifest
from model.errors import BundleError
from model.vocabulary import EOS_ID, Vocabulary
from service.engine.jobs import Engine, SearchOptions
from service.engine.records import EngineReport
from service.engine.runtime import Array, Device, Runtime, load_runtime, padded_length
from service.engine.scheduler import Capacity
from service.engine.search import BeamGroup
from service.engine.slots import Slots
from service.engine.worker import IterationEngine


@dataclasses.dataclass(frozen=True, slots=True)
class LoadedEngine:
    """A running engine and what its bundle says of itself."""

    engine: Engine
    manifest: Manifest
    vocabulary: Vocabulary
    provider: str
    """What ONNX Runtime really runs on, e.g. `CPUExecutionProvider`."""


class OnnxDecoder:
    """A runtime as the engine sees it."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def padded_length(self, source_tokens: int) -> int:
        """See `runtime.SOURCE_MULTIPLE`."""
        return padded_length(source_tokens)

    def encode(self, sources: Sequence[Sequence[int]]) -> Mapping[str, Array]:
        """Memory of sentences of one padded length."""
        return self._runtime.encode(sources, padded_length(max(map(len, sources))))

    def open_slots(self, beam_size: int) -> Slots:
        """Buffers for the running sentences of one beam size."""
        return Slots(self._runtime, beam_size)


def capacity_for(max_rows: int) -> Capacity:
    """What runs at once: interactive requests keep a quarter of the rows."""
    return Capacity(
        max_rows=max_rows,
        reserved_rows=max_rows // 4,
        encode_tokens=512,
        interactive_tokens=512,
    )


def load_engine(
    directory: Path, *, device: Device, threads: int, max_rows: int, on_report: Callable[[EngineReport], None]
) -> LoadedEngine:
    """Check the bundle, open it, start the engine and run it once. Blocks for seconds: call it from a thread.

    Raises:
        BundleError: the bundle is missing or damaged.
        VocabularyError: its vocabulary is.
        DeviceError: the device cannot run it.
    """
    runtime = load_runtime(directory, device=device, threads=threads)
    vocabulary = Vocabulary.load(directory / VOCABULARY_FILE)
    if len(vocabulary) != runtime.manifest.vocabulary_size:
        raise BundleError(f"{directory}: {len(vocabulary)} pieces in the vocabulary, not as many as the manifest says")
    decoder = OnnxDecoder(runtime)
    _warm_up(decoder)
    engine = IterationEngine(decoder, capacity_for(max_rows), on_report)
    return LoadedEngine(engine, runtime.manifest, vocabulary, runtime.provider)


def _warm_up(decoder: OnnxDecoder) -> None:
    """First runs allocate and choose kernels: better now than under the first request."""
    for beam_size in (1, 4):
        group: BeamGroup[None] = BeamGroup(decoder.open_slots(beam_size), beam_size)
        source = (EOS_ID,) * 8
        group.join([None], [SearchOptions(beam_size=beam_size, max_output_tokens=4)], decoder.encode([source]))
        while group.rows:
            group.step()
