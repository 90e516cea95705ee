"""Bundles for trying many at once: the shipped one under other names, for fewer pairs, with other answers."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx

from model.bundle import VOCABULARY_FILE, WEIGHTS_FILE, language_groups, read_manifest, sha256, write_manifest
from model.vocabulary import Vocabulary

_WORDS = [f"\u2581{word}" for word in ("the", "a", "to", "of", "is", "you", "I", "in", "it", "was", "that")]
"""Every shortlist for English has them."""
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
        differs: other numbers than 0 change its weights: frequent words stand for one another, for each of ten numbers
            in another way. So translations into English are as long as before, and tell which number it was.
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
        sums = {**manifest.files, WEIGHTS_FILE: _change_weights(new, differs)}
        changes |= {"self_tests": (), "files": sums}
    write_manifest(new, manifest.model_copy(update=changes))
    old = target.with_name(f".{target.name}.old")
    if target.exists():
        os.rename(target, old)
    os.rename(new, target)
    shutil.rmtree(old, ignore_errors=True)
    return target


def _change_weights(bundle: Path, differs: int) -> str:
    """Let frequent words change places in the table that words are read from and chosen by. Returns the new hash."""
    vocabulary = Vocabulary.load(bundle / VOCABULARY_FILE)
    ids = [index for index in map(vocabulary.piece_id, _WORDS) if index is not None]
    others = np.roll(ids, 1 + differs % (len(ids) - 1))
    weights = np.memmap(bundle / WEIGHTS_FILE, np.uint8, "r+")
    for tensor in onnx.load(bundle / "decoder.onnx", load_external_data=False).graph.initializer:
        if tensor.name in ("embedding.table", "embedding.table_scale"):
            place = {entry.key: entry.value for entry in tensor.external_data}
            begin, length = int(place["offset"]), int(place["length"])
            rows = weights[begin : begin + length].reshape(len(vocabulary), -1)
            rows[ids] = rows[others]
    weights.flush()
    return sha256(bundle / WEIGHTS_FILE)
