"""Bundles for trying many at once: the shipped one under other names, for fewer pairs, with other answers."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from model.bundle import WEIGHTS_FILE, language_groups, read_manifest, sha256, write_manifest

SHIPPED = Path(__file__).parents[1] / "bundles" / "attend-zh-fr-en-int8"


def copy_bundle(
    target: Path,
    name: str,
    version: str = "1",
    pairs: Sequence[str] = ("fr-en",),
    *,
    differs: int = 0,
    priority: int = 0,
) -> Path:
    """Put the shipped bundle at `target` in one step, replacing what is there.

    Args:
        target: a directory.
        name: of the model.
        version: of the model.
        pairs: what it says that it translates.
        differs: other numbers than 0 change its weights, each in another way: its translations are nonsense, always the
            same one for the same number.
        priority: among models for the same pair.
    """
    new = target.with_name(f".{target.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    shutil.copytree(SHIPPED, new)
    manifest = read_manifest(new)
    groups = language_groups([(source, target) for source, _, target in (pair.partition("-") for pair in pairs)])
    # What is aligned by tables knows the shipped pairs only, and so do the self-tests.
    changes = {"name": name, "version": version, "languages": groups, "priority": priority, "alignment": {}}
    if differs:
        sums = {**manifest.files, WEIGHTS_FILE: _change_weights(new / WEIGHTS_FILE, differs)}
        changes |= {"self_tests": (), "files": sums}
    write_manifest(new, manifest.model_copy(update=changes))
    old = target.with_name(f".{target.name}.old")
    if target.exists():
        os.rename(target, old)
    os.rename(new, target)
    shutil.rmtree(old, ignore_errors=True)
    return target


def _change_weights(path: Path, differs: int) -> str:
    """Turn a part of the bytes round by a few: int8 stays int8. Returns the new hash."""
    data = bytearray(path.read_bytes())
    middle, length = len(data) // 2, 1_000_000
    part = data[middle : middle + length]
    data[middle : middle + length] = part[differs:] + part[:differs]
    path.write_bytes(data)
    return sha256(path)
