"""Engines in processes of their own: the same answers, and an end for every request whatever happens to a process."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from benchmarks.load import everyday_sentences
from model.bundle import VOCABULARY_FILE
from model.errors import BundleError
from model.vocabulary import Vocabulary
from service.engine.decoder.opening import open_engine
from service.engine.link import ProcessLink
from service.engine.loading import SILENT, BlockingEngine, LoadedEngine, load_engine, run_here
from service.engine.scores import AlignmentJob, ScoringJob
from service.engine.types import (
    Answer,
    DeadlineError,
    EngineClosedError,
    EngineConfig,
    EngineKind,
    EngineLostError,
    Job,
    Request,
    SearchOptions,
    Setup,
    result_of,
)
from service.metrics import Metrics
from tests.bundles import ROOT, SHIPPED_BUNDLE
from tests.engine.test_pool import Watching

CONFIG = EngineConfig(directory=SHIPPED_BUNDLE, device="cpu", threads=1, max_rows=64, sessions=2, hang_seconds=3600.0)
"""Nothing is taken to hang because the machine is slow."""
VOCABULARY = Vocabulary.load(SHIPPED_BUNDLE / VOCABULARY_FILE)
Scenario = Callable[[LoadedEngine], Coroutine[Any, Any, None]]


def play(scenario: Scenario, config: EngineConfig = CONFIG) -> None:
    """Run a scenario with loaded engines; afterwards no process is left."""

    async def run() -> None:
        loaded = await load_engine(config, SILENT)
        try:
            await scenario(loaded)
        finally:
            await loaded.close()

    asyncio.run(run())
    assert not children()


def children() -> set[int]:
    listed = subprocess.run(["ps", "-o", "pid=,args=", "--ppid", str(os.getpid())], capture_output=True, text=True)
    return {int(line.split()[0]) for line in listed.stdout.splitlines() if "service.engine.loop" in line}


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for something that must come."""
    while not is_so():
        await asyncio.sleep(0.01)


def jobs_of(count: int, longest: int = 60) -> list[Job]:
    options = [
        SearchOptions(max_output_tokens=longest),
        SearchOptions(beam_size=4, num_hypotheses=2, max_output_tokens=longest),
        SearchOptions(beam_size=2, repetition_penalty=1.3, min_output_tokens=4, max_output_tokens=longest),
    ]
    sources = [tuple(VOCABULARY.encode_source(line, "en")) for line in everyday_sentences()[:count]]
    return [Job(source, options[number % 3]) for number, source in enumerate(sources)]


def long_jobs(count: int) -> list[Job]:
    """Sentences that go on to their limit."""
    search = SearchOptions(min_output_tokens=200, max_output_tokens=200)
    return [Job(job.source_ids, search) for job in jobs_of(count)]


def test_the_answers_are_those_of_an_engine_in_this_process_to_the_bit() -> None:
    jobs = jobs_of(60)
    expected = run_here(open_engine(CONFIG)[0], jobs)

    async def scenario(loaded: LoadedEngine) -> None:
        assert len(children()) == len(loaded.pids()) == 2
        calls = [loaded.pool.run(jobs[:20]), *(loaded.pool.run([job]) for job in jobs[20:])]
        answers = [answer for some in await asyncio.gather(*calls) for answer in some]
        assert [answer.result for answer in answers] == expected
        for answer in answers:
            times = answer.times
            assert 0 < times.submitted <= times.started <= times.encoded <= times.finished
        assert loaded.pool.waiting_tokens() == 0

    play(scenario)


def test_what_is_withdrawn_or_too_late_leaves_and_the_rest_goes_on() -> None:
    async def scenario(loaded: LoadedEngine) -> None:
        for child in children():  # nothing is decoded before all has been said and the deadline has passed
            os.kill(child, signal.SIGSTOP)
        withdrawn = asyncio.create_task(loaded.pool.run(long_jobs(2)))
        kept = asyncio.create_task(loaded.pool.run(long_jobs(2)))
        await asyncio.sleep(0)
        with pytest.raises(DeadlineError):  # though no engine moves
            await loaded.pool.run(long_jobs(2), deadline=time.monotonic() + 0.2)
        withdrawn.cancel()
        await asyncio.wait([withdrawn])
        for child in children():
            os.kill(child, signal.SIGCONT)
        assert [len(answer.result[0].target_ids) for answer in await kept] == [200, 200]
        await until(lambda: loaded.pool.running_rows() == 0)

    play(scenario)


def test_what_is_certain_of_a_streamed_sentence_is_told_before_it_is_done() -> None:
    watcher = Watching()

    async def scenario(loaded: LoadedEngine) -> None:
        jobs = [dataclasses.replace(job, streams=number != 1) for number, job in enumerate(jobs_of(3))]
        answers = await loaded.pool.run(jobs, watcher=watcher)
        certain = [(place, ids) for place, ids in watcher.said if ids != "answered"]
        assert {place for place, _ in certain} <= {0, 2}
        assert certain
        for place, ids in certain:
            assert isinstance(ids, tuple)
            assert result_of(answers[place])[0].target_ids[: len(ids)] == ids

    play(scenario)


