"""What the processes of a run share is made once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.sharing import folder_of_the_run, made_once


def test_one_makes_it_and_the_others_wait(tmp_path_factory: pytest.TempPathFactory) -> None:
    made, all_ask = [], threading.Barrier(8)

    def make(folder: Path) -> None:
        folder.mkdir()
        (folder / "file").write_text("whole")
        made.append(folder)

    def ask(_: int) -> tuple[Path, str]:
        all_ask.wait()
        folder = made_once(tmp_path_factory, "test-of-sharing", make)
        return folder, (folder / "file").read_text()

    with ThreadPoolExecutor(8) as threads:
        answers = set(threads.map(ask, range(8)))
    assert len(made) == len(answers) == 1
    assert answers.pop()[1] == "whole"


def test_what_could_not_be_made_is_made_by_the_next(tmp_path_factory: pytest.TempPathFactory) -> None:
    def fail(folder: Path) -> None:
        folder.mkdir()
        raise ValueError("half of it")

    with pytest.raises(ValueError, match="half of it"):
        made_once(tmp_path_factory, "test-of-failing", fail)
    assert list(made_once(tmp_path_factory, "test-of-failing", lambda folder: folder.mkdir()).iterdir()) == []


def test_processes_look_in_the_same_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw1")
    assert folder_of_the_run(Path("run/popen-gw0")) == folder_of_the_run(Path("run/popen-gw1")) == Path("run")
    monkeypatch.delenv("PYTEST_XDIST_WORKER")
    assert folder_of_the_run(Path("run")) == Path("run")
