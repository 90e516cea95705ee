"""Beam search against exhaustive search on a table model, and its rules by name."""

from __future__ import annotations

import numpy as np
import pytest

from model.bundle import SpecialIds
from model.vocabulary import EOS_ID
from service.engine.search import BeamGroup
from service.engine.types import Hypothesis, SearchOptions
from tests.engine.fakes import TableDecoder


def search(
    decoder: TableDecoder, sentences: list[int], options: list[SearchOptions], joins: int = 10**9
) -> list[tuple[Hypothesis, ...]]:
    """Search sentences of one beam size, at most `joins` joining before each step."""
    width = options[0].beam_size
    group: BeamGroup[int] = BeamGroup(decoder.open_slots(width), width)
    results: dict[int, tuple[Hypothesis, ...]] = {}
    waiting = list(range(len(sentences)))
    while waiting or group.rows:
        new, waiting = waiting[:joins], waiting[joins:]
        if new:
            group.join(new, [options[i] for i in new], decoder.encode([[sentences[i], EOS_ID] for i in new]))
        result = group.step()
        assert not result.failed
        results.update(result.finished)
    return [results[index] for index in range(len(sentences))]


@pytest.mark.parametrize("length_penalty", [0.0, 1.0, 2.0])
def test_a_wide_beam_finds_what_exhaustive_search_finds(length_penalty: float) -> None:
    # 3 words and the end token: 81 prefixes of 4 words, so 400 beams hold every candidate and every result.
    decoder = TableDecoder(positions=6, seed=3)
    options = SearchOptions(beam_size=400, num_hypotheses=400, length_penalty=length_penalty, max_output_tokens=5)
    for sentence in range(4):
        found = search(decoder, [sentence], [options])[0]
        ended = [h for h in found if h.finish_reason == "eos"]
        expected = decoder.exhaustive(sentence, longest=5, length_penalty=length_penalty)
        # The search stops at the limit; all 3 + 9 + 27 + 81 ended outputs must be there, in order of score.
        assert [h.target_ids for h in ended] == [ids for _, ids in expected]
        assert [h.score for h in ended] == pytest.approx([score for score, _ in expected], abs=1e-5)


def test_beam_size_one_is_greedy() -> None:
    decoder = TableDecoder(seed=5)
    for sentence in range(8):
        seen = [0, 2]
        for position in range(6):
            scores = decoder.table[sentence, position, seen[-2], seen[-1]].copy()
            if position == 0:
                scores[EOS_ID] = -np.inf  # an output has at least one token
            seen.append(int(scores.argmax()))
            if seen[-1] == EOS_ID:
                break
        found = search(decoder, [sentence], [SearchOptions(max_output_tokens=6)])[0]
        assert found[0].target_ids == tuple(token for token in seen[2:] if token != EOS_ID)
        assert found[0].finish_reason == ("eos" if seen[-1] == EOS_ID else "length")


def test_score_is_the_log_prob_of_forcing_the_tokens_over_the_length() -> None:
    decoder = TableDecoder(seed=6)
    options = SearchOptions(beam_size=4, num_hypotheses=4, length_penalty=0.7, max_output_tokens=7)
    for sentence in range(8):
        for hypothesis in search(decoder, [sentence], [options])[0]:
            ended = hypothesis.finish_reason == "eos"
            tokens = (*hypothesis.target_ids, EOS_ID) if ended else hypothesis.target_ids
            assert hypothesis.log_prob == pytest.approx(decoder.log_prob(sentence, tokens), abs=1e-5)
            assert hypothesis.token_log_probs == pytest.approx(decoder.token_log_probs(sentence, tokens), abs=1e-6)
            assert hypothesis.score == pytest.approx(hypothesis.log_prob / len(tokens) ** 0.7)


def test_results_do_not_depend_on_the_batch_or_its_order() -> None:
    rng = np.random.default_rng(0)
    sentences = [int(i) for i in rng.integers(0, 16, 40)]
    options = [
        SearchOptions(
            beam_size=3,
            num_hypotheses=int(rng.integers(1, 4)),
            length_penalty=float(rng.choice([0.0, 1.0, 1.5])),
            max_output_tokens=int(rng.integers(1, 8)),
        )
        for _ in sentences
    ]
    decoder = TableDecoder(seed=7)
    together = search(decoder, sentences, options)
    backwards = search(decoder, sentences[::-1], options[::-1])[::-1]
    alone = [search(decoder, [s], [o])[0] for s, o in zip(sentences, options, strict=True)]
    assert together == alone == backwards
    for joins in (1, 3, 7):
        assert search(decoder, sentences, options, joins) == alone


def test_hypotheses_come_best_first_and_no_more_than_asked() -> None:
    found = search(TableDecoder(seed=8), [1], [SearchOptions(beam_size=5, num_hypotheses=3, max_output_tokens=7)])[0]
    assert len(found) == 3
    assert [h.score for h in found] == sorted((h.score for h in found), reverse=True)
    assert len({h.target_ids for h in found}) == 3


def test_the_limit_cuts_and_says_so() -> None:
    found = search(TableDecoder(seed=9), [0, 1, 2], [SearchOptions(max_output_tokens=1)] * 3)
    for (hypothesis,) in found:
        assert len(hypothesis.target_ids) == 1
        assert hypothesis.finish_reason == "length"


