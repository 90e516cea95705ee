"""Engines, one and several: who shares a step, who fails, who is forgotten."""

from __future__ import annotations

import collections
import contextlib
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.vocabulary import EOS_ID
from service.engine.fleet import STALL_SECONDS, Fleet
from service.engine.host import LocalLink, Opened
from service.engine.jobs import DeadlineError, EngineClosedError, Job, QueueFullError, SearchOptions, Ticket
from service.engine.records import EngineReport
from service.engine.running import REPORT_SECONDS
from service.engine.scheduler import MOST_STEPS_HELD, Bounds, Capacity
from service.engine.worker import PACE_SECONDS
from tests.engine.fakes import Array, TableDecoder

WAIT = 20.0


def job(sentence: int = 0, beam_size: int = 1, limit: int = 6) -> Job:
    return Job((sentence, EOS_ID), SearchOptions(beam_size=beam_size, max_output_tokens=limit))


def engine_of(
    decoder: TableDecoder | Sequence[TableDecoder],
    reports: list[EngineReport] | None = None,
    max_rows: int = 64,
    stall_seconds: float = STALL_SECONDS,
    interactive_tokens: int = 40,
    **bounds: Any,
) -> Fleet:
    """A fleet of one decoder or several, each with room for `max_rows`."""
    decoders = [decoder] if isinstance(decoder, TableDecoder) else decoder
    capacity = Capacity(max_rows=max_rows, reserved_rows=max_rows // 4, encode_tokens=400)
    links = [LocalLink(Opened(each, capacity, "none")) for each in decoders]
    on_report = (lambda report: None) if reports is None else reports.append
    return Fleet(links, Bounds(interactive_tokens, **bounds), on_report, stall_seconds)


def ended_as(reports: Sequence[EngineReport]) -> dict[str, int]:
    """How all jobs ended, and where those were that were cancelled."""
    total: collections.Counter[str] = collections.Counter()
    for report in reports:
        total.update(report.finished)
        total.update({f"cancelled in {stage}": count for stage, count in report.cancelled.items()})
    return dict(total)


class GatedDecoder(TableDecoder):
    """Waits before every step until the gate is open; cannot encode sentence 13; fails steps when told to."""

    def __init__(self) -> None:
        super().__init__(seed=11)
        self.gate = threading.Event()
        self.stepping = threading.Event()
        self.failures = 0
        """Steps that still fail."""
        self.encoded = 0
        self.encoded_after: list[tuple[int, int]] = []
        """Steps so far and sentences, for each run of the encoder."""

    def encode(self, sources: Sequence[Sequence[int]]) -> Mapping[str, Array]:
        self.encoded += len(sources)
        self.encoded_after.append((self.steps, len(sources)))
        if any(source[0] == 13 for source in sources):
            raise RuntimeError("unlucky")
        return super().encode(sources)

    def before_step(self) -> None:
        super().before_step()
        self.stepping.set()
        if not self.gate.wait(WAIT):
            raise TimeoutError("the test never opened the gate")
        if self.failures:
            self.failures -= 1
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


@pytest.mark.parametrize(("late", "held"), [(1, MOST_STEPS_HELD), (3, MOST_STEPS_HELD), (4, 0)])
def test_while_many_run_few_wait_for_company_but_not_for_long(late: int, held: int) -> None:
    decoder = GatedDecoder()
    engine = engine_of(decoder)
    options = SearchOptions(max_output_tokens=8, min_output_tokens=7)
    engine.submit([Job((sentence % 12, EOS_ID), options) for sentence in range(16)])
    assert decoder.stepping.wait(WAIT)
    engine.submit([job() for _ in range(late)])
    decoder.gate.set()
    engine.close()
    assert decoder.encoded_after == [(0, 16), (1 + held, late)]


def test_a_sentence_does_not_wait_for_company_because_a_document_runs() -> None:
    decoder = GatedDecoder()
    engine = engine_of(decoder)
    options = SearchOptions(max_output_tokens=8, min_output_tokens=7)
    engine.submit([Job((sentence % 12, EOS_ID), options) for sentence in range(30)])
    assert decoder.stepping.wait(WAIT)
    engine.submit([job()])
    decoder.gate.set()
    engine.close()
    assert decoder.encoded_after == [(0, 30), (1, 1)]


@pytest.mark.parametrize("decoders", [1, 2])
def test_jobs_of_all_beam_sizes_and_limits_give_what_they_give_alone(decoders: int) -> None:
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
    engine = engine_of([TableDecoder(seed=4) for _ in range(decoders)], max_rows=40)
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
    decoder.failures = 1
    jobs = [job(sentence, beam_size=2) for sentence in range(3)]
    engine.submit(jobs)
    decoder.gate.set()
    for one in jobs:
        with pytest.raises(RuntimeError, match="a step failed"):
            one.future.result(WAIT)
    again = job(1, beam_size=2)
    engine.submit([again])
    assert again.future.result(WAIT)
    engine.close()
    assert sum(report.finished.get("error", 0) for report in reports) == 3


def test_an_engine_that_only_fails_stops_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    decoder = GatedDecoder()
    decoder.failures = 2  # the step, and the one that should show that others succeed
    engine = engine_of(decoder)
    jobs, waiting = [job(sentence) for sentence in range(3)], job(1, beam_size=2)
    engine.submit(jobs)
    assert decoder.stepping.wait(WAIT)
    engine.submit([waiting])
    decoder.gate.set()
    for one in (*jobs, waiting):
        assert isinstance(one.future.exception(WAIT), RuntimeError)
    engine.close()
    assert not engine.is_alive()
    assert "the engine has stopped" in caplog.text


def test_an_encoder_that_only_fails_stops_the_engine_and_nobody_waits_for_ever() -> None:
    class Broken(TableDecoder):
        def encode(self, sources: Sequence[Sequence[int]]) -> Mapping[str, Array]:
            raise RuntimeError("no device")

    engine = engine_of(Broken())
    jobs = [job(sentence, beam_size=beam) for sentence in range(5) for beam in (1, 2)]
    engine.submit(jobs)
    for one in jobs:
        assert "no device" in str(one.future.exception(WAIT))
    engine.close()
    assert not engine.is_alive()


def test_an_engine_that_spends_too_long_on_a_step_is_not_alive() -> None:
    decoder = GatedDecoder()
    engine = engine_of(decoder, stall_seconds=0.0)
    assert engine.is_alive()
    engine.submit([job(limit=8)])
    assert decoder.stepping.wait(WAIT)
    assert not engine.is_alive()
    decoder.gate.set()
    engine.close()


def test_withdrawn_jobs_leave_the_batch_before_the_next_step() -> None:
    reports: list[EngineReport] = []
    decoder = GatedDecoder()
    engine = engine_of(decoder, reports)
    kept, dropped, ticket = [job(s, limit=8) for s in range(3)], [job(s, limit=8) for s in range(3, 7)], Ticket()
    engine.submit(kept)
    assert decoder.stepping.wait(WAIT)
    engine.submit(dropped, ticket)
    decoder.stepping.clear()
    decoder.gate.set()
    assert decoder.stepping.wait(WAIT)
    engine.withdraw(ticket)
    engine.close()
    assert all(one.future.result(0) for one in kept)
    assert all(one.future.done() for one in dropped)
    # Those that were quick may have ended before.
    ends = ended_as(reports)
    assert ends.get("cancelled", 0) == sum(one.future.cancelled() for one in dropped)
    assert sum(count for reason, count in ends.items() if " in " not in reason) == 7


def test_a_withdrawn_request_frees_its_rows_and_no_other() -> None:
    reports: list[EngineReport] = []
    decoder = GatedDecoder()
    engine = engine_of(decoder, reports)
    kept, dropped, ticket = [job(s, limit=8) for s in range(3)], [job(s, limit=8) for s in range(3)], Ticket()
    engine.submit(dropped, ticket)
    engine.submit(kept)
    assert decoder.stepping.wait(WAIT)
    engine.withdraw(ticket)
    decoder.gate.set()
    engine.close()
    rows = [step.rows for report in reports for step in report.steps]
    first = rows[0]  # both requests, or the first alone if its step began before the second came
    assert first in (3, 6)
    assert all(count <= 3 for count in rows[1:])
    assert ended_as(reports)["cancelled in decode"] == sum(one.future.cancelled() for one in dropped) > 0
    assert all(one.future.result(0) for one in kept)


def test_a_request_withdrawn_while_it_waits_costs_nothing() -> None:
    reports: list[EngineReport] = []
    decoder = GatedDecoder()
    engine = engine_of(decoder, reports, max_rows=4)
    running, waiting, ticket = [job(s, limit=8) for s in range(4)], [job(s) for s in range(4)], Ticket()
    engine.submit(running)
    assert decoder.stepping.wait(WAIT)
    engine.submit(waiting, ticket)
    assert engine.waiting_tokens() == 8
    engine.withdraw(ticket)
    decoder.gate.set()
    engine.close()
    assert decoder.steps <= 8
    assert all(one.future.cancelled() for one in waiting)
    assert all(one.future.result(0) for one in running)
    assert ended_as(reports)["cancelled in queue"] == 4
    assert engine.waiting_tokens() == 0


def test_what_was_withdrawn_before_it_was_submitted_is_cancelled() -> None:
    engine = engine_of(TableDecoder())
    late, ticket = [job(s) for s in range(3)], Ticket()
    engine.withdraw(ticket)
    engine.submit(late, ticket)
    engine.close()
    assert all(one.future.cancelled() for one in late)


def test_a_deadline_that_passes_ends_what_runs_and_what_waits() -> None:
    reports: list[EngineReport] = []
    decoder = GatedDecoder()
    engine = engine_of(decoder, reports, max_rows=4)
    ticket = Ticket(time.monotonic() + 0.2)
    late, kept = [job(s, limit=8) for s in range(8)], job(1, limit=8)
    engine.submit(late, ticket)
    assert decoder.stepping.wait(WAIT)
    engine.submit([kept], Ticket(time.monotonic() + WAIT))
    time.sleep(0.2)
    decoder.gate.set()
    engine.close()
    assert kept.future.result(0)
    failed = [one for one in late if one.future.exception(0) is not None]
    assert all(isinstance(one.future.exception(0), DeadlineError) for one in failed)
    assert len(failed) >= 4  # those that waited; of those that ran all but the ones that ended with their first token
    assert ended_as(reports)["deadline"] == len(failed)


def test_a_deadline_that_has_passed_is_refused() -> None:
    engine = engine_of(TableDecoder())
    with pytest.raises(DeadlineError):
        engine.submit([job()], Ticket(time.monotonic()))
    engine.close()


def test_a_deadline_the_queue_is_too_long_for_is_refused_early() -> None:
    decoder = GatedDecoder()
    engine = engine_of(decoder, max_rows=4)
    engine.submit([job(s % 12, limit=8) for s in range(400)])
    assert decoder.stepping.wait(WAIT)
    waited = engine.waiting_tokens()
    time.sleep(1.5 * PACE_SECONDS)  # a slow engine
    decoder.gate.set()
    while engine.waiting_tokens() == waited:
        time.sleep(0.001)
    decoder.gate.clear()
    another = [job(s % 12) for s in range(30)]
    with pytest.raises(DeadlineError) as refused:
        engine.submit(another, Ticket(time.monotonic() + 0.1))
    assert refused.value.retry_after_seconds > 0.1
    engine.submit(another, Ticket(time.monotonic() + 10_000.0))
    engine.abort()
    decoder.gate.set()
    engine.close()


def test_each_lane_has_room_for_so_many_tokens_and_no_more() -> None:
    decoder = GatedDecoder()
    engine = engine_of(decoder, max_rows=4, waiting_tokens=20, bulk_waiting_tokens=100)
    engine.submit([job(s, limit=8) for s in range(4)])
    assert decoder.stepping.wait(WAIT)
    engine.submit([job() for _ in range(10)])
    with pytest.raises(QueueFullError):
        engine.submit([job()])
    document = [job() for _ in range(45)]
    engine.submit(document)
    with pytest.raises(QueueFullError):
        engine.submit([job() for _ in range(45)])
    with pytest.raises(QueueFullError):
        engine.submit([job()])
    further = job()
    engine.submit([further], bounded=False)
    assert engine.waiting_tokens() == 20 + 90 + 2
    decoder.gate.set()
    engine.close()
    assert further.future.result(0)
    assert all(one.future.result(0) for one in document)


def test_a_full_lane_is_known_before_a_request_is_read_and_opens_when_an_eighth_is_free() -> None:
    decoder = GatedDecoder()
    engine = engine_of(decoder, max_rows=4, interactive_tokens=8, waiting_tokens=16, bulk_waiting_tokens=20)
    engine.submit([job() for _ in range(4)])
    assert decoder.stepping.wait(WAIT)
    small = [job() for _ in range(8)]
    for one in small[:7]:
        engine.submit([one])
        engine.check_room(1, 8)
    engine.submit([small[7]])
    with pytest.raises(QueueFullError):
        engine.check_room(1, 8)
    engine.check_room(1, 9)  # it may be bulk, and there is room for that
    engine.check_room(9, 1000)
    engine.submit([job() for _ in range(10)])
    for fewest, most in ((1, 8), (1, 9), (9, 1000)):
        with pytest.raises(QueueFullError):
            engine.check_room(fewest, most)
    decoder.gate.set()
    for one in small:
        assert one.future.result(WAIT)
    engine.check_room(1, 8)
    engine.close()


def test_an_aborted_engine_fails_what_it_had_accepted() -> None:
    reports: list[EngineReport] = []
    decoder = GatedDecoder()
    engine = engine_of(decoder, reports, max_rows=4)
    jobs = [job(s, limit=8) for s in range(10)]
    engine.submit(jobs)
    assert decoder.stepping.wait(WAIT)
    engine.abort()
    decoder.gate.set()
    engine.close()
    failed = [one for one in jobs if one.future.exception(0) is not None]
    assert len(failed) >= 6
    assert all(isinstance(one.future.exception(0), EngineClosedError) for one in failed)
    assert ended_as(reports)["error"] == len(failed)
    with pytest.raises(EngineClosedError):
        engine.submit([job()])


def test_a_job_knows_when_things_happened_to_it() -> None:
    engine = engine_of(TableDecoder())
    one = job()
    before = time.monotonic()
    engine.submit([one])
    engine.close()
    times = one.times
    assert before <= times.submitted <= times.started <= times.encoded <= times.finished <= time.monotonic()


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 12), st.booleans(), st.booleans()), min_size=1, max_size=12), st.integers(1, 3)
)
def test_every_job_has_exactly_one_end_and_nothing_is_left_behind(
    requests: list[tuple[int, bool, bool]], num_decoders: int
) -> None:
    reports: list[EngineReport] = []
    decoders = [TableDecoder(seed=3) for _ in range(num_decoders)]
    engine = engine_of(decoders, reports, max_rows=6, waiting_tokens=30, bulk_waiting_tokens=60)
    accepted: list[Job] = []
    for size, withdraw, hurried in requests:
        ticket = Ticket(time.monotonic() + (0.002 if hurried else WAIT))
        jobs = [job(sentence % 12, limit=7) for sentence in range(size)]
        with contextlib.suppress(QueueFullError, DeadlineError):
            engine.submit(jobs, ticket)
            accepted += jobs
        if withdraw:
            engine.withdraw(ticket)
    engine.close()
    assert all(one.future.done() for one in accepted)
    assert sum(count for report in reports for count in report.finished.values()) == len(accepted)
    assert engine.waiting_tokens() == reports[-1].running_rows == 0


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

    capacity = Capacity(max_rows=4, reserved_rows=1, encode_tokens=400)
    engine = Fleet([LocalLink(Opened(decoder, capacity, "none"))], Bounds(40), refuse)
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


