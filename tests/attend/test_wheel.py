"""The wheel, as those get it who have no source tree: installed into an empty environment, used from anywhere."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from tests.attend.support import said
from tests.bundles import ROOT, SHIPPED_BUNDLE
from tests.processes import free_port, wait_for

TRACKED = ("attend", "service", "model", "export", "tools", "bundles")

pytestmark = pytest.mark.skipif(
    "CI" not in os.environ, reason="builds a wheel and an environment, half a minute: CI=1 runs it"
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of the tree, so that nothing of an earlier build gets into it."""
    tree = tmp_path_factory.mktemp("tree") / "attend"
    for name in TRACKED:
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__", "pretrained"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree / name)
    out = tmp_path_factory.mktemp("wheel")
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        str(out),
        str(tree),
    ]
    done = subprocess.run([*build, "--quiet"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    [path] = out.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the commands of an environment that has the wheel.

    What the lock pins for serving is seen through a path file, and not installed once more: it is what this
    environment has. Nothing of the source tree is seen.
    """
    folder = tmp_path_factory.mktemp("empty") / "environment"
    venv.create(folder, with_pip=False)
    binaries = folder / "bin"
    pip = [sys.executable, "-m", "pip", "--python", str(binaries / "python"), "install", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--quiet", str(wheel)], check=True)
    packages = tmp_path_factory.mktemp("packages")
    for name in serving_distributions():
        link(name, packages)
    site = sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)})
    (Path(site) / "serving.pth").write_text(str(packages), encoding="utf-8")
    return binaries


def serving_distributions() -> list[str]:
    """The names of what serving needs, from the lock."""
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    return list(dict.fromkeys(re.findall(r"^([a-z0-9-]+)==", lock, re.MULTILINE)))


def link(name: str, packages: Path) -> None:
    """Links to the files of a distribution, if this environment has it: some are for other systems."""
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        files = distribution(name).files or []
    except PackageNotFoundError:
        return
    for file in files:
        top = file.parts[0]
        place = packages / top
        if top not in ("..", "__pycache__") and not place.is_symlink():
            place.symlink_to(distribution(name).locate_file(top))


def run(binaries: Path, *command: str, cwd: Path) -> subprocess.CompletedProcess[bytes]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("ATTEND_", "PYTHON", "VIRTUAL"))}
    return subprocess.run(
        [str(binaries / command[0]), *command[1:]], cwd=cwd, env=ours, capture_output=True, timeout=180, check=False
    )


def test_it_holds_the_bundle_and_nothing_of_tests_or_training_data(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        bundle = f"service/bundles/{SHIPPED_BUNDLE.name}"
        assert {name for name in names if name.startswith(bundle)} == {
            f"{bundle}/{each.name}" for each in SHIPPED_BUNDLE.iterdir()
        }
        assert archive.read(f"{bundle}/weights.bin") == (SHIPPED_BUNDLE / "weights.bin").read_bytes()
    rooms = {name.partition("/")[0] for name in names}
    assert {each for each in rooms if not each.endswith(".dist-info")} == {
        "attend",
        "service",
        "model",
        "export",
        "tools",
    }
    assert "service/text/lid.176.ftz" in names
    assert "service/web/index.html" in names
    assert wheel.stat().st_size < 30_000_000


def test_it_translates_from_any_directory(installed: Path, tmp_path: Path) -> None:
    done = run(installed, "attend", "translate", "Je suis étudiant.", "-s", "fr", "-t", "en", cwd=tmp_path)
    assert (done.returncode, b"student" in done.stdout) == (0, True), said(done)
    code = "import sys, attend; print(attend.__version__, attend.__file__, 'torch' in sys.modules)"
    done = run(installed, "python", "-c", code, cwd=tmp_path)
    version, file, has_torch = done.stdout.decode().split()
    assert (Path(file).is_relative_to(installed.parent), has_torch) == (True, "False")
    done = run(installed, "attend", "--version", cwd=tmp_path)
    assert done.stdout.decode().split() == ["attend", version]
    for module in ("service", "model", "export"):
        assert run(installed, "python", "-m", module, "--help", cwd=tmp_path).returncode == 0


def test_it_serves_from_any_directory(installed: Path, tmp_path: Path) -> None:
    port = free_port()
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("ATTEND_", "PYTHON"))}
    process = subprocess.Popen(
        [str(installed / "attend"), "serve", "--port", str(port), "--sessions", "1"],
        cwd=tmp_path, env=ours, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_for(f"http://127.0.0.1:{port}/health/ready", process)
        done = run(installed, "attend", "translate", "Je suis étudiant.", "-s", "fr", "-t", "en",
                   "--service", f"http://127.0.0.1:{port}", cwd=tmp_path)  # fmt: skip
        assert (done.returncode, b"student" in done.stdout) == (0, True), said(done)
    finally:
        process.terminate()
        assert process.wait(60) == 0


def test_what_is_not_installed_is_a_sentence(installed: Path, tmp_path: Path) -> None:
    done = run(installed, "attend", "train", "x.toml", "--vocabulary", "v", "--out", "o", cwd=tmp_path)
    assert (done.returncode, "pip install '.[train]'" in said(done)) == (2, True)
    # Without the runtime: as somebody has it who forgot the extra.
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text(
        "import importlib.util\nfind = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name == 'onnxruntime' else find(name, *rest)\n",
        encoding="utf-8",
    )
    for words in (["serve"], ["translate", "Bonjour !", "-t", "en"]):
        done = subprocess.run(
            [str(installed / "attend"), *words], cwd=tmp_path, env={"PYTHONPATH": str(hidden)}, capture_output=True,
            timeout=120, check=False,
        )  # fmt: skip
        assert (done.returncode, "ONNX Runtime is not installed" in said(done)) == (2, True)
