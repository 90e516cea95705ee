"""What a path holds and what can be done with it, said without loading weights. Torch-free: it takes no time."""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from export.importers.files import left_out, read_json, weight_files
from export.importers.huggingface_tokens import read_tokens
from export.importers.kinds import (
    CONFIG_FILE,
    METADATA_FILE,
    MODEL_FILE,
    NAMES,
    check_supported,
    is_own_checkpoint,
    kind_of,
)
from export.importers.origin import forbids_commerce, stated_licence, stated_origin
from export.importers.request import Request
from model.bundle import MANIFEST_FILE, check_files, read_manifest
from model.errors import BundleError, ModelError

_MOST_HEADER = 100_000_000
_SHOWN_LANGUAGES = 12


def describe(path: Path, *, importing: str, exporting: str) -> str:
    """Lines for a person; the last one says what can be done with it, and how, or why not.

    Args:
        path: a folder or a file.
        importing: the command that imports another system's network.
        exporting: the command that makes a bundle of a checkpoint of our own.

    Raises:
        BundleError: it is a bundle, and damaged.
        CheckpointError: it is nothing that anybody here reads.
    """
    if (path / MANIFEST_FILE).is_file():
        return "\n".join(_bundle(path))
    if is_own_checkpoint(path):
        return "\n".join([*_checkpoint(path), f"  can be exported: {exporting} {path} BUNDLE"])
    kind = kind_of(path)
    lines = [f"{path}: {NAMES[kind]}"]
    try:
        for line in _DESCRIPTIONS[kind](path):
            lines.append(f"  {line}")
    except BundleError as error:  # all is there but the languages
        lines.append(f"  {error}")
    except ModelError as error:
        return "\n".join([*lines, f"  cannot be imported: {error}"])
    return "\n".join([*lines, f"  can be imported: {importing} {path} BUNDLE"])


def _bundle(path: Path) -> Iterator[str]:
    manifest = read_manifest(path)
    yield f"{path}: a bundle, {manifest.name} {manifest.version}, {manifest.precision}"
    yield f"  {_network(manifest.decoder.architecture, manifest.architecture)}"
    yield f"  {_some(manifest.directions)}"
    yield f"  {manifest.vocabulary_size:,} tokens" + (", with a shortlist" if manifest.has_shortlist else "")
    limits = manifest.limits
    yield f"  sentences of up to {limits.source_tokens} tokens, translations of up to {limits.target_tokens}"
    check_files(path, manifest)
    yield f"  {_sizes([path / name for name in manifest.files])}, all files are as they were written"
    yield from (f"  {line}" for line in _stated(manifest.licence, manifest.origin))
    yield "  can be served and used as it is"


def _checkpoint(path: Path) -> Iterator[str]:
    values = read_json(path / CONFIG_FILE)
    yield f"{path}: a checkpoint of our own, {values.get('name')}"
    network = dict(values.get("model", {}))
    yield f"  {_network(network.get('architecture', 'transformer'), network)}"
    yield f"  {_some(list(map(str, values['directions'])))}"
    yield f"  {_sizes(weight_files(path))}"


def _network(kind: str, values: Mapping[str, Any]) -> str:
    return f"{kind}, {values.get('encoder_layers')} + {values.get('decoder_layers')} layers of {values.get('d_model')}"


def _transformers(path: Path) -> Iterator[str]:
    values = read_json(path / CONFIG_FILE)
    kind = check_supported(values, path / CONFIG_FILE)
    yield _network(kind, values)
    files = weight_files(path)
    yield _sizes(files)
    yield from _said(path, stated_origin(path, values))
    tokens = read_tokens(path, kind, Request())
    [group] = tokens.languages.groups
    yield f"from {_some(group.sources)}"
    yield f"to {_some(group.targets)}"


def _marian(path: Path) -> Iterator[str]:
    yield _sizes(sorted(path.glob("*.npz")))
    yield from _said(path, None)
    for name in ("source.spm", "target.spm"):
        if not (path / name).is_file():
            raise ModelError(f"{path / name}: no such file")
    yield "which languages it knows only its vocabulary says: name them with --source and --target"


def _ctranslate2(path: Path) -> Iterator[str]:
    yield _sizes([path / MODEL_FILE])
    yield from _said(path, None)
    yield "which languages it knows only its vocabulary says: name them with --source and --target"


def _argos(path: Path) -> Iterator[str]:
    metadata = _metadata(path)
    yield f"from {metadata.get('from_code')} to {metadata.get('to_code')}, version {metadata.get('package_version')}"
    if path.is_dir():
        yield _sizes([path / "model" / MODEL_FILE])
        yield from _said(path, None)


def _metadata(path: Path) -> Mapping[str, Any]:
    if path.is_dir():
        return read_json(path / METADATA_FILE)
    try:
        with zipfile.ZipFile(path) as archive:
            [name] = [name for name in archive.namelist() if name.count("/") == 1 and name.endswith(METADATA_FILE)]
            return dict(json.loads(archive.read(name)))
    except (ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ModelError(f"{path}: holds no Argos package: {error}") from None


_DESCRIPTIONS = {"transformers": _transformers, "marian": _marian, "ctranslate2": _ctranslate2, "argos": _argos}


def _said(path: Path, origin: str | None) -> Iterator[str]:
    for note in left_out(path):
        yield f"note: {note}"
    yield from _stated(stated_licence(path), origin)


def _stated(licence: str | None, origin: str | None) -> Iterator[str]:
    yield f"licence: {licence or 'not stated'}" + (", no commercial use" if forbids_commerce(licence) else "")
    if origin:
        yield f"origin: {origin}"


def _some(codes: Sequence[str]) -> str:
    shown = ", ".join(codes[:_SHOWN_LANGUAGES])
    return shown if len(codes) <= _SHOWN_LANGUAGES else f"{shown} and {len(codes) - _SHOWN_LANGUAGES} more"


def _sizes(files: Sequence[Path]) -> str:
    size = sum(file.stat().st_size for file in files)
    numbers = [count for count in map(_parameters, files) if count]
    counted = f"{sum(numbers):,} parameters, " if len(numbers) == len(files) else ""
    return f"{counted}{size / 2**20:.1f} MiB"


def _parameters(path: Path) -> int:
    """How many numbers a safetensors file holds; 0 for another file."""
    if path.suffix != ".safetensors":
        return 0
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8).ljust(8, b"\0"))
        try:
            header = json.loads(file.read(min(length, _MOST_HEADER)))
            shapes = [entry["shape"] for name, entry in header.items() if name != "__metadata__"]
        except (ValueError, TypeError, KeyError):
            raise ModelError(f"{path}: damaged weights") from None
    return sum(_product(shape) for shape in shapes)


def _product(shape: Sequence[int]) -> int:
    product = 1
    for size in shape:
        product *= size
    return product
