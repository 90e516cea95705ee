"""Named arrays in one file: how what was counted in the training text is kept beside the weights."""

from __future__ import annotations

import contextlib
import os
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from model.errors import BundleError

Array = npt.NDArray[Any]


def save_arrays(path: Path, arrays: dict[str, Any]) -> None:
    """Write them compressed; the file appears whole or not at all."""
    scratch = path.with_name(path.name + ".partial")
    with scratch.open("wb") as file:
        np.savez_compressed(file, **arrays)
    os.replace(scratch, path)


@contextlib.contextmanager
def loaded_arrays(path: Path, complaint: str) -> Iterator[Mapping[str, Array]]:
    """The arrays of a file, by name.

    Raises:
        BundleError: with `complaint`, if the file is missing or damaged, or has no array of a name that is asked for.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            yield {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise BundleError(f"{path}: {complaint}: {error}") from error
