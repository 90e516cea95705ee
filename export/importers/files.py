"""JSON and tensors of a checkpoint folder, with one sentence for what is missing or damaged."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from model.errors import CheckpointError

_SAFE, _PICKLED = "model.safetensors", "pytorch_model.bin"


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        CheckpointError: missing, or something else.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file") from None
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: not JSON: {error}") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{path}: not a JSON object")
    return values


def read_optional_json(path: Path) -> dict[str, Any]:
    """The same, or nothing where there is no such file."""
    return read_json(path) if path.is_file() else {}


def required(path: Path, what: str) -> Path:
    """`path`, if it is a file.

    Raises:
        CheckpointError: it is none; the message says what it would be.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; it is {what}")
    return path


def weight_files(directory: Path) -> list[Path]:
    """The files that hold the tensors of a Hugging Face folder, whole or in parts.

    Raises:
        CheckpointError: there are none, or a part is missing.
    """
    for name in (_SAFE, _PICKLED):
        if (directory / name).is_file():
            return [directory / name]
        index = directory / f"{name}.index.json"
        if index.is_file():
            parts = sorted(set(map(str, dict(read_json(index).get("weight_map", {})).values())))
            if any(Path(part).name != part for part in parts):
                raise CheckpointError(f"{index}: names a file outside its folder")
            return [required(directory / part, f"a part of the weights that {index.name} names") for part in parts]
    raise CheckpointError(f"{directory}: no weights: neither {_SAFE} nor {_PICKLED}")


def read_tensors(files: list[Path]) -> dict[str, Tensor]:
    """Tensors by name; nothing a file holds is executed.

    Raises:
        CheckpointError: damaged, or something else than tensors.
    """
    tensors: dict[str, Tensor] = {}
    for path in files:
        tensors |= _read_safe(path) if path.suffix == ".safetensors" else _read_pickled(path)
    return tensors


def _read_safe(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: damaged weights: {error}") from error


def _read_pickled(path: Path) -> dict[str, Tensor]:
    try:
        values = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise CheckpointError(f"{path}: damaged, or cannot be read without running its code: {reason}") from None
    if not isinstance(values, dict) or not all(isinstance(value, Tensor) for value in values.values()):
        raise CheckpointError(f"{path}: not a list of named tensors")
    return values
