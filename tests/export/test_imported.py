"""Imported networks write in our engine what `transformers.generate` writes, with the same scores and attention."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import sacrebleu
import torch
from transformers import M2M100ForConditionalGeneration, MarianMTModel

from benchmarks.foreign import (
    DEMO,
    plant_outliers,
    sentences,
    train_marian,
    write_m2m100,
    write_marian,
)
from benchmarks.imported_equality import TIE, Imported, compared, imported
from export.importers.importing import read_any
from export.importers.request import Request
from model.bundle import check_files, read_manifest
from model.reference_search import beam_search
from service.engine.decoder.opening import open_engine, open_scoring_engine
from service.engine.loading import run_here
from service.engine.scores import AlignmentJob, ScoringJob
from service.engine.types import EngineConfig, Job, SearchOptions

COUNT = 120
SEARCHES = ((1, 1.0), (2, 1.0), (4, 0.6), (6, 1.4))


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MarianMT that knows some sentences by heart, so that its outputs end by themselves."""
    folder = write_marian(tmp_path_factory.mktemp("imported") / "opus-mt-fr-en")
    train_marian(folder, pairs=100, steps=150)
    return folder


@pytest.fixture(scope="session")
def marian(trained: Path) -> Imported:
    return imported(trained, MarianMTModel, "fp32")


@pytest.fixture(scope="session")
def m2m100(tmp_path_factory: pytest.TempPathFactory) -> Imported:
    folder = write_m2m100(tmp_path_factory.mktemp("imported") / "m2m100", init_std=0.3)
    return imported(folder, M2M100ForConditionalGeneration, "fp32")


