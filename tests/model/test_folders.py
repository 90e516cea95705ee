"""A folder takes another's place in one step."""

from __future__ import annotations

import errno
import os
import sys
import threading
from pathlib import Path

import pytest

from model import folders
from model.folders import put_in_place


def made(path: Path, content: str) -> Path:
    path.mkdir()
    (path / "file").write_text(content)
    return path


def test_a_folder_appears_where_there_was_none(tmp_path: Path) -> None:
    put_in_place(made(tmp_path / "new", "1"), tmp_path / "there")
    assert (tmp_path / "there" / "file").read_text() == "1"
    assert os.listdir(tmp_path) == ["there"]


@pytest.mark.parametrize("exchanges", [True, False])
def test_an_old_folder_is_replaced_and_removed(
    exchanges: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not exchanges:
        monkeypatch.setattr(folders, "_exchange", lambda one, other: False)
    made(tmp_path / "there", "old")
    (tmp_path / "there" / "another").write_text("of the old one")
    put_in_place(made(tmp_path / "new", "new"), tmp_path / "there")
    assert os.listdir(tmp_path) == ["there"]
    assert os.listdir(tmp_path / "there") == ["file"]
    assert (tmp_path / "there" / "file").read_text() == "new"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems cannot exchange two folders in one step")
def test_nobody_ever_finds_no_folder(tmp_path: Path) -> None:
    there = made(tmp_path / "there", "0")
    missing, done, started = [], threading.Event(), threading.Event()

    def look() -> None:
        while not done.is_set():
            if not there.is_dir():
                missing.append(True)
            started.set()

    watcher = threading.Thread(target=look)
    watcher.start()
    started.wait()
    try:
        for number in range(300):
            put_in_place(made(tmp_path / "new", str(number)), there)
    finally:
        done.set()
        watcher.join()
    assert not missing


@pytest.mark.parametrize("exchanges", [True, False])
def test_what_cannot_be_moved_leaves_the_old_folder(
    exchanges: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not exchanges:
        monkeypatch.setattr(folders, "_exchange", lambda one, other: False)
    made(tmp_path / "there", "old")
    with pytest.raises(FileNotFoundError) as caught:
        put_in_place(tmp_path / "nothing", tmp_path / "there")
    assert caught.value.errno == errno.ENOENT
    assert (tmp_path / "there" / "file").read_text() == "old"
    assert os.listdir(tmp_path) == ["there"]
