"""What the arguments of `attend translate` are: texts, files of lines, documents, or folders of files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import click

from attend.corpus.files import unpacked_name

Kind = Literal["lines", "tsv", "jsonl", "document"]
KINDS: dict[str, Kind] = {
    ".txt": "lines",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    **dict.fromkeys(
        (".docx", ".pptx", ".xlsx", ".odt", ".odp", ".ods", ".epub", ".html", ".htm", ".xhtml", ".md", ".markdown"),
        "document",
    ),
    **dict.fromkeys((".srt", ".vtt", ".po"), "document"),
}
"""What files hold, by the ending of their unpacked names."""
_LOOKS_LIKE_A_FILE = re.compile(r"[^\s]*/[^\s]*|[^\s]+\.[A-Za-z0-9]{1,8}")


class Input(NamedTuple):
    """A file to translate; without a path it is standard input, and without an output it goes to standard output."""

    path: Path | None
    output: Path | None
    kind: Kind | None


class Inputs(NamedTuple):
    """All that is to be translated."""

    texts: Sequence[str]
    files: Sequence[Input]
    skipped: Sequence[Path]
    """Files of folders of which nobody knows what they hold."""


def inputs_of(given: Sequence[str], texts: Sequence[str], output: Path | None, kind: Kind | None) -> Inputs:
    """The inputs that the arguments name.

    Raises:
        click.UsageError: there is no such file, or it is not said where the results go.
    """
    paths = [found for each in given if (found := _path(each)) is not None]
    texts = [*(each for each in given if each != "-" and not Path(each).exists()), *texts]
    if (texts and (paths or "-" in given)) or ("-" in given and len(given) > 1):
        raise click.UsageError("texts, files and standard input are translated one kind at a time")
    if texts:
        return Inputs(texts, (), ())
    if not paths:
        return Inputs((), (Input(None, output, kind),), ())
    if len(paths) == 1 and paths[0].is_file():
        is_folder = output is not None and output.is_dir()
        written = output / paths[0].name if output is not None and is_folder else output
        return Inputs((), (Input(paths[0], _elsewhere(paths[0], written), kind or _kind(paths[0])),), ())
    return _many(paths, output, kind)


def _many(paths: Sequence[Path], output: Path | None, kind: Kind | None) -> Inputs:
    if output is None or output.is_file():
        raise click.UsageError("several files need a folder to go to: --output FOLDER")
    files, skipped = [], []
    for path in paths:
        # A file by its name, those of a folder by theirs from there on.
        found = [(path, Path(path.name))] if path.is_file() else list(_inside(path, output))
        for each, name in found:
            if path.is_dir() and unpacked_name(each).suffix.lower() not in KINDS:
                skipped.append(each)
            else:
                files.append(Input(each, _elsewhere(each, output / name), kind or _kind(each)))
    taken: set[Path | None] = set()
    for file in files:
        if file.output in taken:
            raise click.UsageError(f"two of the files would become {file.output}")
        taken.add(file.output)
    return Inputs((), files, skipped)


def _inside(folder: Path, output: Path) -> Iterator[tuple[Path, Path]]:
    """The files in a folder and below, with their names from there on; not those of the output if it lies there."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and output.resolve() not in path.resolve().parents:
            yield path, path.relative_to(folder)


def _kind(path: Path) -> Kind | None:
    return KINDS.get(unpacked_name(path).suffix.lower())


def _elsewhere(path: Path, output: Path | None) -> Path | None:
    if output is not None and output.exists() and output.samefile(path):
        raise click.UsageError(f"{path} would be written over itself")
    return output


def _path(given: str) -> Path | None:
    """The file or folder that an argument names; None if it is a text.

    Raises:
        click.UsageError: it looks like the name of a file that is not there.
    """
    if given == "-":
        return None
    if not given.strip():
        raise click.UsageError("an input is empty")
    if len(given) < 4096 and Path(given).exists():
        return Path(given)
    if _LOOKS_LIKE_A_FILE.fullmatch(given):
        raise click.UsageError(f"there is no file {given}; --text translates it as it stands")
    return None
