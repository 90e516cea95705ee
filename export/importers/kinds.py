"""What a path holds, as far as names of files and a config say. Torch-free."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from export.importers.files import read_optional_json
from model.errors import CheckpointError

CONFIG_FILE, MODEL_FILE, METADATA_FILE, DECODER_FILE = "config.json", "model.bin", "metadata.json", "decoder.yml"
ARCHITECTURES = {"marian": "MarianMTModel", "m2m_100": "M2M100ForConditionalGeneration"}
"""Of transformers' networks those that can be imported, by their `model_type`."""

Kind = Literal["transformers", "marian", "ctranslate2", "argos"]
NAMES: Mapping[Kind, str] = {
    "transformers": "a folder of Hugging Face transformers",
    "marian": "a release of Marian's own files",
    "ctranslate2": "a CTranslate2 model",
    "argos": "an Argos package",
}


def kind_of(path: Path) -> Kind:
    """Which importer reads a path.

    Raises:
        CheckpointError: none does; the message says what the path is instead.
    """
    if not path.exists():
        raise CheckpointError(f"{path}: no such file or folder")
    config = path / CONFIG_FILE
    if config.is_file() and "model_type" in read_optional_json(config):
        return "transformers"
    if (path / DECODER_FILE).is_file() and any(path.glob("*.npz")):
        return "marian"
    if is_argos_folder(path) or (path.is_file() and zipfile.is_zipfile(path)):
        return "argos"
    if (path / MODEL_FILE).is_file():
        return "ctranslate2"
    raise CheckpointError(f"{path}: nothing here that can be imported{_instead(path)}")


def _instead(path: Path) -> str:
    if (path / "manifest.json").is_file():
        return "; it is a bundle already, which the service takes as it is"
    if is_own_checkpoint(path):
        return "; it is a checkpoint of our own, which is exported and not imported"
    if path.is_dir() and (bundles := sorted(path.glob("*/manifest.json"))):
        return f"; it holds bundles: {', '.join(each.parent.name for each in bundles)}"
    if path.is_dir() and any(path.glob("*.npz")):
        return f"; a network of Marian's needs {DECODER_FILE} beside it"
    return ""


def is_own_checkpoint(path: Path) -> bool:
    """Whether a folder is a checkpoint as our training writes it."""
    return (path / CONFIG_FILE).is_file() and "directions" in read_optional_json(path / CONFIG_FILE)


def is_argos_folder(path: Path) -> bool:
    """Whether a folder is an Argos package as it is installed."""
    return (path / METADATA_FILE).is_file() and (path / "model" / MODEL_FILE).is_file()


def check_supported(values: Mapping[str, Any], path: Path) -> str:
    """The kind of network that transformers' config.json names.

    Raises:
        CheckpointError: it is one this project cannot run; the message names it.
    """
    kind = str(values.get("model_type"))
    if values.get("is_encoder_decoder") is False or "CausalLM" in str(values.get("architectures")):
        raise CheckpointError(f"{path}: {kind} is not an encoder-decoder network, which translation needs")
    if kind not in ARCHITECTURES:
        known = " and ".join(ARCHITECTURES)
        raise CheckpointError(f"{path}: model_type {kind!r} cannot be imported; of transformers' networks {known} can")
    architectures = values.get("architectures") or [ARCHITECTURES[kind]]
    if architectures != [ARCHITECTURES[kind]]:
        raise CheckpointError(f"{path}: architectures {architectures} cannot be imported, only {ARCHITECTURES[kind]}")
    return kind
