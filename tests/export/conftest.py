"""Folders of networks of other systems, with random weights."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.foreign import write_m2m100, write_marian, write_nllb


@pytest.fixture(scope="session")
def marian(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_marian(tmp_path_factory.mktemp("foreign") / "opus-mt-fr-en")


@pytest.fixture(scope="session")
def m2m100(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_m2m100(tmp_path_factory.mktemp("foreign") / "m2m100")


@pytest.fixture(scope="session")
def nllb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_nllb(tmp_path_factory.mktemp("foreign") / "nllb")
