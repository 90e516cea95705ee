"""The service in a process of its own, with the shipped model, as its users run it."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bundles import ROOT, SHIPPED_BUNDLE

PATIENCE_SECONDS = 60


def free_port() -> int:
    """One that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextlib.contextmanager
def serving_process(bundle: Path = SHIPPED_BUNDLE, **settings: str) -> Iterator[str]:
    """The address of a service with these settings, once it is ready; it ends with the context."""
    port = free_port()
    ours = {name: value for name, value in os.environ.items() if not name.startswith("ATTEND_")}
    changed = {"port": str(port), "bundle": str(bundle), "sessions": "1", "threads": "1", **settings}
    process = subprocess.Popen(
        [sys.executable, "-m", "service"],
        cwd=ROOT,
        env={**ours, **{f"ATTEND_{name.upper()}": value for name, value in changed.items()}},
        stdout=subprocess.DEVNULL,
    )
    try:
        address = f"http://127.0.0.1:{port}"
        wait_for(f"{address}/health/ready", process)
        yield address
    finally:
        process.terminate()
        process.wait(PATIENCE_SECONDS)


def wait_for(ready: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until a service is ready."""
    give_up = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < give_up and process.poll() is None:
        try:
            with urllib.request.urlopen(ready):
                return
        except urllib.error.URLError:
            time.sleep(0.05)
    pytest.fail("the service did not become ready")
