"""Reading networks of other systems in tests, and the packages that hold one."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

from ctranslate2.converters import TransformersConverter

from export.importers.importing import read_any
from export.importers.request import Request
from export.network import Network

FR_EN = Request(("fr",), ("en",))


def read(path: Path, request: Request = FR_EN) -> Network:
    with read_any(path, request) as network:
        return network


def convert(folder: Path, destination: Path, quantization: str | None, files: list[str]) -> Path:
    TransformersConverter(str(folder), copy_files=files).convert(str(destination), quantization=quantization)
    return destination


def write_argos(path: Path, folder: Path, target_prefix: str = "") -> Path:
    """An Argos package as it is downloaded; its pieces are those of the source."""
    directory = path.with_suffix("") / "fr_en"
    directory.mkdir(parents=True)
    convert(folder, directory / "model", "int8", [])
    shutil.copy(folder / "source.spm", directory / "sentencepiece.model")
    metadata = {"from_code": "fr", "to_code": "en", "package_version": "1.9", "target_prefix": target_prefix}
    (directory / "metadata.json").write_text(json.dumps(metadata))
    (directory / "README.md").write_text("---\nlicense: cc-by-4.0\n---\n")
    with zipfile.ZipFile(path, "w") as archive:
        for file in directory.rglob("*"):
            archive.write(file, file.relative_to(directory.parent))
    return path
