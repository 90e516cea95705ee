"""Prometheus' own tool reads what `/metrics` says."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest
from fastapi import FastAPI

from tests.service.fakes import asking_metrics

PROMTOOL = shutil.which("promtool")


@pytest.mark.skipif(
    PROMTOOL is None and "CI" not in os.environ,
    reason="promtool is not installed: it is in Debian's package prometheus",
)
def test_promtool_finds_nothing_wrong_with_the_metrics(app: FastAPI) -> None:
    assert PROMTOOL is not None, "CI must have promtool"
    page = asking_metrics(app, {"q": "好！", "source": "zh", "target": "en"}, {})
    done = subprocess.run([PROMTOOL, "check", "metrics"], input=page, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
