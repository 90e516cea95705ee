"""A real Redis for tests, on a Unix socket of its own; Debian's package redis-server has the program."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

PATIENCE_SECONDS = 20
PROGRAM = shutil.which("redis-server")

needs_redis = pytest.mark.skipif(
    PROGRAM is None and "CI" not in os.environ,
    reason="redis-server is not installed: it is in Debian's package of this name",
)


@contextlib.contextmanager
def redis_server(directory: Path) -> Iterator[str]:
    """Its address; it ends with the context and keeps nothing."""
    assert PROGRAM is not None, "CI must have redis-server"
    path = directory / "redis.sock"
    arguments = ["--port", "0", "--unixsocket", str(path), "--save", "", "--dir", str(directory)]
    process = subprocess.Popen([PROGRAM, *arguments], stdout=subprocess.DEVNULL)
    try:
        client = redis.Redis(unix_socket_path=str(path))
        give_up = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                client.ping()
                break
            except redis.exceptions.ConnectionError:
                if process.poll() is not None or time.monotonic() > give_up:
                    raise
                time.sleep(0.02)
        client.close()
        yield f"unix://{path}"
    finally:
        process.terminate()
        process.wait(PATIENCE_SECONDS)