def gated_pair() -> list[GatedDecoder]:
    return [GatedDecoder(), GatedDecoder()]


def stepping(decoders: Sequence[GatedDecoder]) -> None:
    """Wait until every decoder stands at its gate."""
    assert all(decoder.stepping.wait(WAIT) for decoder in decoders)


def open_gates(decoders: Sequence[GatedDecoder]) -> None:
    for decoder in decoders:
        decoder.gate.set()


@pytest.mark.parametrize(("jobs", "beam_size", "shares"), [(16, 1, [8, 8]), (17, 1, [8, 9]), (7, 2, [3, 4])])
def test_a_burst_is_shared_by_the_decoders(jobs: int, beam_size: int, shares: list[int]) -> None:
    decoders = gated_pair()
    engine = engine_of(decoders)
    burst = [job(sentence % 12, beam_size) for sentence in range(jobs)]
    engine.submit(burst)
    stepping(decoders)
    assert sorted(decoder.encoded for decoder in decoders) == shares
    open_gates(decoders)
    engine.close()
    assert all(one.future.result(0) for one in burst)


def test_an_idle_decoder_takes_what_comes_while_another_is_busy() -> None:
    decoders = gated_pair()
    engine = engine_of(decoders)
    first, second = job(limit=8), job(1)
    engine.submit([first])
    while not any(decoder.stepping.is_set() for decoder in decoders):
        time.sleep(0.001)
    busy, idle = sorted(decoders, key=lambda decoder: not decoder.stepping.is_set())
    idle.gate.set()
    engine.submit([second])
    assert second.future.result(WAIT)
    assert not first.future.done()
    assert (busy.encoded, idle.encoded) == (1, 1)
    busy.gate.set()
    engine.close()
    assert first.future.result(0)


