"""HTTP by hand for `stress.py`: clients that behave as badly as they are told to, and count cheaply."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import re
import time
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True, slots=True)
class Reply:
    """What came back; `status` 0: nothing, or not all of it."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float

    @property
    def server_seconds(self) -> float:
        """What the server says it took."""
        found = re.search(r"total;dur=([\d.]+)", self.headers.get("server-timing", ""))
        return float(found[1]) / 1000 if found else float("inf")

    def json(self) -> Any:
        return json.loads(self.body)


def post(body: Mapping[str, Any], path: str = "/translate") -> bytes:
    """A whole request."""
    data = json.dumps(body).encode()
    return head(path, len(data)) + data


def head(path: str, length: int) -> bytes:
    lines = (f"POST {path} HTTP/1.1", "Host: attend", "Connection: close", f"Content-Length: {length}")
    return "\r\n".join((*lines, "", "")).encode()


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: attend\r\nConnection: close\r\n\r\n".encode()


async def exchange(port: int, request: bytes, timeout: float = 60.0) -> Reply:
    """Send a request and read its answer on a connection of its own."""
    began = time.monotonic()
    try:
        async with asyncio.timeout(timeout):
            received = await _send_and_read(port, request)
    except (OSError, TimeoutError):
        received = b""
    return _parsed(received, time.monotonic() - began)


async def _send_and_read(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        return await reader.read()
    finally:
        writer.close()


def _parsed(received: bytes, seconds: float) -> Reply:
    top, _, body = received.partition(b"\r\n\r\n")
    status, *lines = top.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    whole = status.startswith("HTTP/1.1 ") and len(body) == int(headers.get("content-length", -1))
    return Reply(int(status.split()[1]) if whole else 0, headers, body, seconds)


async def hang_up_after(port: int, request: bytes, seconds: float) -> None:
    """Send a request and close the connection some time later, answered or not."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    await writer.drain()
    await asyncio.sleep(seconds)
    writer.close()


async def dawdle(port: int, start: bytes, pause: float, timeout: float) -> bytes | None:
    """Send the start of a request, then a byte now and then; what came until the server hung up, None if it never
    did."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(start)
        async with asyncio.timeout(timeout):
            trickling = asyncio.create_task(_trickle(writer, pause))
            try:
                return await reader.read()
            finally:
                trickling.cancel()
    except ConnectionError:
        return b""
    except TimeoutError:
        return None
    finally:
        writer.close()


async def _trickle(writer: asyncio.StreamWriter, pause: float) -> None:
    while pause and not writer.is_closing():
        await asyncio.sleep(pause)
        writer.write(b"x")


async def metrics(port: int) -> dict[str, float]:
    """`name{labels}` to value."""
    lines = (await exchange(port, get("/metrics"))).body.decode().splitlines()
    pairs = (line.rpartition(" ") for line in lines if line and not line.startswith("#"))
    return {name: float(value) for name, _, value in pairs}
