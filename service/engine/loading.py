"""From a bundle directory to engines that answer, as the service sees them. Only the engines know the runtime."""

from __future__ import annotations

import asyncio
import dataclasses
import importlib.util
import logging
import math
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from model.bundle import Manifest
from model.tokenizers import Tokenizer
from service.engine.bundle import Bundle
from service.engine.jobs import PoolJob
from service.engine.link import ProcessLink, StartLink
from service.engine.pool import Pool
from service.engine.scheduler import Bounds
from service.engine.types import (
    Answer,
    DeviceError,
    EngineConfig,
    EngineKind,
    Lane,
    Observer,
    Observers,
    Ready,
    Report,
    Request,
    Setup,
    Steppable,
    result_of,
)

_log = logging.getLogger(__name__)

MOST_SESSIONS = 8
"""Engines hold the weights once each: on many cores they get several threads instead."""
INTERACTIVE_TOKENS = 512
SCORING_BOUNDS = Bounds(interactive_tokens=4096, waiting_tokens=100_000, bulk_waiting_tokens=400_000)
"""Source and target tokens: 400,000 are about half a minute of two cores with the shipped model."""
_FEWEST_ROWS = 8
_CUDA = "CUDAExecutionProvider"


@dataclasses.dataclass(frozen=True, slots=True)
class LoadedEngine:
    """Running engines and what their bundle says of itself."""

    manifest: Manifest
    vocabulary: Tokenizer
    pool: Pool
    """Translates."""
    scorer: Pool
    """Scores and aligns; its process is started when it is first asked."""
    ready: Ready

    def pids(self) -> list[int]:
        """All processes of the engines."""
        return [*self.pool.processes.pids(), *self.scorer.processes.pids()]

    def abort(self) -> None:
        """Fail what is under way and end the processes; returns at once."""
        self.pool.abort()
        self.scorer.abort()

    async def close(self) -> None:
        """Finish what was accepted and end the processes."""
        await asyncio.gather(self.pool.close(), self.scorer.close())


def check_runtime() -> None:
    """Find ONNX Runtime without loading it.

    Raises:
        DeviceError: it is not installed, for it belongs to no package's own dependencies: there are two builds of it.
    """
    if importlib.util.find_spec("onnxruntime") is None:
        raise DeviceError(
            "ONNX Runtime is not installed: `pip install '.[cpu]'` in the source tree, or `pip install onnxruntime`; "
            "for NVIDIA GPUs `.[gpu]`, or `onnxruntime-gpu[cuda,cudnn]`"
        )


async def load_engine(
    config: EngineConfig,
    observers: Observers,
    on_failure: Callable[[], None] = lambda: None,
    start_link: StartLink = ProcessLink,
) -> LoadedEngine:
    """Check the bundle and start its engines. Takes seconds.

    Args:
        config: what to run.
        observers: are told how things go.
        on_failure: is called when engines cannot be started again.
        start_link: starts a process.

    Raises:
        BundleError: the bundle is missing or damaged, or its self-test fails.
        VocabularyError: its vocabulary is.
        DeviceError: the device cannot run it.
        EngineLostError: the processes ended before they were ready.
    """
    bundle = await asyncio.to_thread(Bundle.read, config.directory)
    config = dataclasses.replace(config, directory=config.directory.absolute())
    pool, ready = await _started_pool(bundle, config, observers.pool, on_failure, start_link)
    if ready.fallback:
        _log.warning("running on the CPU, which is slow for a bundle made for CUDA: %s", ready.fallback)
    own = share_of(config, engine_count(config))
    scorer = Pool(_setup(EngineKind.SCORE, own), 1, SCORING_BOUNDS, observers.scorer, start_link)
    return LoadedEngine(bundle.manifest, bundle.vocabulary, pool, scorer, ready)


