"""The manifest of a bundle: written, read, checked."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from model.bundle import (
    FORMAT,
    GraphSpec,
    Limits,
    Manifest,
    SpecialIds,
    StateSpec,
    TensorSpec,
    check_files,
    read_manifest,
    write_manifest,
)
from model.errors import BundleError


def manifest(**changes: object) -> Manifest:
    ids = TensorSpec(name="source_ids", dtype="int64", shape=("N", "S"))
    memory = TensorSpec(name="memory", dtype="float32", shape=("N", "S", 16))
    values = {
        "format": FORMAT,
        "name": "tiny",
        "version": "1",
        "precision": "fp32",
        "directions": ("fr-en",),
        "special_ids": SpecialIds(pad=0, unk=1, bos=2, eos=3),
        "vocabulary_size": 400,
        "limits": Limits(source_tokens=64, target_tokens=64),
        "graphs": {"encoder": GraphSpec(file="encoder.onnx", inputs=(ids,), outputs=(memory,))},
        "states": (
            StateSpec(kind="per_source", input="memory", output="memory", dtype="float32", shape=("N", "S", 16)),
        ),
        "architecture": {"d_model": 16},
        "provenance": {"checkpoint": "tiny"},
        "agreement": {},
        "files": {"encoder.onnx": hashlib.sha256(b"graph").hexdigest()},
    }
    return Manifest(**{**values, **changes})


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "encoder.onnx").write_bytes(b"graph")
    write_manifest(tmp_path, manifest())
    return tmp_path


def test_an_output_may_be_twice_its_source_and_a_little_more() -> None:
    limits = Limits(source_tokens=600, target_tokens=999)
    assert limits.output_tokens(5) == 20
    assert limits.output_tokens(600) == 999


def test_round_trip(directory: Path) -> None:
    assert read_manifest(directory) == manifest()
    check_files(directory, manifest())


def test_missing_bundle_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"manifest\.json: no such file; make a bundle with: python -m export"):
        read_manifest(tmp_path)


def test_another_format_is_refused(directory: Path) -> None:
    write_manifest(directory, manifest(format=FORMAT - 1))
    with pytest.raises(BundleError, match=f"format {FORMAT - 1}, this version reads format {FORMAT}; export it again"):
        read_manifest(directory)


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b"[1, 2]"])
def test_damaged_manifest(directory: Path, content: bytes) -> None:
    (directory / "manifest.json").write_bytes(content)
    with pytest.raises(BundleError, match=rf"manifest\.json: not a manifest of format {FORMAT}"):
        read_manifest(directory)


def test_unknown_fields_and_kinds_are_refused(directory: Path) -> None:
    path = directory / "manifest.json"
    values = json.loads(path.read_text())
    for changed in ({**values, "extra": 1}, {**values, "states": [{**values["states"][0], "kind": "other"}]}):
        path.write_text(json.dumps(changed))
        with pytest.raises(BundleError, match="not a manifest"):
            read_manifest(directory)


def test_a_changed_or_missing_file_is_named(directory: Path) -> None:
    (directory / "encoder.onnx").write_bytes(b"grapf")
    with pytest.raises(BundleError, match=r"encoder\.onnx: damaged: its SHA-256 is not the manifest's"):
        check_files(directory, manifest())
    (directory / "encoder.onnx").unlink()
    with pytest.raises(BundleError, match=r"encoder\.onnx: the manifest names this file, but it is missing"):
        check_files(directory, manifest())
