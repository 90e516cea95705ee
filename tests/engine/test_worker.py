"""The engine's thread: who shares a step, who fails, who is forgotten."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence

import pytest

from model.vocabulary import EOS_ID
from service.engine.jobs import EngineClosedError, Job, SearchOptions
from service.engine.records import EngineReport
from service.engine.scheduler import Capacity
from service.engine.worker import REPORT_SECONDS, IterationEngine
from tests.engine.fakes import Array, TableDecoder

WAIT = 20.0


def job(sentence: int = 0, beam_size: int = 1, limit: int = 6) -> Job:
    return Job((sentence, EOS_ID), SearchOptions(beam_size=beam_size, max_output_tokens=limit))


def engine_of(
    decoder: TableDecoder, reports: list[EngineReport] | None = None, max_rows: int = 64, interactive_tokens: int = 40
) -> IterationEngine:
    capacity = Capacity(
        max_rows=max_rows, reserved_rows=max_rows // 4, encode_tokens=400, interactive_tokens=interactive_tokens
    )
    return IterationEngine(decoder, capacity, (lambda report: None) if reports is None else reports.append)


class GatedDecoder(TableDecoder):
    """Waits before every step until the gate is open; cannot encode sentence 13; fails its steps while `broken`."""

    def __init__(self) -> None:
        super().__init__(seed=11)
        self.gate = threading.Event()
        self.stepping = threading.Event()
        self.broken = False

    def encode(self, sources: Sequence[Sequence[int]]) -> Mapping[str, Array]:
        if any(source[0] == 13 for source in sources):
            raise RuntimeError("unlucky")
        return super().encode(sources)

    def before_step(self) -> None:
        super().before_step()
        self.stepping.set()
        if not self.gate.wait(WAIT):
            raise TimeoutError("the test never opened the gate")
        if self.broken:
            raise RuntimeError("a step failed")


def test_jobs_join_a_running_batch_at_the_next_step() -> None:
    reports: list[EngineReport] = []
    decoder = GatedDecoder()
    engine = engine_of(decoder, reports)
    first = job(limit=8)
    engine.submit([first])
    assert decoder.stepping.wait(WAIT)
    later = [job(sentence) for sentence in range(10)]
    for one in later:  # ten requests, not one
        engine.submit([one])
    decoder.gate.set()
    engine.close()
    assert first.future.done()
    assert all(one.future.result(0) for one in later)
    rows = [step.rows for report in reports for step in report.steps]
    assert rows[0] == 1
    assert rows[1] in (10, 11)  # 11, or 10 if the first ended with its first token
    assert len(rows) <= 8
    assert sum(count for report in reports for count in report.finished.values()) == 11
    assert sum(len(report.queue_wait_seconds) for report in reports) == 11
    assert reports[-1].running_rows == 0


def test_jobs_of_all_beam_sizes_and_limits_give_what_they_give_alone() -> None:
    options = [
        SearchOptions(beam_size=beam, num_hypotheses=beam, length_penalty=penalty, max_output_tokens=limit)
        for beam in (1, 2, 4, 8) for penalty in (0.0, 1.0) for limit in (2, 7)
    ]  # fmt: skip
    jobs = [Job((sentence, EOS_ID), option) for sentence in range(16) for option in options]
    alone = []
    for one in jobs[:: len(options) + 1]:
        engine = engine_of(TableDecoder(seed=4))
        copy = Job(one.source_ids, one.options)
        engine.submit([copy])
        alone.append((one, copy.future.result(WAIT)))
        engine.close()
    engine = engine_of(TableDecoder(seed=4), max_rows=40)
    for one in jobs:
        engine.submit([one])
    engine.close()
    assert [one.future.result(0) for one, _ in alone] == [expected for _, expected in alone]
    assert all(one.future.done() for one in jobs)


def test_a_sentence_that_cannot_be_encoded_fails_alone() -> None:
    decoder = GatedDecoder()
    decoder.gate.set()
    engine = engine_of(decoder)
    unlucky, lucky = job(13), job(1)
    engine.submit([unlucky])
    engine.submit([lucky])
    with pytest.raises(RuntimeError, match="unlucky"):
        unlucky.future.result(WAIT)
    assert lucky.future.result(WAIT)
    assert engine.is_alive()
    engine.close()


def test_a_failing_step_fails_its_group_and_the_engine_goes_on() -> None:
    reports: list[EngineReport] = []
    decoder = GatedDecoder()
    engine = engine_of(decoder, reports)
    decoder.broken = True
    jobs = [job(sentence, beam_size=2) for sentence in range(3)]
    engine.submit(jobs)
    decoder.gate.set()
    for one in jobs:
        with pytest.raises(RuntimeError, match="a step failed"):
            one.future.result(WAIT)
    decoder.broken = False
    again = job(1, beam_size=2)
    engine.submit([again])
    assert again.future.result(WAIT)
    engine.close()
    assert sum(report.finished.get("error", 0) for report in reports) == 3


def test_a_job_cancelled_while_it_runs_leaves_at_the_next_step() -> None:
    reports: list[EngineReport] = []
    decoder = GatedDecoder()
    engine = engine_of(decoder, reports)
    jobs = [job(sentence, limit=8) for sentence in range(4)]
    engine.submit(jobs)
    assert decoder.stepping.wait(WAIT)
    assert jobs[2].future.cancel()
    decoder.gate.set()
    engine.close()
    assert jobs[2].future.cancelled()
    assert all(jobs[index].future.result(0) for index in (0, 1, 3))
    assert sum(report.finished.get("cancelled", 0) for report in reports) == 1
    steps = [step.rows for report in reports for step in report.steps]
    assert max(steps[1:], default=0) <= 3


def test_a_job_cancelled_while_it_waits_costs_nothing() -> None:
    decoder = GatedDecoder()
    engine = engine_of(decoder, max_rows=4)
    running, waiting = [job(s, limit=8) for s in range(4)], [job(s) for s in range(4)]
    engine.submit(running)
    assert decoder.stepping.wait(WAIT)
    engine.submit(waiting)
    for one in waiting:
        assert one.future.cancel()
    decoder.gate.set()
    engine.close()
    assert decoder.steps <= 8
    assert all(one.future.result(0) for one in running)


def test_one_sentence_does_not_wait_for_a_document() -> None:
    decoder = GatedDecoder()
    engine = engine_of(decoder, max_rows=8)
    document = [job(sentence % 12, limit=8) for sentence in range(400)]
    engine.submit(document)
    assert decoder.stepping.wait(WAIT)
    sentence = job(3)
    done_before: list[int] = []
    sentence.future.add_done_callback(lambda _: done_before.append(sum(one.future.done() for one in document)))
    engine.submit([sentence])
    decoder.gate.set()
    engine.close()
    assert sentence.future.result(0)
    assert done_before[0] < 100
    assert all(one.future.result(0) for one in document)


def test_closing_finishes_what_was_accepted_and_refuses_the_rest() -> None:
    engine = engine_of(TableDecoder(), max_rows=2)
    jobs = [job(sentence % 16) for sentence in range(30)]
    engine.submit(jobs)
    engine.close()
    assert all(one.future.result(0) for one in jobs)
    with pytest.raises(EngineClosedError):
        engine.submit([job()])
    assert not engine.is_alive()


def test_submitting_returns_at_once() -> None:
    decoder = GatedDecoder()
    engine = engine_of(decoder, max_rows=8)
    jobs = [job() for _ in range(1000)]
    engine.submit(jobs)
    assert not any(one.future.done() for one in jobs)
    decoder.gate.set()
    engine.close()
    assert all(one.future.done() for one in jobs)


def test_an_engine_that_stops_leaves_nobody_waiting() -> None:
    decoder = GatedDecoder()

    def refuse(report: EngineReport) -> None:
        if decoder.steps:
            raise RuntimeError("the report could not be written")

    capacity = Capacity(max_rows=4, reserved_rows=1, encode_tokens=400, interactive_tokens=40)
    engine = IterationEngine(decoder, capacity, refuse)
    jobs = [job(sentence % 12, limit=8) for sentence in range(30)]
    engine.submit(jobs)
    assert decoder.stepping.wait(WAIT)
    time.sleep(2 * REPORT_SECONDS)  # the next tick reports, and fails
    decoder.gate.set()
    for one in jobs:
        assert one.future.exception(WAIT) is None or "the engine has stopped" in str(one.future.exception(0))
    assert any(one.future.exception(0) for one in jobs)
    engine.close()
    assert not engine.is_alive()
    with pytest.raises(EngineClosedError):
        engine.submit([job()])
