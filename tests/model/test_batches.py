"""Batches: bounded, complete, and in an order that the seed fixes."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.batches import EncodedCorpus, Mixture, Ragged, make_batch
from model.errors import DataError
from model.vocabulary import BOS_ID, EOS_ID, PAD_ID

BUDGET = 40
ROWS = st.lists(st.tuples(st.integers(1, 20), st.integers(0, 19)), min_size=1, max_size=40)
"""Lengths of source and target; a source has at least a tag, a target gets one more token."""


def corpus_of(lengths: list[tuple[int, int]], passes: float = 1.0, name: str = "c") -> EncodedCorpus:
    sources = [[10 + i] * source for i, (source, _) in enumerate(lengths)]
    targets = [[10 + i] * target for i, (_, target) in enumerate(lengths)]
    return EncodedCorpus(name, Ragged.of(sources), Ragged.of(targets), passes)


def counts(mixture: Mixture, epoch: int = 0) -> Counter[tuple[int, int]]:
    return Counter((int(c), int(r)) for batch in mixture.epoch(epoch) for c, r in batch)


@given(lengths=ROWS, seed=st.integers(0, 9))
def test_budget_is_never_exceeded(lengths: list[tuple[int, int]], seed: int) -> None:
    mixture = Mixture([corpus_of(lengths)], BUDGET, seed)
    for examples in mixture.epoch(0):
        batch = mixture.batch(examples)
        assert batch.source_ids.numel() <= BUDGET
        assert batch.target_ids.numel() <= BUDGET
        assert batch.labels.shape == batch.target_ids.shape


@given(lengths=ROWS, passes=st.integers(1, 3), seed=st.integers(0, 9))
def test_every_pair_is_seen_exactly_passes_times(lengths: list[tuple[int, int]], passes: int, seed: int) -> None:
    seen = counts(Mixture([corpus_of(lengths, passes), corpus_of(lengths[:3])], BUDGET, seed))
    expected = {(0, row): passes for row in range(len(lengths))} | {(1, row): 1 for row in range(len(lengths[:3]))}
    assert seen == expected


@given(lengths=ROWS, passes=st.floats(0.01, 3))
def test_fractional_passes_take_a_part_without_repeating_it(lengths: list[tuple[int, int]], passes: float) -> None:
    seen = counts(Mixture([corpus_of(lengths), corpus_of(lengths, passes)], BUDGET, 1))
    second = [seen[1, row] for row in range(len(lengths))]
    whole = int(passes)
    assert sum(second) == whole * len(lengths) + round((passes - whole) * len(lengths))
    assert set(second) <= {whole, whole + 1}


def test_a_fraction_is_another_one_each_epoch() -> None:
    mixture = Mixture([corpus_of([(3, 3)] * 200, 0.5)], BUDGET, 1)
    assert len(counts(mixture, 0)) == len(counts(mixture, 1)) == 100
    assert counts(mixture, 0) != counts(mixture, 1)


@given(lengths=ROWS, epoch=st.integers(0, 5))
def test_same_seed_same_order(lengths: list[tuple[int, int]], epoch: int) -> None:
    plans = [Mixture([corpus_of(lengths, 1.5)], BUDGET, 4).epoch(epoch) for _ in range(2)]
    assert [batch.tolist() for batch in plans[0]] == [batch.tolist() for batch in plans[1]]


def test_another_seed_and_another_epoch_have_another_order() -> None:
    lengths = [(i % 9 + 1, i % 7) for i in range(100)]
    orders = [
        [batch.tolist() for batch in Mixture([corpus_of(lengths)], BUDGET, seed).epoch(epoch)]
        for seed, epoch in ((1, 0), (2, 0), (1, 1))
    ]
    assert orders[0] != orders[1]
    assert orders[0] != orders[2]


def test_batches_hold_pairs_of_similar_length_and_come_shuffled() -> None:
    lengths = [(i % 19 + 1, i % 19) for i in range(400)]
    mixture = Mixture([corpus_of(lengths)], 80, 1)
    longest = []
    for examples in mixture.epoch(0):
        sizes = [lengths[row][0] for _, row in examples]
        assert max(sizes) - min(sizes) <= 4
        longest.append(max(sizes))
    assert longest != sorted(longest)


def test_teacher_forcing() -> None:
    batch = make_batch([[5, 7, 8, EOS_ID], [5, EOS_ID]], [[9], [9, 9, 8]])
    assert batch.source_ids.tolist() == [[5, 7, 8, EOS_ID], [5, EOS_ID, PAD_ID, PAD_ID]]
    assert batch.source_mask.tolist() == [[True] * 4, [True, True, False, False]]
    assert batch.target_ids.tolist() == [[BOS_ID, 9, PAD_ID, PAD_ID], [BOS_ID, 9, 9, 8]]
    assert batch.labels.tolist() == [[9, EOS_ID, PAD_ID, PAD_ID], [9, 9, 8, EOS_ID]]
    assert batch.num_target_tokens == 6


@given(st.lists(st.lists(st.integers(0, 99), max_size=5), max_size=8))
def test_ragged_rows_come_back(rows: list[list[int]]) -> None:
    ragged = Ragged.of(rows)
    assert [ragged[i].tolist() for i in range(len(ragged))] == rows
    assert ragged.lengths.tolist() == [len(row) for row in rows]


def test_a_mixture_may_hold_an_emptied_corpus_but_not_only_such() -> None:
    empty = EncodedCorpus("empty", Ragged.of([]), Ragged.of([]), 0.5)
    assert sum(counts(Mixture([empty, corpus_of([(1, 1)])], BUDGET, 1)).values()) == 1
    with pytest.raises(DataError, match="no training pair is left"):
        Mixture([empty], BUDGET, 1)


def test_rows_are_the_corpus_own() -> None:
    mixture = Mixture([corpus_of([(2, 1)]), corpus_of([(1, 1), (3, 2)])], BUDGET, 1)
    batch = mixture.batch(np.array([[1, 1], [0, 0]]))
    assert batch.source_ids.tolist() == [[11, 11, 11], [10, 10, PAD_ID]]
