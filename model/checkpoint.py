"""Trained weights on disk: a directory with config.json, model.safetensors and vocabulary.spm."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from model.architectures import new_network
from model.config import ModelConfig
from model.errors import CheckpointError
from model.folders import put_in_place
from model.network import EncoderDecoder
from model.vocabulary import Vocabulary

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
VOCABULARY_FILE = "vocabulary.spm"
FORMAT = 1


class Checkpoint:
    """A model ready to translate, and what it says of itself."""

    def __init__(self, model: EncoderDecoder, vocabulary: Vocabulary, directions: Sequence[str], name: str) -> None:
        if len(vocabulary) != model.config.vocabulary_size:
            raise CheckpointError(
                f"{name}: the vocabulary has {len(vocabulary)} pieces, the model {model.config.vocabulary_size}; "
                "use the vocabulary the model was trained with"
            )
        self.model = model
        self.vocabulary = vocabulary
        self.directions = tuple(directions)
        self.name = name


def save_checkpoint(
    directory: Path,
    config: ModelConfig,
    weights: dict[str, Tensor],
    vocabulary_path: Path,
    *,
    name: str,
    directions: Sequence[str],
    training: dict[str, Any],
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write a checkpoint directory; it appears whole or not at all. `training` is kept for the reader only."""
    scratch = directory.with_name(directory.name + ".partial")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    stored = {key: value.detach().to("cpu", dtype).contiguous() for key, value in weights.items()}
    save_file(stored, scratch / WEIGHTS_FILE)
    shutil.copyfile(vocabulary_path, scratch / VOCABULARY_FILE)
    description = {
        "format": FORMAT,
        "name": name,
        "directions": list(directions),
        "model": config.to_dict(),
        "training": training,
    }
    (scratch / CONFIG_FILE).write_text(json.dumps(description, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    put_in_place(scratch, directory)


def load_checkpoint(directory: Path, device: torch.device | None = None) -> Checkpoint:
    """Read a checkpoint directory; the model is in evaluation mode, in fp32.

    Raises:
        CheckpointError: a file is missing or damaged, or the parts do not belong together.
        VocabularyError: the vocabulary is missing or damaged.
    """
    description = _read_description(directory / CONFIG_FILE)
    config = ModelConfig.from_dict(description["model"])
    model = new_network(config)
    try:
        model.load_state_dict({key: value.float() for key, value in read_weights(directory / WEIGHTS_FILE).items()})
    except RuntimeError as error:
        raise CheckpointError(
            f"{directory}: weights and config do not belong together: {first_mismatch(error)}"
        ) from error
    model.eval().to(device or torch.device("cpu"))
    vocabulary = Vocabulary.load(directory / VOCABULARY_FILE)
    return Checkpoint(model, vocabulary, description["directions"], description["name"])


def _read_description(path: Path) -> dict[str, Any]:
    try:
        description: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file; give the directory of a checkpoint") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path}: not JSON: {error}") from error
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        found = description.get("format") if isinstance(description, dict) else None
        raise CheckpointError(f"{path}: format {found!r}, this version reads {FORMAT}; average or train it again")
    missing = {"model", "directions", "name"} - set(description)
    if missing:
        raise CheckpointError(f"{path}: {sorted(missing)[0]!r} is missing; average or train it again")
    return description


def first_mismatch(error: RuntimeError) -> str:
    """The first complaint of `load_state_dict`, which lists every tensor on a line of its own."""
    complaint = [*str(error).splitlines(), ""][1].strip() or str(error)
    return complaint if len(complaint) <= 200 else complaint[:200] + "..."


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors of one safetensors file.

    Raises:
        CheckpointError: missing or damaged.
    """
    try:
        return load_file(path)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file") from None
    except SafetensorError as error:
        raise CheckpointError(f"{path}: damaged weights: {error}") from error


def average_weights(parts: Iterable[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of several checkpoints' weights, in fp64 inside (Vaswani et al. 2017, section 6.1)."""
    total: dict[str, Tensor] = {}
    count = 0
    for weights in parts:
        count += 1
        for key, value in weights.items():
            total[key] = total[key] + value.double() if key in total else value.double()
    if not count:
        raise CheckpointError("nothing to average: no weights were saved yet")
    return {key: (value / count).float() for key, value in total.items()}
