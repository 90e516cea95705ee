"""Many bundles in one service: what each further one costs, exchanges under load, traffic over more than fit in memory,
a process killed while it loads: `python -m benchmarks.models`, all parts or those that are named.

The bundles are the shipped one under other names; in a changed one frequent words stand for one another.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import httpx

from benchmarks.bundle_copies import SHIPPED, copy_bundle
from benchmarks.load import everyday_sentences
from benchmarks.processes import ROOT, parts_of_memory, resident_bytes

PORT, ADMIN_PORT = 8731, 8732
MODELS = 20
_MEGABYTE = 10**6


@contextlib.asynccontextmanager
async def serving(
    directory: Path, **settings: object
) -> AsyncIterator[tuple[subprocess.Popen[bytes], float, httpx.AsyncClient]]:
    """The service on these bundles, the seconds until it was ready, and a client."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("ATTEND_")}
    chosen = {
        "models": directory,
        "port": PORT,
        "admin_port": ADMIN_PORT,
        "sessions": 2,
        "threads": 1,
        "log_level": "error",
        **settings,
    }
    variables = {f"ATTEND_{name.upper()}": str(value) for name, value in chosen.items()}
    began = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "service"], cwd=ROOT, env={**ours, **variables})
    limits = httpx.Limits(max_connections=None)
    try:
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{PORT}", timeout=150, trust_env=False, limits=limits
        ) as client:
            await _until(lambda: _is_ready(process, client))
            yield process, time.monotonic() - began, client
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait, 60)


async def _until(is_so: Callable[[], Any], patience: float = 240.0) -> None:
    give_up = time.monotonic() + patience
    while not await is_so():
        if time.monotonic() > give_up:
            raise TimeoutError
        await asyncio.sleep(0.02)


async def _is_ready(process: subprocess.Popen[bytes], client: httpx.AsyncClient) -> bool:
    """Whether the service is; raises `RuntimeError` if it never will be."""
    if process.poll() is not None:
        raise RuntimeError("the service has ended; it says why above")
    with contextlib.suppress(httpx.HTTPError):
        if (await client.get("/health/ready")).status_code == 200:
            return True
        if (await client.get("/health/live")).status_code != 200:
            raise RuntimeError("the service has failed; it says why above")
    return False


async def _all_loaded(client: httpx.AsyncClient) -> bool:
    return all(each["state"] == "READY" for each in (await client.get("/v2/repository/index")).json())


async def _metric(client: httpx.AsyncClient, pattern: str) -> float:
    page = (await client.get("/metrics")).text
    return sum(float(line.rpartition(" ")[2]) for line in page.splitlines() if re.match(pattern, line))


def _bundles(directory: Path, count: int) -> list[str]:
    names = [f"model-{index:02}" for index in range(count)]
    for name in names:
        copy_bundle(directory / name, name)
    return names


async def _ask(client: httpx.AsyncClient, texts: Sequence[str], model: str | None = None) -> httpx.Response:
    body = {"q": list(texts), "source": "fr", "target": "en", "details": False, "beam_size": 1}
    return await client.post("/translate", json=body | ({"model": model} if model else {}))


async def memory(directory: Path, count: int, sentences: int, **settings: object) -> dict[str, Any]:
    """Proportional set size of the service with one bundle and with many, each of which has translated."""
    found = {}
    texts = everyday_sentences()[:sentences]
    for models in (1, count):
        names = _bundles(directory, models)
        async with serving(directory, **settings) as (process, seconds, client):
            await _until(lambda client=client: _all_loaded(client))
            for name in names:
                (await _ask(client, texts, name)).raise_for_status()
            found[models] = {"pss": parts_of_memory(process.pid), "ready_seconds": round(seconds, 2)}
    size = sum(path.stat().st_size for path in SHIPPED.iterdir())
    each = (sum(found[count]["pss"].values()) - sum(found[1]["pss"].values())) / (count - 1)
    shown = {
        str(models): {**values, "pss": {name: round(each / _MEGABYTE, 1) for name, each in values["pss"].items()}}
        for models, values in found.items()
    }
    return {"bundle_mb": round(size / _MEGABYTE, 1), **shown, "each_further_mb": round(each / _MEGABYTE, 1),
            "by_its_size": round(each / size, 2)}  # fmt: skip


async def prepacked(directory: Path, count: int, sentences: int) -> dict[str, Any]:
    """The same with weights that the engines share."""
    (directory / "models").mkdir()
    return await memory(directory / "models", count, sentences, prepacked=directory / "prepacked")


async def start(directory: Path, count: int) -> dict[str, Any]:
    """Seconds until a service that loads its bundles when they are wanted is ready, with one and with many; the least
    of three."""
    found = {}
    for models in (1, count):
        _bundles(directory, models)
        times = []
        for _ in range(3):
            async with serving(directory, lazy=True) as (_, seconds, _):
                times.append(seconds)
        found[f"ready_seconds_{models}"] = round(min(times), 2)
    return found


