"""The engine's thread: who shares a batch, who fails, who is forgotten."""

from __future__ import annotations

import collections
import threading
import time
from collections.abc import Sequence

import pytest

from model.vocabulary import EOS_ID
from service.engine.jobs import EngineClosedError, Job, SearchOptions
from service.engine.records import BatchRecord
from service.engine.runtime import State
from service.engine.worker import BatchingEngine, Waiting, take_batch
from tests.engine.fakes import TableDecoder

WAIT = 20.0


def job(sentence: int = 0, beam_size: int = 1, limit: int = 6) -> Job:
    return Job((sentence, EOS_ID), SearchOptions(beam_size=beam_size, max_output_tokens=limit))


def taken(jobs: Sequence[Job], max_rows: int) -> tuple[list[Job], list[Job]]:
    waiting = collections.deque(Waiting(one, 0.0) for one in jobs)
    batch = [entry.job for entry in take_batch(waiting, max_rows)]
    return batch, [entry.job for entry in waiting]


def test_the_oldest_job_chooses_the_beam_size_and_others_keep_their_order() -> None:
    jobs = [job(beam_size=4), job(beam_size=1), job(beam_size=4), job(beam_size=1)]
    assert taken(jobs, 100) == ([jobs[0], jobs[2]], [jobs[1], jobs[3]])


def test_a_batch_takes_rows_up_to_the_limit() -> None:
    jobs = [job(beam_size=4) for _ in range(5)]
    assert taken(jobs, 11) == (jobs[:2], jobs[2:])


def test_a_job_wider_than_the_limit_runs_alone() -> None:
    jobs = [job(beam_size=8), job(beam_size=8)]
    assert taken(jobs, 4) == (jobs[:1], jobs[1:])


def test_cancelled_jobs_cost_nothing() -> None:
    jobs = [job(), job(), job()]
    jobs[0].future.cancel()
    jobs[2].future.cancel()
    assert taken(jobs, 100) == ([jobs[1]], [])


def test_nothing_waiting_is_an_empty_batch() -> None:
    assert taken([], 8) == ([], [])


class GatedDecoder(TableDecoder):
    """Waits before every step, and fails for sentence 13."""

    def __init__(self) -> None:
        super().__init__(seed=11)
        self.gate = threading.Event()
        self.encoding = threading.Event()

    def encode(self, sources: Sequence[Sequence[int]]) -> State:
        self.encoding.set()
        if not self.gate.wait(WAIT):
            raise TimeoutError("the test never opened the gate")
        if any(source[0] == 13 for source in sources):
            raise RuntimeError("unlucky")
        return super().encode(sources)


def test_jobs_submitted_while_a_batch_runs_share_the_next() -> None:
    records: list[BatchRecord] = []
    decoder = GatedDecoder()
    engine = BatchingEngine(decoder, max_rows=64, on_batch=records.append)
    first = job()
    engine.submit([first])
    assert decoder.encoding.wait(WAIT)
    later = [job(sentence) for sentence in range(10)]
    for one in later:  # ten requests, not one
        engine.submit([one])
    decoder.gate.set()
    engine.close()
    assert first.future.done()
    assert all(one.future.result(0) for one in later)
    assert [len(record.queue_wait_seconds) for record in records] == [1, 10]
    assert records[1].rows == 10
    assert sum(records[1].finished.values()) == 10
    assert records[1].source_tokens == records[1].padded_tokens == 20


def test_a_failing_batch_fails_its_own_jobs_and_the_engine_goes_on() -> None:
    decoder = GatedDecoder()
    decoder.gate.set()
    engine = BatchingEngine(decoder, max_rows=64, on_batch=lambda record: None)
    unlucky = job(13)
    engine.submit([unlucky])
    with pytest.raises(RuntimeError, match="unlucky"):
        unlucky.future.result(WAIT)
    lucky = job(1)
    engine.submit([lucky])
    assert lucky.future.result(WAIT)
    assert engine.is_alive()
    engine.close()


def test_a_job_cancelled_while_it_runs_is_dropped_and_its_companions_finish() -> None:
    records: list[BatchRecord] = []
    decoder = GatedDecoder()
    engine = BatchingEngine(decoder, max_rows=64, on_batch=records.append)
    jobs = [job(sentence) for sentence in range(4)]
    engine.submit(jobs)
    assert decoder.encoding.wait(WAIT)
    assert jobs[2].future.cancel()
    decoder.gate.set()
    engine.close()
    assert jobs[2].future.cancelled()
    assert all(jobs[index].future.result(0) for index in (0, 1, 3))
    assert records[0].finished["cancelled"] == 1


def test_closing_finishes_what_was_accepted_and_refuses_the_rest() -> None:
    engine = BatchingEngine(TableDecoder(), max_rows=2, on_batch=lambda record: None)
    jobs = [job(sentence % 16) for sentence in range(30)]
    engine.submit(jobs)
    engine.close()
    assert all(one.future.result(0) for one in jobs)
    with pytest.raises(EngineClosedError):
        engine.submit([job()])
    assert not engine.is_alive()


def test_submitting_returns_at_once() -> None:
    decoder = GatedDecoder()
    engine = BatchingEngine(decoder, max_rows=8, on_batch=lambda record: None)
    jobs = [job() for _ in range(1000)]
    started = time.monotonic()
    engine.submit(jobs)
    assert not any(one.future.done() for one in jobs)
    assert time.monotonic() - started < WAIT
    decoder.gate.set()
    engine.close()
    assert all(one.future.done() for one in jobs)
