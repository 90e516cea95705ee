"""Carriers that a model was trained on, with a tiny random model: whatever it writes, each comes back once."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from export.__main__ import main as export_main
from model.bundle import read_manifest
from model.checkpoint import save_checkpoint
from model.config import ModelConfig
from model.shortlist import SHORTLIST_FILE, build_lexicon, save_lexicons
from model.transformer import Transformer
from model.vocabulary import CARRIERS, Vocabulary, train_vocabulary
from service.engine.bundle import Bundle
from service.text.carrying import carriers_of
from service.text.document import Document
from service.text.languages import Directions
from service.text.prepared import prepared
from service.text.reading import Reader, readers_of
from tests.service.conftest import SENTENCES
from tests.service.test_details import Post, serving
from tests.service.test_fidelity import VERBATIM, with_spans

WHOLE, LISTED = "whole vocabulary", "shortlist"


@pytest.fixture(scope="module", params=[WHOLE, LISTED])
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights behind a vocabulary with carriers; with a shortlist that names carriers as likely pieces."""
    torch.manual_seed(0)
    directory = tmp_path_factory.mktemp("carriers")
    vocabulary = train_vocabulary(SENTENCES, directory / "vocabulary.spm", size=355, languages=["en", "fr", "zh"])
    config = ModelConfig(
        vocabulary_size=len(vocabulary), d_model=32, num_heads=4, d_ff=64, encoder_layers=1, decoder_layers=1,
        norm="pre",
    )  # fmt: skip
    checkpoint, made = directory / "checkpoint", directory / "bundle"
    save_checkpoint(
        checkpoint, config, Transformer(config).state_dict(), directory / "vocabulary.spm",
        name="tiny", directions=["zh-en", "fr-en", "en-fr"], training={"recipe": "none"},
    )  # fmt: skip
    if request.param == LISTED:
        # Pairs of random pieces, carriers among them: what a lexicon says must not matter.
        chance = np.random.default_rng(1)
        pairs = [tuple(chance.integers(4, len(vocabulary), (2, 12)).tolist()) for _ in range(200)]
        lexicon = build_lexicon(pairs, len(vocabulary), most=20, frequent=60)
        save_lexicons(checkpoint / SHORTLIST_FILE, {"en": lexicon, "fr": lexicon})
    how = ["--whole-vocabulary"] if request.param == WHOLE else []
    assert export_main([str(checkpoint), str(made), "--precision", "fp32", "--no-internals", *how]) == 0
    assert read_manifest(made).has_shortlist == (request.param == LISTED)
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


def reader_of(bundle: Path, source: str) -> Reader:
    manifest, vocabulary = read_manifest(bundle), Vocabulary.load(bundle / "vocabulary.spm")
    directions = Directions.parse(manifest.directions)
    return readers_of(directions, vocabulary, manifest.tokenizer, has_shortlist=manifest.has_shortlist)[source]


@pytest.mark.parametrize("source", ["en", "fr", "zh"])
def test_a_carrier_is_possible_exactly_where_the_source_has_it(bundle: Path, source: str) -> None:
    """Among the candidates, or, of a whole vocabulary, all others are forbidden."""
    reader, shortlist = reader_of(bundle, source), Bundle.read(bundle).shortlist()
    target = "fr" if source == "en" else "en"
    all_carriers = {piece for carrier in reader.carriers.all for piece in carrier.ids}
    seen = set()
    for text, _ in [*with_spans(source, 60, seed=7), ("a b", [])]:
        for sentence in Document.parse(text, source, lambda sentence: 1, 250).sentences:
            ready = prepared(sentence, reader, target)
            given = {piece for piece in ready.source_ids if piece in all_carriers}
            assert sorted(given) == sorted(piece for group in ready.required for piece in group)
            forbidden = set(reader.carriers.forbidden(ready.read.text, ready.required))
            offered = all_carriers if shortlist is None else all_carriers & set(shortlist.of(ready.source_ids).tolist())
            assert offered - forbidden == given
            # Nothing is changed at any step of a sentence without carriers, so that it stays on the fast path.
            assert shortlist is None or not forbidden
            seen.add(len(given))
    assert len(seen) > 2


@pytest.mark.parametrize("beam_size", [1, 4])
def test_a_beginning_brings_no_carrier_of_its_own(post: Post, beam_size: int) -> None:
    prefix = f"a {CARRIERS[0]} {CARRIERS[5]}"
    for text in ("I love you.", f"I love {VERBATIM[0]} you."):
        answer = post("/translate", q=text, source="en", target="fr", target_prefix=prefix, beam_size=beam_size)
        assert answer.status_code == 200, answer.text
        written = answer.json()["translatedText"]
        assert written.count(VERBATIM[0]) == (1 if VERBATIM[0] in text else 0) or CARRIERS[0] in written
        assert written.count(CARRIERS[5]) == 1


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
