"""What a pool does with engines that do as they are told: who gets what, what waits, and what happens when one is lost.

No process is started and nobody waits for time to pass: the tests say what the engines say, and look after them.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.errors import BundleError
from model.vocabulary import EOS_ID
from service.engine.core import Engine
from service.engine.link import Said
from service.engine.pool import JOBS_AT_ONCE, Pool
from service.engine.processes import BUSY_HANG_SHARE, MOST_FAILED_STARTS
from service.engine.scheduler import Bounds, Capacity
from service.engine.types import (
    Answer,
    DeadlineError,
    EngineClosedError,
    EngineConfig,
    EngineKind,
    EngineLostError,
    Failure,
    Hypothesis,
    Job,
    Lane,
    Message,
    Partial,
    QueueFullError,
    Ready,
    Report,
    Request,
    SearchOptions,
    Setup,
    Stop,
    Times,
    Update,
    Waiting,
    Withdraw,
    result_of,
)
from tests.engine.fakes import TableDecoder
from tests.engine.links import in_thread

FAST, BULK = Lane.INTERACTIVE, Lane.BULK
HANG = 10.0
FOUND = (Hypothesis((9,), -1.0, -0.5, "eos", (-0.5, -0.5)),)
CONFIG = EngineConfig(directory=Path("bundle"), hang_seconds=HANG)
SETUP = Setup(EngineKind.DECODE, CONFIG, 0)


class SilentLink:
    """Takes everything; says what a test wants it to."""

    def __init__(self, pid: int, say: Callable[[Said], None], end: Callable[[str], None]) -> None:
        self.pid = pid
        self.say, self.end = say, end
        self.told: list[Message] = []
        self.is_killed = False
        self.cpu: float | None = 0.0

    def send(self, message: Message) -> None:
        self.told.append(message)

    def kill(self) -> None:
        self.is_killed = True

    def cpu_seconds(self) -> float | None:
        return self.cpu

    @property
    def requests(self) -> list[Request]:
        return [message for message in self.told if isinstance(message, Request)]

    def jobs(self) -> int:
        return sum(len(request.jobs) for request in self.requests)

    def answer(self, *requests: Request, failure: Failure | None = None) -> None:
        answers = [
            Answer(request.number, place, None if failure else FOUND, failure, Times(0.0, 1.0, 2.0, 3.0))
            for request in requests for place in range(len(request.jobs))
        ]  # fmt: skip
        self.say(update(max(request.number for request in requests), *answers))


def update(seen: int, *answers: Answer, waiting: int = 0, pace: float | None = None, bulk: int = 0) -> Update:
    return Update(seen, (Waiting(FAST, waiting, pace), Waiting(BULK, bulk, None)), answers)


class Observer:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.lost: list[bool] = []

    def observe_report(self, report: Report) -> None:
        pass

    def observe_answer(self, answer: Answer) -> None:
        self.answers.append(answer)

    def count_lost_process(self, *, hung: bool) -> None:
        self.lost.append(hung)

    def kinds(self) -> list[str]:
        return sorted(answer.failure.kind if answer.failure else "done" for answer in self.answers)


class Bench:
    """A pool, and the links it has started so far."""

    def __init__(self, count: int, starts: bool, **bounds: int) -> None:
        self.links: list[SilentLink] = []
        self.observer = Observer()
        self.failed: list[bool] = []
        self.starts = starts
        """Whether processes can be started and are ready at once."""
        self.refuses = False
        """Whether the system starts no process at all."""
        bounds_of = Bounds(**{"interactive_tokens": 40, **bounds})
        self.pool = Pool(SETUP, count, bounds_of, self.observer, self._start, lambda: self.failed.append(True))

    def _start(self, setup: Setup, say: Callable[[Said], None], end: Callable[[str], None]) -> SilentLink:
        if self.refuses:
            raise OSError("no more processes")
        link = SilentLink(100 + len(self.links), say, end)
        self.links.append(link)
        if self.starts:
            asyncio.get_running_loop().call_soon(say, Ready("CPU"))
        return link

    def ask(self, *jobs: Job, **how: Any) -> asyncio.Task[list[Answer]]:
        return asyncio.create_task(self.pool.run(jobs, **how))

    def let_deadlines_pass(self) -> None:
        """Do what the timers of the requests under way will do."""
        for request in list(self.pool._requests):
            self.pool._expire(request)


Scenario = Callable[[Bench], Coroutine[Any, Any, None]]


def play(scenario: Scenario, count: int = 2, *, starts: bool = True, **bounds: int) -> Bench:
    """Run a scenario with a started pool."""

    async def run() -> Bench:
        bench = Bench(count, starts, **bounds)
        starting = asyncio.create_task(bench.pool.start())
        await settle()
        assert bench.pool.processes._supervisor is not None
        bench.pool.processes._supervisor.cancel()  # the tests look after the processes
        await scenario(bench)
        bench.pool.abort()
        for link in bench.links:
            link.end("SIGKILL")
        await bench.pool.close()
        await asyncio.gather(starting, return_exceptions=True)
        return bench

    return asyncio.run(run())


async def settle() -> None:
    """Let everything happen that can."""
    for _ in range(10):
        await asyncio.sleep(0)


def job(tokens: int = 4, beam_size: int = 1) -> Job:
    return Job((*[9] * (tokens - 1), EOS_ID), SearchOptions(beam_size=beam_size))


def test_each_sentence_goes_where_there_is_least_to_do_and_beams_count() -> None:
    async def scenario(bench: Bench) -> None:
        first, second = bench.links
        bench.ask(job(4, beam_size=4))
        await settle()
        for _ in range(4):
            bench.ask(job(4))
        await settle()
        assert (first.jobs(), second.jobs()) == (1, 4)
        bench.ask(job(4))
        await settle()
        assert (first.jobs(), second.jobs()) == (2, 4)
        first.answer(first.requests[0])  # the one with four beams
        bench.ask(job(8))
        await settle()
        assert (first.jobs(), second.jobs()) == (3, 4)

    play(scenario)


def test_a_document_is_shared_evenly_longest_first_in_messages_of_bounded_size() -> None:
    async def scenario(bench: Bench) -> None:
        bench.ask(*(job(2 + number % 7) for number in range(5 * JOBS_AT_ONCE)))
        await settle()
        tokens = [sum(each.tokens for request in link.requests for each in request.jobs) for link in bench.links]
        assert abs(tokens[0] - tokens[1]) <= 16
        for link in bench.links:
            assert {request.lane for request in link.requests} == {BULK}
            assert max(len(request.jobs) for request in link.requests) <= JOBS_AT_ONCE
            lengths = [each.tokens for request in link.requests for each in request.jobs]
            assert lengths == sorted(lengths, reverse=True)
        numbers = [request.number for link in bench.links for request in link.requests]
        assert len(set(numbers)) == len(numbers)

    play(scenario)


def test_answers_come_in_the_order_of_the_jobs() -> None:
    async def scenario(bench: Bench) -> None:
        jobs = [job(2 + number % 7) for number in range(20)]
        asking = bench.ask(*jobs)
        await settle()
        for link in reversed(bench.links):
            for request in link.requests:
                answers = [
                    Answer(request.number, place, each, None, Times()) for place, each in enumerate(request.jobs)
                ]
                link.say(update(request.number, *reversed(answers)))
        assert [result_of(answer) for answer in await asking] == jobs

    play(scenario)


def test_what_is_on_the_way_waits_and_then_what_the_engines_say() -> None:
    async def scenario(bench: Bench) -> None:
        pool, (first, second) = bench.pool, bench.links
        for _ in range(4):
            bench.ask(job(4))
        await settle()
        assert pool.waiting_tokens() == 16
        first.say(update(1, waiting=4))  # it has read the first, which waits, and not yet the third
        assert pool.waiting_tokens() == 16
        first.say(update(3))
        assert pool.waiting_tokens() == 8
        second.say(update(4, waiting=8))
        assert pool.waiting_tokens() == 8
        bench.ask(job(12))
        await settle()
        with pytest.raises(QueueFullError):
            pool.check_room(1, 4)
        with pytest.raises(QueueFullError):
            await pool.run([job(1)])
        bench.ask(job(4), is_further=True)
        await settle()
        assert pool.waiting_tokens() == 24

    play(scenario, waiting_tokens=20)


def test_a_full_lane_is_known_before_a_request_is_read_and_opens_when_an_eighth_is_free() -> None:
    async def scenario(bench: Bench) -> None:
        pool, (link, *_) = bench.pool, bench.links
        for _ in range(8):
            pool.check_room(1, 8)
            bench.ask(job(2))
            await settle()
        with pytest.raises(QueueFullError):
            pool.check_room(1, 8)
        pool.check_room(1, 9)  # it may be bulk, and there is room for that
        pool.check_room(9, 1000)
        bench.ask(job(20))
        await settle()
        for fewest, most in ((1, 8), (1, 9), (9, 1000)):
            with pytest.raises(QueueFullError):
                pool.check_room(fewest, most)
        link.say(update(link.requests[-1].number, waiting=14, bulk=20))
        pool.check_room(1, 8)

    play(scenario, 1, interactive_tokens=8, waiting_tokens=16, bulk_waiting_tokens=20)


def test_any_request_is_taken_where_nothing_waits() -> None:
    async def scenario(bench: Bench) -> None:
        asking = bench.ask(job(100))
        await settle()
        assert not asking.done()
        with pytest.raises(QueueFullError):
            await bench.pool.run([job(60)])

    play(scenario, bulk_waiting_tokens=50)


def test_the_expected_wait_counts_on_all_engines() -> None:
    async def scenario(bench: Bench) -> None:
        first, second = bench.links
        first.say(update(0, waiting=60, pace=10.0))
        second.say(update(0, waiting=30, pace=20.0))
        with pytest.raises(DeadlineError) as refused:
            await bench.pool.run([job(4)], deadline=time.monotonic() + 2.9)
        assert refused.value.retry_after_seconds == pytest.approx(3.0)
        asking = bench.ask(job(4), deadline=time.monotonic() + 300)
        await settle()
        assert not asking.done()

    play(scenario, waiting_tokens=100)


def test_a_deadline_that_has_passed_is_refused() -> None:
    async def scenario(bench: Bench) -> None:
        with pytest.raises(DeadlineError):
            await bench.pool.run([job()], deadline=time.monotonic())

    play(scenario)


def test_a_cancelled_call_reaches_every_engine_that_has_a_part() -> None:
    async def scenario(bench: Bench) -> None:
        asking = bench.ask(job(), job())
        await settle()
        asking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asking
        assert [link.told[-1] for link in bench.links] == [Withdraw(1), Withdraw(2)]
        for link in bench.links:
            link.answer(*link.requests, failure=Failure("cancelled", stage="queue"))

    bench = play(scenario)
    assert bench.observer.kinds() == ["cancelled", "cancelled"]


def test_a_cancelled_document_is_not_sent_to_its_end() -> None:
    async def scenario(bench: Bench) -> None:
        asking = bench.ask(*(job() for _ in range(20 * JOBS_AT_ONCE)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        asking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asking
        sent = bench.links[0].jobs()
        assert 0 < sent < 20 * JOBS_AT_ONCE
        bench.links[0].say(update(bench.links[0].requests[-1].number))
        assert bench.pool.waiting_tokens() == 0

    play(scenario, 1)


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (Failure("deadline"), DeadlineError),
        (Failure("closed", "shut"), EngineClosedError),
        (Failure("lost", "gone"), EngineLostError),
        (Failure("error", "odd", "Traceback: there"), RuntimeError),
    ],
)
def test_the_first_failure_is_raised_and_the_rest_withdrawn(failure: Failure, error: type[Exception]) -> None:
    async def scenario(bench: Bench) -> None:
        first, second = bench.links
        asking = bench.ask(job(), job())
        await settle()
        first.answer(*first.requests, failure=failure)
        with pytest.raises(error) as raised:
            await asking
        assert failure.traceback in str(raised.value.__cause__)
        assert second.told[-1] == Withdraw(2)

    play(scenario)


def test_text_by_text_every_job_has_an_answer() -> None:
    async def scenario(bench: Bench) -> None:
        first, second = bench.links
        asking = bench.ask(job(), job(), fail_fast=False)
        await settle()
        first.answer(*first.requests, failure=Failure("error", "odd"))
        await settle()
        assert not asking.done()
        second.answer(*second.requests)
        bad, good = await asking
        assert result_of(good) == FOUND
        with pytest.raises(RuntimeError, match="odd"):
            result_of(bad)

    play(scenario)


def test_a_deadline_needs_nobody_to_look_at_the_clock() -> None:
    async def scenario(bench: Bench) -> None:
        with pytest.raises(DeadlineError):
            await bench.pool.run([job()], deadline=time.monotonic() + 0.05)

    play(scenario)


@pytest.mark.parametrize("fail_fast", [True, False])
def test_a_deadline_is_kept_whatever_the_engine_does(fail_fast: bool) -> None:
    async def scenario(bench: Bench) -> None:
        first, _ = bench.links
        asking = bench.ask(job(8), job(4), deadline=time.monotonic() + 1000, fail_fast=fail_fast)
        await settle()
        first.answer(*first.requests)
        bench.let_deadlines_pass()
        if fail_fast:
            with pytest.raises(DeadlineError):
                await asking
        else:
            good, late = await asking
            assert result_of(good) == FOUND
            with pytest.raises(DeadlineError):
                result_of(late)
        assert bench.links[1].told[-1] == Withdraw(2)
        bench.links[1].answer(*bench.links[1].requests, failure=Failure("cancelled", stage="decode"))

    bench = play(scenario)
    assert bench.observer.kinds() == ["deadline", "done"]


def test_a_process_that_dies_is_started_again_and_its_jobs_find_another(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(bench: Bench) -> None:
        first, second = bench.links
        lost, kept = bench.ask(job()), bench.ask(job())
        await settle()
        first.end("SIGKILL")
        assert bench.pool.is_ready()
        assert second.jobs() == 2
        bench.pool.processes.check(0.5)
        await settle()
        assert len(bench.links) == 3
        second.answer(*second.requests)
        assert result_of((await lost)[0]) == result_of((await kept)[0]) == FOUND
        bench.ask(job())
        await settle()
        assert bench.links[2].jobs() == 1

    bench = play(scenario)
    assert bench.observer.lost == [False]
    assert "the process of an engine is lost (SIGKILL), with 1 requests" in caplog.text


def test_what_was_answered_before_a_process_died_is_not_asked_again() -> None:
    async def scenario(bench: Bench) -> None:
        (first,) = bench.links
        asking = bench.ask(job(8), job(4))
        await settle()
        (request,) = first.requests
        first.say(update(request.number, Answer(request.number, 0, FOUND, None, Times())))
        first.end("SIGKILL")
        bench.pool.processes.check(0.5)
        await settle()
        (again,) = bench.links[1].requests
        assert list(again.jobs) == [job(4)]
        bench.links[1].answer(again)
        assert [result_of(answer) for answer in await asking] == [FOUND, FOUND]

    play(scenario, 1)


class Watching:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.said: list[tuple[int, object]] = []

    def note_answer(self, place: int, answer: Answer) -> None:
        self.said.append((place, "answered"))

    def note_partial(self, place: int, target_ids: Sequence[int]) -> None:
        self.said.append((place, tuple(target_ids)))


def test_who_watches_hears_of_each_answer_once_wherever_the_jobs_go() -> None:
    watcher = Watching()

    async def scenario(bench: Bench) -> None:
        (first,) = bench.links
        asking = bench.ask(job(4), job(8), watcher=watcher)  # the longest is sent first
        await settle()
        (request,) = first.requests
        first.say(update(request.number)._replace(partials=[Partial(request.number, 1, (7,))]))
        first.say(update(request.number, Answer(request.number, 0, FOUND, None, Times())))
        first.end("SIGKILL")
        bench.pool.processes.check(0.5)
        await settle()
        (again,) = bench.links[1].requests
        bench.links[1].say(update(again.number)._replace(partials=[Partial(again.number, 0, (7, 8))]))
        bench.links[1].answer(again)
        await asking
        # Of what nobody waits for any more nobody is told.
        bench.links[1].say(update(again.number)._replace(partials=[Partial(again.number, 0, (7, 8))]))

    play(scenario, 1)
    assert watcher.said == [(0, (7,)), (1, "answered"), (0, (7, 8)), (0, "answered")]


def test_a_request_that_brings_two_processes_down_is_not_tried_a_third_time() -> None:
    async def scenario(bench: Bench) -> None:
        asking, other = bench.ask(job()), None
        await settle()
        bench.links[0].end("SIGSEGV")
        await settle()
        other = bench.ask(job(1))
        await settle()
        bench.links[1].end("SIGSEGV")
        with pytest.raises(EngineLostError, match="SIGSEGV"):
            await asking
        bench.pool.processes.check(0.5)
        await settle()
        third = bench.links[2]
        assert [each for request in third.requests for each in request.jobs] == [job(1)]
        third.answer(*third.requests)
        assert await other

    play(scenario)


def test_without_any_engine_requests_wait_for_the_next_whenever_they_came() -> None:
    async def scenario(bench: Bench) -> None:
        asking = [bench.ask(job())]
        await settle()
        bench.links[0].end("SIGKILL")
        assert not bench.pool.is_ready()
        asking += [bench.ask(job()), bench.ask(job(), job(), is_further=True)]
        await settle()
        assert bench.pool.waiting_tokens() == 16
        with pytest.raises(QueueFullError):
            await bench.pool.run([job(32)])
        bench.pool.processes.check(0.5)
        await settle()
        assert bench.pool.is_ready()
        bench.links[1].answer(*bench.links[1].requests)
        assert [result_of(answer) for answers in await asyncio.gather(*asking) for answer in answers] == [FOUND] * 4

    play(scenario, 1, waiting_tokens=20)


def test_a_deadline_is_kept_while_there_is_no_engine() -> None:
    async def scenario(bench: Bench) -> None:
        asking = bench.ask(job(), deadline=time.monotonic() + 1000)
        await settle()
        bench.links[0].end("SIGKILL")
        bench.let_deadlines_pass()
        with pytest.raises(DeadlineError):
            await asking
        assert bench.pool.waiting_tokens() == 0

    bench = play(scenario, 1)
    assert bench.observer.kinds() == ["deadline"]


def test_a_process_that_neither_speaks_nor_works_is_killed(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(bench: Bench) -> None:
        hung, other = bench.links
        asking = bench.ask(job())
        await settle()
        for _ in range(19):
            bench.pool.processes.check(0.5)
        assert not hung.is_killed
        for _ in range(2):
            bench.pool.processes.check(0.5)
        assert hung.is_killed
        assert not other.is_killed  # it has no work: it need not say anything
        await settle()
        other.answer(*other.requests)
        assert await asking

    bench = play(scenario)
    assert bench.observer.lost == [True]
    assert "it said nothing" in caplog.text


def test_a_process_that_speaks_or_works_does_not_hang() -> None:
    async def scenario(bench: Bench) -> None:
        speaking, working = bench.links
        bench.ask(job())
        bench.ask(job())
        await settle()
        for turn in range(100):
            speaking.say(update(0))
            working.cpu = float(turn)
            bench.pool.processes.check(0.5)
        assert not speaking.is_killed
        assert not working.is_killed
        for turn in range(int(2 * BUSY_HANG_SHARE * HANG)):
            working.cpu = 1000.0 + turn
            bench.pool.processes.check(0.5)
        assert working.is_killed

    play(scenario)


def test_where_nobody_knows_the_processor_time_silence_must_be_longer() -> None:
    async def scenario(bench: Bench) -> None:
        (link,) = bench.links
        link.cpu = None
        bench.ask(job())
        await settle()
        for _ in range(int(2 * HANG) + 10):
            bench.pool.processes.check(0.5)
        assert not link.is_killed

    play(scenario, 1)


def test_a_process_that_hangs_while_it_loads_is_killed_and_started_again() -> None:
    async def scenario(bench: Bench) -> None:
        assert not bench.pool.is_ready()
        for _ in range(22):
            bench.pool.processes.check(0.5)
        assert bench.links[0].is_killed
        assert len(bench.links) == 2
        bench.links[1].say(Ready("CPU"))
        assert bench.pool.is_ready()

    play(scenario, 1, starts=False)


def test_restarts_are_tried_ever_less_often_until_one_has_answered() -> None:
    async def scenario(bench: Bench) -> None:
        started = []
        bench.starts = True
        for _ in range(5):
            bench.links[-1].end("SIGKILL")
            seconds = 0.0
            before = len(bench.links)
            while len(bench.links) == before:
                bench.pool.processes.check(0.5)
                seconds += 0.5
            started.append(seconds)
            await settle()
        assert started == [0.5, 1.0, 2.0, 4.0, 8.0]
        bench.ask(job())
        await settle()
        bench.links[-1].answer(*bench.links[-1].requests)
        bench.links[-1].end("SIGKILL")
        before = len(bench.links)
        bench.pool.processes.check(0.5)
        assert len(bench.links) == before + 1

    play(scenario, 1)


def test_processes_that_cannot_be_started_again_end_it_all() -> None:
    async def scenario(bench: Bench) -> None:
        asking = bench.ask(job())
        await settle()
        bench.starts = False
        bench.links[-1].end("SIGKILL")
        for _ in range(MOST_FAILED_STARTS):
            assert bench.failed == []
            before = len(bench.links)
            while len(bench.links) == before:
                bench.pool.processes.check(10.0)
            bench.links[-1].end("exit status 1")
        assert bench.failed == [True]
        assert "exit status 1" in str(bench.pool.failure)
        with pytest.raises(EngineLostError):
            await asking
        with pytest.raises(EngineLostError):
            await bench.pool.run([job()])

    play(scenario, 1)


def test_one_engine_that_cannot_be_started_again_does_not_end_the_others() -> None:
    async def scenario(bench: Bench) -> None:
        bench.links[0].end("SIGKILL")
        bench.refuses = True
        for _ in range(20):
            bench.pool.processes.check(30.0)
        assert bench.failed == []
        assert bench.pool.is_ready()

    play(scenario)


def test_a_bundle_that_cannot_be_loaded_is_said_at_once() -> None:
    async def scenario() -> None:
        bench = Bench(2, False)
        starting = asyncio.create_task(bench.pool.start())
        await settle()
        bench.links[1].say(BundleError("damaged"))
        with pytest.raises(BundleError, match="damaged"):
            await starting
        assert all(link.is_killed for link in bench.links)
        for link in bench.links:
            link.end("exit status 1")
        await bench.pool.close()
        assert bench.observer.lost == []

    asyncio.run(scenario())


def test_an_engine_that_dies_while_it_loads_is_tried_again() -> None:
    async def scenario(bench: Bench) -> None:
        for _ in range(MOST_FAILED_STARTS - 1):
            bench.links[-1].end("SIGKILL")
            bench.pool.processes.check(30.0)
        bench.links[-1].say(Ready("CPU"))
        assert await bench.pool.start() == Ready("CPU")
        assert bench.failed == []

    play(scenario, 1, starts=False)


def test_a_pool_without_an_owner_to_tell_tries_again_when_it_is_asked() -> None:
    async def scenario() -> None:
        links: list[SilentLink] = []

        def start(setup: Setup, say: Callable[[Said], None], end: Callable[[str], None]) -> SilentLink:
            links.append(SilentLink(1, say, end))
            return links[-1]

        pool = Pool(SETUP, 1, Bounds(40), Observer(), start)
        asking = asyncio.create_task(pool.run([job()]))
        await settle()
        links[0].say(BundleError("odd"))
        links[0].end("exit status 1")
        with pytest.raises(BundleError):
            await asking
        asking = asyncio.create_task(pool.run([job()]))
        await settle()
        links[1].say(Ready("CPU"))
        await settle()
        links[1].answer(*links[1].requests)
        assert await asking
        closing = asyncio.create_task(pool.close())
        await settle()
        assert links[1].told[-1] == Stop()
        links[1].end("exit status 0")
        await closing

    asyncio.run(scenario())


def test_a_deadline_is_kept_while_processes_start() -> None:
    async def scenario(bench: Bench) -> None:
        with pytest.raises(DeadlineError):
            await bench.pool.run([job()], deadline=time.monotonic() + 0.05)

    play(scenario, starts=False)


def test_who_waits_for_processes_to_start_is_told_when_they_are_stopped() -> None:
    async def scenario(bench: Bench) -> None:
        asking = bench.ask(job())
        await settle()
        bench.pool.abort()
        with pytest.raises(EngineClosedError):
            await asking

    play(scenario, starts=False)


def test_closing_finishes_what_was_accepted_and_refuses_the_rest() -> None:
    async def scenario(bench: Bench) -> None:
        asking = bench.ask(job())
        await settle()
        closing = asyncio.create_task(bench.pool.close())
        await settle()
        with pytest.raises(EngineClosedError):
            await bench.pool.run([job()])
        bench.links[0].answer(*bench.links[0].requests)
        assert await asking
        await settle()
        assert [link.told[-1] for link in bench.links] == [Stop(), Stop()]
        for link in bench.links:
            link.end("exit status 0")
        await closing

    bench = play(scenario)
    assert bench.observer.lost == []


def test_aborting_fails_everything_at_once_and_kills() -> None:
    async def scenario(bench: Bench) -> None:
        asking = bench.ask(job(), job(), job())
        await settle()
        bench.pool.abort()
        assert all(link.is_killed for link in bench.links)
        with pytest.raises(EngineClosedError):
            await asking

    play(scenario)


def engine(setup: Setup) -> Engine:
    return Engine(TableDecoder(seed=3), Capacity(6, 1, 1, 400))


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 12), st.sampled_from(["", "withdraw", "late"])), min_size=1, max_size=12),
    st.integers(1, 3),
)
def test_every_request_ends_and_nothing_is_left_behind(requests: list[tuple[int, str]], engines: int) -> None:
    """With real engines, in threads."""

    async def scenario() -> tuple[int, Observer, int]:
        observer, accepted = Observer(), 0
        bounds = Bounds(40, waiting_tokens=30, bulk_waiting_tokens=60)
        pool = Pool(SETUP, engines, bounds, observer, in_thread(engine))
        await pool.start()
        tasks = []
        for size, end in requests:
            deadline = time.monotonic() + 0.002 if end == "late" else math.inf
            jobs = [Job((n % 12, EOS_ID), SearchOptions(max_output_tokens=7)) for n in range(size)]
            tasks.append(asyncio.create_task(pool.run(jobs, deadline=deadline, fail_fast=False)))
            await asyncio.sleep(0)
            if end == "withdraw":
                tasks[-1].cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        for (size, end), result in zip(requests, results, strict=True):
            refused = isinstance(result, QueueFullError | DeadlineError)
            accepted += 0 if refused or (isinstance(result, asyncio.CancelledError) and not size) else size
            assert refused or end == "withdraw" or len(result) == size  # type: ignore[arg-type]
        await pool.close()
        return accepted, observer, pool.waiting_tokens()

    accepted, observer, waiting = asyncio.run(scenario())
    assert len(observer.answers) == accepted
    assert waiting == 0
