"""What the service's log holds when engines in processes of their own have something to say, read as its users do."""

from __future__ import annotations

import asyncio
import collections
import fcntl
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

from benchmarks.raw_http import Reply, exchange, get, post
from tests.bundles import ROOT, SHIPPED_BUNDLE
from tests.processes import free_port
from tests.service.noisy_engine import LENGTH, LINES

SERVICE = """
import sys
from service.__main__ import main
from service.engine.link import ProcessLink
ProcessLink.program = "tests.service.noisy_engine"
sys.exit(main([]))
"""
LONG = "Le vieux chat noir de ma grand-mère dort toute la journée au soleil devant la porte de la petite maison verte."


def narrow_pipe() -> tuple[int, int]:
    """One that takes a page at once: a line of whoever writes to it can only come in parts."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    return reading, writing


def all_of(reading: int) -> bytes:
    """What is written until the last writer has ended."""
    with open(reading, "rb", buffering=0) as pipe:
        return b"".join(iter(lambda: pipe.read(4096), b""))


async def conversation(folder: Path) -> tuple[Reply, Reply, list[str], int]:
    """A sentence that fails, one that does not, all lines of the log, and the exit status."""
    port = free_port()
    settings = {"ATTEND_PORT": str(port), "ATTEND_BUNDLE": str(SHIPPED_BUNDLE), "ATTEND_SESSIONS": "2"}
    settings["NOISY_FOLDER"] = str(folder)
    reading, writing = narrow_pipe()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVICE, cwd=ROOT, env={**os.environ, **settings}, stdout=writing, stderr=writing
    )
    os.close(writing)
    log = asyncio.create_task(asyncio.to_thread(all_of, reading))
    try:
        while (await exchange(port, get("/health/ready"))).status != 200:
            assert process.returncode is None
            await asyncio.sleep(0.1)
        pair = {"source": "fr", "target": "en"}
        failed = await exchange(port, post({"q": LONG, **pair}).replace(b"Host:", b"X-Request-ID: mine-1\r\nHost:"))
        good = await exchange(port, post({"q": "Merci !", **pair}))
        process.terminate()
        status = await process.wait()
        return failed, good, (await log).decode().splitlines(), status
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def test_every_line_is_whole_and_the_cause_of_a_failure_is_under_its_id(tmp_path: Path) -> None:
    failed, good, written, status = asyncio.run(conversation(tmp_path))
    assert (failed.status, good.status, status) == (500, 200, 0)
    assert "mine-1" in failed.json()["error"]
    lines: list[dict[str, Any]] = [json.loads(line) for line in written]
    noise = [line["message"] for line in lines if line["logger"] == "noise"]
    ends = collections.Counter(re.fullmatch(rf"x{{{LENGTH}}} end (\d+)", message)[1] for message in noise)  # type: ignore[index]
    assert ends == dict.fromkeys(map(str, range(LINES)), 2)
    native = [line["message"] for line in lines if line["logger"] == "service.engine.output"]
    short = collections.Counter(found[1] for line in native if (found := re.search(r": y{3000} native (\d+)$", line)))
    assert short == dict.fromkeys(map(str, range(LINES)), 2)
    assert sum(line.count("z") for line in native) == 2 * LENGTH
    (error,) = (line for line in lines if line["level"] == "error")
    assert error["request_id"] == "mine-1"
    # Not only where it was told of here, but where it happened.
    assert "noisy_engine.py" in error["exception"]
    assert "RuntimeError: a step was told to fail" in error["exception"]
