"""The scheduler's rules, one by one, without a model or a clock."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.engine.scheduler import (
    MOST_STEPS_HELD,
    Bounds,
    Capacity,
    Demand,
    QueueLimit,
    admit,
    bulk_debt,
    expected_wait,
    is_held,
    lane_of,
    lanes_to_step,
    queue_limit,
    smoothed_pace,
)
from service.engine.types import Lane

FAST, BULK = Lane.INTERACTIVE, Lane.BULK
CAPACITY = Capacity(max_rows=16, interactive_rows=4, bulk_rows=2, encode_tokens=100)
IDLE = {FAST: 0, BULK: 0}


def taken(
    fast: list[Demand], bulk: list[Demand], running: dict[Lane, int] = IDLE, capacity: Capacity = CAPACITY
) -> tuple[int, int]:
    counts = admit({FAST: fast, BULK: bulk}, running, capacity, bulk[0] if bulk else None)
    return counts[FAST], counts[BULK]


def test_rows_are_filled_up_to_the_limit() -> None:
    assert taken([Demand(4, 10)] * 9, []) == (4, 0)


def test_bulk_leaves_the_reserved_rows_alone() -> None:
    assert taken([], [Demand(1, 4)] * 50) == (0, 12)
    assert taken([Demand(1, 4)] * 3, [], {FAST: 0, BULK: 12}) == (3, 0)


def test_interactive_comes_before_bulk() -> None:
    assert taken([Demand(12, 10)], [Demand(4, 10)] * 2) == (1, 1)
    assert taken([Demand(12, 10)], [Demand(4, 10)], {FAST: 0, BULK: 4}) == (1, 0)


def test_nobody_overtakes_in_a_lane() -> None:
    assert taken([Demand(1, 10), Demand(8, 10), Demand(1, 10)], [], {FAST: 10, BULK: 0}) == (1, 0)


def test_interactive_leaves_rows_to_bulk_that_waits() -> None:
    assert taken([Demand(1, 4)] * 20, []) == (16, 0)
    assert taken([Demand(1, 4)] * 20, [Demand(1, 4)]) == (14, 1)
    assert taken([Demand(1, 4)] * 20, [Demand(4, 4)]) == (12, 1)
    assert taken([Demand(1, 4)] * 20, [], {FAST: 14, BULK: 2}) == (0, 0)


def test_the_encoder_does_no_more_than_its_budget_between_two_steps_but_for_the_first_of_each_lane() -> None:
    assert taken([Demand(1, 40)] * 5, []) == (2, 0)
    assert taken([Demand(1, 90)], [Demand(1, 20), Demand(1, 20)]) == (1, 1)


def test_a_source_longer_than_the_budget_is_encoded_alone() -> None:
    assert taken([Demand(1, 500), Demand(1, 1)], []) == (1, 0)
    assert taken([Demand(1, 1), Demand(1, 500)], []) == (1, 0)


def test_a_job_wider_than_the_limit_runs_when_nothing_else_does() -> None:
    assert taken([Demand(20, 10), Demand(1, 10)], []) == (1, 0)
    assert taken([Demand(20, 10)], [], {FAST: 1, BULK: 0}) == (0, 0)
    assert taken([], [Demand(14, 10)]) == (0, 1)


def test_small_requests_are_interactive() -> None:
    assert lane_of(50, Bounds(50)) is FAST
    assert lane_of(51, Bounds(50)) is BULK


def test_each_lane_has_its_own_limit() -> None:
    bounded = Bounds(50, waiting_tokens=100, bulk_waiting_tokens=1000)
    assert [queue_limit(lane, bounded) for lane in Lane] == [QueueLimit(100), QueueLimit(1000)]
    assert queue_limit(BULK, Bounds(50)).admits(10**9)


def limit_of(*, limit: int = 80, entered: Iterable[int] = ()) -> QueueLimit:
    made = QueueLimit(limit)
    for tokens in entered:
        assert made.admits(tokens)
        made.add(tokens)
    return made


def test_a_queue_takes_what_fits() -> None:
    assert limit_of(entered=[30]).admits(50)
    assert not limit_of(entered=[30]).admits(51)


def test_a_queue_without_space_for_another_like_the_last_is_full_until_an_eighth_is_free() -> None:
    full = limit_of(entered=[30, 30, 12])
    assert full.is_full
    assert not full.admits(1)
    full.tokens -= 1
    assert not full.admits(1)
    full.tokens -= 1
    assert not full.is_full
    assert full.admits(10)


def test_a_queue_that_turned_one_away_is_full_for_all() -> None:
    refusing = limit_of(entered=[66, 6])
    assert not refusing.is_full
    assert not refusing.admits(9)
    refusing.refuse()
    assert refusing.is_full
    half_empty = limit_of(entered=[40])
    assert not half_empty.admits(41)
    half_empty.refuse()
    assert half_empty.admits(40)


def test_further_jobs_of_an_accepted_request_open_no_full_queue() -> None:
    full = limit_of(entered=[40, 36])
    full.add(1)
    assert full.is_full


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 100))))
def test_a_queue_never_holds_more_than_its_limit_and_is_not_full_for_ever(events: list[tuple[bool, int]]) -> None:
    tried = QueueLimit(80)
    for comes, tokens in events:
        if not comes:
            tried.tokens = max(0, tried.tokens - tokens)
        elif tried.admits(tokens):
            tried.add(tokens)
        else:
            tried.refuse()
        assert tried.tokens <= 80
    tried.tokens = 70  # seven eighths
    assert not tried.is_full


def test_a_wait_is_expected_once_the_pace_is_known() -> None:
    assert expected_wait(1000, None) == 0.0
    assert expected_wait(1000, 500.0) == 2.0
    assert expected_wait(0, 500.0) == 0.0


def test_the_pace_follows_what_is_measured() -> None:
    assert smoothed_pace(None, 100, 0.5) == 200.0
    pace = 200.0
    for _ in range(40):
        pace = smoothed_pace(pace, 300, 0.5)
    assert pace == pytest.approx(600.0, rel=1e-3)


def test_few_wait_for_company_while_many_run() -> None:
    assert is_held(1, 32, 0)
    assert is_held(7, 32, 0)
    assert not is_held(8, 32, 0)


def test_nobody_waits_for_company_where_few_run_or_for_long() -> None:
    assert not is_held(1, 0, 0)
    assert not is_held(1, 4, 0)
    assert not is_held(1, 500, MOST_STEPS_HELD)


def test_lanes_with_rows_step() -> None:
    assert lanes_to_step(IDLE, 0.0) == ()
    assert lanes_to_step({FAST: 1, BULK: 0}, 0.0) == (FAST,)
    assert lanes_to_step({FAST: 1, BULK: 9}, 0.0) == (FAST, BULK)


def test_bulk_waits_while_it_owes_time_to_interactive() -> None:
    assert lanes_to_step({FAST: 1, BULK: 9}, 0.1) == (FAST,)
    assert lanes_to_step({FAST: 0, BULK: 9}, 0.1) == (BULK,)


def test_debt_is_twice_bulk_time_less_interactive_time_and_ends_with_the_last_interactive_job() -> None:
    assert bulk_debt(0.0, {BULK: 1.5, FAST: 1.0}, interactive_has_work=True) == 2.0
    assert bulk_debt(2.0, {BULK: 0.0, FAST: 1.5}, interactive_has_work=True) == 0.5
    assert bulk_debt(0.5, {BULK: 0.0, FAST: 1.5}, interactive_has_work=True) == 0.0
    assert bulk_debt(9.0, {BULK: 1.0, FAST: 0.0}, interactive_has_work=False) == 0.0


def test_with_steady_load_on_both_lanes_bulk_gets_a_third_of_the_time() -> None:
    both, owed, spent = {FAST: 1, BULK: 1}, 0.0, {FAST: 0.0, BULK: 0.0}
    for _ in range(1000):
        stepped = lanes_to_step(both, owed)
        seconds = {lane: {FAST: 0.5, BULK: 4.0}[lane] if lane in stepped else 0.0 for lane in Lane}
        owed = bulk_debt(owed, seconds, interactive_has_work=True)
        for lane, value in seconds.items():
            spent[lane] += value
    assert abs(2 * spent[BULK] / spent[FAST] - 1) < 0.05


demands = st.lists(st.builds(Demand, rows=st.integers(1, 8), encode_tokens=st.integers(1, 300)), max_size=30)


@given(demands, demands, st.integers(0, 12), st.integers(0, 4))
def test_limits_hold_and_work_never_stands_still(
    fast: list[Demand], bulk: list[Demand], fast_rows: int, bulk_rows: int
) -> None:
    running = {FAST: fast_rows, BULK: bulk_rows}
    counts = dict(zip((FAST, BULK), taken(fast, bulk, running), strict=True))
    admitted = fast[: counts[FAST]] + bulk[: counts[BULK]]
    if admitted:
        rows = sum(running.values()) + sum(demand.rows for demand in admitted)
        assert rows <= CAPACITY.max_rows
        tokens = [demand.encode_tokens for demand in admitted]
        firsts = sum(some[0].encode_tokens for some in (fast, bulk) if some)
        assert sum(tokens) <= CAPACITY.encode_tokens + firsts
    if not any(running.values()) and (fast or bulk):
        assert admitted


@given(st.integers(8, 64), st.integers(1, 8), st.integers(1, 8), st.integers(1, 300), st.integers(1, 300), st.randoms())
def test_no_lane_starves_however_much_work_the_other_has(
    max_rows: int, fast_beams: int, bulk_beams: int, fast_tokens: int, bulk_tokens: int, chance: random.Random
) -> None:
    """Both queues never end: in a thousand steps sentences of both lanes start, again and again."""
    capacity = Capacity(max_rows, max_rows // 4, max_rows // 8, 100)
    owed, started = 0.0, {FAST: 0, BULK: 0}
    left: dict[Lane, list[int]] = {FAST: [], BULK: []}  # steps that each running sentence still takes
    beams, tokens = {FAST: fast_beams, BULK: bulk_beams}, {FAST: fast_tokens, BULK: bulk_tokens}
    for _ in range(1000):
        rows = {lane: len(left[lane]) * beams[lane] for lane in Lane}
        waiting = {lane: [Demand(beams[lane], tokens[lane])] * 70 for lane in Lane if lane is FAST or owed <= 0}
        counts = admit(waiting, rows, capacity, waiting[BULK][0] if BULK in waiting else None)
        for lane, count in counts.items():
            started[lane] += count
            left[lane] += [chance.randint(1, 20) for _ in range(count)]
        seconds = {FAST: 0.0, BULK: 0.0}
        for lane in lanes_to_step({lane: len(left[lane]) for lane in Lane}, owed):
            seconds[lane] = 1.0 + 0.1 * counts[lane]
            left[lane] = [steps - 1 for steps in left[lane] if steps > 1]
        owed = bulk_debt(owed, seconds, interactive_has_work=True)
    assert min(started.values()) >= 10
