"""Checkpoints and bundles that several rooms test with, as fixtures (see conftest.py).

Each is made once, whichever process of pytest-xdist needs it first. What makes them is imported when it is needed:
most tests need neither PyTorch nor an export.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.sharing import made_once

ROOT = Path(__file__).parents[1]
PRETRAINED = ROOT / "model" / "pretrained"
SHIPPED_BUNDLE = ROOT / "bundles" / "attend-zh-fr-en-int8"

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights behind the shipped vocabulary: enough for everything that is not about quality."""
    return made_once(tmp_path_factory, "tiny-checkpoint", _write_tiny_checkpoint)


def _write_tiny_checkpoint(directory: Path) -> None:
    import torch

    from model.checkpoint import save_checkpoint
    from model.config import ModelConfig
    from model.transformer import Transformer
    from model.vocabulary import Vocabulary

    torch.manual_seed(0)
    vocabulary = PRETRAINED / "vocabulary.spm"
    config = ModelConfig(
        vocabulary_size=len(Vocabulary.load(vocabulary)),
        d_model=32, num_heads=4, d_ff=64, encoder_layers=1, decoder_layers=2, norm="pre",
    )  # fmt: skip
    weights = Transformer(config).state_dict()
    save_checkpoint(
        directory, config, weights, vocabulary, name="tiny", directions=["zh-en", "fr-en"], training={"recipe": "none"}
    )


def _exported(tmp_path_factory: pytest.TempPathFactory, name: str, *how: str) -> Path:
    def export(directory: Path) -> None:
        from export.__main__ import main

        assert main([str(PRETRAINED), str(directory), *how, "--no-internals"]) == 0

    return made_once(tmp_path_factory, name, export)


def random_bundle(directory: Path, sentences: Sequence[str], *, has_shortlist: bool) -> Path:
    """Random weights behind a vocabulary with carriers, trained on a few sentences.

    A shortlist is made of pairs of random pieces, carriers among them: what a lexicon says must not matter.
    """
    import numpy as np
    import torch

    from export.__main__ import main
    from model.checkpoint import save_checkpoint
    from model.config import ModelConfig
    from model.shortlist import SHORTLIST_FILE, build_lexicon, save_lexicons
    from model.transformer import Transformer
    from model.vocabulary import train_vocabulary

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
    assert main([str(checkpoint), str(made), "--precision", "fp32", "--no-internals", *how]) == 0
    return made


@pytest.fixture(scope="session")
def shipped_fp32_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped checkpoint exported without quantisation: comparable with PyTorch number by number."""
    alignment = str(PRETRAINED / "alignment.json")
    return _exported(
        tmp_path_factory, "shipped-fp32", "--precision", "fp32", "--whole-vocabulary", "--alignment", alignment
    )


@pytest.fixture(scope="session")
def fp32_bundle_with_shortlist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, decoded among a shortlist."""
    return _exported(tmp_path_factory, "shipped-fp32-shortlist", "--precision", "fp32")


@pytest.fixture(scope="session")
def shipped_fp16_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped checkpoint as a GPU would get it."""
    return _exported(tmp_path_factory, "shipped-fp16", "--precision", "fp16")
