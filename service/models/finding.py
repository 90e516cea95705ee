"""Bundles on disk: which there are, and whether they have changed."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from pathlib import Path

from model.bundle import MANIFEST_FILE, Manifest, read_manifest
from model.errors import ModelError
from service.model_names import ModelName


@dataclasses.dataclass(frozen=True, slots=True)
class FoundBundle:
    """A bundle in a directory, as its manifest says; its files were not looked at."""

    directory: Path
    manifest: Manifest
    digest: str
    """SHA-256 of the manifest, which has those of all files: another one, another bundle."""
    size: int
    """Bytes of its files."""

    @property
    def model(self) -> ModelName:
        """Its name and version."""
        return ModelName(self.manifest.name, self.manifest.version)


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """What lies in a directory of bundles."""

    bundles: tuple[FoundBundle, ...]
    problems: dict[Path, str]
    """Why what lies in these directories cannot be served."""


def read_bundle(directory: Path) -> FoundBundle:
    """The bundle in a directory.

    Raises:
        BundleError: there is none, or its manifest cannot be read.
    """
    manifest = read_manifest(directory)
    try:
        digest = hashlib.sha256((directory / MANIFEST_FILE).read_bytes()).hexdigest()
    except OSError as error:  # it was taken away meanwhile
        raise ModelError(f"{directory}: {error}") from error
    return FoundBundle(directory, manifest, digest, _size(directory, manifest))


def find_bundles(directory: Path) -> Found:
    """The bundles in the directories directly below this one. Those without a manifest are none.

    Raises:
        OSError: the directory cannot be read.
    """
    bundles: dict[ModelName, FoundBundle] = {}
    problems: dict[Path, str] = {}
    for path in sorted(each for each in directory.iterdir() if (each / MANIFEST_FILE).is_file()):
        try:
            found = read_bundle(path)
        except ModelError as error:
            problems[path] = str(error)
            continue
        other = bundles.setdefault(found.model, found)
        if other is not found:
            problems[path] = f"{path}: is {found.model}, and so is {other.directory}"
    return Found(tuple(bundles.values()), problems)


def _size(directory: Path, manifest: Manifest) -> int:
    return sum(path.stat().st_size for name in manifest.files if (path := directory / name).is_file())


Fingerprint = frozenset[tuple[str, int, int, int]]


def fingerprint(directory: Path) -> Fingerprint:
    """Names, sizes, times and numbers of all files one level below: equal as long as nothing has changed."""
    return frozenset(_stats(directory))


def _stats(directory: Path) -> Iterator[tuple[str, int, int, int]]:
    for path in directory.glob("*/*"):
        try:
            stat = path.stat()
        except OSError:  # it was taken away meanwhile
            continue
        yield str(path.relative_to(directory)), stat.st_size, stat.st_mtime_ns, stat.st_ino
