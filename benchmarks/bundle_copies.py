"""Bundles for trying many at once: the shipped one under other names, for fewer pairs, with other answers."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from model.bundle import MANIFEST_FILE, WEIGHTS_FILE, sha256

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
    values = json.loads((new / MANIFEST_FILE).read_text(encoding="utf-8"))
    values.pop("checksum", None)
    # What is aligned by tables knows the shipped pairs only, and so do the self-tests.
    values |= {"name": name, "version": version, "directions": list(pairs), "priority": priority, "alignment": {}}
    if differs:
        values["self_tests"] = []
        values["files"][WEIGHTS_FILE] = _change_weights(new / WEIGHTS_FILE, differs)
    (new / MANIFEST_FILE).write_text(json.dumps(values), encoding="utf-8")
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