def test_what_is_sent_to_a_process_arrives_whole() -> None:
    for job in jobs_of(3):
        for streams in (True, False):
            sent = dataclasses.replace(job, streams=streams)
            assert pickle.loads(pickle.dumps(sent, pickle.HIGHEST_PROTOCOL)) == sent


def test_a_process_that_is_killed_costs_no_answer_and_is_replaced() -> None:
    async def scenario(loaded: LoadedEngine) -> None:
        before = children()
        asking = asyncio.create_task(loaded.pool.run(long_jobs(8)))
        await asyncio.sleep(0)
        os.kill(min(before), signal.SIGKILL)
        assert [len(answer.result[0].target_ids) for answer in await asking] == [200] * 8
        await until(lambda: len(children() - before) == 1 and len(loaded.pool.processes.ready()) == 2)

    play(scenario)


def test_a_process_that_is_stopped_is_killed_and_its_sentences_are_translated_elsewhere() -> None:
    async def scenario(loaded: LoadedEngine) -> None:
        stopped = min(children())
        os.kill(stopped, signal.SIGSTOP)
        asking = asyncio.create_task(loaded.pool.run(jobs_of(8)))
        await until(lambda: stopped not in children())
        assert len(await asking) == 8

    play(scenario, dataclasses.replace(CONFIG, hang_seconds=2.0))


def test_the_event_loop_goes_on_while_a_process_reads_nothing() -> None:
    """Far more is sent than the system keeps for a socket."""

    async def scenario(loaded: LoadedEngine) -> None:
        (child,) = children()
        os.kill(child, signal.SIGSTOP)
        many = [Job(tuple(range(300, 500)), SearchOptions(max_output_tokens=1))] * 2000
        asking = asyncio.create_task(loaded.pool.run(many))
        await asyncio.sleep(0)
        await until(lambda: not any(loaded.pool._unsent.values()))  # all has been given away
        assert not asking.done()
        loaded.pool.abort()
        with pytest.raises(EngineClosedError):
            await asking

    play(scenario, dataclasses.replace(CONFIG, sessions=1))


def test_a_document_is_shared_by_the_processes() -> None:
    jobs = [Job(job.source_ids, SearchOptions(max_output_tokens=2)) for job in jobs_of(60)] * 12

    async def scenario(loaded: LoadedEngine) -> None:
        answers = await loaded.pool.run(jobs)
        assert len(answers) == len(jobs)
        results: dict[Job, Answer] = {}
        for job, answer in zip(jobs, answers, strict=True):
            assert results.setdefault(job, answer).result == answer.result

    play(scenario)


def test_signals_meant_for_the_group_do_not_stop_it() -> None:
    async def scenario(loaded: LoadedEngine) -> None:
        asking = asyncio.create_task(loaded.pool.run(long_jobs(4)))
        await asyncio.sleep(0)
        for child in children():
            os.kill(child, signal.SIGINT)
            os.kill(child, signal.SIGTERM)
        assert [len(answer.result[0].target_ids) for answer in await asking] == [200] * 4

    play(scenario)


def test_abort_fails_what_runs_though_a_process_hangs() -> None:
    async def scenario(loaded: LoadedEngine) -> None:
        os.kill(min(children()), signal.SIGSTOP)
        asking = asyncio.create_task(loaded.pool.run(long_jobs(4)))
        await asyncio.sleep(0)
        loaded.abort()
        with pytest.raises(EngineClosedError):
            await asking

    play(scenario)


def test_the_scorer_has_a_process_of_its_own_once_it_is_wanted() -> None:
    async def scenario(loaded: LoadedEngine) -> None:
        assert loaded.scorer.processes.pids() == []
        source = tuple(VOCABULARY.encode_source("Je suis étudiant.", "en"))
        target = tuple(VOCABULARY.encode("I'm a student."))
        scored, aligned = await loaded.scorer.run(
            [ScoringJob(source, target, attention=("cross",)), AlignmentJob(source[1:-1], target, "fr-en")]
        )
        assert scored.result.token_log_probs.shape == (len(target) + 1,)
        assert scored.result.attention["cross"].shape[2:] == (len(target) + 1, len(source))
        assert aligned.result.shape == (len(target), len(source) - 2)
        assert set(loaded.scorer.processes.pids()) == children() - set(loaded.pool.processes.pids())

    play(scenario)