def test_a_dropped_sentence_is_not_answered_and_the_others_are() -> None:
    decoder = TableDecoder(seed=10)
    options = [SearchOptions(beam_size=2, max_output_tokens=6)] * 6
    group: BeamGroup[int] = BeamGroup(decoder.open_slots(2), 2)
    group.join(range(6), options, decoder.encode([[s, EOS_ID] for s in range(6)]))
    results = dict(group.step().finished)
    dropped = group.drop(lambda owner: owner in (1, 2, 4))
    assert set(dropped) == {1, 2, 4} - results.keys()
    while group.rows:
        results.update(group.step().finished)
    assert set(results) | set(dropped) == set(range(6))
    expected = search(decoder, list(range(6)), options)
    assert all(results[index] == expected[index] for index in results)


def test_a_score_that_is_no_number_fails_its_sentence_alone() -> None:
    decoder = TableDecoder(seed=12)
    expected = search(decoder, [0, 2], [SearchOptions(max_output_tokens=6)] * 2)
    decoder.table[1] = np.nan
    group: BeamGroup[int] = BeamGroup(decoder.open_slots(1), 1)
    group.join(range(3), [SearchOptions(max_output_tokens=6)] * 3, decoder.encode([[s, EOS_ID] for s in range(3)]))
    first = group.step()
    assert first.failed == [1]
    results = dict(first.finished)
    while group.rows:
        results.update(group.step().finished)
    assert [results[0], results[2]] == expected


@pytest.mark.parametrize(
    "values",
    [
        {"beam_size": 0},
        {"min_output_tokens": 0},
        {"repetition_penalty": 0.9},
        {"beam_size": 2, "num_hypotheses": 3},
        {"num_hypotheses": 0},
        {"max_output_tokens": 0},
    ],
)
def test_impossible_options_are_refused(values: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="impossible"):
        SearchOptions(**values)  # type: ignore[arg-type]


def test_few_different_numbers_of_candidates_are_asked_for_however_much_is_changed() -> None:
    """A step is bound for each number."""
    decoder = TableDecoder(vocabulary_size=40, positions=40, tables=2, seed=3)
    slots = decoder.open_slots(2)
    asked: set[int] = set()
    step = slots.step

    def noted(num_candidates: int) -> tuple[np.ndarray, np.ndarray]:
        asked.add(num_candidates)
        return step(num_candidates)

    slots.step = noted  # type: ignore[method-assign]
    group: BeamGroup[int] = BeamGroup(slots, 2)
    options = SearchOptions(
        beam_size=2, repetition_penalty=1.2, no_repeat_ngram_size=2, min_output_tokens=39, max_output_tokens=39
    )
    group.join([0, 1], [options] * 2, decoder.encode([[0, EOS_ID], [1, EOS_ID]]))
    while group.rows:
        group.step()
    assert len(asked) <= 6  # powers of two up to the vocabulary


@pytest.mark.parametrize("width", [1, 3])
def test_a_silent_prefix_costs_nothing_and_is_no_part_of_the_output(width: int) -> None:
    decoder = TableDecoder(seed=31)
    decoder.table[:, 2, ..., EOS_ID] = -np.inf  # an output has a token of its own; the other prefix is token enough
    sentences = list(range(12))
    # With no penalty for length, tokens that every output begins with change no order.
    usual = {"beam_size": width, "num_hypotheses": width, "length_penalty": 0.0, "max_output_tokens": 7}
    silent = search(decoder, sentences, [SearchOptions(**usual, silent_prefix=(5, 4))] * 12, joins=2)
    spoken = search(decoder, sentences, [SearchOptions(**usual, target_prefix=(5, 4))] * 12, joins=2)
    for sentence, pair in enumerate(zip(silent, spoken, strict=True)):
        cost = decoder.log_prob(sentence, (5, 4))
        for one, other in zip(*pair, strict=True):
            assert (5, 4, *one.target_ids) == other.target_ids
            assert one.log_prob + cost == pytest.approx(other.log_prob, abs=1e-5)
            assert one.token_log_probs == pytest.approx(other.token_log_probs[2:], abs=1e-6)


def test_a_silent_prefix_counts_in_lengths() -> None:
    decoder = TableDecoder(seed=32)
    options = SearchOptions(beam_size=4, max_output_tokens=5, silent_prefix=(4,), length_penalty=1.0)
    for found in search(decoder, list(range(8)), [options] * 8, joins=3):
        [best] = found
        ended = best.finish_reason == "eos"
        assert 1 <= len(best.target_ids) <= 4
        assert best.score == pytest.approx(best.log_prob / (1 + len(best.target_ids) + ended), abs=1e-6)


def test_other_ids_may_begin_and_end_an_output() -> None:
    decoder = TableDecoder(seed=33)
    special = SpecialIds(pad=0, unk=1, bos=6, eos=5)
    group: BeamGroup[int] = BeamGroup(decoder.open_slots(2), 2, special)
    group.join([0], [SearchOptions(beam_size=2, max_output_tokens=6)], decoder.encode([[4, EOS_ID]]))
    assert group._state.token_ids[0].tolist() == [6, 6]  # type: ignore[attr-defined]
    found = []
    while group.rows:
        found += group.step().finished
    [(_, (hypothesis,))] = found
    assert 5 not in hypothesis.target_ids


def test_each_required_token_is_written_once_and_forbidden_ones_never() -> None:
    decoder = TableDecoder(positions=8, seed=11)
    for sentence in range(6):
        for width in (1, 2, 4):
            options = SearchOptions(
                beam_size=width, num_hypotheses=width, max_output_tokens=6, required=((4,), (5,)), forbidden=()
            )
            for found in search(decoder, [sentence], [options])[0]:
                assert found.target_ids.count(4) == 1
                assert found.target_ids.count(5) == 1
            never = SearchOptions(beam_size=width, num_hypotheses=width, max_output_tokens=6, forbidden=(4,))
            assert all(4 not in found.target_ids for found in search(decoder, [sentence], [never])[0])
