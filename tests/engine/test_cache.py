"""What is kept of a pool's answers, for whom, and how much."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from service.engine.cache import Cache, sharing, size_of
from service.engine.types import Answer, Failure, Hypothesis, Job, SearchOptions, Times, error_of, result_of
from tests.engine.test_pool import Watching

OPTIONS = SearchOptions()


def job(*ids: int, **options: Any) -> Job:
    return Job(ids, SearchOptions(**options) if options else OPTIONS)


class Pool:
    """Answers when it is told to, with the source."""

    def __init__(self) -> None:
        self.asked: list[Sequence[Any]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.fails = False

    async def run(
        self,
        jobs: Sequence[Any],
        *,
        deadline: float = math.inf,
        is_further: bool = False,
        fail_fast: bool = True,
        watcher: Any = None,
    ) -> list[Answer]:
        self.asked.append(jobs)
        await self.gate.wait()
        answers = []
        for place, each in enumerate(jobs):
            failure = Failure("error", "no") if self.fails else None
            found = (Hypothesis(each.source_ids, -1.0, -1.0, "eos", (-1.0,)),)
            answers.append(Answer(1, place, None if failure else found, failure, Times(0.0, 1.0, 2.0, 3.0)))
            watcher.note_answer(place, answers[-1])
            if failure and fail_fast:
                raise error_of(failure)
        return answers


def play(scenario: Callable[[Cache, Pool], Coroutine[Any, Any, None]], most_bytes: int = 100_000) -> dict[str, int]:
    counts = {"hit": 0, "joined": 0, "miss": 0}

    def count(outcome: str, number: int) -> None:
        counts[outcome] += number

    async def whole() -> None:
        pool = Pool()
        await scenario(Cache(pool, most_bytes, count), pool)

    asyncio.run(whole())
    return counts


def ids(answers: Sequence[Answer]) -> list[tuple[int, ...]]:
    return [result_of(answer)[0].target_ids for answer in answers]


def test_what_was_answered_is_not_asked_again_and_options_are_part_of_the_question() -> None:
    watcher = Watching()

    async def scenario(cache: Cache, pool: Pool) -> None:
        assert ids(await cache.run([job(1), job(2), job(1)])) == [(1,), (2,), (1,)]
        assert ids(await cache.run([job(3), job(2)], watcher=watcher)) == [(3,), (2,)]
        assert ids(await cache.run([job(2, beam_size=4)])) == [(2,)]
        assert [[each.source_ids for each in jobs] for jobs in pool.asked] == [[(1,), (2,)], [(3,)], [(2,)]]

    assert play(scenario) == {"hit": 2, "joined": 1, "miss": 4}
    assert watcher.said == [(1, "answered"), (0, "answered")]


def test_the_same_under_way_is_decoded_once_and_by_another_if_its_first_leaves() -> None:
    async def scenario(cache: Cache, pool: Pool) -> None:
        pool.gate.clear()
        first = asyncio.create_task(cache.run([job(1)]))
        await asyncio.sleep(0)
        others = [asyncio.create_task(cache.run([job(1)])) for _ in range(3)]
        await asyncio.sleep(0)
        assert len(pool.asked) == 1
        first.cancel()
        while len(pool.asked) < 2:
            await asyncio.sleep(0)
        pool.gate.set()
        assert [ids(await each) for each in others] == [[(1,)]] * 3
        assert len(pool.asked) == 2

    play(scenario)


def test_what_fails_is_not_kept() -> None:
    async def scenario(cache: Cache, pool: Pool) -> None:
        pool.fails = True
        with pytest.raises(RuntimeError, match="no"):
            await cache.run([job(1)])
        (answer,) = await cache.run([job(1)], fail_fast=False)
        assert answer.failure
        pool.fails = False
        assert ids(await cache.run([job(1)])) == [(1,)]
        assert len(pool.asked) == 3

    play(scenario)


def test_nobody_is_given_what_another_asked_for() -> None:
    async def scenario(cache: Cache, pool: Pool) -> None:
        pool.gate.clear()
        asking = []
        for name in ("ann", "bob"):
            sharing.set(name)
            asking.append(asyncio.create_task(cache.run([job(1)])))
            await asyncio.sleep(0)
        assert len(pool.asked) == 2  # not even while it is under way
        pool.gate.set()
        await asyncio.gather(*asking)
        sharing.set("cy")
        await cache.run([job(1)])
        sharing.set("ann")
        await cache.run([job(1)])
        assert len(pool.asked) == 3

    assert play(scenario) == {"hit": 1, "joined": 0, "miss": 3}


def test_it_is_bounded_and_what_is_asked_for_stays() -> None:
    one = size_of(("", job(1)), (Hypothesis((1,), -1.0, -1.0, "eos", (-1.0,)),))

    async def scenario(cache: Cache, pool: Pool) -> None:
        for number in range(2, 50):
            await cache.run([job(1)])
            await cache.run([job(number)])
            assert cache.bytes <= 5 * one
        assert len(pool.asked) == 49
        await cache.run([job(*range(10_000))])  # larger than all there is
        assert cache.bytes == 5 * one

    play(scenario, most_bytes=5 * one + 1)


def test_what_was_found_out_is_kept_with_the_answer_and_told_to_nobody_else() -> None:
    async def scenario(cache: Cache, pool: Pool) -> None:
        cache.note(job(5), "a-b", True)  # of an answer that is not there
        await cache.run([job(5)])
        assert cache.verdict(job(5), "a-b") is None
        cache.note(job(5), "a-b", True)
        cache.note(job(5), "c-b", False)
        assert (cache.verdict(job(5), "a-b"), cache.verdict(job(5), "c-b")) == (True, False)
        assert cache.verdict(job(5, beam_size=2), "a-b") is None
        token = sharing.set("other")
        assert cache.verdict(job(5), "a-b") is None
        sharing.reset(token)
        for number in range(200):
            await cache.run([job(number, 7)])
        assert cache.verdict(job(5), "a-b") is None

    play(scenario, most_bytes=10_000)
