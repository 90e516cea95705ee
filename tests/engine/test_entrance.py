"""What a fleet does without any engine behind it: who gets what, what counts as waiting, and how it hears of an end."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from model.vocabulary import EOS_ID
from service.engine.fleet import JOBS_AT_ONCE, Fleet
from service.engine.jobs import DeadlineError, EngineClosedError, Hypothesis, Job, QueueFullError, SearchOptions, Ticket
from service.engine.records import EngineReport
from service.engine.scheduler import Bounds, Lane
from service.engine.wire import Answer, Failure, Message, News, Stop, Submission, Waiting, Withdrawal

FAST, BULK = Lane.INTERACTIVE, Lane.BULK


class SilentLink:
    """Takes everything; says what a test wants it to."""

    pid = None

    def __init__(self) -> None:
        self.told: list[Message] = []
        self.before_send: Callable[[], None] = lambda: None

    def listen(self, note: Callable[[News], None], ended: Callable[[str], None]) -> None:
        self.note, self.ended = note, ended

    def send(self, message: Message) -> None:
        self.before_send()
        self.told.append(message)

    def join(self) -> None:
        pass

    def kill(self) -> None:
        pass

    @property
    def submissions(self) -> list[Submission]:
        return [message for message in self.told if isinstance(message, Submission)]

    def jobs(self) -> int:
        return sum(len(submission.jobs) for submission in self.submissions)


def fleet_of(
    count: int = 2, reports: list[EngineReport] | None = None, **bounds: int
) -> tuple[Fleet, list[SilentLink]]:
    links = [SilentLink() for _ in range(count)]
    fleet = Fleet(links, Bounds(**{"interactive_tokens": 40, **bounds}), ([] if reports is None else reports).append)
    return fleet, links


def job(tokens: int = 4, beam_size: int = 1) -> Job:
    return Job((*[9] * (tokens - 1), EOS_ID), SearchOptions(beam_size=beam_size))


def news(seen: int, *answers: Answer, waiting: int = 0, pace: float | None = None, has_failed: bool = False) -> News:
    return News(seen, (Waiting(FAST, waiting, pace), Waiting(BULK, 0, None)), has_failed, answers)


def answer(number: int, result: tuple[Hypothesis, ...] | Failure = ()) -> Answer:
    found = (Hypothesis((9,), -1.0, -0.5, "eos", (-0.5, -0.5)),)
    return Answer(number, 0, result or found, 1.0, 2.0, 3.0)


def test_each_sentence_goes_where_there_is_least_to_do_and_beams_count() -> None:
    fleet, (first, second) = fleet_of()
    fleet.submit([job(4, beam_size=4)])
    for _ in range(4):
        fleet.submit([job(4)])
    assert (first.jobs(), second.jobs()) == (1, 4)
    fleet.submit([job(4)])
    assert (first.jobs(), second.jobs()) == (2, 4)
    first.note(news(1, answer(1)))  # the one with four beams
    fleet.submit([job(8)])
    assert (first.jobs(), second.jobs()) == (3, 4)


def test_a_document_is_shared_evenly_longest_first_in_messages_of_bounded_size() -> None:
    fleet, links = fleet_of()
    fleet.submit([job(2 + number % 7) for number in range(3 * JOBS_AT_ONCE)])
    tokens = [sum(len(ids) for submission in link.submissions for ids, _ in submission.jobs) for link in links]
    assert abs(tokens[0] - tokens[1]) <= 8
    for link in links:
        assert {submission.lane for submission in link.submissions} == {BULK}
        assert max(len(submission.jobs) for submission in link.submissions) == JOBS_AT_ONCE
        lengths = [len(ids) for submission in link.submissions for ids, _ in submission.jobs]
        assert lengths == sorted(lengths, reverse=True)
    numbers = [submission.number for link in links for submission in link.submissions]
    assert len(set(numbers)) == len(numbers)


def test_what_is_on_the_way_waits_and_then_what_the_engines_say() -> None:
    fleet, (first, second) = fleet_of(waiting_tokens=20)
    for _ in range(4):
        fleet.submit([job(4)])
    assert fleet.waiting_tokens() == 16
    first.note(news(1, waiting=4))  # it has taken the first, which waits, and not yet the third
    assert fleet.waiting_tokens() == 16
    first.note(news(3))
    assert fleet.waiting_tokens() == 8
    second.note(news(4, waiting=8))
    assert fleet.waiting_tokens() == 8
    fleet.submit([job(12)])
    with pytest.raises(QueueFullError):
        fleet.check_room(1, 4)
    with pytest.raises(QueueFullError):
        fleet.submit([job(1)])
    fleet.submit([job(4)], bounded=False)
    assert fleet.waiting_tokens() == 24


def test_the_expected_wait_counts_on_all_engines() -> None:
    fleet, (first, second) = fleet_of(waiting_tokens=100)
    first.note(news(0, waiting=60, pace=10.0))
    second.note(news(0, waiting=30, pace=20.0))
    with pytest.raises(DeadlineError) as refused:
        fleet.submit([job(4)], Ticket(time.monotonic() + 2.9))
    assert refused.value.retry_after_seconds == pytest.approx(3.0)
    fleet.submit([job(4)], Ticket(time.monotonic() + 30))


def test_a_withdrawal_reaches_every_engine_that_has_a_part_even_while_it_is_sent() -> None:
    fleet, links = fleet_of()
    ticket = Ticket()
    fleet.submit([job(), job()], ticket)
    fleet.withdraw(ticket)
    assert [link.told[-1] for link in links] == [Withdrawal(1), Withdrawal(2)]
    late = Ticket()
    links[0].before_send = lambda: setattr(late, "withdrawn", True)
    fleet.submit([job(), job()], late)
    assert [link.told[-1] for link in links] == [Withdrawal(3), Withdrawal(4)]


def test_every_answer_reaches_its_job() -> None:
    fleet, (link,) = fleet_of(1)
    jobs = [job() for _ in range(5)]
    for one in jobs:
        fleet.submit([one])
    failures = [
        Failure("deadline", "late"),
        Failure("closed", "shut"),
        Failure("error", "odd"),
        Failure("cancelled", ""),
    ]
    link.note(news(5, answer(1), *(answer(number, failure) for number, failure in enumerate(failures, 2))))
    assert jobs[0].future.result(0)[0].target_ids == (9,)
    assert (jobs[0].times.started, jobs[0].times.encoded, jobs[0].times.finished) == (1.0, 2.0, 3.0)
    assert [type(one.future.exception(0)) for one in jobs[1:4]] == [DeadlineError, EngineClosedError, RuntimeError]
    assert jobs[4].future.cancelled()
    assert fleet.is_alive()


def test_an_engine_that_ends_takes_its_own_jobs_with_it_and_no_others(caplog: pytest.LogCaptureFixture) -> None:
    reports: list[EngineReport] = []
    fleet, (first, second) = fleet_of(reports=reports)
    lost, kept = job(), job()
    fleet.submit([lost])
    fleet.submit([kept])
    first.ended("SIGKILL")
    assert "SIGKILL" in str(lost.future.exception(0))
    assert "an engine has ended: SIGKILL" in caplog.text
    assert sum(report.finished["error"] for report in reports) == 1
    assert not fleet.is_alive()
    with pytest.raises(EngineClosedError):
        fleet.submit([job()])
    second.note(news(2, answer(2)))
    assert kept.future.result(0)


def test_an_engine_that_says_it_failed_or_ends_while_closing() -> None:
    fleet, (first, second) = fleet_of()
    late = job()
    fleet.submit([late])
    second.note(news(0, has_failed=True))
    assert not fleet.is_alive()
    fleet.abort()
    assert [link.told[-1] for link in (first, second)] == [Stop(at_once=True)] * 2
    first.ended("exit status 0")
    assert isinstance(late.future.exception(0), EngineClosedError)


def test_an_engine_with_work_that_says_nothing_is_not_alive() -> None:
    links = [SilentLink()]
    fleet = Fleet(links, Bounds(40), lambda report: None, stall_seconds=0.05)
    time.sleep(0.1)
    assert fleet.is_alive()  # it has nothing to say
    fleet.submit([job()])
    assert fleet.is_alive()
    time.sleep(0.1)
    assert not fleet.is_alive()
    links[0].note(news(1))
    assert fleet.is_alive()
    links[0].note(news(1, answer(1)))
    time.sleep(0.1)
    assert fleet.is_alive()
