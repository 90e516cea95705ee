"""From a bundle directory to an engine that answers."""

from __future__ import annotations

import dataclasses
import functools
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from model.bundle import VOCABULARY_FILE, Manifest, read_manifest
from model.errors import BundleError
from model.lexical import LexicalTable, lexical_tables
from model.shortlist import SHORTLIST_FILE, Shortlist, load_shortlist
from model.vocabulary import EOS_ID, Vocabulary
from service.engine.buckets import bucket
from service.engine.device_slots import DeviceSlots, Sizes
from service.engine.fleet import Fleet, Link
from service.engine.host import LocalLink, Opened
from service.engine.jobs import Engine, SearchOptions
from service.engine.process import EnginePlan, EngineProcess, Ready
from service.engine.providers import CPU, CUDA, Device, device_memory, wanted_providers
from service.engine.records import EngineReport, ScorerReport
from service.engine.running import Decoder
from service.engine.runtime import Array, Runtime, ScorerGraph, load_runtime
from service.engine.scheduler import Bounds, Capacity
from service.engine.scoring import Scorer
from service.engine.search import BeamGroup, RunningState
from service.engine.self_test import check_self_tests
from service.engine.shortlist import pad_rows
from service.engine.slots import Slots, padded_length

_log = logging.getLogger(__name__)

