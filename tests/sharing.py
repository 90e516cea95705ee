"""What the processes of one test run share: pytest-xdist starts several, and none should make what another has made."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock


def made_once(tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """The folder of that name, made by the first process that asks for it; the others wait, then read it.

    Names are those of the whole run. If `make` fails, the next process tries, so that each of its tests says why.
    """
    folder = folder_of_the_run(tmp_path_factory.getbasetemp()) / "shared" / name
    folder.parent.mkdir(exist_ok=True)
    with FileLock(folder.with_name(f"{name}.lock")):
        if not folder.exists():
            made = tmp_path_factory.mktemp(name) / name
            make(made)
            made.rename(folder)
    return folder


def folder_of_the_run(own: Path) -> Path:
    """The temporary folder of all processes: a worker's own lies in it."""
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
