"""Carriers that a model was trained on, with a tiny random model: whatever it writes, each comes back once."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from export.__main__ import main as export_main
from model.bundle import read_manifest
from model.carriers import CARRIERS
from model.checkpoint import save_checkpoint
from model.config import ModelConfig
from model.transformer import Transformer
from model.vocabulary import Vocabulary, train_vocabulary
from service.text.carrying import carriers_of
from tests.service.conftest import SENTENCES
from tests.service.test_details import Post, serving
from tests.service.test_fidelity import VERBATIM, with_spans


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights behind a vocabulary with carriers."""
    torch.manual_seed(0)
    directory = tmp_path_factory.mktemp("carriers")
    vocabulary = train_vocabulary(SENTENCES, directory / "vocabulary.spm", size=355, languages=["en", "fr", "zh"])
    config = ModelConfig(
        vocabulary_size=len(vocabulary), d_model=32, num_heads=4, d_ff=64, encoder_layers=2, decoder_layers=2,
        norm="pre",
    )  # fmt: skip
    checkpoint, made = directory / "checkpoint", directory / "bundle"
    save_checkpoint(
        checkpoint, config, Transformer(config).state_dict(), directory / "vocabulary.spm",
        name="tiny", directions=["zh-en", "fr-en", "en-fr"], training={"recipe": "none"},
    )  # fmt: skip
    assert export_main([str(checkpoint), str(made), "--precision", "fp32", "--whole-vocabulary"]) == 0
    return made


@pytest.fixture(scope="module")
def post(bundle: Path) -> Iterator[Post]:
    with serving(bundle) as made:
        yield made


def test_the_manifest_names_the_carriers(bundle: Path) -> None:
    manifest, vocabulary = read_manifest(bundle), Vocabulary.load(bundle / "vocabulary.spm")
    carriers = carriers_of(vocabulary, manifest.tokenizer.carriers)
    assert carriers.are_trained
    assert [carrier.text for carrier in carriers.all] == list(CARRIERS)
    # None that it was not given may be written.
    assert set(carriers.forbidden("a", ())) == set(manifest.tokenizer.carriers)


@pytest.mark.parametrize("source", ["en", "fr", "zh"])
@pytest.mark.parametrize("beam_size", [1, 4])
def test_each_span_stands_in_the_answer_once_whatever_the_model_writes(post: Post, source: str, beam_size: int) -> None:
    made = with_spans(source, 40, seed=beam_size)
    texts = [text for text, _ in made]
    reply = post(
        "/translate", q=texts, source=source, target="fr" if source == "en" else "en", beam_size=beam_size
    ).json()
    for (text, parts), answer in zip(made, reply["translatedText"], strict=True):
        assert all(answer.count(part) == text.count(part) for part in parts), (text, answer)
        assert not any(carrier in answer for carrier in CARRIERS)


def test_more_spans_than_carriers(post: Post) -> None:
    chance = random.Random(1)
    parts = [f"{{{index}}}" for index in range(40)]
    words = [word for part in parts for word in (part, chance.choice(("cat", "door", "tea")))]
    answer = post("/translate", q=" ".join(words), source="en", target="fr", beam_size=1).json()["translatedText"]
    assert all(answer.count(part) == 1 for part in parts)


def test_a_carrier_in_a_text_is_carried_like_anything_else(post: Post) -> None:
    text = f"I love {CARRIERS[3]} and {VERBATIM[0]} you."
    answer = post("/translate", q=text, source="en", target="fr").json()["translatedText"]
    assert (answer.count(CARRIERS[3]), answer.count(VERBATIM[0])) == (1, 1)