MOST_SESSIONS = 8
"""Sessions hold the weights once each: on many cores they get several threads instead."""
_FEWEST_ROWS = 8
_INTERACTIVE_TOKENS = 512
_ENCODE_TOKENS, _CUDA_ENCODE_TOKENS = 128, 8192
"""Padded source tokens encoded before a step: on the CPU the rows that run wait for them, a GPU hardly notices."""


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
    fallback: str | None = None
    """Why it does not run on CUDA, if that was wanted."""
    device_memory: Callable[[], int] | None = None
    """Bytes in use on the device; None on the CPU."""
    pids: Callable[[], Sequence[int]] = tuple
    """Processes besides this one."""
    lexical: Mapping[str, LexicalTable] = dataclasses.field(default_factory=dict)
    """What the bundle knows of how pieces translate each other, by direction: for alignments, not for the engine."""

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

    def __init__(self, runtime: Runtime, shortlist: Shortlist | None, max_rows: int = 512) -> None:
        """`max_rows`: rows that run at once, for which CUDA graphs reserve memory."""
        self._runtime = runtime
        self._shortlist = shortlist
        self._max_rows = max_rows

    def encoder_tokens(self, source_tokens: int) -> int:
        """What a source takes of an encoder run."""
        return self._runtime.encoder_tokens(source_tokens)

    def runs(self, lengths: Sequence[int]) -> Sequence[Sequence[int]]:
        """Which sources, by index, are encoded in one run."""
        return self._runtime.runs(lengths)

    def encode(self, sources: Sequence[Sequence[int]]) -> Mapping[str, Array]:
        """Memory of the sentences of one run."""
        if self._runtime.on_device is not None:
            return self._runtime.on_device.encode(sources, padded_length(max(map(len, sources))))
        memory = self._runtime.encode(sources)
        if self._shortlist is not None:
            memory["shortlist"] = pad_rows([self._shortlist.of(source) for source in sources])
        return memory

    def open_slots(self, beam_size: int) -> RunningState:
        """Buffers for the running sentences of one beam size."""
        graphs = self._runtime.on_device
        if graphs is None:
            return Slots(self._runtime, beam_size)
        fixed = self._fixed_sizes(beam_size) if graphs.uses_cuda_graphs else None
        return DeviceSlots(graphs, beam_size, min_rows=self._runtime.min_rows, fixed=fixed)

    def _fixed_sizes(self, beam_size: int) -> Sizes:
        limits = self._runtime.manifest.limits
        sentences = bucket(max(self._max_rows // beam_size, -(-self._runtime.min_rows // beam_size)))
        return Sizes(sentences, bucket(padded_length(limits.source_tokens)), limits.target_tokens)


def available_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def open_decoder(plan: EnginePlan) -> Opened:
    """Open a bundle, warm its decoder up and try it; raises as `load_engine` does."""
    directory = plan.directory
    runtime = load_runtime(directory, device=plan.device, threads=plan.threads, cuda_graphs=plan.cuda_graphs)
    vocabulary = _read_vocabulary(directory, runtime.manifest)
    decoder = OnnxDecoder(runtime, _read_shortlist(directory, runtime.manifest, vocabulary), plan.max_rows)
    _warm_up(decoder, vocabulary)
    check_self_tests(decoder, runtime.manifest)
    on_cuda = runtime.provider == CUDA
    capacity = capacity_for(plan.max_rows, _CUDA_ENCODE_TOKENS if on_cuda else _ENCODE_TOKENS)
    return Opened(decoder, capacity, runtime.provider, runtime.fallback, device_memory if on_cuda else None)


def capacity_for(max_rows: int, encode_tokens: int) -> Capacity:
    """What an engine runs at once: interactive requests keep a quarter of the rows."""
    return Capacity(max_rows=max_rows, reserved_rows=max_rows // 4, encode_tokens=encode_tokens)


def engine_of(decoder: Decoder, capacity: Capacity) -> Fleet:
    """An engine in this process, with room for everything."""
    return Fleet([LocalLink(Opened(decoder, capacity, CPU))], Bounds(_INTERACTIVE_TOKENS), lambda report: None)


def load_engine(
    directory: Path,
    *,
    device: Device,
    threads: int,
    max_rows: int,
    on_report: Callable[[EngineReport], None],
    on_scorer_report: Callable[[ScorerReport], None] = lambda report: None,
    sessions: int = 1,
    processes: bool = False,
    waiting_tokens: int = sys.maxsize,
    bulk_waiting_tokens: int = sys.maxsize,
    cuda_graphs: bool = False,
) -> LoadedEngine:
    """Check the bundle, open it, start its engines and run them once. Blocks for seconds: call it from a thread.

    Args:
        directory: the bundle.
        device: where to run it.
        threads: of one model run; 0 shares the cores among the sessions.
        max_rows: that run at once, in all sessions together.
        on_report: is called from a thread for each engine.
        on_scorer_report: is called from the scorer's thread, and from those that withdraw what they asked of it.
        sessions: engines, each with a model and rows of its own; 0: one a core, at most `MOST_SESSIONS`; on CUDA one.
        processes: each engine in a process of its own, so that no other thread has Python's lock.
        waiting_tokens: source tokens that may wait in the interactive lane.
        bulk_waiting_tokens: the same of the bulk lane.
        cuda_graphs: on CUDA, record decoder steps and replay them. Reserves memory for the longest texts in every row.

    Raises:
        BundleError: the bundle is missing or damaged, or its self-test fails.
        VocabularyError: its vocabulary is.
        DeviceError: the device cannot run it.
        RuntimeError: a process ended before it was ready.
    """
    manifest = read_manifest(directory)
    cores = available_cores()
    cpu_sessions = sessions or min(cores, MOST_SESSIONS)
    plan = EnginePlan(directory.absolute(), device, threads or max(1, cores // cpu_sessions), max_rows, cuda_graphs)
    start = _start_processes if processes else _start_here
    if wanted_providers(device, manifest.precision).providers[0] == CUDA:  # several would only take turns on the device
        links, ready = start(plan, sessions or 1)
        if ready.provider != CUDA:
            for link in links:
                link.kill()
            links, _ = start(plan._replace(device="cpu"), cpu_sessions)
    else:
        links, ready = start(plan, cpu_sessions)
    if ready.fallback:
        _log.warning("running on the CPU, which is slow for a bundle made for CUDA: %s", ready.fallback)
    vocabulary = _read_vocabulary(directory, manifest)
    engine = Fleet(links, Bounds(_INTERACTIVE_TOKENS, waiting_tokens, bulk_waiting_tokens), on_report)
    open_graph = functools.partial(ScorerGraph, directory, manifest, device=device, threads=plan.threads)
    return LoadedEngine(
        engine,
        manifest,
        vocabulary,
        ready.provider,
        Scorer(open_graph, on_scorer_report),
        _read_shortlist(directory, manifest, vocabulary),
        ready.fallback,
        engine.device_memory if ready.provider == CUDA else None,
        engine.pids,
        lexical_tables(directory, manifest, vocabulary),
    )


def _start_here(plan: EnginePlan, count: int) -> tuple[Sequence[Link], Ready]:
    """So many engines in this process."""
    opened = [open_decoder(_share_of(plan, count)) for _ in range(count)]
    return [LocalLink(each) for each in opened], Ready(opened[0].provider, opened[0].fallback)


def _start_processes(plan: EnginePlan, count: int) -> tuple[Sequence[Link], Ready]:
    """So many engines, each in a process of its own; they load at the same time."""
    processes = [EngineProcess(_share_of(plan, count)) for _ in range(count)]
    try:
        ready = [process.wait() for process in processes]
    except BaseException:
        for process in processes:
            process.kill()
        raise
    return processes, ready[0]


def _share_of(plan: EnginePlan, count: int) -> EnginePlan:
    return plan._replace(max_rows=max(_FEWEST_ROWS, plan.max_rows // count))


def _read_vocabulary(directory: Path, manifest: Manifest) -> Vocabulary:
    vocabulary = Vocabulary.load(directory / VOCABULARY_FILE)
    if len(vocabulary) != manifest.vocabulary_size:
        raise BundleError(f"{directory}: {len(vocabulary)} pieces in the vocabulary, not as many as the manifest says")
    return vocabulary


def _read_shortlist(directory: Path, manifest: Manifest, vocabulary: Vocabulary) -> Shortlist | None:
    return load_shortlist(directory / SHORTLIST_FILE, vocabulary) if "columns" in manifest.graphs else None


def _warm_up(decoder: OnnxDecoder, vocabulary: Vocabulary) -> None:
    """First runs allocate and choose kernels: better now than under the first request."""
    for beam_size in (1, 4):
        group: BeamGroup[None] = BeamGroup(decoder.open_slots(beam_size), beam_size)
        source = (vocabulary.tag_id(vocabulary.languages[0]), *[EOS_ID] * 7)
        group.join([None], [SearchOptions(beam_size=beam_size, max_output_tokens=4)], decoder.encode([source]))
        while group.rows:
            group.step()
