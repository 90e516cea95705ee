"""A folder of data as the benchmarks of quality want it."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path

from model.corpus import Pair


def write_test_set(root: Path, name: str, pairs: Sequence[Pair], source: str) -> None:
    """Line-aligned files of `source` and English."""
    folder = root / f"{source}-en" / "test"
    folder.mkdir(parents=True, exist_ok=True)
    for language, side in ((source, 0), ("en", 1)):
        text = "".join(pair[side] + "\n" for pair in pairs)
        (folder / f"{name}.{language}.gz").write_bytes(gzip.compress(text.encode()))
