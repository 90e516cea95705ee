"""What all hypotheses of a sentence that runs have in common, and who is told of it."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from service.engine.agreement import common_start


def test_beams_agree_as_far_as_they_are_the_same() -> None:
    beams = np.array([[5, 6, 7], [5, 6, 8]])
    assert common_start(beams, []) == (5, 6)
    assert common_start(beams, [(5, 9)]) == (5,)
    assert common_start(beams, [(5, 6, 7, 8)]) == (5, 6)
    assert common_start(beams, [()]) == ()
    assert common_start(beams[:1], []) == (5, 6, 7)
    assert common_start(beams[:, :0], []) == ()


@given(st.lists(st.lists(st.integers(0, 1), min_size=4, max_size=4), min_size=1, max_size=4),
       st.lists(st.lists(st.integers(0, 1), max_size=6), max_size=3))  # fmt: skip
def test_whatever_wins_begins_with_it(beams: list[list[int]], ended: list[list[int]]) -> None:
    certain = common_start(np.array(beams), [tuple(each) for each in ended])
    assert all(tuple(each[: len(certain)]) == certain for each in (*beams, *ended))
    # And with no token more.
    longer = [tuple(each[: len(certain) + 1]) for each in (*beams, *ended)]
    assert len(set(longer)) > 1 or len(longer[0]) == len(certain)
