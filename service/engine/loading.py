"""From a bundle directory to an engine that answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from model.bundle import VOCABULARY_FILE, Manifest
from model.errors import BundleError
from model.vocabulary import EOS_ID, Vocabulary
from service.engine.jobs import Engine, Job, SearchOptions
from service.engine.records import BatchRecord
from service.engine.runtime import Device, load_runtime
from service.engine.worker import BatchingEngine


@dataclasses.dataclass(frozen=True, slots=True)
class LoadedEngine:
    """A running engine and what its bundle says of itself."""

    engine: Engine
    manifest: Manifest
    vocabulary: Vocabulary
    provider: str
    """What ONNX Runtime really runs on, e.g. `CPUExecutionProvider`."""


def load_engine(
    directory: Path, *, device: Device, threads: int, max_rows: int, on_batch: Callable[[BatchRecord], None]
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
    engine = BatchingEngine(runtime, max_rows=max_rows, on_batch=on_batch)
    _warm_up(engine)
    return LoadedEngine(engine, runtime.manifest, vocabulary, runtime.provider)


def _warm_up(engine: Engine) -> None:
    """First runs allocate and choose kernels: better now than under the first request."""
    jobs = [
        Job((EOS_ID,) * 8, SearchOptions(beam_size=beam_size, max_output_tokens=4)) for beam_size in (1, 4)
    ]
    engine.submit(jobs)
    for job in jobs:
        job.future.result()
