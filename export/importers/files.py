"""Files of a checkpoint folder, with one sentence for what is missing or damaged. Torch-free."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

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


def left_out(directory: Path) -> tuple[str, ...]:
    """A sentence for each file that would change what the network reads or writes, and is not imported."""
    notes = []
    script = directory / "preprocess.sh"
    if script.is_file() and "normalize-punctuation" in script.read_text(encoding="utf-8", errors="replace"):
        notes.append(
            f"{script.name} runs normalize-punctuation.perl before the tokeniser, which an import does not: "
            "quotes and dashes reach the network as they are written"
        )
    if (directory / "vmap.txt").is_file():
        notes.append(
            "vmap.txt is not imported, so every step looks at the whole vocabulary; --text learns a shortlist from "
            "sentence pairs"
        )
    return tuple(notes)


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
