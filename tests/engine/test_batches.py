"""Which sentences are encoded in one run."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from service.engine.decoder.batches import of_one_length, packs

lengths = st.lists(st.integers(1, 300), max_size=40)


@given(lengths)
def test_side_by_side_are_those_of_one_length(found: list[int]) -> None:
    runs = of_one_length(found)
    assert sorted(index for run in runs for index in run) == list(range(len(found)))
    assert [len({found[index] for index in run}) for run in runs] == [1] * len(set(found))


@given(lengths, st.integers(1, 128))
def test_a_pack_is_full_before_the_next_begins(found: list[int], most: int) -> None:
    runs = packs(found, most)
    assert [index for run in runs for index in run] == list(range(len(found)))
    totals = [sum(found[index] for index in run) for run in runs]
    assert all(total <= most or len(run) == 1 for total, run in zip(totals, runs, strict=True))
    assert all(total + found[later[0]] > most for total, later in zip(totals, runs[1:], strict=False))
