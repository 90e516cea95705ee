"""Scores with signatures, and sentences through a checkpoint in the order they came."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model.config import ModelConfig
from model.evaluation import by_length, score
from model.translation import translate_greedily, translate_with_beam
from model.validation import ValidationSet, validate
from model.vocabulary import Vocabulary
from tests.model.tiny import tiny_model


def test_perfect_and_useless_translations() -> None:
    references = ["The cat sat on the mat today.", "I love you very much indeed."]
    assert score(references, references, "en").bleu == pytest.approx(100)
    assert score(references, references, "en").chrf == pytest.approx(100)
    assert score(["nothing alike", "none of it"], references, "en").bleu < 5


def test_scores_carry_their_signatures() -> None:
    english = score(["a"], ["a"], "en").to_dict()
    assert "tok:13a" in english["bleu_signature"]
    assert "nc:6" in english["chrf_signature"]
    assert english["sentences"] == 1
    assert "tok:zh" in score(["我"], ["我"], "zh").bleu_signature


def test_chinese_is_scored_by_characters() -> None:
    assert score(["我爱北京天安门。"], ["我爱北京故宫。"], "zh").bleu > 20


@given(lengths=st.lists(st.integers(1, 30), max_size=40), budget=st.integers(1, 100))
def test_groups_cover_everything_once_within_the_budget(lengths: list[int], budget: int) -> None:
    groups = list(by_length(lengths, budget))
    assert sorted(index for group in groups for index in group) == list(range(len(lengths)))
    assert all(len(g) == 1 or len(g) * max(lengths[i] for i in g) <= budget for g in groups)


@pytest.fixture
def model(vocabulary: Vocabulary):
    return tiny_model(3, vocabulary_size=len(vocabulary))


TEXTS = ["Bonjour.", "Je suis étudiant et je vais à l'école.", "", "Tom est là.", "Bonjour."]


def test_order_is_kept_and_equal_texts_translate_equally(model, vocabulary: Vocabulary) -> None:
    outputs = translate_greedily(model, vocabulary, TEXTS, "en", batch_tokens=24)
    assert len(outputs) == len(TEXTS)
    assert outputs[0] == outputs[4]
    short = [vocabulary.encode_source(text, "en") for text in TEXTS]
    assert len({len(ids) for ids in short}) > 2, "the texts are of several lengths"


def test_beam_of_one_is_greedy(model, vocabulary: Vocabulary) -> None:
    [greedy] = translate_greedily(model, vocabulary, TEXTS[:1], "en")
    assert translate_with_beam(model, vocabulary, TEXTS[0], "en", beam_size=1, length_penalty=1.0) == greedy


def test_a_text_longer_than_the_model_is_cut_not_refused(model, vocabulary: Vocabulary) -> None:
    assert len(translate_greedily(model, vocabulary, ["Tom est là. " * 100], "en")) == 1


def test_nothing_to_translate(model, vocabulary: Vocabulary) -> None:
    assert translate_greedily(model, vocabulary, [], "en") == []


def test_validation_rows_and_that_training_goes_on_untouched(model, vocabulary: Vocabulary) -> None:
    held_out = ValidationSet("demo", "fr-en", TEXTS[:2], ["Hello.", "I am a student."], vocabulary)
    model.train()
    before, random = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    [row] = validate(model, [held_out], label_smoothing=0.1)
    assert (row["set"], row["direction"]) == ("demo", "fr-en")
    assert set(row) == {"set", "direction", "loss", "nll", "bleu", "chrf"}
    assert row["loss"] != row["nll"]
    assert model.training
    assert torch.equal(random, torch.get_rng_state())
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_validation_loss_of_a_model_that_knows_nothing_is_the_log_of_the_vocabulary(vocabulary: Vocabulary) -> None:
    know_nothing = tiny_model(vocabulary_size=len(vocabulary))
    with torch.no_grad():
        know_nothing.embedding.tokens.weight.zero_()
    held_out = ValidationSet("demo", "fr-en", TEXTS[:2], ["Hello.", "I am a student."], vocabulary)
    [row] = validate(know_nothing, [held_out], label_smoothing=0.1)
    assert isinstance(know_nothing.config, ModelConfig)
    assert row["nll"] == row["loss"] == pytest.approx(torch.log(torch.tensor(400.0)).item(), abs=1e-3)