@pytest.fixture(scope="session")
def int8(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Imported:
    """The same with channels that stand out, in int8 calibrated on the sentences it knows."""
    folder = tmp_path_factory.mktemp("planted") / "opus-mt-fr-en"
    shutil.copytree(trained, folder)
    plant_outliers(folder, 60.0)
    text = folder.with_name("text.fr")
    text.write_text("\n".join(sentences("fr", 64)), encoding="utf-8")
    return imported(folder, MarianMTModel, "int8", "--calibrate", str(text))


@pytest.mark.parametrize("family", ["marian", "m2m100"])
@pytest.mark.parametrize(("beams", "penalty"), SEARCHES)
def test_the_engine_writes_what_generate_writes(
    family: str, beams: int, penalty: float, request: pytest.FixtureRequest
) -> None:
    network: Imported = request.getfixturevalue(family)
    found = compared(network, network.sources(sentences("fr", COUNT)), beams, penalty)
    assert not found.others
    assert found.ties <= COUNT // 50
    assert found.score < TIE
    if family == "marian":
        assert found.ended > COUNT // 2


def test_scores_and_attention_are_those_of_transformers(marian: Imported, m2m100: Imported) -> None:
    for network in (marian, m2m100):
        engine, _ = open_scoring_engine(EngineConfig(directory=network.bundle, threads=1))
        silent = network.read.vocabulary.target_prefix("en")
        [source] = network.sources(["Je ne sais pas."])
        target = tuple(network.read.vocabulary.encode_target("I do not know."))
        job = ScoringJob(source, target, attention=("cross", "encoder"), silent_prefix=silent)
        [score] = run_here(engine, [job])
        theirs = network.model_class.from_pretrained(network.folder, attn_implementation="eager").eval()
        special = network.read.manifest.special_ids
        decoder_ids = torch.tensor([[special.bos, *silent, *target]])
        with torch.inference_mode():
            expected = theirs(input_ids=torch.tensor([source]), decoder_input_ids=decoder_ids, output_attentions=True)
        labels = torch.tensor([*silent, *target, special.eos])
        log_probs = expected.logits[0].log_softmax(-1).gather(1, labels[:, None])[len(silent) :, 0]
        assert np.abs(score.token_log_probs - log_probs.numpy()).max() < 1e-4
        cross = torch.stack(expected.cross_attentions)[:, 0, :, len(silent) :].numpy()
        assert np.abs(score.attention["cross"] - cross).max() < 1e-4
        encoder = torch.stack(expected.encoder_attentions)[:, 0].numpy()
        assert np.abs(score.attention["encoder"] - encoder).max() < 1e-4


def test_int8_holds_channels_that_stand_out(int8: Imported, marian: Imported) -> None:
    calibration = read_manifest(int8.bundle).provenance["calibration"]
    contexts = [name for name in calibration["dearer"] if name.endswith("attention.output")]
    assert len(contexts) == 6, calibration
    for name in contexts:
        assert calibration["dearer"][name]["errors"]["static"] > 0.05
    texts, references = sentences("fr", 100), sentences("en", 100)

    def bleu(network: Imported) -> float:
        found = network.search(network.sources(texts), 4, 1.0)
        decoded = [network.read.vocabulary.decode(hypothesis.target_ids) for hypothesis in found]
        return float(sacrebleu.corpus_bleu(decoded, [references]).score)

    exact, quantised = bleu(marian), bleu(int8)
    assert exact > 60
    assert quantised > exact - 0.3  # it may be better by chance: of a hundred sentences a few change


def test_an_imported_bundle_says_what_it_is(marian: Imported, m2m100: Imported) -> None:
    for network in (marian, m2m100):
        manifest = read_manifest(network.bundle)
        check_files(network.bundle, manifest)
        assert list(manifest.pairs()) == [("fr", "en")]
        assert manifest.language_names == {"fr": "French", "en": "English"}
        assert manifest.tokenizer.kind == "listed"
        assert f"# {network.folder.name}" in (network.bundle / "MODEL_CARD.md").read_text()
        sizes = (network.read.vocabulary.source_size, len(network.read.vocabulary))
        assert sizes == (manifest.source_vocabulary_size, manifest.vocabulary_size)


@pytest.fixture(scope="session")
def learned(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Imported:
    """The trained network with what sentence pairs teach; its logits have biases, and its padding is suppressed."""
    folder = tmp_path_factory.mktemp("learned") / "opus-mt-fr-en"
    shutil.copytree(trained, folder)
    text = [str(DEMO / f"tatoeba-dev.{language}.gz") for language in ("fr", "en")]
    return imported(folder, MarianMTModel, "fp32", "--text", "fr-en", *text)


@pytest.mark.parametrize("beams", [1, 4])
def test_a_learned_shortlist_is_all_that_a_sentence_may_use(learned: Imported, beams: int) -> None:
    shortlist = learned.read.shortlist()
    assert shortlist is not None
    with read_any(learned.folder, Request(("fr",), ("en",))) as network:
        model = network.model
    sources = learned.sources(sentences("fr", 12))
    options = SearchOptions(beam_size=beams, max_output_tokens=20)
    engine, _ = open_engine(EngineConfig(directory=learned.bundle, threads=1, max_rows=64))
    for source, [found] in zip(sources, run_here(engine, [Job(source, options) for source in sources]), strict=True):
        allowed = torch.from_numpy(shortlist.of(source))
        assert len(allowed) < len(learned.read.vocabulary)
        assert set(model.config.suppressed_ids).isdisjoint(allowed.tolist())
        expected, *_ = beam_search(
            model, torch.tensor(source), beam_size=beams, max_output_tokens=20, shortlist=allowed
        )
        assert found.target_ids == expected.target_ids
        assert found.log_prob == pytest.approx(expected.log_prob, abs=1e-3)


def test_learned_tables_align_words(learned: Imported) -> None:
    assert read_manifest(learned.bundle).alignment["fr-en"].evidence == "hmm"
    engine, _ = open_scoring_engine(EngineConfig(directory=learned.bundle, threads=1))
    vocabulary = learned.read.vocabulary
    source, target = vocabulary.encode("Tom est ici."), vocabulary.encode_target("Tom is here.")
    [evidence] = run_here(engine, [AlignmentJob(tuple(source), tuple(target), "fr-en")])
    assert evidence.shape == (len(target), len(source))
    assert evidence[0].argmax() == 0
    assert evidence[-1].argmax() == len(source) - 1
