"""How soon the first words of a streamed text come: POST /translate/stream at 1, 8 and 64 clients.

    python -m benchmarks.streams [--quick] [--json FILE]

Each client streams texts of twenty sentences, one after another, with `partial`, and notes when the first event of a
kind comes, in milliseconds from sending; beside it when the same text is answered by /translate as a whole. Prints a
table; the last line of stdout is one JSON object, which `--json` also writes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.load import everyday_sentences, post
from benchmarks.processes import started
from service.engine.loading import available_cores

CLIENTS = (1, 8, 64)
SENTENCES = 20
KINDS = ("partial", "sentence", "end")
SHARES = (50, 95)


def requests(path: str, count: int, seed: int) -> list[bytes]:
    """So many texts of sentences drawn anew."""
    chance, lines = random.Random(seed), everyday_sentences()
    fields = {"source": "fr", "target": "en", **({"partial": True} if path.endswith("stream") else {})}
    return [post({"q": " ".join(chance.sample(lines, SENTENCES)), **fields}, path) for _ in range(count)]


async def ask(port: int, request: bytes) -> dict[str, float]:
    """Seconds until the first event of each kind; of an answer as a whole, until its end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    began = time.perf_counter()
    writer.write(request.replace(b"Host: bench", b"Host: bench\r\nConnection: close"))
    head = await reader.readuntil(b"\r\n\r\n")
    if b" 200 " not in head.split(b"\r\n", 1)[0]:
        raise RuntimeError(head.decode("latin-1"))
    found: dict[str, float] = {}
    while data := await reader.readline():
        if data.startswith(b"event: "):
            found.setdefault(data[7:].strip().decode(), time.perf_counter() - began)
    writer.close()
    if "error" in found:
        raise RuntimeError("a stream ended with an error")
    return found or {"whole": time.perf_counter() - began}


async def asked(port: int, path: str, clients: int, rounds: int) -> dict[str, list[float]]:
    """What so many clients see at once, all of them together."""
    found: dict[str, list[float]] = {}

    async def client(number: int) -> None:
        for request in requests(path, rounds, number):
            for kind, seconds in (await ask(port, request)).items():
                found.setdefault(kind, []).append(seconds)

    await asyncio.gather(*(client(number) for number in range(clients)))
    return found


async def measure(port: int, rounds: int) -> list[dict[str, Any]]:
    """A row for each number of clients."""
    rows = []
    await asked(port, "/translate/stream", 1, 2)  # to warm up
    for clients in CLIENTS:
        streamed = await asked(port, "/translate/stream", clients, rounds)
        whole = await asked(port, "/translate", clients, rounds)
        row: dict[str, Any] = {"clients": clients, "texts": len(whole["whole"])}
        for kind, seconds in {**streamed, **whole}.items():
            row |= {f"{kind}_p{share}_ms": _quantile(seconds, share / 100) for share in SHARES}
        rows.append(row)
    return rows


def _quantile(seconds: list[float], share: float) -> float:
    return round(1000 * sorted(seconds)[min(len(seconds) - 1, int(share * len(seconds)))], 1)


def table(rows: list[dict[str, Any]]) -> str:
    """As Markdown, medians with the 95th percentile in brackets."""
    columns = (*KINDS, "whole")
    lines = [
        "| clients | first partial | first sentence | end | /translate |",
        "| ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        # With a beam all hypotheses may agree on nothing before the sentence is done.
        cells = (f"{row[f'{kind}_p50_ms']} ({row[f'{kind}_p95_ms']})" if f"{kind}_p50_ms" in row else "none"
                 for kind in columns)  # fmt: skip
        lines.append(f"| {row['clients']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two texts a client in place of ten")
    parser.add_argument("--json", type=Path, help="where the last line is also written")
    options = parser.parse_args()
    load = round(os.getloadavg()[0], 1)
    command = (sys.executable, "-m", "service")
    # All clients' texts may wait.
    settings = {"ATTEND_LOG_LEVEL": "error", "ATTEND_MAX_QUEUE_TOKENS": "131072"}
    with started(lambda port: command, settings, "/health/ready") as server:
        rows = asyncio.run(measure(server.port, 2 if options.quick else 10))
    print(f"milliseconds, median (95 %), texts of {SENTENCES} sentences\n{table(rows)}")
    found = json.dumps({"machine": {"cores": available_cores(), "load_average_before": load}, "rows": rows})
    if options.json is not None:
        options.json.write_text(found + "\n", encoding="utf-8")
    print(found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