class Traffic:
    """So many clients, each of which asks again as soon as it was answered."""

    def __init__(self, client: httpx.AsyncClient, count: int, choose: Callable[[], str | None]) -> None:
        self._client, self._choose = client, choose
        self._texts = everyday_sentences()
        self.seconds: list[float] = []
        self.failed: list[str] = []
        self.mixed = 0
        self._stopped = False
        self._tasks = [asyncio.create_task(self._loop(index)) for index in range(count)]

    async def _loop(self, index: int) -> None:
        chance = random.Random(index)
        while not self._stopped:
            text = chance.choice(self._texts)
            began = time.monotonic()
            try:
                # Twice the same: two versions would give two translations.
                reply = await _ask(self._client, [text, text, text], self._choose())
            except httpx.HTTPError as error:
                self.failed.append(repr(error))
                continue
            self.seconds.append(time.monotonic() - began)
            if reply.status_code != 200:
                self.failed.append(reply.text)
            elif len(set(reply.json()["translatedText"])) != 1:
                self.mixed += 1

    async def stop(self) -> dict[str, Any]:
        """Wait for the last answers."""
        self._stopped = True
        await asyncio.gather(*self._tasks)
        ordered = sorted(self.seconds)
        return {
            "requests": len(ordered), "failed": len(self.failed), "mixed": self.mixed, "why": self.failed[:2],
            "p50_ms": round(1000 * ordered[len(ordered) // 2]),
            "p99_ms": round(1000 * ordered[len(ordered) * 99 // 100]),
        }  # fmt: skip


async def exchange(directory: Path, seconds: float) -> dict[str, Any]:
    """The only bundle is exchanged every five seconds under 32 clients; before, as long without."""
    copy_bundle(directory / "fr-en", "fr-en", "1", differs=1)
    async with serving(directory) as (process, _, client):
        quiet = Traffic(client, 32, lambda: None)
        await asyncio.sleep(seconds)
        before = await quiet.stop()
        traffic = Traffic(client, 32, lambda: None)
        version, give_up = 1, time.monotonic() + seconds
        sizes = []
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{ADMIN_PORT}", timeout=150, trust_env=False) as admin:
            while time.monotonic() < give_up:
                version += 1
                due = time.monotonic() + 5
                await asyncio.to_thread(copy_bundle, directory / "fr-en", "fr-en", str(version), differs=version)
                (await admin.post("/admin/reload")).raise_for_status()
                sizes.append(round(resident_bytes(process.pid) / _MEGABYTE))
                await asyncio.sleep(max(0.0, due - time.monotonic()))
        return {"exchanges": version - 1, "quiet": before, "exchanging": await traffic.stop(), "pss_mb": sizes}


async def zipf(directory: Path, seconds: float) -> dict[str, Any]:
    """Twenty bundles, room for eight, each asked for as often as the inverse of its rank."""
    names = _bundles(directory, MODELS)
    size = sum(path.stat().st_size for path in SHIPPED.iterdir())
    chance = random.Random(1)
    weights = [1 / rank for rank in range(1, MODELS + 1)]
    async with serving(directory, lazy=True, model_memory=8 * size) as (process, _, client):
        traffic = Traffic(client, 8, lambda: chance.choices(names, weights)[0])
        sizes = []
        for _ in range(6):
            await asyncio.sleep(seconds / 6)
            sizes.append(round(resident_bytes(process.pid) / _MEGABYTE))
        done = await traffic.stop()
        loads = await _metric(client, r"attend_model_loads_total.*ok")
        return {**done, "loads_a_minute": round(loads * 60 / seconds, 1), "pss_mb": sizes}


async def kill(directory: Path) -> dict[str, Any]:
    """A process of engines is killed while a second bundle is being loaded, under eight clients."""
    copy_bundle(directory / "fr-en", "fr-en")
    async with serving(directory) as (process, _, client):
        traffic = Traffic(client, 8, lambda: "fr-en")
        copy_bundle(directory / "other", "other", pairs=["en-fr"])
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{ADMIN_PORT}", timeout=150, trust_env=False) as admin:
            loading = asyncio.create_task(admin.post("/admin/reload"))
            await _until(lambda: _is_loading(admin))
            victim = int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0])
            os.kill(victim, signal.SIGKILL)
            reply = (await loading).json()
        return {"reload": reply, **await traffic.stop()}


async def _is_loading(admin: httpx.AsyncClient) -> bool:
    listed = (await admin.get("/admin/models")).json()["models"]
    return len(listed) > 1 or len(await _children_of_service(admin)) > 2


async def _children_of_service(admin: httpx.AsyncClient) -> list[str]:
    return [each for each in os.listdir("/proc") if each.isdecimal() and _is_trial(each)]


def _is_trial(pid: str) -> bool:
    with contextlib.suppress(OSError):
        return b"service.engine" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("parts", nargs="*", help="memory, prepacked, start, exchange, zipf, kill")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--models", type=int, default=MODELS)
    parser.add_argument("--sentences", type=int, default=4, help="for each bundle before memory is looked at")
    options = parser.parse_args()
    parts = {
        "memory": lambda path: memory(path, options.models, options.sentences),
        "prepacked": lambda path: prepacked(path, options.models, options.sentences),
        "start": lambda path: start(path, options.models), "exchange": lambda path: exchange(path, options.seconds),
        "zipf": lambda path: zipf(path, options.seconds), "kill": kill,
    }  # fmt: skip
    found = {}
    for name in options.parts or parts:
        with tempfile.TemporaryDirectory() as directory:
            found[name] = asyncio.run(parts[name](Path(directory)))
            print(name, json.dumps(found[name]), flush=True)
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
