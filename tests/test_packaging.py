"""What is installed where: the lock file belongs to pyproject.toml, and serving takes nothing of training."""

from __future__ import annotations

import re
import tomllib
from glob import glob
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
PINNED = re.findall(r"^([a-z0-9-]+)==([^ ;]+)", LOCK, re.MULTILINE)


@pytest.mark.parametrize("line", [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["cpu"]])
def test_the_lock_pins_what_the_project_asks_for(line: str) -> None:
    requirement = Requirement(line)
    versions = [Version(version) for name, version in PINNED if name == requirement.name]
    assert versions, f"requirements.lock lacks {requirement.name}: make lock"
    assert all(version in requirement.specifier for version in versions), "requirements.lock is old: make lock"


def test_the_lock_is_hashed_and_names_no_address() -> None:
    assert "://" not in LOCK
    assert "--index-url" not in LOCK
    assert LOCK.count("--hash=sha256:") >= len(PINNED)


def test_serving_takes_nothing_of_training() -> None:
    names = {name for name, _ in PINNED} | {Requirement(line).name for line in PROJECT["dependencies"]}
    assert not names & {"torch", "onnx", "onnxscript", "safetensors", "matplotlib", "sacrebleu", "pytest"}


def test_the_two_builds_of_onnx_runtime_are_never_asked_for_together() -> None:
    for name, extra in PROJECT["optional-dependencies"].items():
        asked = {Requirement(line).name for line in extra} & {"onnxruntime", "onnxruntime-gpu"}
        assert asked == {"cpu": {"onnxruntime"}, "gpu": {"onnxruntime-gpu"}}.get(name, set())


def test_a_wheel_holds_every_file_of_the_pages() -> None:
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"][
        "package-data"
    ]
    # As setuptools does it: `**` is any number of folders, and files.
    taken = {name for each in patterns["service"] for name in glob(each, root_dir=ROOT / "service", recursive=True)}
    files = {
        path.relative_to(ROOT / "service").as_posix() for path in (ROOT / "service/web").rglob("*") if path.is_file()
    }
    assert len(files) > 30
    assert files <= taken


def test_the_image_needs_no_frontend_from_a_registry_and_no_root() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert "# syntax" not in dockerfile
    assert re.search(r"^USER 10001:10001$", dockerfile, re.MULTILINE)
    assert "--require-hashes" in dockerfile
