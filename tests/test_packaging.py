"""What is installed where: the lock file belongs to pyproject.toml, and serving takes nothing of training."""

from __future__ import annotations

import re
import tomllib
from glob import glob
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from service import __version__

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LOCKS = {
    extra: (ROOT / name).read_text(encoding="utf-8")
    for extra, name in (("cpu", "requirements.lock"), ("gpu", "requirements-gpu.lock"))
}
EXTRAS = PROJECT["optional-dependencies"]
ASKED = [(extra, line) for extra in LOCKS for line in [*PROJECT["dependencies"], *EXTRAS[extra], *EXTRAS["redis"]]]


def pinned(extra: str) -> list[tuple[str, str]]:
    """Names and versions."""
    return re.findall(r"^([a-z0-9-]+)==([^ ;]+)", LOCKS[extra], re.MULTILINE)


@pytest.mark.parametrize(("extra", "line"), ASKED)
def test_the_locks_pin_what_the_project_asks_for(extra: str, line: str) -> None:
    requirement = Requirement(line)
    versions = [Version(version) for name, version in pinned(extra) if name == requirement.name]
    assert versions, f"the lock of {extra} lacks {requirement.name}: make lock"
    assert all(version in requirement.specifier for version in versions), f"the lock of {extra} is old: make lock"


@pytest.mark.parametrize("extra", LOCKS)
def test_the_locks_are_hashed_and_name_no_address(extra: str) -> None:
    assert "://" not in LOCKS[extra]
    assert "--index-url" not in LOCKS[extra]
    assert LOCKS[extra].count("--hash=sha256:") >= len(pinned(extra))


@pytest.mark.parametrize("extra", LOCKS)
def test_serving_takes_nothing_of_training(extra: str) -> None:
    names = {name for name, _ in pinned(extra)} | {Requirement(line).name for line in PROJECT["dependencies"]}
    assert not names & {"torch", "onnx", "onnxscript", "safetensors", "matplotlib", "sacrebleu", "pytest"}


def test_the_two_builds_of_onnx_runtime_are_never_asked_for_together() -> None:
    for name, extra in EXTRAS.items():
        asked = {Requirement(line).name for line in extra} & {"onnxruntime", "onnxruntime-gpu"}
        assert asked == {"cpu": {"onnxruntime"}, "gpu": {"onnxruntime-gpu"}}.get(name, set())


def test_a_wheel_holds_every_file_that_is_no_code() -> None:
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
    data = {
        path.relative_to(ROOT / "service").as_posix()
        for path in (ROOT / "service/text").iterdir()
        if path.is_file() and path.suffix != ".py"
    }
    assert {each for each in data if "__pycache__" not in each} <= taken


def test_the_version_is_said_once() -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "version" in pyproject["project"]["dynamic"]
    assert pyproject["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "service.__version__"}
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {__version__}\n" in citation, "CITATION.cff is read by programs that run nothing"


def test_the_image_needs_no_frontend_from_a_registry_and_no_root() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert "# syntax" not in dockerfile
    assert re.search(r"^USER 10001:10001$", dockerfile, re.MULTILINE)
    assert "--require-hashes" in dockerfile


def test_the_image_has_one_name_everywhere() -> None:
    files = [ROOT / "README.md", ROOT / "Dockerfile", *(ROOT / "docs").glob("*.md")]
    files += [path for path in (ROOT / "docker").rglob("*.yaml") if path.is_file()]
    before = r"(?:-t|--tag|image:|--stop-timeout \d+|--cap-drop ALL|-p [\d:]+|--gpus all) "
    mention = re.compile(before + r"(attend(?:[:-][\w.-]+)?)(?![/\w])")
    named = {name for path in files for name in mention.findall(path.read_text(encoding="utf-8"))}
    assert named == {f"attend:{__version__}", f"attend:{__version__}-gpu"}
    tags = [
        tag
        for path in (ROOT / "docker/kubernetes").rglob("kustomization.yaml")
        for tag in re.findall(r"name: attend, newName: attend, newTag: ([^ }]+)", path.read_text(encoding="utf-8"))
    ]
    assert sorted(tags) == [__version__, f"{__version__}-gpu"]
    assert set(re.findall(r"ARG VERSION=(.+)", (ROOT / "Dockerfile").read_text(encoding="utf-8"))) == {__version__}
