"""Word alignment by a hidden Markov model, against every path of a small one."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.lexical import LexicalTable, learn_table
from service.engine import hmm
from service.engine.hmm import hmm_evidence

LE, CHAT, DORT, THE, CAT, SLEEPS = range(6)
PAIRS = [([LE, CHAT], [THE, CAT]), ([LE], [THE]), ([CHAT, DORT], [CAT, SLEEPS]), ([DORT], [SLEEPS])] * 4


def table() -> LexicalTable:
    return learn_table(PAIRS, 10)


def by_every_path(emissions: np.ndarray) -> np.ndarray:
    """The posteriors by their definition. A path has for each step a place, and whether nothing was written from it."""
    steps, places = emissions.shape
    jumps = hmm._jumps(places)
    found, total = np.zeros((steps, places)), 0.0
    for path in itertools.product(itertools.product(range(places), (False, True)), repeat=steps):
        weight, before = 1.0, None
        for step, (place, empty) in enumerate(path):
            stays = (place == before) if before is not None else 1 / places
            moves = jumps[before, place] if before is not None else 1 / places
            weight *= (
                hmm._NOWHERE * stays * hmm._FROM_NOWHERE
                if empty
                else (1 - hmm._NOWHERE) * moves * emissions[step, place]
            )
            before = place
        total += weight
        for step, (place, empty) in enumerate(path):
            found[step, place] += 0 if empty else weight
    return found / total


@given(st.integers(1, 3), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_posteriors_are_those_of_all_paths(steps: int, places: int, seed: int) -> None:
    emissions = np.random.default_rng(seed).random((steps, places)) ** 4 + 1e-4
    assert hmm._posteriors(emissions) == pytest.approx(by_every_path(emissions), abs=1e-9)


def test_what_translates_each_other_is_linked() -> None:
    evidence = hmm_evidence([LE, CHAT, DORT], [THE, CAT, SLEEPS], table())
    assert evidence.argmax(axis=1).tolist() == [0, 1, 2]
    assert (np.diag(evidence) > 0.9).all()
    assert ((evidence >= 0) & (evidence <= 1)).all()


def test_order_tells_equal_words_apart() -> None:
    evidence = hmm_evidence([LE, CHAT, LE, CHAT], [THE, CAT, THE, CAT], table())
    assert evidence.argmax(axis=1).tolist() == [0, 1, 2, 3]


def test_both_directions_say_the_same() -> None:
    there = hmm_evidence([LE, CHAT], [THE, CAT, SLEEPS], table())
    back = hmm_evidence([THE, CAT, SLEEPS], [LE, CHAT], table().reversed())
    assert there == pytest.approx(back.T)


@pytest.mark.parametrize("sizes", [(0, 3), (3, 0), (0, 0)])
def test_nothing_is_linked_to_nothing(sizes: tuple[int, int]) -> None:
    source, target = sizes
    assert hmm_evidence([LE] * source, [THE] * target, table()).shape == (target, source)


def test_a_long_sentence_stays_in_numbers() -> None:
    evidence = hmm_evidence([7] * 256, [8] * 512, table())
    assert np.isfinite(evidence).all()
