"""Copies of the shipped bundle are bundles."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.bundle_copies import SHIPPED, copy_bundle
from model.bundle import WEIGHTS_FILE, check_files, read_manifest


def test_a_copy_is_whole_has_its_name_and_replaces_another(tmp_path: Path) -> None:
    first = read_manifest(copy_bundle(tmp_path / "a", "a"))
    path = copy_bundle(tmp_path / "a", "b", "2", ["en-fr", "fr-en"], differs=3, priority=1)
    second = read_manifest(path)
    check_files(path, second)
    assert (first.name, first.version, first.directions) == ("a", "1", ("fr-en",))
    assert (second.name, second.version, set(second.directions)) == ("b", "2", {"en-fr", "fr-en"})
    assert first.files[WEIGHTS_FILE] != second.files[WEIGHTS_FILE]
    # The words that change places have the same rows as before, and so has everything else.
    one, other = (np.fromfile(each / WEIGHTS_FILE, np.uint8) for each in (SHIPPED, path))
    assert 0 < np.count_nonzero(one != other) <= 11 * (256 + 4)
    assert np.array_equal(np.bincount(one), np.bincount(other))
    assert [each.name for each in tmp_path.iterdir()] == ["a"]