def test_a_withdrawn_request_leaves_every_decoder_before_its_next_step() -> None:
    reports: list[EngineReport] = []
    decoders = gated_pair()
    engine = engine_of(decoders, reports, max_rows=4)
    jobs, ticket = [job(sentence % 12, limit=8) for sentence in range(16)], Ticket()
    engine.submit(jobs, ticket)
    stepping(decoders)
    engine.withdraw(ticket)
    open_gates(decoders)
    engine.close()
    assert [decoder.steps for decoder in decoders] == [1, 1]
    ends = ended_as(reports)
    assert ends["cancelled in queue"] == 8
    assert ends["cancelled in queue"] + ends["cancelled in decode"] == sum(one.future.cancelled() for one in jobs)
    assert reports[-1].running_rows == 0


def test_a_deadline_that_passes_ends_what_runs_on_every_decoder() -> None:
    reports: list[EngineReport] = []
    decoders = gated_pair()
    engine = engine_of(decoders, reports)
    jobs, ticket = [job(sentence % 12, limit=8) for sentence in range(16)], Ticket(time.monotonic() + 0.2)
    engine.submit(jobs, ticket)
    stepping(decoders)
    time.sleep(0.2)
    open_gates(decoders)
    engine.close()
    assert [decoder.steps for decoder in decoders] == [1, 1]
    failed = [one.future.exception(0) for one in jobs if one.future.exception(0) is not None]
    assert all(isinstance(error, DeadlineError) for error in failed)
    assert ended_as(reports)["deadline"] == len(failed) > 0


