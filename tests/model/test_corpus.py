"""Parallel text: what counts as a line, and faults named by file and line."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from model.corpus import read_aligned, read_lines, read_tsv
from model.errors import DataError


def write(path: Path, data: str | bytes) -> Path:
    raw = data.encode() if isinstance(data, str) else data
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    return path


@pytest.mark.parametrize("name", ["text.txt", "text.gz"])
@pytest.mark.parametrize("ending", ["", "\n"])
def test_only_lf_and_crlf_end_a_line(tmp_path: Path, name: str, ending: str) -> None:
    path = write(tmp_path / name, "one\u2028still one\r\ntwo\x85\x0b\n\nfour" + ending)
    assert read_lines(path) == ["one\u2028still one", "two\x85\x0b", "", "four"]


def test_tsv_columns(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv.gz", "Hi.\tSalut.\tcc\nNo.\tNon.\n")
    assert read_tsv(path, 1, 0) == [("Salut.", "Hi."), ("Non.", "No.")]


def test_aligned(tmp_path: Path) -> None:
    paths = write(tmp_path / "a.fr", "Salut.\nNon.\n"), write(tmp_path / "a.en.gz", "Hi.\nNo.\n")
    assert read_aligned(*paths) == [("Salut.", "Hi."), ("Non.", "No.")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a\tb\nonly one\n", r"a\.tsv:2: 1 tab-separated column\(s\), 2 needed; mend or drop the line"),
        ("a\tb\nc\t \n", r"a\.tsv:2: one side of the pair is empty; mend or drop the line"),
        ("\tb\n", r"a\.tsv:1: one side of the pair is empty"),
        (b"a\tb\nc\tb\xff\n", r"a\.tsv:2: not UTF-8 at byte 4 of the line; convert the file, e\.g\. with iconv"),
        ("", r"a\.tsv: the file is empty; give one with at least one pair"),
    ],
)
def test_bad_tsv(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_tsv(write(tmp_path / "a.tsv", content), 0, 1)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.gz: no such file; check the path"):
        read_lines(tmp_path / "none.gz")


@pytest.mark.parametrize(
    "data",
    [b"", b"plain text", gzip.compress(b"x" * 10_000)[:-9], gzip.compress(b"xy")[:-8] + b"0" * 8],
    ids=["empty", "text", "cut off", "wrong sum"],
)
def test_damaged_gzip(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(data)
    if not data:
        assert read_lines(path) == [], "an empty file decompresses to nothing"
        return
    with pytest.raises(DataError, match=r"a\.gz: damaged gzip file"):
        read_lines(path)


def test_uneven_files_name_the_first_line_without_partner(tmp_path: Path) -> None:
    paths = write(tmp_path / "a.fr", "1\n2\n3\n"), write(tmp_path / "a.en", "1\n2\n")
    with pytest.raises(DataError, match=r"a\.fr has 3 lines, .*a\.en has 2; .* without a partner is 3"):
        read_aligned(*paths)


@pytest.mark.parametrize(
    ("source", "target", "at"), [("1\n\n", "1\n2\n", r"a\.fr:2"), ("1\n2\n", "1\n \n", r"a\.en:2")]
)
def test_an_empty_line_names_the_file_it_is_in(tmp_path: Path, source: str, target: str, at: str) -> None:
    with pytest.raises(DataError, match=at + ": one side of the pair is empty"):
        read_aligned(write(tmp_path / "a.fr", source), write(tmp_path / "a.en", target))
