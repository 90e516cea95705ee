"""Checkpoints and bundles that several rooms test with, as fixtures (see conftest.py)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from export.__main__ import main as export_main
from model.checkpoint import save_checkpoint
from model.config import ModelConfig
from model.shortlist import SHORTLIST_FILE, build_lexicon, save_lexicons
from model.transformer import Transformer
from model.vocabulary import Vocabulary, train_vocabulary

ROOT = Path(__file__).parents[1]
PRETRAINED = ROOT / "model" / "pretrained"
SHIPPED_BUNDLE = ROOT / "bundles" / "attend-zh-fr-en-int8"

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights behind the shipped vocabulary: enough for everything that is not about quality."""
    torch.manual_seed(0)
    vocabulary = PRETRAINED / "vocabulary.spm"
    config = ModelConfig(
        vocabulary_size=len(Vocabulary.load(vocabulary)),
        d_model=32, num_heads=4, d_ff=64, encoder_layers=2, decoder_layers=2, norm="pre",
    )  # fmt: skip
    directory = tmp_path_factory.mktemp("tiny") / "checkpoint"
    weights = Transformer(config).state_dict()
    save_checkpoint(
        directory, config, weights, vocabulary, name="tiny", directions=["zh-en", "fr-en"], training={"recipe": "none"}
    )
    return directory


def random_bundle(directory: Path, sentences: Sequence[str], *, has_shortlist: bool) -> Path:
    """Random weights behind a vocabulary with carriers, trained on a few sentences.

    A shortlist is made of pairs of random pieces, carriers among them: what a lexicon says must not matter.
    """
    torch.manual_seed(0)
    vocabulary = train_vocabulary(sentences, directory / "vocabulary.spm", size=355, languages=["en", "fr", "zh"])
    config = ModelConfig(
        vocabulary_size=len(vocabulary), d_model=32, num_heads=4, d_ff=64, encoder_layers=1, decoder_layers=1,
        norm="pre",
    )  # fmt: skip
    checkpoint, made = directory / "checkpoint", directory / "bundle"
    save_checkpoint(
        checkpoint, config, Transformer(config).state_dict(), directory / "vocabulary.spm",
        name="tiny", directions=["zh-en", "fr-en", "en-fr", "en-zh"], training={"recipe": "none"},
    )  # fmt: skip
    if has_shortlist:
        chance = np.random.default_rng(1)
        pairs = [tuple(chance.integers(4, len(vocabulary), (2, 12)).tolist()) for _ in range(200)]
        lexicon = build_lexicon(pairs, len(vocabulary), most=20, frequent=60)
        save_lexicons(checkpoint / SHORTLIST_FILE, {"en": lexicon, "fr": lexicon, "zh": lexicon})
    how = [] if has_shortlist else ["--whole-vocabulary"]
    assert export_main([str(checkpoint), str(made), "--precision", "fp32", *how]) == 0
    return made


@pytest.fixture(scope="session")
def shipped_fp32_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped checkpoint exported without quantisation: comparable with PyTorch number by number."""
    directory = tmp_path_factory.mktemp("shipped") / "fp32"
    how = ["--precision", "fp32", "--whole-vocabulary", "--no-internals"]
    how += ["--alignment", str(PRETRAINED / "alignment.json")]
    assert export_main([str(PRETRAINED), str(directory), *how]) == 0
    return directory


@pytest.fixture(scope="session")
def fp32_bundle_with_shortlist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, decoded among a shortlist."""
    directory = tmp_path_factory.mktemp("shortlist") / "fp32"
    assert export_main([str(PRETRAINED), str(directory), "--precision", "fp32", "--no-internals"]) == 0
    return directory


@pytest.fixture(scope="session")
def shipped_fp16_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped checkpoint as a GPU would get it."""
    directory = tmp_path_factory.mktemp("shipped") / "fp16"
    assert export_main([str(PRETRAINED), str(directory), "--precision", "fp16", "--no-internals"]) == 0
    return directory
