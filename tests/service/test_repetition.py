"""Outputs that go round in circles: found, tried again, said."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.vocabulary import Vocabulary
from service.engine.types import Hypothesis, Job
from service.repetition import MAX_PERIOD, MIN_TOKENS, is_loop, longest_loop
from service.translation.attempts import RETRY_NGRAM, RETRY_PENALTY
from tests.service.fakes import FakeLoader, asking_metrics, echo, make_app, samples, translate

PAIR = {"source": "en", "target": "fr"}
PLAIN = list(range(100, 130))


@pytest.mark.parametrize(
    ("ids", "length"),
    [
        ([], 0),
        (PLAIN, 0),
        ([7] * 12, 12),
        ([1, 2] * 6, 12),
        ([1, 2, 3] * 4, 12),
        ([*PLAIN, *[1, 2, 3, 4, 5] * 3, 9], 15),
        ([1, 2, 3, 4, 5, 6] * 2, 0),  # twice is no loop
        ([*[1, 2, 3, 4] * 3, 1, 2], 14),  # a last round that was not finished
    ],
)
def test_the_longest_stretch_that_repeats_itself(ids: list[int], length: int) -> None:
    assert longest_loop(ids) == length


def test_a_short_repetition_may_be_meant() -> None:
    assert not is_loop([5, 6] * 5, PLAIN)
    assert is_loop([5, 6] * 6, PLAIN)


def test_what_the_source_repeats_too_is_no_loop() -> None:
    assert is_loop([7] * 40, [*PLAIN, 8, 8, 8])
    assert not is_loop([7] * 40, [8] * 20)


@given(st.lists(st.integers(0, 3), max_size=12), st.lists(st.integers(4, 9), min_size=1, max_size=MAX_PERIOD))
def test_a_phrase_said_over_and_over_is_found_wherever_it_stands(before: list[int], phrase: list[int]) -> None:
    rounds = max(3, -(-MIN_TOKENS // len(phrase)))
    assert is_loop([*before, *phrase * rounds, 10, 11], [20, 21, 22])


@given(st.lists(st.integers(), unique=True, max_size=60), st.lists(st.integers()))
def test_words_that_are_all_different_are_no_loop(ids: list[int], source: list[int]) -> None:
    assert not is_loop(ids, source)


def looping(vocabulary: Vocabulary, *, cured: bool) -> FakeLoader:
    """Goes round in circles about tea, unless told not to (if that helps)."""
    circle = tuple(vocabulary.encode("tea")) * 12

    def answer(job: Job) -> tuple[Hypothesis, ...]:
        controlled = job.options.no_repeat_ngram_size > 0
        if "tea" not in vocabulary.decode(job.source_ids) or (controlled and cured):
            return echo(job)
        return (Hypothesis(circle, -1.0, -0.1, "eos", (-1.0, *[0.0] * len(circle))),)

    return FakeLoader(vocabulary, answer=answer)


def test_a_loop_is_tried_again_with_repetition_control(vocabulary: Vocabulary) -> None:
    loader = looping(vocabulary, cured=True)
    reply = translate(make_app(loader), {"q": ["I love you.", "I love you. I like tea."], **PAIR}).json()
    assert reply == {
        "translatedText": ["I love you.", "I love you. I like tea."],
        "warnings": [{"index": 1, "start": 12, "end": 23, "warning": "repetition_removed"}],
    }
    *first, again = loader.engine.submitted
    assert len(first) == 3
    assert (again.options.repetition_penalty, again.options.no_repeat_ngram_size) == (RETRY_PENALTY, RETRY_NGRAM)
    assert again.source_ids == first[2].source_ids


def test_a_loop_that_stays_is_kept_and_said(vocabulary: Vocabulary) -> None:
    loader = looping(vocabulary, cured=False)
    reply = translate(make_app(loader), {"q": "I like tea.", **PAIR}).json()
    assert reply["warnings"] == [{"index": 0, "start": 0, "end": 11, "warning": "repetition"}]
    assert len(loader.engine.submitted) == 2


@pytest.mark.parametrize("control", [{"no_repeat_ngram_size": 50}, {"repetition_penalty": 1.01}])
def test_who_controls_repetition_gets_what_was_asked_for(vocabulary: Vocabulary, control: dict[str, Any]) -> None:
    loader = looping(vocabulary, cured=False)
    reply = translate(make_app(loader), {"q": "I like tea.", **PAIR, **control}).json()
    assert reply["warnings"] == [{"index": 0, "start": 0, "end": 11, "warning": "repetition"}]
    assert len(loader.engine.submitted) == 1


def test_a_second_attempt_finds_room_in_a_full_queue(vocabulary: Vocabulary) -> None:
    loader = looping(vocabulary, cured=True)
    answer = loader.answer

    def full_after_the_first(job: Job) -> tuple[Hypothesis, ...]:
        loader.engine.refusal = RuntimeError("full")
        return answer(job)

    loader.answer = full_after_the_first
    reply = translate(make_app(loader), {"q": "I like tea.", **PAIR})
    assert reply.json()["translatedText"] == "I like tea."


@pytest.mark.parametrize(("cured", "outcome"), [(True, "removed"), (False, "kept")])
def test_loops_are_counted(vocabulary: Vocabulary, cured: bool, outcome: str) -> None:
    page = asking_metrics(make_app(looping(vocabulary, cured=cured)), {"q": "I like tea.", **PAIR})
    assert samples(page)[f'attend_repetitions_total{{outcome="{outcome}"}}'] == 1
