"""Engines in processes of their own: the same answers, and an end for every job whatever happens to a process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from pathlib import Path

import pytest

from benchmarks.load import everyday_sentences
from model.errors import BundleError
from service.engine.fleet import JOBS_AT_ONCE, Fleet
from service.engine.jobs import DeadlineError, EngineClosedError, Job, SearchOptions, Ticket
from service.engine.loading import LoadedEngine, load_engine
from service.engine.records import EngineReport
from service.metrics import Metrics
from tests.bundles import ROOT, SHIPPED_BUNDLE

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="sockets are not handed down there")
SECONDS = 60


def open_engine(*, processes: bool = True, reports: list[EngineReport] | None = None) -> LoadedEngine:
    return load_engine(
        SHIPPED_BUNDLE,
        device="cpu",
        threads=1,
        max_rows=64,
        sessions=2,
        on_report=(reports if reports is not None else []).append,
        processes=processes,
    )


def jobs_of(loaded: LoadedEngine, count: int, longest: int = 60) -> list[Job]:
    options = [
        SearchOptions(max_output_tokens=longest),
        SearchOptions(beam_size=4, num_hypotheses=2, max_output_tokens=longest),
        SearchOptions(beam_size=2, repetition_penalty=1.3, min_output_tokens=4, max_output_tokens=longest),
    ]
    sources = [tuple(loaded.vocabulary.encode_source(line, "en")) for line in everyday_sentences()[:count]]
    return [Job(source, options[number % 3]) for number, source in enumerate(sources)]


def endless_jobs(loaded: LoadedEngine, count: int) -> list[Job]:
    """Sentences that go on to their limit."""
    return [
        Job(job.source_ids, SearchOptions(min_output_tokens=200, max_output_tokens=200))
        for job in jobs_of(loaded, count)
    ]


def wait_for(is_so: Callable[[], bool]) -> None:
    ends = time.monotonic() + SECONDS
    while not is_so():
        assert time.monotonic() < ends
        time.sleep(0.01)


def children() -> set[int]:
    listed = subprocess.run(["ps", "-o", "pid=,args=", "--ppid", str(os.getpid())], capture_output=True, text=True)
    return {int(line.split()[0]) for line in listed.stdout.splitlines() if "service.engine.child" in line}


@pytest.fixture
def loaded() -> Iterator[LoadedEngine]:
    engine = open_engine()
    yield engine
    engine.close()
    assert not children()


def test_the_answers_are_those_of_engines_in_this_process_to_the_bit() -> None:
    answers = []
    for processes in (False, True):
        reports: list[EngineReport] = []
        engine = open_engine(processes=processes, reports=reports)
        try:
            assert len(children()) == 2 * processes
            jobs = jobs_of(engine, 60)
            engine.engine.submit(jobs[:20])
            for job in jobs[20:]:
                engine.engine.submit([job])
            answers.append([job.future.result(SECONDS) for job in jobs])
        finally:
            engine.close()
        for job in jobs:
            assert 0 < job.times.submitted <= job.times.started <= job.times.encoded <= job.times.finished
        assert sum(report.finished.get("eos", 0) for report in reports) == 60
        assert sum(len(report.queue_wait_seconds) for report in reports) == 60
        assert sum(step.rows for report in reports for step in report.steps) > 60
    assert answers[0] == answers[1]


def test_what_is_withdrawn_or_too_late_leaves_and_the_rest_goes_on(loaded: LoadedEngine) -> None:
    gone, late, stays = Ticket(), Ticket(), Ticket()
    withdrawn, overdue, kept = (endless_jobs(loaded, 6)[at : at + 2] for at in (0, 2, 4))
    late.deadline = time.monotonic() + 0.05
    stopped = children()
    for child in stopped:  # nothing is decoded before all has been said and the deadline has passed
        os.kill(child, signal.SIGSTOP)
    try:
        loaded.engine.submit(withdrawn, gone)
        loaded.engine.submit(overdue, late)
        loaded.engine.submit(kept, stays)
        loaded.engine.withdraw(gone)
        wait_for(lambda: time.monotonic() > late.deadline)
    finally:
        for child in stopped:
            os.kill(child, signal.SIGCONT)
    for job in withdrawn:
        with pytest.raises(CancelledError):
            job.future.result(SECONDS)
    for job in overdue:
        with pytest.raises(DeadlineError):
            job.future.result(SECONDS)
    for job in kept:
        assert len(job.future.result(SECONDS)[0].target_ids) == 200


def test_a_process_that_dies_fails_its_sentences_and_the_fleet(loaded: LoadedEngine) -> None:
    jobs = endless_jobs(loaded, 8)
    loaded.engine.submit(jobs)
    os.kill(min(children()), signal.SIGKILL)
    wait_for(lambda: not loaded.engine.is_alive())
    errors = [job.future.exception(SECONDS) for job in jobs]
    lost = [error for error in errors if error is not None]
    assert 0 < len(lost) < len(jobs)
    assert all("SIGKILL" in str(error) for error in lost)
    with pytest.raises(EngineClosedError):
        loaded.engine.submit(jobs_of(loaded, 1))


def test_a_process_that_hangs_is_noticed(loaded: LoadedEngine) -> None:
    fleet = loaded.engine
    assert isinstance(fleet, Fleet)
    fleet._stall_seconds = 0.5
    assert fleet.is_alive()
    stopped = min(children())
    os.kill(stopped, signal.SIGSTOP)
    try:
        jobs = endless_jobs(loaded, 2)
        fleet.submit(jobs)
        wait_for(lambda: not fleet.is_alive())
    finally:
        os.kill(stopped, signal.SIGCONT)
    assert all(job.future.result(SECONDS) for job in jobs)


def test_a_document_is_shared_by_the_processes_and_said_in_several_messages() -> None:
    reports: list[EngineReport] = []
    loaded = open_engine(reports=reports)
    try:
        jobs = [Job(job.source_ids, SearchOptions(max_output_tokens=2)) for job in jobs_of(loaded, 60)]
        many = [Job(job.source_ids, job.options) for job in jobs for _ in range(3 * JOBS_AT_ONCE // len(jobs))]
        loaded.engine.submit(many)
        assert all(job.future.result(SECONDS) for job in many)
    finally:
        loaded.close()
    tokens = sum(record.source_tokens for report in reports for record in report.encodes)
    assert tokens == sum(len(job.source_ids) for job in many)
    assert loaded.engine.waiting_tokens() == 0
    assert sum(count for report in reports for count in report.finished.values()) == len(many)


def test_signals_meant_for_the_group_do_not_stop_it(loaded: LoadedEngine) -> None:
    jobs = endless_jobs(loaded, 4)
    loaded.engine.submit(jobs)
    for child in children():
        os.kill(child, signal.SIGINT)
        os.kill(child, signal.SIGTERM)
    assert all(len(job.future.result(SECONDS)[0].target_ids) == 200 for job in jobs)


def test_abort_fails_what_runs(loaded: LoadedEngine) -> None:
    jobs = endless_jobs(loaded, 4)
    loaded.engine.submit(jobs)
    loaded.abort()
    for job in jobs:
        assert isinstance(job.future.exception(SECONDS), EngineClosedError)


def test_no_process_outlives_the_service() -> None:
    script = """
