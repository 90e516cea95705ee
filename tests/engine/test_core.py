"""One engine, stepped by hand: who shares a step, who fails, who is forgotten."""

from __future__ import annotations

import collections
import dataclasses
import math
import time
from collections.abc import Iterable, Mapping, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.vocabulary import EOS_ID
from service.engine import job_queue
from service.engine.core import Engine
from service.engine.loading import run_here
from service.engine.scheduler import MOST_STEPS_HELD, Capacity
from service.engine.types import Answer, Job, Lane, Request, SearchOptions
from tests.engine.fakes import Array, TableDecoder, TableSlots

FAST, BULK = Lane.INTERACTIVE, Lane.BULK


class Decoder(TableDecoder):
    """Cannot encode sentence 13; fails the steps it is told to."""

    def __init__(self, seed: int = 11) -> None:
        super().__init__(seed=seed)
        self.failures = 0
        """Steps that still fail."""
        self.encoded_after: list[tuple[int, int]] = []
        """Steps so far and sentences, for each run of the encoder."""

    def encode(self, sources: Sequence[Sequence[int]]) -> Mapping[str, Array]:
        self.encoded_after.append((self.steps, len(sources)))
        if any(source[0] == 13 for source in sources):
            raise RuntimeError("unlucky")
        return super().encode(sources)

    def before_step(self) -> None:
        super().before_step()
        if self.failures:
            self.failures -= 1
            raise RuntimeError("a step failed")


