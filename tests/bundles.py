"""Checkpoints and bundles that several rooms test with, as fixtures (see conftest.py).

Each is made once, whichever process of pytest-xdist needs it first. What makes them is imported when it is needed:
most tests need neither PyTorch nor an export.
"""

from __future__ import annotations

import os
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
