"""The manifest of a bundle: written, read, checked."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from model.bundle import (
    FORMAT,
    DecoderSpec,
    GraphSpec,
    LanguageGroup,
    Limits,
    Manifest,
    SpecialIds,
    StateSpec,
    TensorSpec,
    check_files,
    language_groups,
    read_manifest,
    write_manifest,
)
from model.errors import BundleError

FORMAT_2 = Path(__file__).parents[1] / "data" / "bundle-format-2"
"""A bundle as the last version that wrote format 2 made it: eight sentences by heart, int8."""


def manifest(**changes: object) -> Manifest:
    ids = TensorSpec(name="source_ids", dtype="int64", shape=("N", "S"))
    memory = TensorSpec(name="memory", dtype="float32", shape=("N", "S", 16))
    values = {
        "format": FORMAT,
        "name": "tiny",
        "version": "1",
        "precision": "fp32",
        "languages": (LanguageGroup(sources=("fr",), targets=("en",)),),
        "decoder": DecoderSpec(state_kinds=("per_source",)),
        "special_ids": SpecialIds(pad=0, unk=1, bos=2, eos=3),
        "vocabulary_size": 400,
        "source_vocabulary_size": 400,
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


@pytest.mark.parametrize("number", [1, FORMAT + 1])
def test_another_format_is_refused(number: int, directory: Path) -> None:
    write_manifest(directory, manifest(format=number))
    with pytest.raises(BundleError, match=f"format {number}, this version reads formats 2 and {FORMAT}; export it"):
        read_manifest(directory)


def test_a_manifest_of_format_2_says_the_same_in_format_3() -> None:
    old = json.loads((FORMAT_2 / "manifest.json").read_text())
    assert old["format"] == 2
    new = read_manifest(FORMAT_2)
    assert new.format == FORMAT
    assert list(new.directions) == old["directions"] == ["fr-en", "en-fr"]
    assert new.languages == (
        LanguageGroup(sources=("fr",), targets=("en",)), LanguageGroup(sources=("en",), targets=("fr",))
    )  # fmt: skip
    assert new.tokenizer.kind == "attend"
    assert new.decoder == DecoderSpec(architecture="transformer", state_kinds=("per_source", "growing"))
    assert new.source_vocabulary_size == new.vocabulary_size == old["vocabulary_size"]
    assert [test.target_prefix for test in new.self_tests] == [()] * len(old["self_tests"])
    same = set(old) - {"format", "directions"}
    written = json.loads(new.model_dump_json(exclude={"self_tests": {"__all__": {"target_prefix"}}}))
    assert {key: value for key, value in written.items() if key in same} == {key: old[key] for key in same}
    check_files(FORMAT_2, new)


@pytest.mark.parametrize("change", [{"directions": ["fr"]}, {"directions": 1}, {"states": [{}]}, {"directions": []}])
def test_a_damaged_manifest_of_format_2(change: dict[str, object], directory: Path) -> None:
    old = json.loads((FORMAT_2 / "manifest.json").read_text())
    (directory / "manifest.json").write_text(json.dumps({**old, **change}))
    with pytest.raises(BundleError, match=r"manifest\.json: not a manifest of format 2"):
        read_manifest(directory)


LANGUAGES = st.sampled_from(["en", "fr", "zh-Hant", "zh-Hans", "pt-BR", "de"])


@given(st.lists(st.tuples(LANGUAGES, LANGUAGES).filter(lambda pair: pair[0] != pair[1]), min_size=1, unique=True))
def test_groups_of_languages_are_exactly_the_pairs(pairs: list[tuple[str, str]]) -> None:
    assert sorted(manifest(languages=language_groups(pairs)).pairs()) == sorted(pairs)


def test_languages_are_sets_and_not_pairs() -> None:
    codes = tuple(f"a{first}{second}" for first in "abcdefghijklmn" for second in "abcdefghijklmn")
    described = manifest(languages=(LanguageGroup(sources=codes, targets=codes),))
    assert len(described.model_dump_json()) < 10_000
    assert sum(1 for _ in described.pairs()) == len(codes) * (len(codes) - 1)


@pytest.mark.parametrize("code", ["fr_FR", "", "f", "français", "zho_Hant", "en-"])
def test_codes_of_languages_are_bcp_47(code: str) -> None:
    with pytest.raises(ValidationError):
        LanguageGroup(sources=(code,), targets=("en",))


def test_a_reader_learns_of_every_kind_of_state_beforehand() -> None:
    with pytest.raises(ValidationError, match="state_kinds"):
        manifest(decoder=DecoderSpec(state_kinds=("per_source", "replaced")))


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b"[1, 2]"])
def test_damaged_manifest(directory: Path, content: bytes) -> None:
    (directory / "manifest.json").write_bytes(content)
    with pytest.raises(BundleError, match=rf"manifest\.json: not a manifest of format {FORMAT}"):
        read_manifest(directory)


def test_unknown_fields_and_kinds_are_refused(directory: Path) -> None:
    path = directory / "manifest.json"
    values = json.loads(path.read_text())
    del values["checksum"]
    for changed in ({**values, "another": 1}, {**values, "states": [{**values["states"][0], "kind": "other"}]}):
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
