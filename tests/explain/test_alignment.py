"""Evidence to links to error rates, on cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pydantic import ValidationError

from model.bundle import AlignmentMethod
from service.explain.alignment import (
    GoldAlignment,
    alignment_error_rate,
    attention_evidence,
    erasure_evidence,
    link,
    membership,
    near_diagonal,
    shares,
)

EVIDENCE = st.builds(
    lambda shape, seed: np.random.default_rng(seed).random(shape).round(1),
    arrays.array_shapes(min_dims=2, max_dims=2, max_side=7),
    st.integers(0, 1000),
)


def gold(sure: set[tuple[int, int]], possible: set[tuple[int, int]]) -> GoldAlignment:
    return GoldAlignment(frozenset(sure), frozenset(sure | possible))


def test_a_token_belongs_to_words_by_its_characters() -> None:
    tokens, words = [(0, 0), (0, 4), (4, 6), (6, 6)], [(0, 3), (3, 6)]
    assert membership(tokens, words).tolist() == [[0, 0], [0.75, 0.25], [0, 1], [0, 0]]
    assert membership(tokens, []).shape == (4, 0)
    assert membership([], words).shape == (0, 2)


def test_attention_becomes_the_mean_over_a_target_words_tokens_of_the_sum_over_a_source_words() -> None:
    # Two heads of one layer; source: tag, two tokens of one word, a word, end; target: two tokens of one word, end.
    one = [[0.1, 0.2, 0.3, 0.3, 0.1], [0.0, 0.1, 0.1, 0.7, 0.1], [0.2, 0.2, 0.2, 0.2, 0.2]]
    other = [[1.0, 0.0, 0.0, 0.0, 0.0]] * 3
    cross = np.array([[one, other]])
    source = membership([(0, 0), (0, 2), (2, 4), (5, 7), (0, 0)], [(0, 4), (5, 7)])
    target = membership([(0, 2), (2, 3), (0, 0)], [(0, 3)])
    predicts = AlignmentMethod(evidence="attention", heads=((0, 0),))
    assert attention_evidence(cross, source, target, predicts) == pytest.approx(np.array([[0.35, 0.5]]))
    consumes = predicts.model_copy(update={"row": "consumes"})
    assert attention_evidence(cross, source, target, consumes) == pytest.approx(np.array([[0.3, 0.45]]))
    both = predicts.model_copy(update={"heads": ((0, 0), (0, 1))})
    assert attention_evidence(cross, source, target, both) == pytest.approx(np.array([[0.175, 0.25]]))


def test_erasure_is_what_a_target_word_loses() -> None:
    whole, without_first, without_second = [-1.0, -2.0, -0.5], [-4.0, -2.5, -0.5], [-0.5, -2.0, -9.0]
    target = membership([(0, 2), (3, 5), (0, 0)], [(0, 2), (3, 5)])
    evidence = erasure_evidence(np.array([whole, without_first, without_second]), target)
    assert evidence == pytest.approx(np.array([[3.0, 0.0], [0.5, 0.0]])), (
        "less than nothing is nothing, the end no word"
    )


def test_far_from_the_diagonal_counts_for_less() -> None:
    evidence = np.ones((2, 2))
    assert near_diagonal(evidence, 0.0).tolist() == evidence.tolist()
    weighted = near_diagonal(evidence, 2.0)
    assert weighted.diagonal().tolist() == [1, 1]
    assert weighted[0, 1] == pytest.approx(np.exp(-1))


def test_links_of_each_kind() -> None:
    #                     source 0    1    2
    evidence = np.array([[0.9, 0.5, 0.0],  # target 0
                         [0.6, 0.8, 0.0],  # target 1
                         [0.0, 0.7, 0.3]])  # target 2  # fmt: skip
    assert link(evidence, "target") == {(0, 0), (1, 1), (1, 2)}
    assert link(evidence, "source") == {(0, 0), (1, 1), (2, 2)}
    assert link(evidence, "intersection") == {(0, 0), (1, 1)}
    assert link(evidence, "union") == {(0, 0), (1, 1), (1, 2), (2, 2)}
    # (1, 2) is a neighbour of (1, 1) and target 2 has no link yet; then (2, 2) of (1, 2), for source 2 has none.
    assert link(evidence, "grow-diag") == {(0, 0), (1, 1), (1, 2), (2, 2)}


def test_growing_adds_no_link_between_words_that_have_one_and_none_far_away() -> None:
    forward = np.array([[0.9, 0.1, 0.0, 0.0], [0.8, 0.7, 0.0, 0.0], [0.0, 0.0, 0.0, 0.5]])
    assert link(forward, "target") == {(0, 0), (0, 1), (3, 2)}
    assert link(forward, "source") == {(0, 0), (1, 1), (3, 2)}
    # (0, 1) makes target 1 linked before (1, 1) is seen; source 1 is still free.
    assert link(forward, "grow-diag") == {(0, 0), (0, 1), (1, 1), (3, 2)}
    apart = np.array([[0.0, 0.0, 0.9], [0.0, 0.0, 0.5]])
    assert link(apart, "grow-diag", np.array([[0.9, 0.0, 0.9], [0.0, 0.0, 0.0]])) == {(2, 0), (2, 1)}


def test_the_second_direction_chooses_for_the_source_words() -> None:
    forward, backward = np.array([[0.9, 0.1]]), np.array([[0.0, 0.4]])
    assert link(forward, "target", backward) == {(0, 0)}
    assert link(forward, "source", backward) == {(1, 0)}
    assert link(forward, "union", backward) == {(0, 0), (1, 0)}


@given(evidence=EVIDENCE)
def test_growing_stays_between_intersection_and_union(evidence: np.ndarray) -> None:
    both, either = link(evidence, "intersection"), link(evidence, "union")
    assert both <= link(evidence, "grow-diag") <= either
    assert {(j, i) for i, j in link(evidence.T, "source")} == link(evidence, "target")


@given(evidence=EVIDENCE)
def test_shares_of_a_target_word_sum_to_one_or_there_is_no_evidence(evidence: np.ndarray) -> None:
    totals = shares(evidence).sum(axis=1)
    assert totals == pytest.approx((evidence.sum(axis=1) > 0).astype(float))


@pytest.mark.parametrize(
    ("found", "sure", "possible", "expected"),
    [
        ({(0, 0), (1, 1)}, {(0, 0), (1, 1)}, set(), 0.0),
        ({(0, 1)}, {(0, 0)}, set(), 1.0),
        (set(), {(0, 0)}, set(), 1.0),
        # |A|=2, |S|=1, |A & S|=1, |A & P|=2: 1 - 3/3
        ({(0, 0), (1, 0)}, {(0, 0)}, {(1, 0)}, 0.0),
        # |A|=3, |S|=2, |A & S|=1, |A & P|=2: 1 - 3/5
        ({(0, 0), (1, 0), (2, 2)}, {(0, 0), (1, 1)}, {(1, 0)}, 0.4),
    ],
)
def test_alignment_error_rate(
    found: set[tuple[int, int]], sure: set[tuple[int, int]], possible: set[tuple[int, int]], expected: float
) -> None:
    assert alignment_error_rate([found], [gold(sure, possible)]) == pytest.approx(expected)


def test_the_error_rate_of_a_corpus_counts_links_not_sentences() -> None:
    perfect, wrong = ({(0, 0), (1, 1), (2, 2)}, {(0, 0), (1, 1), (2, 2)}), ({(0, 1)}, {(0, 0)})
    rate = alignment_error_rate([perfect[0], wrong[0]], [gold(perfect[1], set()), gold(wrong[1], set())])
    assert rate == pytest.approx(1 - 6 / 8)
    assert alignment_error_rate([], []) == 0.0


def test_a_method_by_attention_names_its_heads() -> None:
    with pytest.raises(ValidationError, match="names its heads"):
        AlignmentMethod(evidence="attention")
    with pytest.raises(ValidationError, match="names its heads"):
        AlignmentMethod(evidence="erasure", heads=((0, 0),))
