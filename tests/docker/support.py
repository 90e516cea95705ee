"""Processes that tests here start and end, and how they are asked."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from benchmarks.raw_http import exchange, get

ROOT = Path(__file__).parents[2]
WAIT = 600.0
"""Seconds after which something does not come any more, however slow the machine is."""


def program(name: str, package: str) -> str:
    """The path of a program; without it the test is skipped, or fails if CI is set."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    if path is None:
        reason = f"{name} is not installed: it is in Debian's package {package}"
        pytest.fail(reason) if "CI" in os.environ else pytest.skip(reason)
    return path


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@contextlib.asynccontextmanager
async def running(*command: str, cwd: Path = ROOT, **environment: str) -> AsyncIterator[Process]:
    """A process; killed at the end if it still runs."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ATTEND_")}
    process = await asyncio.create_subprocess_exec(
        *command, cwd=cwd, env=inherited | environment, stdout=DEVNULL, stderr=DEVNULL
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def service(port: int, *command: str, **environment: str) -> contextlib.AbstractAsyncContextManager[Process]:
    """The service, or another command that serves, with one session."""
    settings = {"ATTEND_PORT": str(port), "ATTEND_SESSIONS": "1", "ATTEND_LOG_LEVEL": "error"}
    return running(sys.executable, "-m", *(command or ("service",)), **settings, **environment)


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = WAIT) -> None:
    """Wait for something that must come."""
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.1)


async def ready(port: int) -> None:
    """Wait until the service there translates."""

    async def answers() -> bool:
        return (await exchange(port, get("/health/ready"))).status == 200

    await until(answers)
