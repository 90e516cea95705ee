"""From a bundle directory to an engine that works."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from model.shortlist import NOTHING, Shortlist
from service.arrays import Array, padded
from service.engine.bundle import Bundle
from service.engine.core import Engine
from service.engine.decoder.prepacked import share_shortlist
from service.engine.decoder.providers import CPU, CUDA, device_memory
from service.engine.decoder.runtime import InternalsGraph, Runtime, ScorerGraph, load_runtime
from service.engine.decoder.self_test import check_self_tests
from service.engine.internals import (
    Internals,
    InternalsJob,
    RecordedSearch,
    SearchJob,
    SearchRecord,
    look_inside,
)
from service.engine.scheduler import Capacity
from service.engine.scoring import ScoringEngine
from service.engine.search import BeamGroup, RunningState
from service.engine.types import EngineConfig, Ready, SearchOptions

_ENCODE_TOKENS, _CUDA_ENCODE_TOKENS = 128, 8192
"""Padded source tokens encoded before a step: on the CPU the rows that run wait for them, a GPU hardly notices."""


class OnnxDecoder:
    """A runtime as the engine sees it."""

    def __init__(self, runtime: Runtime, shortlist: Shortlist | None, max_rows: int = 512) -> None:
        """`max_rows`: rows that run at once, for which CUDA graphs reserve memory."""
        self._runtime = runtime
        self._shortlist = shortlist
        self._max_rows = max_rows
        self.encoder_tokens = runtime.encoder_tokens
        self.runs = runtime.runs

    def encode(self, sources: Sequence[Sequence[int]]) -> Mapping[str, Array]:
        """Memory of the sentences of one run."""
        memory = self._runtime.encode(sources)
        if self._shortlist is not None:
            rows = [self._shortlist.of(source) for source in sources]
            memory["shortlist"] = padded(rows, max(map(len, rows)), NOTHING)
        return memory

    def open_slots(self, beam_size: int) -> RunningState:
        """Buffers for the running sentences of one beam size."""
        return self._runtime.open_slots(beam_size, self._max_rows)


def open_engine(config: EngineConfig) -> tuple[Engine, Ready]:
    """Check a bundle, open it, warm its decoder up and try it. `config.max_rows` and `threads` are this engine's own.

    Raises:
        BundleError: the bundle is missing or damaged, or its self-test fails.
        VocabularyError: its vocabulary is.
        DeviceError: the device cannot run it.
    """
    bundle = Bundle.read(config.directory)
    runtime = load_runtime(
        config.directory,
        device=config.device,
        threads=config.threads,
        cuda_graphs=config.cuda_graphs,
        cache=config.prepacked,
    )
    shortlist = bundle.shortlist()
    if shortlist is not None:
        share_shortlist(shortlist, bundle.manifest, config.prepacked)
    decoder = OnnxDecoder(runtime, shortlist, config.max_rows)
    _warm_up(decoder, bundle)
    check_self_tests(decoder, bundle.manifest)
    on_cuda = runtime.provider == CUDA
    capacity = capacity_for(config.max_rows, _CUDA_ENCODE_TOKENS if on_cuda else _ENCODE_TOKENS)
    memory = device_memory if on_cuda else lambda: None
    engine = Engine(decoder, capacity, memory, bundle.manifest.special_ids)
    return engine, Ready(runtime.provider, runtime.fallback)


def open_scoring_engine(config: EngineConfig) -> tuple[ScoringEngine, Ready]:
    """An engine that scores and aligns with a bundle; its graph is opened when it is first needed.

    Raises:
        BundleError: the bundle is missing or damaged.
        VocabularyError: its vocabulary is.
    """
    bundle = Bundle.read(config.directory)
    open_graph = functools.partial(
        ScorerGraph,
        config.directory,
        bundle.manifest,
        device=config.device,
        threads=config.threads,
        cache=config.prepacked,
    )
    special = bundle.manifest.special_ids
    others = {
        InternalsJob: _Later(functools.partial(_open_internals, config, bundle)),
        SearchJob: _Later(functools.partial(_open_recorder, config, bundle)),
    }
    return ScoringEngine(open_graph, bundle.shortlist(), bundle.lexical_tables(), special, others), Ready(CPU)


class _Later:
    """A function that is made when it is first called."""

    def __init__(self, make: Callable[[], Callable[[Any], Any]]) -> None:
        self._make = make
        self._made: Callable[[Any], Any] | None = None

    def __call__(self, job: Any) -> Any:
        self._made = self._made or self._make()
        return self._made(job)


def _open_internals(config: EngineConfig, bundle: Bundle) -> Callable[[InternalsJob], Internals]:
    graph = InternalsGraph(config.directory, bundle.manifest, device=config.device, threads=config.threads)
    return functools.partial(look_inside, graph, bundle.manifest.special_ids)


def _open_recorder(config: EngineConfig, bundle: Bundle) -> Callable[[SearchJob], SearchRecord]:
    """A decoder as the engines have it, for searches that are watched: those of others go on undisturbed."""
    runtime = load_runtime(config.directory, device=config.device, threads=config.threads)
    decoder = OnnxDecoder(runtime, bundle.shortlist(), config.max_rows)

    def search(job: SearchJob) -> SearchRecord:
        state = decoder.open_slots(job.options.beam_size)
        recorded = RecordedSearch(state, job.options, bundle.manifest.special_ids)
        return recorded.run(decoder.encode([job.source_ids]))

    return search


def capacity_for(max_rows: int, encode_tokens: int) -> Capacity:
    """What an engine runs at once: a quarter of the rows is for interactive requests alone, an eighth for bulk."""
    return Capacity(
        max_rows=max_rows, interactive_rows=max_rows // 4, bulk_rows=max_rows // 8, encode_tokens=encode_tokens
    )


def _warm_up(decoder: OnnxDecoder, bundle: Bundle) -> None:
    """First runs allocate and choose kernels: better now than under the first request."""
    before, behind = bundle.vocabulary.source_frame(*next(bundle.manifest.pairs()))
    source = (*before, *behind * 7)
    for beam_size in (1, 4):
        group: BeamGroup[None] = BeamGroup(decoder.open_slots(beam_size), beam_size, bundle.manifest.special_ids)
        group.join([None], [SearchOptions(beam_size=beam_size, max_output_tokens=4)], decoder.encode([source]))
        while group.rows:
            group.step()
