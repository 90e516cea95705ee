"""How much of the machine the engines take."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from service.engine.loading import available_cores, engine_count, share_of
from service.engine.types import EngineConfig

CORES = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("quota", "cores"),
    [
        ("max 100000", CORES),
        ("200000 100000", min(2, CORES)),
        ("150000 100000", min(2, CORES)),
        ("50000 100000", 1),
        ("6400000 100000", CORES),
        ("odd", CORES),
    ],
)
def test_the_quota_of_a_container_counts(tmp_path: Path, quota: str, cores: int) -> None:
    (tmp_path / "cpu.max").write_text(quota + "\n")
    assert available_cores(tmp_path / "cpu.max") == cores


def test_without_a_quota_the_cores_are_those_of_the_process(tmp_path: Path) -> None:
    assert available_cores(tmp_path / "none") == CORES


@pytest.mark.parametrize(("cores", "count", "threads"), [(1, 1, 1), (2, 2, 1), (8, 8, 1), (64, 8, 8)])
def test_cores_are_shared_among_engines(monkeypatch: pytest.MonkeyPatch, cores: int, count: int, threads: int) -> None:
    monkeypatch.setattr("service.engine.loading.available_cores", lambda: cores)
    config = EngineConfig(directory=Path("bundle"))
    assert engine_count(config) == count
    own = share_of(config, count)
    assert (own.threads, own.max_rows) == (threads, 256 // count)


def test_what_is_asked_for_is_what_there_is() -> None:
    config = EngineConfig(directory=Path("bundle"), sessions=3, threads=5, max_rows=24)
    assert engine_count(config) == 3
    assert (share_of(config, 3).threads, share_of(config, 3).max_rows) == (5, 8)
