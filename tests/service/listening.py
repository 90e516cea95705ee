"""The service behind a real socket: in this process, or alone in one of its own with an engine that does what it is
told."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

from model.vocabulary import Vocabulary
from service.app import create_app
from service.engine.types import Hypothesis, Job
from service.server import Server
from service.settings import Settings
from tests.service.fakes import FakeLoader, echo

WAIT = 20.0


@contextlib.asynccontextmanager
async def listening(app: FastAPI, settings: Settings) -> AsyncIterator[tuple[Server, int, asyncio.Task[None]]]:
    """A server for the app, its port, and the task that ends when it has stopped. Signals are the caller's."""
    server = Server(app, app.state.service, settings)
    task = asyncio.create_task(server._serve())
    while not (server.started and app.state.service.is_started):
        await asyncio.sleep(0.001)
    address = server.servers[0].sockets[0].getsockname()
    port = 0 if isinstance(address, str) else address[1]  # a string: the path of a Unix socket
    try:
        yield server, port, task
    finally:
        server.should_exit = True
        await asyncio.wait_for(task, WAIT)


async def until(condition: Any) -> None:
    """Wait for something that must come."""
    async with asyncio.timeout(WAIT):
        while not condition():
            await asyncio.sleep(0.005)


async def converse(port: int, *chunks: bytes, pause: float = 0.0) -> bytes:
    """Send the chunks, then read until the server closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        with contextlib.suppress(ConnectionError):
            for chunk in chunks:
                writer.write(chunk)
                await writer.drain()
                await asyncio.sleep(pause)
            return await asyncio.wait_for(reader.read(), WAIT)
        return b""
    finally:
        writer.close()


def client(port: int) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=WAIT)


def main(vocabulary: str) -> None:
    """Serve with an engine that takes 50 ms a sentence; says the port on standard output."""
    loader = FakeLoader(Vocabulary.load(Path(vocabulary)), answer=_slowly)
    settings = Settings(port=0, log_format="text")
    app = create_app(settings, loader)

    class Announcing(Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            print(json.dumps({"port": self.servers[0].sockets[0].getsockname()[1]}), flush=True)

    Announcing(app, app.state.service, settings).run()


def _slowly(job: Job) -> tuple[Hypothesis, ...]:
    time.sleep(0.05)
    return echo(job)


if __name__ == "__main__":
    main(sys.argv[1])
