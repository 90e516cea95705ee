"""Glossaries of the service: files of terms, each with how it is translated."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from service.errors import SettingsError

MOST_TERMS = 10_000


class GlossaryError(SettingsError):
    """A glossary cannot be read; the text is one sentence for a person."""


def read_glossaries(directory: Path) -> dict[str, Mapping[str, str]]:
    """Those of a directory by their names: of each NAME.tsv the terms with their translations, a tab between them.

    Raises:
        GlossaryError: there is no such directory, a line is no term with its translation, or there is a NAME.tsv.sha256
            beside it, as `sha256sum` writes it, which is another's.
    """
    if not directory.is_dir():
        raise GlossaryError(f"ATTEND_GLOSSARIES: {directory} is no directory")
    return {path.stem: read_terms(path) for path in sorted(directory.glob("*.tsv"))}


def read_terms(path: Path) -> dict[str, str]:
    """The terms of one file with their translations.

    Raises:
        GlossaryError: it cannot be read, or a line is no term with its translation.
    """
    terms = {}
    try:
        content = path.read_bytes()
        _check(path, content)
        lines = content.decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise GlossaryError(f"{path}: {error}") from error
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        source, tab, target = line.partition("\t")
        if not tab or not source.strip():
            raise GlossaryError(f"{path}, line {number}: a term, a tab and its translation are expected")
        terms[source.strip()] = target.strip()
    if len(terms) > MOST_TERMS:
        raise GlossaryError(f"{path}: more than {MOST_TERMS} terms")
    return terms


def _check(path: Path, content: bytes) -> None:
    """Raises `GlossaryError` if there is a checksum beside the file, and it is another's."""
    beside = path.with_name(f"{path.name}.sha256")
    if beside.exists():
        expected = beside.read_text(encoding="ascii", errors="replace").partition(" ")[0].strip().lower()
        if hashlib.sha256(content).hexdigest() != expected:
            raise GlossaryError(f"{path}: damaged: its SHA-256 is not that of {beside.name}")
