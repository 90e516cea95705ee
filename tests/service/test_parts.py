"""Parts that are plain functions: ranking of alternatives, waiting for jobs, language codes."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading

import pytest

from service.admission import Door
from service.alternatives import distinct_texts, ranked_versions
from service.engine.jobs import Hypothesis, Job, SearchOptions
from service.errors import RejectedError, UnavailableError, shown
from service.text.languages import Directions, language_name, normalise_code
from service.waiting import until_done


def jobs(count: int) -> list[Job]:
    return [Job((5, 6, 3), SearchOptions()) for _ in range(count)]


def hypothesis(score: float) -> Hypothesis:
    return Hypothesis((7,), score, score, "eos", (score, 0.0))


def test_versions_give_up_as_little_score_as_possible() -> None:
    sentences = [[("a", -1.0), ("b", -1.5), ("c", -3.0)], [("x", -2.0), ("y", -2.1)], [("only", -1.0)]]
    assert list(ranked_versions(sentences, 3)) == [
        ["a", "x", "only"],
        ["a", "y", "only"],
        ["b", "x", "only"],
        ["c", "x", "only"],
    ]
    assert list(ranked_versions(sentences, 0)) == [["a", "x", "only"]]
    assert list(ranked_versions([], 3)) == [[]]


def test_texts_that_spell_the_same_keep_the_best_hypothesis() -> None:
    found = [hypothesis(-1.0), hypothesis(-2.0), hypothesis(-3.0)]
    assert list(distinct_texts(found, ["a", "a", "b"]).items()) == [("a", found[0]), ("b", found[2])]


@pytest.mark.parametrize("count", [0, 1, 700])
def test_waiting_ends_when_every_job_is_done(count: int) -> None:
    waiting = jobs(count)

    def answer() -> None:
        for job in waiting:
            job.future.set_result((hypothesis(0.0),))

    asyncio.run(until_done(waiting, lambda submitted: threading.Thread(target=answer).start()))
    assert all(job.future.done() for job in waiting)


def test_waiting_ends_with_the_first_failure() -> None:
    waiting = jobs(3)
    with pytest.raises(ZeroDivisionError):
        asyncio.run(until_done(waiting, lambda submitted: waiting[1].future.set_exception(ZeroDivisionError())))
    assert [job.future.done() for job in waiting] == [False, True, False]


def test_waiting_text_by_text_ends_when_every_job_has_ended_somehow() -> None:
    waiting = jobs(3)

    def answer() -> None:
        waiting[1].future.set_exception(ZeroDivisionError())
        waiting[0].future.cancel()
        waiting[2].future.set_result((hypothesis(0.0),))

    asyncio.run(until_done(waiting, lambda submitted: threading.Thread(target=answer).start(), fail_fast=False))
    assert all(job.future.done() for job in waiting)


def test_a_job_the_engine_withdraws_is_no_cancelled_task() -> None:
    waiting = jobs(2)
    with pytest.raises(concurrent.futures.CancelledError):
        asyncio.run(until_done(waiting, lambda submitted: submitted[0].future.cancel() and None))


def test_a_refused_submission_is_said() -> None:
    def refuse(submitted: object) -> None:
        raise RuntimeError("closed")

    with pytest.raises(RuntimeError, match="closed"):
        asyncio.run(until_done(jobs(2), refuse))


def test_the_door_counts_who_is_inside_and_lets_no_more_in_than_allowed() -> None:
    door = Door(2)
    with door.enter():
        with pytest.raises(KeyError), door.enter():
            raise KeyError  # who leaves in anger has left too
        with door.enter():
            assert door.inside == 2
            with pytest.raises(RejectedError) as refused, door.enter():
                pass
    assert (refused.value.status, refused.value.rejection) == (503, "too_many_requests")
    assert door.inside == 0


def test_a_closed_door_lets_nobody_in_and_keeps_nobody_from_leaving() -> None:
    door = Door(2)
    with door.enter():
        door.close()
        with pytest.raises(RejectedError) as refused, door.enter():
            pass
        assert refused.value.rejection == "draining"
        assert refused.value.headers["Connection"] == "close"
    assert door.inside == 0


@pytest.mark.parametrize(("seconds", "header"), [(0.0, "1"), (1.2, "2"), (500.0, "30")])
def test_nobody_is_told_to_come_back_at_once_or_in_minutes(seconds: float, header: str) -> None:
    assert UnavailableError("later", seconds).headers == {"Retry-After": header}


@pytest.mark.parametrize(
    ("written", "code"), [("EN", "en"), (" zh-Hans ", "zh"), ("zh_HANT", "zt"), ("pt-BR", "pb"), ("xx", "xx")]
)
def test_codes(written: str, code: str) -> None:
    assert normalise_code(written) == code


def test_directions() -> None:
    directions = Directions.parse(["zh-en", "fr-en", "en-fr"])
    assert directions.sources == ("zh", "zt", "fr", "en")
    assert directions.targets("en") == ("fr",)
    assert directions.knows("zh")
    assert not directions.knows("de")
    assert (language_name("zh"), language_name("xx")) == ("Chinese", "xx")


def test_values_in_messages_are_short_and_printable() -> None:
    assert shown("x" * 100) == "x" * 60 + "..."
    assert shown("\ud800") == "?"
