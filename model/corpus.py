"""Parallel text from files: TSV or line-aligned, plain or .gz. Every fault is reported with file and line."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

from model.errors import DataError

Pair = tuple[str, str]


def read_lines(path: Path) -> list[str]:
    """Lines of a UTF-8 text file, gzipped if its name ends in .gz; only LF (or CRLF) ends a line.

    Raises:
        DataError: the file is missing, damaged, or a line is not UTF-8.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file; check the path, or the folder given with --root")
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: damaged gzip file ({error}); fetch or write it again") from error
    raw = data.split(b"\n")
    if raw and not raw[-1]:
        raw.pop()
    return [_decode_line(line, path, number) for number, line in enumerate(raw, start=1)]


def _decode_line(line: bytes, path: Path, number: int) -> str:
    try:
        return line.removesuffix(b"\r").decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}:{number}: not UTF-8 at byte {error.start + 1} of the line; convert the file, e.g. with iconv"
        ) from error


def read_tsv(path: Path, source_column: int, target_column: int) -> list[Pair]:
    """(source, target) of every line of a tab-separated file; columns count from 0, further columns are ignored.

    Raises:
        DataError: a column is missing or empty, or `read_lines` failed.
    """
    needed = max(source_column, target_column) + 1
    pairs = []
    for number, line in enumerate(read_lines(path), start=1):
        cells = line.split("\t")
        if len(cells) < needed:
            raise DataError(
                f"{path}:{number}: {len(cells)} tab-separated column(s), {needed} needed; mend or drop the line"
            )
        pair = cells[source_column], cells[target_column]
        _require_both_sides(pair, path, number)
        pairs.append(pair)
    return _require_some(pairs, path)


def read_aligned(source_path: Path, target_path: Path) -> list[Pair]:
    """(source, target) of two files, line n belonging to line n.

    Raises:
        DataError: the files differ in length, a line is empty, or `read_lines` failed.
    """
    sources, targets = read_lines(source_path), read_lines(target_path)
    if len(sources) != len(targets):
        raise DataError(
            f"{source_path} has {len(sources)} lines, {target_path} has {len(targets)}; line-aligned files must be "
            f"equally long: the first line without a partner is {min(len(sources), len(targets)) + 1}"
        )
    pairs = list(zip(sources, targets, strict=True))
    for number, pair in enumerate(pairs, start=1):
        _require_both_sides(pair, target_path if pair[0].strip() else source_path, number)
    return _require_some(pairs, source_path)


def _require_both_sides(pair: Pair, path: Path, number: int) -> None:
    if not pair[0].strip() or not pair[1].strip():
        raise DataError(f"{path}:{number}: one side of the pair is empty; mend or drop the line")


def _require_some(pairs: list[Pair], path: Path) -> list[Pair]:
    if not pairs:
        raise DataError(f"{path}: the file is empty; give one with at least one pair")
    return pairs


def sentence_separator(language: str) -> str:
    """What stands between two sentences of one paragraph."""
    return "" if language in ("zh", "ja") else " "