def engine_of(decoder: TableDecoder, max_rows: int = 64) -> Engine:
    return Engine(decoder, Capacity(max_rows, max_rows // 4, max_rows // 8, encode_tokens=400))


def job(sentence: int = 0, beam_size: int = 1, limit: int = 6, fewest: int = 1) -> Job:
    """It takes from `fewest` to `limit` steps."""
    return Job(
        (sentence, EOS_ID),
        SearchOptions(beam_size=beam_size, max_output_tokens=limit, min_output_tokens=min(fewest, limit)),
    )


def request(number: int, jobs: Iterable[Job], lane: Lane = FAST, deadline: float = math.inf) -> Request:
    return Request(number, lane, time.monotonic(), deadline, list(jobs))


def finish(engine: Engine) -> list[Answer]:
    answers: list[Answer] = []
    while engine.busy:
        answers += engine.step()
    return answers


def kinds(answers: Iterable[Answer]) -> collections.Counter[str]:
    return collections.Counter(answer.failure.kind if answer.failure else "done" for answer in answers)


def rows_of(engine: Engine) -> list[int]:
    return [step.rows for step in engine.report().steps]


def test_requests_join_a_running_batch_at_the_next_step() -> None:
    engine = engine_of(Decoder())
    engine.add(request(1, [job(fewest=8, limit=8)]))
    assert engine.step() == []
    for number in range(2, 12):
        engine.add(request(number, [job(number)]))
    answers = finish(engine)
    assert kinds(answers) == {"done": 11}
    report = engine.report()
    assert [step.rows for step in report.steps][:2] == [1, 11]
    assert len(report.waits) == 11
    assert report.running_rows == 0


@pytest.mark.parametrize(("late", "held"), [(1, MOST_STEPS_HELD), (3, MOST_STEPS_HELD), (4, 0)])
def test_while_many_run_few_wait_for_company_but_not_for_long(late: int, held: int) -> None:
    decoder = Decoder()
    engine = engine_of(decoder)
    engine.add(request(1, [job(sentence % 12, limit=8, fewest=7) for sentence in range(16)]))
    engine.step()
    engine.add(request(2, [job() for _ in range(late)]))
    finish(engine)
    assert decoder.encoded_after == [(0, 16), (1 + held, late)]


def test_a_sentence_does_not_wait_for_company_because_a_document_runs() -> None:
    decoder = Decoder()
    engine = engine_of(decoder)
    engine.add(request(1, [job(sentence % 12, limit=8, fewest=7) for sentence in range(30)], BULK))
    engine.step()
    engine.add(request(2, [job()]))
    engine.step()
    assert decoder.encoded_after == [(0, 30), (1, 1)]


def test_sentences_of_all_beam_sizes_and_limits_give_what_they_give_alone() -> None:
    options = [
        SearchOptions(beam_size=beam, num_hypotheses=beam, length_penalty=penalty, max_output_tokens=limit)
        for beam in (1, 2, 4, 8) for penalty in (0.0, 1.0) for limit in (2, 7)
    ]  # fmt: skip
    jobs = [Job((sentence, EOS_ID), option) for sentence in range(16) for option in options]
    alone = [run_here(engine_of(TableDecoder(seed=4)), [one])[0] for one in jobs]
    assert run_here(engine_of(TableDecoder(seed=4), max_rows=40), jobs) == alone


def test_a_sentence_that_cannot_be_encoded_fails_alone() -> None:
    engine = engine_of(Decoder())
    engine.add(request(1, [job(sentence) for sentence in (1, 13, 2, 3)]))
    answers = sorted(finish(engine), key=lambda answer: answer.place)
    assert [answer.failure is None for answer in answers] == [True, False, True, True]
    failure = answers[1].failure
    assert failure is not None
    assert (failure.kind, failure.message) == ("error", "unlucky")
    assert "RuntimeError: unlucky" in failure.traceback


def test_a_step_that_failed_once_costs_time_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    jobs = [job(sentence, beam_size=2, fewest=3) for sentence in range(5)]
    expected = run_here(engine_of(Decoder()), jobs)
    decoder = Decoder()
    engine = engine_of(decoder)
    engine.add(request(1, jobs))
    engine.step()
    decoder.failures = 1
    answers = sorted(finish(engine), key=lambda answer: answer.place)
    assert [answer.result for answer in answers] == expected
    assert "a step of 5 sentences failed" in caplog.text


class Poisoned(Decoder):
    """Cannot give sentence 9 its fourth token, nor anybody who shares that step."""

    def open_slots(self, beam_size: int) -> TableSlots:
        slots = super().open_slots(beam_size)
        step = slots.step

        def checked(num_candidates: int) -> tuple[Array, Array]:
            if ((slots._which[: slots.count] == 9) & (slots.lengths[: slots.count, 0] == 3)).any():
                raise RuntimeError("out of bounds")
            return step(num_candidates)

        slots.step = checked  # type: ignore[method-assign]
        return slots


def test_a_sentence_whose_step_always_fails_fails_alone() -> None:
    jobs = [job(sentence, limit=8, fewest=6) for sentence in (1, 2, 9, 3, 4, 5, 6)]
    engine = engine_of(Poisoned())
    engine.add(request(1, jobs))
    answers = sorted(finish(engine), key=lambda answer: answer.place)
    assert [answer.failure.message if answer.failure else "" for answer in answers] == [
        "", "", "out of bounds", "", "", "", "",
    ]  # fmt: skip
    healthy = run_here(engine_of(Decoder()), [each for each in jobs if each.source_ids[0] != 9])
    assert [answer.result for answer in answers if answer.failure is None] == healthy
    assert not any(key[1] for groups in engine._groups.values() for key in groups)


@pytest.mark.parametrize("beam_size", [1, 2, 4])
def test_what_is_certain_of_a_sentence_is_what_its_translation_begins_with(beam_size: int) -> None:
    engine = engine_of(Decoder())
    streamed = dataclasses.replace(job(3, beam_size, limit=7, fewest=5), streams=True)
    engine.add(request(1, [job(1, beam_size, limit=7, fewest=5), streamed]))
    told: list[tuple[int, ...]] = []
    answers: list[Answer] = []
    while engine.busy:
        answers += engine.step()
        for partial in engine.partials():
            assert (partial.number, partial.place) == (1, 1)
            told.append(partial.target_ids)
    (best,) = (answer.result[0].target_ids for answer in answers if answer.place == 1)
    assert told or beam_size > 1  # beams of a decoder that knows nothing need not agree
    assert all(best[: len(ids)] == ids for ids in told)


def test_an_engine_whose_steps_only_fail_is_of_no_use_any_more() -> None:
    decoder = Decoder()
    decoder.failures = 1000
    engine = engine_of(decoder)
    engine.add(request(1, [job(sentence) for sentence in range(3)]))
    with pytest.raises(RuntimeError, match="a step failed"):
        finish(engine)


def test_an_engine_whose_encoder_only_fails_is_of_no_use_any_more() -> None:
    class Broken(TableDecoder):
        def encode(self, sources: Sequence[Sequence[int]]) -> Mapping[str, Array]:
            raise RuntimeError("no device")

    engine = engine_of(Broken())
    engine.add(request(1, [job(sentence, beam) for sentence in range(5) for beam in (1, 2)]))
    with pytest.raises(RuntimeError, match="no device"):
        engine.step()


def test_a_withdrawn_request_frees_its_rows_before_the_next_step_and_no_other() -> None:
    engine = engine_of(Decoder())
    engine.add(request(1, [job(s, limit=8, fewest=8) for s in range(3)]))
    engine.add(request(2, [job(s, limit=8, fewest=8) for s in range(4)]))
    engine.step()
    engine.withdraw(2)
    answers = finish(engine)
    assert kinds(answer for answer in answers if answer.number == 2) == {"cancelled": 4}
    assert {answer.failure.stage for answer in answers if answer.failure} == {"decode"}
    assert kinds(answer for answer in answers if answer.number == 1) == {"done": 3}
    assert rows_of(engine) == [7, *[3] * 7]


def test_a_request_withdrawn_while_it_waits_costs_nothing() -> None:
    decoder = Decoder()
    engine = engine_of(decoder, max_rows=4)
    engine.add(request(1, [job(s, limit=8, fewest=8) for s in range(4)]))
    engine.step()
    engine.add(request(2, [job(s) for s in range(4)]))
    assert engine.waiting()[0].tokens == 8
    engine.withdraw(2)
    answers = engine.step()
    assert kinds(answers) == {"cancelled": 4}
    assert {answer.failure.stage for answer in answers if answer.failure} == {"queue"}
    assert engine.waiting()[0].tokens == 0
    finish(engine)
    assert sum(count for _, count in decoder.encoded_after) == 4


def test_a_number_that_nobody_knows_is_withdrawn_without_harm() -> None:
    engine = engine_of(Decoder())
    engine.withdraw(7)
    assert engine.step() == []
    engine.add(request(8, [job()]))
    assert kinds(finish(engine)) == {"done": 1}


def test_a_deadline_that_passes_ends_what_runs_and_what_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.monotonic()
    engine = engine_of(Decoder(), max_rows=4)
    engine.add(request(1, [job(s, limit=8, fewest=8) for s in range(8)], deadline=now + 100))
    engine.add(request(2, [job(1, limit=8, fewest=8)], deadline=now + 200))
    assert engine.step() == []
    monkeypatch.setattr(time, "monotonic", lambda: now + 150)
    answers = engine.step()
    assert kinds(answers) == {"deadline": 8}
    assert collections.Counter(answer.failure.stage for answer in answers if answer.failure) == {
        "queue": 4, "decode": 4,
    }  # fmt: skip
    assert kinds(finish(engine)) == {"done": 1}


def test_an_answer_says_when_things_happened() -> None:
    engine = engine_of(TableDecoder())
    before = time.monotonic()
    engine.add(request(1, [job()]))
    (answer,) = finish(engine)
    times = answer.times
    assert before <= times.submitted <= times.started <= times.encoded <= times.finished <= time.monotonic()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 12), st.sampled_from(Lane), st.booleans(), st.booleans(), st.integers(0, 5)),
        min_size=1, max_size=14,
    )
)  # fmt: skip
def test_every_sentence_has_exactly_one_answer_and_nothing_is_left_behind(
    requests: list[tuple[int, Lane, bool, bool, int]],
) -> None:
    engine = engine_of(Poisoned(seed=3), max_rows=6)
    expected, answers = set(), []
    for number, (size, lane, withdraw, is_late, steps) in enumerate(requests, 1):
        deadline = 0.0 if is_late else math.inf
        engine.add(request(number, [job(place % 12, limit=7) for place in range(size)], lane, deadline))
        expected |= {(number, place) for place in range(size)}
        if withdraw:
            engine.withdraw(number)
        for _ in range(steps):
            answers += engine.step()
    answers += finish(engine)
    found = [(answer.number, answer.place) for answer in answers]
    assert len(found) == len(set(found))
    assert set(found) == expected
    assert all(waiting.tokens == 0 for waiting in engine.waiting())
    assert engine.report().running_rows == 0


