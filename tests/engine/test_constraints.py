"""Repetition and minimum length: the rule by hand, and the search that obeys it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.vocabulary import BOS_ID, EOS_ID
from service.engine.constraints import FORBIDDEN, changes, ends_of_repeated_ngrams
from service.engine.search import BeamGroup
from service.engine.types import SearchOptions
from tests.engine.fakes import TableDecoder
from tests.engine.test_search import search


def test_no_option_changes_nothing() -> None:
    assert not SearchOptions().is_constrained
    assert changes([5, 6, 5], SearchOptions()) == {}


def test_repetition_penalty_multiplies_what_was_said_and_the_starting_token() -> None:
    options = SearchOptions(repetition_penalty=1.5)
    assert changes([7, 9, 7], options) == {BOS_ID: (1.5, 0.0), 7: (1.5, 0.0), 9: (1.5, 0.0)}


def test_a_forbidden_token_stays_forbidden_whatever_the_penalty() -> None:
    options = SearchOptions(repetition_penalty=1.5, no_repeat_ngram_size=1)
    assert changes([7], options)[7] == FORBIDDEN == (1.0, -math.inf)


def test_the_end_token_waits_for_the_minimum_length() -> None:
    options = SearchOptions(min_output_tokens=2)
    assert EOS_ID in changes([5], options)
    assert EOS_ID not in changes([5, 6], options)


@pytest.mark.parametrize(
    ("ids", "size", "expected"),
    [
        ([1, 2, 3, 1, 2], 3, {3}),
        ([1, 2, 3, 1, 2, 4, 1, 2], 3, {3, 4}),
        ([1, 2, 3], 1, {1, 2, 3}),
        ([1, 1], 2, {1}),
        ([1, 2], 2, set()),
        ([1], 3, set()),
    ],
)
def test_ends_of_repeated_ngrams(ids: list[int], size: int, expected: set[int]) -> None:
    assert ends_of_repeated_ngrams(ids, size) == expected


@given(st.lists(st.integers(4, 7), max_size=12), st.integers(1, 4), st.integers(4, 7))
def test_exactly_the_forbidden_tokens_would_repeat_a_run(ids: list[int], size: int, token: int) -> None:
    runs = [tuple(ids[i : i + size]) for i in range(len(ids) - size + 1)]
    repeats = tuple([*ids, token][-size:]) in runs
    assert (token in ends_of_repeated_ngrams(ids, size)) == repeats


@pytest.mark.parametrize("beam_size", [1, 3])
def test_searches_with_and_without_constraints_do_not_disturb_each_other(beam_size: int) -> None:
    decoder = TableDecoder(seed=21, tables=24, vocabulary_size=9)
    options = [
        SearchOptions(
            beam_size=beam_size, max_output_tokens=7, min_output_tokens=1 + sentence % 4,
            repetition_penalty=(1.0, 1.4)[sentence % 2], no_repeat_ngram_size=(0, 2, 3)[sentence % 3],
        )
        for sentence in range(24)
    ]  # fmt: skip
    sentences = list(range(24))
    together = search(decoder, sentences, options, joins=5)
    assert together == [search(decoder, [s], [o])[0] for s, o in zip(sentences, options, strict=True)]
    for (hypothesis, *_), option in zip(together, options, strict=True):
        assert len(hypothesis.target_ids) >= option.min_output_tokens
        size = option.no_repeat_ngram_size
        if size:
            ids = (BOS_ID, *hypothesis.target_ids)
            runs = [ids[i : i + size] for i in range(len(ids) - size + 1)]
            assert len(runs) == len(set(runs))
    plain = search(decoder, sentences, [SearchOptions(beam_size=beam_size, max_output_tokens=7)] * 24)
    assert any(a[0].target_ids != b[0].target_ids for a, b in zip(together, plain, strict=True))


def test_penalised_scores_are_what_the_formula_says() -> None:
    decoder = TableDecoder(seed=22)
    options = SearchOptions(repetition_penalty=1.3, max_output_tokens=6)
    changed = 0
    for sentence, (hypothesis,) in enumerate(search(decoder, list(range(16)), [options] * 16)):
        ends = [EOS_ID] if hypothesis.finish_reason == "eos" else []
        tokens = [*hypothesis.target_ids, *ends]
        each = decoder.token_log_probs(sentence, tokens)
        penalised = [p * (1.3 if tokens[place] in tokens[:place] else 1.0) for place, p in enumerate(each)]
        changed += penalised != each
        assert hypothesis.log_prob == pytest.approx(sum(penalised), abs=1e-5)
        assert hypothesis.token_log_probs == pytest.approx(each, abs=1e-6), "what the decoder gave"
    assert changed > 2


def test_a_sentence_that_nothing_can_continue_fails_alone() -> None:
    decoder = TableDecoder(seed=23)
    decoder.table[0, 1:, ..., EOS_ID] = -math.inf
    options = [SearchOptions(no_repeat_ngram_size=1, max_output_tokens=8), SearchOptions(max_output_tokens=8)]
    expected = search(decoder, [1], options[1:])[0]
    group: BeamGroup[int] = BeamGroup(decoder.open_slots(1), 1)
    group.join(range(2), options, decoder.encode([[0, EOS_ID], [1, EOS_ID]]))
    finished, failed = {}, []
    while group.rows:
        result = group.step()
        finished.update(result.finished)
        failed += result.failed
    assert failed == [0]
    assert finished == {1: expected}