async def _started_pool(
    bundle: Bundle, config: EngineConfig, observer: Observer, on_failure: Callable[[], None], start_link: StartLink
) -> tuple[Pool, Ready]:
    may_use_cuda = config.device != "cpu" and bundle.manifest.precision == "fp16"
    # Several would only take turns on a GPU.
    pool, ready = await _start(config, (config.sessions or 1) if may_use_cuda else engine_count(config),
                               observer, on_failure, start_link)  # fmt: skip
    if not may_use_cuda or ready.provider == _CUDA:
        return pool, ready
    await pool.close()
    config = dataclasses.replace(config, device="cpu")
    pool, started = await _start(config, engine_count(config), observer, on_failure, start_link)
    return pool, started._replace(fallback=ready.fallback)


async def _start(
    config: EngineConfig, count: int, observer: Observer, on_failure: Callable[[], None], start_link: StartLink
) -> tuple[Pool, Ready]:
    bounds = Bounds(INTERACTIVE_TOKENS, config.waiting_tokens, config.bulk_waiting_tokens)
    setup = _setup(EngineKind.DECODE, share_of(config, count))
    pool = Pool(setup, count, bounds, observer, start_link, on_failure)
    try:
        return pool, await pool.start()
    except BaseException:
        pool.abort()
        await pool.close()
        raise


def _setup(kind: EngineKind, config: EngineConfig) -> Setup:
    return Setup(kind, config, logging.getLogger().level)


def engine_count(config: EngineConfig) -> int:
    """Engines on the CPU."""
    return config.sessions or min(available_cores(), MOST_SESSIONS)


def share_of(config: EngineConfig, count: int) -> EngineConfig:
    """The part of one of `count` engines."""
    threads = config.threads or max(1, available_cores() // count)
    return dataclasses.replace(config, threads=threads, max_rows=max(_FEWEST_ROWS, config.max_rows // count))


CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def available_cores(quota: Path = CPU_QUOTA) -> int:
    """Cores that this process may use: those it may run on, or what the quota of its container is worth, rounded up."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        most, period = quota.read_text(encoding="ascii").split()
        return min(cores, max(1, -(-int(most) // int(period))))
    except (OSError, ValueError):  # no such file, or "max" for no quota
        return cores


def run_here(engine: Steppable, jobs: Sequence[PoolJob]) -> list[Any]:
    """The results of jobs on an engine in this process, in their order; raises the first failure."""
    engine.add(Request(1, Lane.INTERACTIVE, time.monotonic(), math.inf, jobs))
    answers: list[Answer] = []
    while engine.busy:
        answers += engine.step()
    return [result_of(answer) for answer in sorted(answers, key=lambda answer: answer.place)]


class _Silent:
    """An observer that counts nothing."""

    def observe_report(self, report: Report) -> None:
        """Ignore it."""

    def observe_answer(self, answer: Answer) -> None:
        """Ignore it."""

    def count_lost_process(self, *, hung: bool) -> None:
        """Ignore it."""


SILENT = Observers(_Silent(), _Silent())


class BlockingEngine:
    """Loaded engines for callers without an event loop: commands, benchmarks. Use it in a `with`."""

    def __init__(self, config: EngineConfig, observers: Observers = SILENT) -> None:
        """Load them; raises as `load_engine` does."""
        self._runner = asyncio.Runner()
        try:
            self.loaded = self._runner.run(load_engine(config, observers))
        except BaseException:
            self._runner.close()
            raise
        self.manifest, self.vocabulary = self.loaded.manifest, self.loaded.vocabulary

    def __enter__(self) -> BlockingEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the processes."""
        self._runner.run(self.loaded.close())
        self._runner.close()

    def run(self, jobs: Sequence[PoolJob]) -> list[Any]:
        """The results of jobs to translate (hypotheses, best first), in their order; raises the first failure."""
        return [answer.result for answer in self._runner.run(self.loaded.pool.run(jobs))]

    def score(self, jobs: Sequence[PoolJob]) -> list[Any]:
        """The results of jobs to score or align, in their order; raises the first failure."""
        return [answer.result for answer in self._runner.run(self.loaded.scorer.run(jobs))]