def test_when_one_decoder_dies_the_other_finishes_what_it_runs_and_nobody_waits() -> None:
    decoders = broken, healthy = gated_pair()
    broken.failures = 2  # the step, and the one that should show that others succeed
    engine = engine_of(decoders, max_rows=4)
    jobs = [job(sentence % 12, limit=8) for sentence in range(16)]
    engine.submit(jobs)
    stepping(decoders)
    broken.gate.set()
    failed = 0
    while failed < 8:
        failed = sum(one.future.done() and one.future.exception(0) is not None for one in jobs)
        time.sleep(0.001)
    assert not engine.is_alive()
    with pytest.raises(EngineClosedError):
        engine.submit([job()])
    healthy.gate.set()
    engine.close()
    assert sum(one.future.exception(0) is None for one in jobs) == healthy.encoded == 8


def test_one_decoder_that_hangs_is_seen_though_the_other_runs() -> None:
    decoders = gated_pair()
    engine = engine_of(decoders, stall_seconds=0.05)
    first, second = job(limit=8), job(1)
    engine.submit([first])
    while not any(decoder.stepping.is_set() for decoder in decoders):
        time.sleep(0.001)
    _, idle = sorted(decoders, key=lambda decoder: not decoder.stepping.is_set())
    idle.gate.set()
    engine.submit([second])
    assert second.future.result(WAIT)
    while engine.is_alive():
        time.sleep(0.001)
    open_gates(decoders)
    engine.close()
    assert first.future.result(0)


def test_memory_of_the_device_is_what_the_engine_reports() -> None:
    capacity = Capacity(max_rows=4, reserved_rows=1, encode_tokens=400)
    opened = Opened(TableDecoder(seed=4), capacity, "none", device_memory=lambda: 42)
    engine = Fleet([LocalLink(opened)], Bounds(40), lambda report: None)
    engine.submit([job()])
    engine.close()
    assert engine.device_memory() == 42
