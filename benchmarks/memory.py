"""Does the service's memory stay flat? 100,000 requests with texts of all kinds and lengths (`make bench-memory`).

    python -m benchmarks.memory [--requests 100000] [--minutes 12] [--longest 24] [--preload LIBRARY]

Starts the real service and asks from another process, 32 requests at once: random characters of the whole of Unicode,
1 to `--longest` of them and now and then 400, beside sentences; greedy and with beams, a few with alternatives, a few
wrong; translated, streamed, scored and detected. Outputs are kept short: what is looked for is what a request leaves
behind. Resident size is read between stretches; its growth counts from 20,000 requests on. `--preload libjemalloc.so.2`
has all processes of the service take their memory from another allocator. The last line of stdout is one JSON object;
the exit status is 1 if it grew by 3 % or more, or if not all was asked in the time.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import math
import multiprocessing
import random
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.load import Window, closed_loop, everyday_sentences, post
from benchmarks.processes import Server, started

CLIENTS = 32
STRETCH_SECONDS = 3.0
REQUESTS_OF_A_STRETCH = 400
ENGLISH = ("I like tea.", "He did not come, and nobody knows why.")
"""To be scored as translations, of whatever."""
LONGEST_TEXT, SHARE_OF_LONGEST = 400, 0.01
SETTLED_AFTER = 20_000
MOST_GROWTH = 0.03
# Latin, Greek, Cyrillic, Arabic, Devanagari, Thai, Hangul, Han, emoji, the private area, and everything else but
# surrogates, which no JSON text may hold.
RANGES = (
    (0x20, 0x7F), (0x20, 0x250), (0x370, 0x530), (0x600, 0x700), (0x900, 0x980), (0xE00, 0xE80), (0x4E00, 0x9FFF),
    (0xAC00, 0xD7A4), (0x1F300, 0x1FAFF), (0xE000, 0xF900), (0x1, 0xD800), (0xE000, 0x110000),
)  # fmt: skip


class Texts:
    """Random requests; the same for the same seed."""

    def __init__(self, seed: int, longest: int = 24) -> None:
        self._random = random.Random(seed)
        self._longest = longest
        self._lines = everyday_sentences()

    def requests(self, count: int) -> list[bytes]:
        """Whole requests."""
        return [self._request() for _ in range(count)]

    def _request(self) -> bytes:
        body, kind = self._body(), self._random.random()
        if kind < 0.1:
            return post({**body, "partial": True}, "/translate/stream")
        if kind < 0.15:
            return post({"q": body["q"]}, "/detect")
        if kind < 0.2:
            pair = {name: body[name] for name in ("source", "target") if name in body}
            return post({"q": body["q"], **pair, "translation": self._random.choice(ENGLISH)}, "/score")
        return post(body)

    def _body(self) -> dict[str, Any]:
        chance = self._random
        if chance.random() < 0.02:
            return {"q": "", "source": "fr"}
        body: dict[str, Any] = {"q": self._text(), "source": chance.choice(("fr", "zh")), "target": "en"}
        body["max_output_tokens"] = chance.randint(1, 4)
        body["beam_size"] = chance.choice((1, 1, 1, 1, 2, 4))
        if body["beam_size"] > 2 and chance.random() < 0.2:
            body["alternatives"] = 2
        return body

    def _text(self) -> str:
        chance = self._random
        if chance.random() < 0.25:
            return chance.choice(self._lines)
        longest = LONGEST_TEXT if chance.random() < SHARE_OF_LONGEST else self._longest
        # Short ones more often: evenly spread over orders of magnitude.
        length = round(math.exp(chance.uniform(0, math.log(longest))))
        low, high = chance.choice(RANGES)
        return "".join(chr(chance.randrange(low, high)) for _ in range(length))


def ask(server: Server, client: concurrent.futures.Executor, options: argparse.Namespace) -> list[tuple[int, int]]:
    """(requests so far, resident bytes) after every stretch."""
    samples, asked, stretch = [], 0, 0
    end = time.monotonic() + 60 * options.minutes
    while asked < options.requests and time.monotonic() < end:
        requests = Texts(stretch, options.longest).requests(REQUESTS_OF_A_STRETCH)
        load = client.submit(closed_loop, server.port, requests, CLIENTS, Window(STRETCH_SECONDS)).result()
        asked += load.answered + load.failed
        stretch += 1
        samples.append((asked, server.resident_bytes()))
        if stretch % 10 == 0:
            print(f"{asked} requests: {samples[-1][1] / 2**20:.1f} MiB", file=sys.stderr, flush=True)
    return samples


def growth(samples: Sequence[tuple[int, int]]) -> tuple[float, float]:
    """Resident MiB when it has settled and at the end: medians of five samples each."""
    settled = [size for asked, size in samples if asked >= SETTLED_AFTER]
    if len(settled) < 10:
        raise ValueError(f"{len(settled)} samples after {SETTLED_AFTER} requests are too few to tell")
    return statistics.median(settled[:5]) / 2**20, statistics.median(settled[-5:]) / 2**20


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--minutes", type=float, default=12.0, help="gives up after this")
    parser.add_argument("--longest", type=int, default=24, help="characters of most random texts")
    parser.add_argument("--preload", default="", help="an allocator's library, as LD_PRELOAD")
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    environment = {"ATTEND_LOG_LEVEL": "error", **({"LD_PRELOAD": options.preload} if options.preload else {})}
    command = (sys.executable, "-m", "service")
    with (
        concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as client,
        started(lambda port: command, environment, "/health/ready") as server,
    ):
        if options.preload and Path(options.preload).name not in Path(f"/proc/{server.pid}/maps").read_text():
            parser.error(f"{options.preload} was not loaded")
        fresh = server.resident_bytes()
        samples = ask(server, client, options)
    settled, late = growth(samples)
    found = {
        "requests": samples[-1][0],
        "preload": options.preload,
        "start_seconds": round(server.start_seconds, 2),
        "fresh_mib": round(fresh / 2**20, 1),
        "settled_mib": round(settled, 1),
        "late_mib": round(late, 1),
        "growth": round(late / settled - 1, 4),
        "curve_mib": [(asked, round(size / 2**20, 1)) for asked, size in samples[:: max(1, len(samples) // 20)]],
    }
    found["ok"] = late / settled - 1 < MOST_GROWTH and samples[-1][0] >= options.requests
    print(json.dumps(found))
    return 0 if found["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
