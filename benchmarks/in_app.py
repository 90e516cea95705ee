"""Processor time of a request in the service's process, where cores are too busy for `benchmarks.parts`.

    python -m benchmarks.in_app [--against FOLDER] [--rounds 40]

The app is called without sockets, one request after another, with engines that answer at once what they are asked, so
that nothing but the service's own Python counts; messages to and from engines are pickled as they would be. The figure
is the least of many rounds of forty sentences: what others do on the machine makes rounds longer and none shorter.
With `--against` the same is done in another working tree, in a process of its own. The last line is JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import json
import logging
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.load import everyday_sentences
from service.app import create_app
from service.engine.link import Said
from service.engine.loading import load_engine
from service.engine.types import Answer, Hypothesis, Job, Message, Ready, Request, Setup, Stop, Times, Update
from service.settings import load_settings

SENTENCES = 40


class EchoLink:
    """An engine in this process whose translation of a sentence is the sentence."""

    pid = os.getpid()

    def __init__(self, setup: Setup, on_said: Callable[[Said], None], on_end: Callable[[str], None]) -> None:
        self._on_said, self._on_end = on_said, on_end
        self._loop = asyncio.get_running_loop()
        self._loop.call_soon(on_said, Ready("CPUExecutionProvider"))

    def send(self, message: Message) -> None:
        """Answer as if through a pipe."""
        message = pickle.loads(pickle.dumps(message, pickle.HIGHEST_PROTOCOL))
        if isinstance(message, Stop):
            self._loop.call_soon(self._on_end, "exit status 0")
        elif isinstance(message, Request):
            now = time.monotonic()
            times = Times(message.submitted, now, now, now)
            answers = [
                Answer(message.number, place, (_echo(job),), None, times) for place, job in enumerate(message.jobs)
            ]
            data = pickle.dumps(Update(message.number, (), answers), pickle.HIGHEST_PROTOCOL)
            self._loop.call_soon(lambda: self._on_said(pickle.loads(data)))

    def kill(self) -> None:
        """It ends when it is told to."""

    def cpu_seconds(self) -> float | None:
        """That of this process."""
        return time.process_time()


def _echo(job: Job) -> Hypothesis:
    ids = job.source_ids[1:-1]
    return Hypothesis(ids, -1.0, -0.1, "eos", (-0.1,) * (len(ids) + 1))


async def measure(rounds: int) -> float:
    """Milliseconds of processor time a request."""
    app = create_app(load_settings(), functools.partial(load_engine, start_link=EchoLink))
    bodies = [
        json.dumps({"q": text, "source": "fr", "target": "en", "beam_size": 1}).encode()
        for text in everyday_sentences()[:SENTENCES]
    ]
    found = []
    async with app.router.lifespan_context(app):
        while not app.state.service.is_started:
            await asyncio.sleep(0.02)
        for _ in range(rounds):
            began = time.thread_time()
            for body in bodies:
                await _ask(app, body)
            found.append((time.thread_time() - began) / len(bodies))
    return 1000 * min(found)


async def _ask(app: Any, body: bytes) -> None:
    coming: list[dict[str, Any]] = [{"type": "http.request", "body": body, "more_body": False}]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return coming.pop() if coming else await asyncio.get_running_loop().create_future()

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    head = {b"host": b"bench", b"content-type": b"application/json", b"content-length": str(len(body)).encode()}
    scope = {
        "type": "http", "http_version": "1.1", "method": "POST", "scheme": "http", "path": "/translate",
        "raw_path": b"/translate", "query_string": b"", "root_path": "", "headers": list(head.items()),
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2), "state": {},
    }  # fmt: skip
    await app(scope, receive, send)
    assert sent[0]["status"] == 200, sent


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure here, and there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path, help="another working tree")
    parser.add_argument("--rounds", type=int, default=40)
    options = parser.parse_args(arguments)
    # A line for each request is part of the work.
    logging.basicConfig(level=logging.INFO, stream=open(os.devnull, "w"))  # noqa: SIM115
    found = {"here_ms": round(asyncio.run(measure(options.rounds)), 3)}
    if options.against:
        code = (
            f"import sys; sys.argv[0] = 'in_app'; exec(compile(open({str(Path(__file__))!r}).read(), 'in_app', 'exec'))"
        )
        there = subprocess.run(
            [sys.executable, "-c", code, "--rounds", str(options.rounds)],
            cwd=options.against, env={**os.environ, "PYTHONPATH": str(options.against.absolute()),
                                      "ATTEND_BUNDLE": str(load_settings().bundle.absolute())},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        found["there_ms"] = json.loads(there.stdout.splitlines()[-1])["here_ms"]
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
