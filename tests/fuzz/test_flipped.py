"""Files with one bit flipped: a bundle, glossaries, keys. None is taken for good, and none is a traceback.

A sample of each file's bits, the same for the same seed (FUZZ_SEED); `make fuzz` takes a larger one, and all of them
with FLIPS=all.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from model.bundle import check_files, read_manifest, sha256, write_manifest
from model.commands import BAD_INPUT, FAILED
from model.errors import ModelError
from service.__main__ import main
from service.engine.bundle import Bundle
from service.glossaries import GlossaryError, read_glossaries
from tests.bundles import ROOT
from tests.processes import free_port

SEED_BUNDLE = ROOT / "tests" / "data" / "bundle-format-2"
SEED = os.environ.get("FUZZ_SEED", "1")
USUAL = "100"
FLIPS = os.environ.get("FUZZ_FLIPS", USUAL)
"""Bits of one file: a number, or `all`."""


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A tiny one, as it would be written today."""
    directory = shutil.copytree(SEED_BUNDLE, tmp_path / "bundle")
    write_manifest(directory, read_manifest(directory))
    return directory


def flipped(path: Path, share: int = 1) -> Iterator[tuple[int, int]]:
    """The file with each of its bits, or `share` times the usual number of them, flipped; then as it was."""
    good = path.read_bytes()
    bits = range(8 * len(good))
    sample = len(bits) if FLIPS == "all" else min(share * int(FLIPS), len(bits))
    with path.open("r+b", buffering=0) as file:
        for bit in sorted(random.Random(f"{SEED} {path.name}").sample(bits, sample)):
            place = bit // 8
            file.seek(place)
            file.write(bytes([good[place] ^ 1 << bit % 8]))
            try:
                yield place, bit % 8
            finally:
                file.seek(place)
                file.write(good[place : place + 1])


def test_no_flipped_bit_of_a_manifest_is_believed(bundle: Path) -> None:
    good = read_manifest(bundle)
    for where in flipped(bundle / "manifest.json", 8):
        try:
            found = read_manifest(bundle)
        except ModelError:
            continue
        assert found == good, where  # white space alone


def test_no_flipped_bit_of_another_file_of_a_bundle_is_believed(bundle: Path) -> None:
    """The vocabulary as the service reads it, the others as its engines do, without those that are whole."""
    manifest = read_manifest(bundle)
    for path in sorted(bundle.iterdir()):
        if path.name == "manifest.json":
            continue
        is_vocabulary = path.suffix == ".spm"
        for _ in flipped(path):
            with pytest.raises(ModelError, match=f"{path.name}: damaged"):
                Bundle.read(bundle) if is_vocabulary else check_files(bundle, manifest, only=path.name)


@pytest.mark.parametrize("name", ["weights.bin", "vocabulary.spm", "decoder.onnx", "manifest.json"])
def test_the_service_says_what_is_damaged_and_ends(bundle: Path, name: str) -> None:
    if FLIPS == USUAL and name != "weights.bin":
        pytest.skip("one is enough outside of `make fuzz`")
    path = bundle / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    ours = {variable: value for variable, value in os.environ.items() if not variable.startswith("ATTEND_")}
    settings = {"ATTEND_BUNDLE": str(bundle), "ATTEND_PORT": str(free_port()), "ATTEND_LOG_FORMAT": "text"}
    done = subprocess.run(
        [sys.executable, "-m", "service"],
        cwd=ROOT,
        env={**ours, **settings},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == (BAD_INPUT if name == "manifest.json" else FAILED)
    said = done.stdout + done.stderr
    assert f"{name}: damaged" in said or f"{name}: not a manifest" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("has_checksum", [True, False])
def test_flipped_glossaries(tmp_path: Path, has_checksum: bool) -> None:
    """One with a checksum beside it is never taken for another; one without is a glossary or a sentence."""
    path = tmp_path / "shop.tsv"
    path.write_text("# our words\nbig house\tmanoir\n\ncoffee\tcafé\n数据库\tbase de données\n", encoding="utf-8")
    beside = tmp_path / "shop.tsv.sha256"
    good = read_glossaries(tmp_path)
    if has_checksum:
        beside.write_text(f"{sha256(path)}  shop.tsv\n")
    for damaged in (path, beside) if has_checksum else (path,):
        for where in flipped(damaged, 4):
            try:
                found = read_glossaries(tmp_path)
            except GlossaryError:
                continue
            assert not has_checksum or found == good, where


def test_a_damaged_glossary_ends_the_start_with_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "shop.tsv").write_bytes(b"big house\tmano\xfar\n")
    monkeypatch.setenv("ATTEND_GLOSSARIES", str(tmp_path))
    assert main([]) == BAD_INPUT
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{tmp_path / 'shop.tsv'}: ")
