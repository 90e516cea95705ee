"""Checkpoints: what was saved comes back, and what is damaged says so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from model.checkpoint import average_weights, load_checkpoint, save_checkpoint
from model.errors import CheckpointError, VocabularyError
from model.transformer import Transformer
from model.vocabulary import train_vocabulary
from tests.model.tiny import tiny_config, tiny_model


def save(directory: Path, vocabulary_path: Path, *, dtype: torch.dtype = torch.float32) -> Transformer:
    model = tiny_model(7, vocabulary_size=400, norm="pre")
    save_checkpoint(
        directory,
        model.config,
        model.state_dict(),
        vocabulary_path,
        name="tiny",
        directions=["fr-en"],
        training={"steps": 3},
        dtype=dtype,
    )
    return model


@pytest.fixture
def directory(tmp_path: Path, vocabulary_path: Path) -> Path:
    save(tmp_path / "checkpoint", vocabulary_path)
    return tmp_path / "checkpoint"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_round_trip(tmp_path: Path, vocabulary_path: Path, dtype: torch.dtype) -> None:
    model = save(tmp_path / "deep" / "checkpoint", vocabulary_path, dtype=dtype)
    loaded = load_checkpoint(tmp_path / "deep" / "checkpoint")
    assert (loaded.name, loaded.directions, loaded.model.config) == ("tiny", ("fr-en",), model.config)
    assert not loaded.model.training
    assert len(loaded.vocabulary) == 400
    state = loaded.model.state_dict()
    assert set(state) == set(model.state_dict())
    for key, value in model.state_dict().items():
        assert torch.equal(state[key], value.to(dtype).float()), key


def test_half_precision_is_half_the_size(tmp_path: Path, vocabulary_path: Path) -> None:
    sizes = []
    for dtype in (torch.float32, torch.float16):
        save(tmp_path / "c", vocabulary_path, dtype=dtype)
        sizes.append((tmp_path / "c" / "model.safetensors").stat().st_size)
    assert sizes[1] < 0.6 * sizes[0]


def test_saving_again_replaces_and_leaves_nothing_behind(directory: Path, vocabulary_path: Path) -> None:
    (directory / "stray").write_text("old")
    directory.with_name("checkpoint.partial").mkdir()
    save(directory, vocabulary_path)
    assert sorted(p.name for p in directory.iterdir()) == ["config.json", "model.safetensors", "vocabulary.spm"]
    assert [p.name for p in directory.parent.iterdir()] == ["checkpoint"]


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "vocabulary.spm"])
def test_a_missing_file_is_named(directory: Path, file: str) -> None:
    (directory / file).unlink()
    with pytest.raises((CheckpointError, VocabularyError), match=f"{file}: no such"):
        load_checkpoint(directory)


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "vocabulary.spm"])
@pytest.mark.parametrize("damage", [b"", b"\xff\xfe broken", None], ids=["empty", "garbage", "cut"])
def test_a_damaged_file_is_named(directory: Path, file: str, damage: bytes | None) -> None:
    path = directory / file
    path.write_bytes(path.read_bytes()[:-100] if damage is None else damage)
    with pytest.raises((CheckpointError, VocabularyError), match=file):
        load_checkpoint(directory)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 99}, "format 99, this version reads 1"),
        ({"model": None}, "'model' is missing"),
        ({"name": None}, "'name' is missing"),
    ],
)
def test_a_foreign_description(directory: Path, change: dict[str, object], message: str) -> None:
    path = directory / "config.json"
    description = {**json.loads(path.read_text()), **change}
    path.write_text(json.dumps({key: value for key, value in description.items() if value is not None}))
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(directory)


def test_a_description_that_is_not_an_object(directory: Path) -> None:
    (directory / "config.json").write_text("[1]")
    with pytest.raises(CheckpointError, match="format None"):
        load_checkpoint(directory)


def test_weights_of_another_architecture(directory: Path) -> None:
    path = directory / "config.json"
    description = json.loads(path.read_text())
    description["model"]["encoder_layers"] = 3
    path.write_text(json.dumps(description))
    with pytest.raises(CheckpointError, match="weights and config do not belong together: Missing key") as caught:
        load_checkpoint(directory)
    assert "\n" not in str(caught.value)


def test_a_vocabulary_of_another_size(directory: Path, demo_pairs: list[tuple[str, str]]) -> None:
    train_vocabulary([p[0] for p in demo_pairs[:300]], directory / "vocabulary.spm", size=350, languages=["en"])
    with pytest.raises(CheckpointError, match="the vocabulary has 350 pieces, the model 400; use the vocabulary"):
        load_checkpoint(directory)


def test_average_is_the_mean() -> None:
    parts = [tiny_model(seed).state_dict() for seed in range(3)]
    mean = average_weights(parts)
    for key in parts[0]:
        torch.testing.assert_close(mean[key], torch.stack([part[key] for part in parts]).mean(0))
        assert mean[key].dtype == torch.float32
    assert average_weights(parts[:1]).keys() == Transformer(tiny_config()).state_dict().keys()


def test_averaging_nothing() -> None:
    with pytest.raises(CheckpointError, match="nothing to average"):
        average_weights([])