def test_no_process_outlives_the_service() -> None:
    script = """
import asyncio, os, signal
from service.engine.loading import SILENT, load_engine
from tests.engine.test_process import CONFIG, children

async def main():
    await load_engine(CONFIG, SILENT)
    print(*children(), flush=True)
    os.kill(min(children()), signal.SIGSTOP)
    os._exit(0)

asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    pids = [int(pid) for pid in done.stdout.split()]
    assert len(pids) == 2, done.stderr
    asyncio.run(until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids)))


def test_what_the_metrics_say_of_processes_includes_the_engines() -> None:
    def resident(exposition: bytes) -> float:
        line = next(line for line in exposition.splitlines() if line.startswith(b"process_resident_memory_bytes "))
        return float(line.split()[1])

    metrics = Metrics()
    with BlockingEngine(CONFIG) as engine:
        alone = resident(metrics.render())
        metrics.watch_processes(engine.loaded.pids)
        assert resident(metrics.render()) > alone + 2 * 50_000_000
    assert resident(metrics.render()) < alone + 50_000_000


def test_a_damaged_bundle_is_said_as_it_is(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    for file in SHIPPED_BUNDLE.iterdir():
        data = file.read_bytes()
        (bundle / file.name).write_bytes(data[:-1] + bytes([data[-1] ^ 1]) if file.name == "weights.bin" else data)
    with pytest.raises(BundleError, match=r"weights\.bin"):
        BlockingEngine(dataclasses.replace(CONFIG, directory=bundle))
    assert not children()


def test_what_keeps_the_service_from_reading_a_bundle_leaves_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(directory: Path) -> None:
        raise BundleError("read by the engines, and not here")

    monkeypatch.setattr("service.engine.loading.Bundle.read", refuse)
    with pytest.raises(BundleError, match="not here"):
        BlockingEngine(CONFIG)
    assert not children()


def test_an_engine_that_cannot_be_started_leaves_no_other_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    start, started, refused = subprocess.Popen, [], []

    def all_but_the_second(command: list[str], **named: Any) -> Any:
        if "service.engine.loop" not in command:
            return start(command, **named)
        if started and not refused:
            refused.append(command)
            raise OSError("no more processes")
        started.append(start(command, **named))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", all_but_the_second)

    async def scenario(loaded: LoadedEngine) -> None:
        assert refused
        assert await loaded.pool.run(jobs_of(2))

    play(scenario)
    assert started
    assert {process.returncode for process in started} == {0}


def test_the_reason_of_a_failed_start_is_said_whatever_it_is(tmp_path: Path) -> None:
    """A file that cannot be read, as with a broken disk."""
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    for file in SHIPPED_BUNDLE.iterdir():
        if file.name != "weights.bin":
            (bundle / file.name).write_bytes(file.read_bytes())
    (bundle / "weights.bin").mkdir()
    with pytest.raises(Exception, match=r"weights\.bin"):
        BlockingEngine(dataclasses.replace(CONFIG, directory=bundle))
    assert not children()


def test_what_an_engine_logs_comes_through_the_service(caplog: pytest.LogCaptureFixture) -> None:
    """A sentence too long for its model fails alone; the engine's warning and the traceback reach this process."""
    long = Job(tuple(range(300, 1500)), SearchOptions(max_output_tokens=2))
    good = jobs_of(3)

    async def scenario(loaded: LoadedEngine) -> None:
        answers = await loaded.pool.run([long, *good], fail_fast=False)
        assert answers[0].failure is not None
        assert "Traceback" in answers[0].failure.traceback
        assert all(answer.failure is None for answer in answers[1:])

    with caplog.at_level(logging.WARNING):
        play(scenario)


def test_a_process_that_cannot_be_started_is_lost_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **named: object) -> None:
        raise OSError("no more processes")

    monkeypatch.setattr(subprocess, "Popen", refuse)

    async def scenario() -> None:
        with pytest.raises(OSError, match="no more processes"):
            ProcessLink(Setup(EngineKind.DECODE, CONFIG, 0), lambda said: None, lambda how: None)

    asyncio.run(scenario())


def test_an_engine_that_fails_for_good_is_lost_and_says_why(caplog: pytest.LogCaptureFixture) -> None:
    """A job that no engine survives brings two down, and then its caller is told."""
    impossible = SearchOptions()
    object.__setattr__(impossible, "beam_size", 0)

    async def scenario(loaded: LoadedEngine) -> None:
        with pytest.raises(EngineLostError):
            await loaded.pool.run([Job((300, 3), impossible)])
        await until(loaded.pool.is_ready)
        assert await loaded.pool.run(jobs_of(2))

    play(scenario)
    assert caplog.text.count("the engine has stopped") == 2


def test_an_unknown_message_number_is_ignored_by_the_process() -> None:
    async def scenario(loaded: LoadedEngine) -> None:
        link = loaded.pool.processes.engines[0].link
        assert link is not None
        link.send(Request(10**6, next(iter(loaded.pool._unsent)), 0.0, 0.0, []))
        assert await loaded.pool.run(jobs_of(2))

    play(scenario)
