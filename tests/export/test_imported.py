"""Imported networks write in our engine what `transformers.generate` writes, with the same scores and attention."""

from __future__ import annotations

import dataclasses
import functools
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sacrebleu
import torch
from transformers import M2M100ForConditionalGeneration, MarianMTModel

from export.__main__ import main
from model.bundle import check_files, read_manifest
from service.engine.bundle import Bundle
from service.engine.decoder.opening import open_engine, open_scoring_engine
from service.engine.loading import run_here
from service.engine.scores import ScoringJob
from service.engine.types import EngineConfig, Hypothesis, Job, SearchOptions
from benchmarks.foreign import plant_outliers, sentences, train_marian, write_m2m100, write_marian

MOST_TOKENS = 24
COUNT = 120
SEARCHES = ((1, 1.0), (2, 1.0), (4, 0.6), (6, 1.4))
TIE = 1e-4
"""Scores that are as near as this may stand in another order."""


@dataclasses.dataclass(frozen=True)
class Imported:
    """A folder of another system and the bundle made from it."""

    folder: Path
    bundle: Path
    model_class: Any

    @functools.cached_property
    def read(self) -> Bundle:
        return Bundle.read(self.bundle)

    def sources(self, texts: Sequence[str]) -> list[tuple[int, ...]]:
        before, behind = self.read.vocabulary.source_frame("fr", "en")
        return [(*before, *self.read.vocabulary.encode(text), *behind) for text in texts]

    def search(self, sources: Sequence[tuple[int, ...]], beams: int, penalty: float) -> list[Hypothesis]:
        silent = self.read.vocabulary.target_prefix("en")
        options = SearchOptions(
            beam_size=beams, length_penalty=penalty, max_output_tokens=MOST_TOKENS, silent_prefix=silent
        )
        engine, _ = open_engine(EngineConfig(directory=self.bundle, threads=1, max_rows=64))
        return [hypotheses[0] for hypotheses in run_here(engine, [Job(source, options) for source in sources])]

    def generate(self, sources: Sequence[tuple[int, ...]], beams: int, penalty: float) -> tuple[list[Any], list[float]]:
        """Tokens and scores of transformers, whatever stands around the text left out."""
        model = self.model_class.from_pretrained(self.folder).eval()
        silent = self.read.vocabulary.target_prefix("en")
        padding = model.config.pad_token_id
        longest = max(map(len, sources))
        ids = torch.tensor([[*source, *[padding] * (longest - len(source))] for source in sources])
        mask = torch.tensor([[1] * len(source) + [0] * (longest - len(source)) for source in sources])
        found = model.generate(
            input_ids=ids, attention_mask=mask, num_beams=beams, length_penalty=penalty, do_sample=False,
            early_stopping=beams > 1, max_new_tokens=MOST_TOKENS, min_new_tokens=1 + len(silent),
            forced_bos_token_id=silent[0] if silent else None, forced_eos_token_id=None,
            return_dict_in_generate=True, output_scores=True,
        )  # fmt: skip
        ends = (padding, model.config.eos_token_id)
        rows = [row[1 + len(silent) :] for row in found.sequences.tolist()]
        scores = found.sequences_scores.tolist() if beams > 1 else [float("nan")] * len(rows)
        return [tuple(token for token in row if token not in ends) for row in rows], scores


def imported(folder: Path, model_class: Any, precision: str, *more: str) -> Imported:
    bundle = folder.with_name(f"{folder.name}-{precision}")
    arguments = ["import", str(folder), str(bundle), "--precision", precision, "--target-tokens", "64"]
    assert main([*arguments, "--source-tokens", "64", "--source", "fr", "--target", "en", *more]) == 0
    return Imported(folder, bundle, model_class)


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
    sources = network.sources(sentences("fr", COUNT))
    found = network.search(sources, beams, penalty)
    expected, scores = network.generate(sources, beams, penalty)
    ties = 0
    for hypothesis, tokens, score in zip(found, expected, scores, strict=True):
        if hypothesis.target_ids != tokens:
            assert abs(hypothesis.score - score) < TIE, (hypothesis, tokens, score)
            ties += 1
        elif beams > 1:
            assert hypothesis.score == pytest.approx(score, abs=TIE)
    assert ties <= COUNT // 50, f"{ties} ties"
    ended = sum(hypothesis.finish_reason == "eos" for hypothesis in found)
    if family == "marian":
        assert ended > COUNT // 2


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
