"""Batches: bounded, complete, and in an order that the seed fixes."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.augmentation import Shares
from model.batches import Batch, EncodedText, Epoch, Mixture, Ragged, TrainingText, make_batch
from model.errors import DataError
from model.vocabulary import BOS_ID, EOS_ID, PAD_ID, Vocabulary

BUDGET = 40
ROWS = st.lists(st.tuples(st.integers(1, 20), st.integers(0, 19)), min_size=1, max_size=40)
"""Lengths of source and target; a source has at least a tag, a target gets one more token."""


def encoded(lengths: list[tuple[int, int]], name: str = "t") -> EncodedText:
    sources = [[10 + i] * source for i, (source, _) in enumerate(lengths)]
    targets = [[10 + i] * target for i, (_, target) in enumerate(lengths)]
    return EncodedText(name, Ragged.of(sources), Ragged.of(targets), len(lengths))


def epoch_of(*texts: EncodedText, budget: int = BUDGET, seed: int = 1) -> Epoch:
    return Epoch(texts, budget, np.random.default_rng(seed))


def batches_of(epoch: Epoch) -> list[Batch]:
    return [epoch.batch(index) for index in range(len(epoch))]


def rows_of(batch: Batch) -> list[tuple[int, int]]:
    """Which pair each row is of, by its ids, and the length of its source."""
    lengths = batch.source_mask.sum(1).tolist()
    return [(int(first) - 10, length) for first, length in zip(batch.source_ids[:, 0], lengths, strict=True)]


@given(lengths=ROWS, seed=st.integers(0, 9))
def test_budget_is_never_exceeded(lengths: list[tuple[int, int]], seed: int) -> None:
    for batch in batches_of(epoch_of(encoded(lengths), seed=seed)):
        assert batch.source_ids.numel() <= BUDGET
        assert batch.target_ids.numel() <= BUDGET
        assert batch.labels.shape == batch.target_ids.shape


@given(lengths=ROWS, seed=st.integers(0, 9))
def test_an_epoch_has_every_pair_that_was_read_once(lengths: list[tuple[int, int]], seed: int) -> None:
    epoch = epoch_of(encoded(lengths), encoded(lengths[:3]), seed=seed)
    seen = Counter(row for batch in batches_of(epoch) for row, _ in rows_of(batch))
    assert seen == Counter([*range(len(lengths)), *range(len(lengths[:3]))])


@given(size=st.integers(1, 30), passes=st.floats(0.01, 3), epochs=st.integers(1, 6), seed=st.integers(0, 9))
def test_every_row_is_read_before_one_is_read_again(size: int, passes: float, epochs: int, seed: int) -> None:
    text = TrainingText("t", ("fr", "en"), [("a", "b")] * size, passes)
    seen = Counter(row for epoch in range(epochs) for row in text.rows(epoch, seed))
    assert sum(seen.values()) == round(epochs * passes * size)
    counts = [seen[row] for row in range(size)]
    assert max(counts) - min(counts) <= 1


def test_fractions_are_shuffled_and_differ_by_seed() -> None:
    text = TrainingText("t", ("fr", "en"), [("a", "b")] * 200, 0.5)
    first, second = text.rows(0, 1), text.rows(1, 1)
    assert sorted(first + second) == list(range(200))
    assert first != sorted(first)
    assert first != text.rows(0, 2)


def test_batches_hold_pairs_of_similar_length_and_come_shuffled() -> None:
    lengths = [(i % 19 + 1, i % 19) for i in range(400)]
    longest = []
    for batch in batches_of(epoch_of(encoded(lengths), budget=80)):
        sizes = batch.source_mask.sum(1)
        assert int(sizes.max() - sizes.min()) <= 4
        longest.append(int(sizes.max()))
    assert longest != sorted(longest)


def test_both_sides_of_a_batch_have_little_padding() -> None:
    draw = np.random.default_rng(2)
    lengths = [(int(a), int(b)) for a, b in draw.integers(1, 30, (4000, 2))]
    batches = batches_of(epoch_of(encoded(lengths), budget=300))
    padded = sum(batch.source_ids.numel() + batch.labels.numel() for batch in batches)
    real = sum(int(batch.source_mask.sum()) + batch.num_target_tokens for batch in batches)
    assert real / padded > 0.85


@pytest.fixture(scope="module")
def texts() -> list[TrainingText]:
    pairs = [(f"Il a {i} ans.", f"He is {i} years old.") for i in range(200, 260)]
    return [
        TrainingText("a", ("fr", "en"), pairs, 0.5, Shares(renumbered=0.5, unmarked=0.3)),
        TrainingText("b", ("en", "fr"), [(target, source) for source, target in pairs], 1.0),
    ]


def mixture_of(texts: list[TrainingText], vocabulary: Vocabulary, longest: int = 40, seed: int = 4) -> Mixture:
    return Mixture(texts, vocabulary, batch_tokens=200, longest=longest, seed=seed)


def test_same_seed_same_epochs(texts: list[TrainingText], vocabulary: Vocabulary) -> None:
    ours, again, other = (
        [batch.source_ids.tolist() for batch in batches_of(mixture_of(texts, vocabulary, seed=seed).epoch(3))]
        for seed in (4, 4, 5)
    )
    assert ours == again != other


def test_each_epoch_reads_anew(texts: list[TrainingText], vocabulary: Vocabulary) -> None:
    mixture = mixture_of(texts, vocabulary)
    sentences = [{vocabulary.decode(row) for row in mixture.epoch(number).texts[0].source} for number in range(4)]
    assert not sentences[0] & sentences[1], "the other half"
    assert sentences[0] != sentences[2], "the same half, with other numbers"


def test_sources_have_the_tag_of_their_target(texts: list[TrainingText], vocabulary: Vocabulary) -> None:
    french, english = mixture_of(texts, vocabulary).epoch(0).texts
    assert {row[0] for row in french.source} == {vocabulary.tag_id("en")}
    assert {row[0] for row in english.source} == {vocabulary.tag_id("fr")}
    assert {row[-1] for row in french.source} == {EOS_ID}


def test_pairs_too_long_are_left_out_and_counted(texts: list[TrainingText], vocabulary: Vocabulary) -> None:
    long = TrainingText("c", ("fr", "en"), [("a" * 90, "b"), ("a", "b" * 90)], 1.0)
    epoch = mixture_of([*texts, long], vocabulary, longest=40).epoch(0)
    assert (epoch.texts[2].read, len(epoch.texts[2].source)) == (2, 0)
    with pytest.raises(DataError, match="no training pair is left"):
        mixture_of([long], vocabulary, longest=40).epoch(0)


def test_rows_of_a_batch() -> None:
    batch = make_batch([[5, EOS_ID], [6, EOS_ID], [7, EOS_ID]], [[9], [9], [9]])
    assert batch.rows(slice(0, None, 2)).source_ids.tolist() == [[5, EOS_ID], [7, EOS_ID]]
    assert len(batch.rows(slice(3, None, 4)).labels) == 0


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