import os
from tests.engine.test_process import open_engine, children
loaded = open_engine()
print(*children(), flush=True)
os._exit(0)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, timeout=SECONDS)
    pids = [int(pid) for pid in done.stdout.split()]
    assert len(pids) == 2, done.stderr
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))


def test_what_the_metrics_say_of_processes_includes_the_engines() -> None:
    def resident(exposition: bytes) -> float:
        line = next(line for line in exposition.splitlines() if line.startswith(b"process_resident_memory_bytes "))
        return float(line.split()[1])

    loaded, metrics = open_engine(), Metrics()
    alone = resident(metrics.render())
    metrics.watch_processes(loaded.pids)
    assert resident(metrics.render()) > alone + 2 * 50_000_000
    loaded.close()
    assert resident(metrics.render()) < alone + 50_000_000


def test_a_damaged_bundle_is_said_as_without_processes(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    for file in SHIPPED_BUNDLE.iterdir():
        data = file.read_bytes()
        (bundle / file.name).write_bytes(data[:-1] + bytes([data[-1] ^ 1]) if file.name == "weights.bin" else data)
    with pytest.raises(BundleError, match=r"weights\.bin"):
        load_engine(
            bundle, device="cpu", threads=1, max_rows=8, sessions=2, on_report=lambda report: None, processes=True
        )
    assert not children()
