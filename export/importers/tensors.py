"""Tensors of a checkpoint's files."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from model.errors import CheckpointError


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