def test_one_sentence_does_not_wait_for_a_document() -> None:
    engine = engine_of(Decoder(), max_rows=8)
    engine.add(request(1, [job(sentence % 12, limit=8) for sentence in range(400)], BULK))
    engine.step()
    engine.add(request(2, [job(3)]))
    answers: list[Answer] = []
    while 2 not in {answer.number for answer in answers}:
        answers += engine.step()
    assert len(answers) < 100
    assert kinds(answers + finish(engine)) == {"done": 401}


def test_a_document_goes_on_however_many_single_sentences_come() -> None:
    """Twenty-four callers in a loop have all rows of an engine: every answer is followed by another request."""
    engine = engine_of(Decoder(), max_rows=16)
    callers = range(2, 26)
    for number in callers:
        engine.add(request(number, [job(number % 12)]))
    engine.step()
    engine.add(request(1, [job(sentence % 12, limit=8) for sentence in range(30)], BULK))
    left, singles = 30, 0
    while left:
        for answer in engine.step():
            if answer.number == 1:
                left -= 1
            else:
                singles += 1
                engine.add(request(answer.number, [job(answer.number % 12)]))
        assert singles < 20_000, f"{left} sentences of the document have not been translated"


def test_the_pace_of_a_lane_is_known_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    engine = engine_of(Decoder(), max_rows=4)
    engine.add(request(1, [job(s % 12) for s in range(400)]))
    assert engine.waiting()[0].pace is None
    monkeypatch.setattr(time, "monotonic", lambda: now + 2 * job_queue.PACE_SECONDS)
    engine.step()
    assert engine.waiting()[0].pace == pytest.approx(8 / (2 * job_queue.PACE_SECONDS), rel=0.05)


def test_memory_of_the_device_is_in_the_report() -> None:
    engine = Engine(TableDecoder(), Capacity(4, 1, 1, 400), device_memory=lambda: 42)
    assert engine.report().device_bytes == 42
    assert engine_of(TableDecoder()).report().device_bytes is None
