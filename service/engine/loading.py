"""From a bundle directory to an engine that answers."""

from __future__ import annotations

import dataclasses
import functools
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from model.bundle import VOCABULARY_FILE, Manifest
from model.errors import BundleError
from model.shortlist import SHORTLIST_FILE, Shortlist, load_shortlist
from model.vocabulary import EOS_ID, Vocabulary
from service.engine.jobs import Engine, SearchOptions
from service.engine.records import EngineReport, ScorerReport
from service.engine.runtime import Array, Device, Runtime, ScorerGraph, load_runtime
from service.engine.scheduler import Capacity
from service.engine.scoring import Scorer
from service.engine.search import BeamGroup
from service.engine.self_test import check_self_tests
from service.engine.shortlist import pad_rows
from service.engine.slots import Slots
from service.engine.worker import IterationEngine

MOST_SESSIONS = 8
"""Sessions hold the weights once each: on many cores they get several threads instead."""
_FEWEST_ROWS = 8


@dataclasses.dataclass(frozen=True, slots=True)
class LoadedEngine:
    """A running engine and what its bundle says of itself."""

    engine: Engine
    manifest: Manifest
    vocabulary: Vocabulary
    provider: str
    """What ONNX Runtime really runs on, e.g. `CPUExecutionProvider`."""
    scorer: Scorer
    """Opens its graph when it is first asked."""
    shortlist: Shortlist | None = None
    """Which tokens a sentence's output may have; None: all of the vocabulary."""

    def close(self) -> None:
        """Finish what was accepted and stop the threads. Blocks until done."""
        self.engine.close()
        self.scorer.close()

    def abort(self) -> None:
        """Fail what was accepted; returns at once."""
        self.engine.abort()
        self.scorer.abort()


class OnnxDecoder:
    """A runtime as the engine sees it."""

    def __init__(self, runtime: Runtime, shortlist: Shortlist | None) -> None:
        self._runtime = runtime
        self._shortlist = shortlist

    def padded_length(self, source_tokens: int) -> int:
        """The length a source is padded to."""
        return self._runtime.padded_length(source_tokens)

    def encode(self, sources: Sequence[Sequence[int]]) -> Mapping[str, Array]:
        """Memory of sentences of one padded length."""
        memory = self._runtime.encode(sources)
        if self._shortlist is not None:
            memory["shortlist"] = pad_rows([self._shortlist.of(source) for source in sources])
        return memory

    def open_slots(self, beam_size: int) -> Slots:
        """Buffers for the running sentences of one beam size."""
        return Slots(self._runtime, beam_size)


def available_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def capacity_for(max_rows: int, waiting_tokens: int = sys.maxsize, bulk_waiting_tokens: int = sys.maxsize) -> Capacity:
    """What runs at once: interactive requests keep a quarter of the rows."""
    return Capacity(
        max_rows=max_rows,
        reserved_rows=max_rows // 4,
        encode_tokens=128,
        interactive_tokens=512,
        waiting_tokens=waiting_tokens,
        bulk_waiting_tokens=bulk_waiting_tokens,
    )


def load_engine(
    directory: Path,
    *,
    device: Device,
    threads: int,
    max_rows: int,
    on_report: Callable[[EngineReport], None],
    on_scorer_report: Callable[[ScorerReport], None] = lambda report: None,
    sessions: int = 1,
    waiting_tokens: int = sys.maxsize,
    bulk_waiting_tokens: int = sys.maxsize,
) -> LoadedEngine:
    """Check the bundle, open it, start the engine and run it once. Blocks for seconds: call it from a thread.

    Args:
        directory: the bundle.
        device: where to run it.
        threads: of one model run; 0 shares the cores among the sessions.
        max_rows: that run at once, in all sessions together.
        on_report: is called from the engine's threads.
        on_scorer_report: is called from the scorer's thread, and from those that withdraw what they asked of it.
        sessions: model runs at once, each with rows of its own; 0: one a core, at most `MOST_SESSIONS`.
        waiting_tokens: source tokens that may wait in the interactive lane.
        bulk_waiting_tokens: the same of the bulk lane.

    Raises:
        BundleError: the bundle is missing or damaged, or its self-test fails.
        VocabularyError: its vocabulary is.
        DeviceError: the device cannot run it.
    """
    cores = available_cores()
    sessions = sessions or min(cores, MOST_SESSIONS)
    threads = threads or max(1, cores // sessions)
    runtime = load_runtime(directory, device=device, threads=threads)
    vocabulary = Vocabulary.load(directory / VOCABULARY_FILE)
    if len(vocabulary) != runtime.manifest.vocabulary_size:
        raise BundleError(f"{directory}: {len(vocabulary)} pieces in the vocabulary, not as many as the manifest says")
    shortlist = load_shortlist(directory / SHORTLIST_FILE, vocabulary) if runtime.needs_shortlist else None
    others = [Runtime(directory, runtime.manifest, device=device, threads=threads) for _ in range(sessions - 1)]
    decoders = [OnnxDecoder(each, shortlist) for each in (runtime, *others)]
    for decoder in decoders:
        _warm_up(decoder, vocabulary)
        check_self_tests(decoder, runtime.manifest)
    capacity = capacity_for(max(_FEWEST_ROWS, max_rows // sessions), waiting_tokens, bulk_waiting_tokens)
    engine = IterationEngine(decoders, capacity, on_report)
    open_graph = functools.partial(ScorerGraph, directory, runtime.manifest, device=device, threads=threads)
    scorer = Scorer(open_graph, on_scorer_report)
    return LoadedEngine(engine, runtime.manifest, vocabulary, runtime.provider, scorer, shortlist)


def _warm_up(decoder: OnnxDecoder, vocabulary: Vocabulary) -> None:
    """First runs allocate and choose kernels: better now than under the first request."""
    for beam_size in (1, 4):
        group: BeamGroup[None] = BeamGroup(decoder.open_slots(beam_size), beam_size)
        source = (vocabulary.tag_id(vocabulary.languages[0]), *[EOS_ID] * 7)
        group.join([None], [SearchOptions(beam_size=beam_size, max_output_tokens=4)], decoder.encode([source]))
        while group.rows:
            group.step()
