"""Engines that share a process: nobody starves, whoever else has how much to do."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from service.engine.turns import Turns

STEPS = st.lists(st.floats(0.001, 1.0), min_size=2, max_size=5)


@given(STEPS, st.integers(50, 300))
def test_engines_with_work_get_the_same_time_whatever_their_steps_cost(costs: list[float], rounds: int) -> None:
    turns, worked = Turns(), [0.0] * len(costs)
    for _ in range(rounds):
        number = turns.next(range(len(costs)))
        assert number is not None
        turns.note(number, costs[number])
        worked[number] += costs[number]
    assert max(worked) - min(worked) <= 2 * max(costs)


@given(STEPS, st.lists(st.integers(1, 31), min_size=20, max_size=60))
def test_between_two_steps_of_one_the_others_make_what_is_due_to_them(costs: list[float], masks: list[int]) -> None:
    """However work comes and goes, one that has some waits for no more than a step of each other and its own length."""
    turns = Turns()
    waited = dict.fromkeys(range(len(costs)), 0.0)
    for mask in masks:
        busy = [number for number in waited if mask >> number & 1]
        number = turns.next(busy)
        if number is None:
            continue
        assert number in busy
        turns.note(number, costs[number])
        for other in waited:
            waited[other] = waited[other] + costs[number] if other in busy and other != number else 0.0
            assert waited[other] <= len(costs) * 2 * max(costs) + 1e-6


def test_who_had_nothing_to_do_saves_nothing_up() -> None:
    turns = Turns()
    turns.next([0, 1])
    for _ in range(1000):
        turns.note(turns.next([0]) or 0, 1.0)
    first = []
    for _ in range(10):
        number = turns.next([0, 1])
        assert number is not None
        turns.note(number, 1.0)
        first.append(number)
    assert first.count(0) >= 4


def test_without_work_it_is_nobodys_turn() -> None:
    turns = Turns()
    assert turns.next([]) is None
    assert turns.next([3]) == 3
    turns.forget(3)
    assert turns.next([4]) == 4
