"""The oracle of the fast search, against something slower and more obvious still."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.reference_search import beam_search, greedy_search
from model.vocabulary import EOS_ID, PAD_ID
from tests.model.tiny import tiny_model
from tests.oracles import TableModel, every_hypothesis, log_prob_of

SOURCE = torch.tensor([5, 9, 17, EOS_ID])
PENALTIES = st.sampled_from([0.0, 0.6, 1.0, 2.0])


@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), length=st.integers(1, 3), words=st.integers(1, 3), penalty=PENALTIES)
def test_a_wide_enough_beam_finds_everything(seed: int, length: int, words: int, penalty: float) -> None:
    model = TableModel.random(seed, length=length, words=words)
    expected = every_hypothesis(model, length, penalty)
    found = beam_search(model, SOURCE, beam_size=64, max_output_tokens=length, length_penalty=penalty)
    assert len(found) == len(expected)
    assert {h.target_ids: h.finished for h in found} == {h.target_ids: h.finished for h in expected}
    assert [h.score for h in found] == pytest.approx([h.score for h in expected], abs=1e-5)
    assert found[0].target_ids == expected[0].target_ids


@given(seed=st.integers(0, 10_000), length=st.integers(1, 12))
def test_a_beam_of_one_is_greedy_search(seed: int, length: int) -> None:
    model = TableModel.random(seed, length=length, words=5)
    [best] = beam_search(model, SOURCE, beam_size=1, max_output_tokens=length)
    [greedy] = greedy_search(model, SOURCE[None], torch.ones(1, 4, dtype=torch.bool), length)
    assert list(best.target_ids) == greedy


@pytest.mark.parametrize("seed", range(6))
def test_a_beam_of_one_is_greedy_search_of_the_transformer(seed: int) -> None:
    model = tiny_model(seed)
    [best] = beam_search(model, SOURCE, beam_size=1, max_output_tokens=9)
    [greedy] = greedy_search(model, SOURCE[None], torch.ones(1, 4, dtype=torch.bool), 9)
    assert list(best.target_ids) == greedy


def test_greedy_search_of_a_batch_is_that_of_its_sentences() -> None:
    model = tiny_model(4)
    source_ids = torch.tensor([[5, 9, 17, 6, EOS_ID], [7, 8, EOS_ID, PAD_ID, PAD_ID], [20, EOS_ID, *[PAD_ID] * 3]])
    together = greedy_search(model, source_ids, source_ids != PAD_ID, 12)
    for row, ids in zip(source_ids, together, strict=True):
        alone = row[row != PAD_ID][None]
        assert greedy_search(model, alone, torch.ones_like(alone, dtype=torch.bool), 12) == [ids]


@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), beam_size=st.integers(1, 6), penalty=PENALTIES)
def test_hypotheses_are_sorted_distinct_and_scored_by_the_formula(seed: int, beam_size: int, penalty: float) -> None:
    model = TableModel.random(seed, length=8, words=6)
    found = beam_search(model, SOURCE, beam_size=beam_size, max_output_tokens=8, length_penalty=penalty)
    assert 1 <= len(found) <= beam_size
    assert [h.score for h in found] == sorted((h.score for h in found), reverse=True)
    assert len({(h.target_ids, h.finished) for h in found}) == len(found)
    for h in found:
        assert h.score == pytest.approx(h.log_prob / (len(h.target_ids) + h.finished) ** penalty)
        assert h.log_prob == pytest.approx(log_prob_of(model, SOURCE, h.target_ids, end=h.finished), abs=1e-4)
        assert h.finished or len(h.target_ids) == 8


@pytest.mark.parametrize("norm", ["post", "pre"])
@torch.no_grad()
def test_score_is_that_of_forced_decoding(norm: str) -> None:
    model = tiny_model(2, norm=norm)
    for h in beam_search(model, SOURCE, beam_size=4, max_output_tokens=10):
        assert h.log_prob == pytest.approx(log_prob_of(model, SOURCE, h.target_ids, end=h.finished), abs=1e-4)


def always(token: int) -> TableModel:
    """Wants one token after anything."""
    table = torch.zeros(8, 8, 8)
    table[..., token] = 20.0
    return TableModel(table)


def test_the_length_limit_leaves_a_hypothesis_unfinished() -> None:
    [h] = beam_search(always(5), SOURCE, beam_size=1, max_output_tokens=3)
    assert (h.target_ids, h.finished) == ((5, 5, 5), False)
    assert greedy_search(always(5), SOURCE[None], torch.ones(1, 4, dtype=torch.bool), 3) == [[5, 5, 5]]


def test_an_output_has_at_least_one_token() -> None:
    [h] = beam_search(always(EOS_ID), SOURCE, beam_size=1, max_output_tokens=3)
    assert (len(h.target_ids), h.finished) == (1, True)
    [ids] = greedy_search(always(EOS_ID), SOURCE[None], torch.ones(1, 4, dtype=torch.bool), 3)
    assert ids == list(h.target_ids)


@pytest.mark.parametrize("token", [0, 1, 2])
def test_padding_unknown_and_start_are_never_chosen(token: int) -> None:
    [h] = beam_search(always(token), SOURCE, beam_size=1, max_output_tokens=3)
    assert token not in h.target_ids


def test_length_penalty_prefers_longer_outputs() -> None:
    table = torch.full((8, 8, 8), -20.0)
    table[0, 2, 5] = 0.0
    table[1, 5, EOS_ID], table[1, 5, 6] = 0.0, -0.1  # end after one word, or say another ...
    table[2:, 6, EOS_ID] = 0.0  # ... and then end for certain
    search = {"beam_size": 2, "max_output_tokens": 5}
    assert beam_search(TableModel(table), SOURCE, **search, length_penalty=0.0)[0].target_ids == (5,)
    assert beam_search(TableModel(table), SOURCE, **search, length_penalty=1.0)[0].target_ids == (5, 6)
