"""What the cache of sentences is worth, and what it costs, with traffic that repeats itself.

    python -m benchmarks.cache [--quick] [--hits 0.8]

One sentence a request, drawn from 50,000 by Zipf's law, to four services in turn: the shipped model with a cache and
without, and the same code with an engine that answers at once (`benchmarks/instant_service.py`) with a cache and
without. The most frequent sentences are asked for beforehand, as many as make the wanted share of hits, which is then
measured from `/metrics`. What 80 % of hits should reach is 0.9 of the rate of a service whose engine answers at once;
where the engine takes the processors that HTTP needs, the missing fifth decides. The last line of stdout is one JSON
object.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import dataclasses
import json
import multiprocessing
import os
import statistics
import sys
import urllib.request
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.load import Window, closed_loop, everyday_sentences, post
from benchmarks.processes import Server, started
from service.engine.loading import available_cores

SENTENCES = 50_000
CLIENTS = 32
CACHE = {"ATTEND_CACHE_BYTES": str(1 << 30)}
SERVICES = {
    "cache": ("service", CACHE),
    "no cache": ("service", {}),
    "instant engine": ("benchmarks.instant_service", {}),
    "instant engine, cache": ("benchmarks.instant_service", CACHE),
}
MOST_RATE = 5_000
"""Requests a second that are made in advance: a loop must not come to the end of its own and begin anew."""
FILL_TEXTS = 200
"""Of one request before the measurement."""


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """How long it takes."""

    rounds: int
    seconds: float


FULL, QUICK = Plan(5, 10.0), Plan(2, 2.0)


class Traffic:
    """Sentences by rank, and requests for them."""

    def __init__(self, seed: int = 1) -> None:
        self._random = np.random.default_rng(seed)
        lines = everyday_sentences()
        # Two sentences of the sample make a new one: every pair is another.
        pairs = self._random.choice(len(lines) ** 2, SENTENCES, replace=False)
        self.texts = [f"{lines[pair // len(lines)].rstrip(' .!?')}, et {lines[pair % len(lines)]}" for pair in pairs]
        weights = 1.0 / np.arange(1, SENTENCES + 1)
        self._cumulative = np.cumsum(weights / weights.sum())

    def head(self, share: float) -> list[str]:
        """The most frequent sentences, as many as make this share of the traffic."""
        return self.texts[: int(np.searchsorted(self._cumulative, share)) + 1]

    def requests(self, count: int) -> list[bytes]:
        """So many, each for one sentence."""
        ranks = np.searchsorted(self._cumulative, self._random.random(count))
        return [_request([self.texts[min(rank, SENTENCES - 1)]]) for rank in ranks]


def _request(texts: list[str]) -> bytes:
    return post({"q": texts, "source": "fr", "target": "en"})


@contextlib.contextmanager
def all_started() -> Iterator[dict[str, Server]]:
    """The four services."""
    with contextlib.ExitStack() as stack:
        yield {
            name: stack.enter_context(
                started(
                    lambda port, module=module: (sys.executable, "-m", module),  # type: ignore[misc]
                    {"ATTEND_LOG_LEVEL": "error", **settings},
                    "/health/ready",
                )
            )
            for name, (module, settings) in SERVICES.items()
        }


def looked_up(server: Server) -> dict[str, float]:
    """What the cache was asked for, by outcome."""
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics") as reply:
        lines = reply.read().decode().splitlines()
    start = 'attend_cache_total{outcome="'
    pairs = (line.removeprefix(start).split('"} ') for line in lines if line.startswith(start))
    return {outcome: float(count) for outcome, count in pairs}


def fill(server: Server, texts: list[str], client: concurrent.futures.Executor) -> None:
    """Have the service translate these once."""
    requests = [_request(texts[begin : begin + FILL_TEXTS]) for begin in range(0, len(texts), FILL_TEXTS)]
    for request in requests:
        load = client.submit(closed_loop, server.port, [request], 1, Window(0.001, whole=True)).result()
        if load.failed or not load.answered:
            raise RuntimeError("the cache could not be filled")


def measure(
    servers: dict[str, Server], traffic: Traffic, plan: Plan, client: concurrent.futures.Executor
) -> dict[str, dict[str, Any]]:
    """Rates and shares of hits, medians over rounds in which the services take turns."""
    rates: dict[str, list[float]] = {name: [] for name in servers}
    shares: dict[str, list[float]] = {name: [] for name in servers}
    for _ in range(plan.rounds):
        for name, server in servers.items():
            before = looked_up(server)
            requests = traffic.requests(int(MOST_RATE * plan.seconds))
            load = client.submit(closed_loop, server.port, requests, CLIENTS, Window(plan.seconds)).result()
            if load.failed:
                raise RuntimeError(f"{name}: {load.failed} requests failed")
            asked = {outcome: count - before[outcome] for outcome, count in looked_up(server).items()}
            rates[name].append(load.rate)
            shares[name].append(1 - asked["miss"] / sum(asked.values()) if any(asked.values()) else 0.0)
    return {
        name: {
            "requests_per_second": round(statistics.median(rates[name]), 1),
            "found": round(statistics.median(shares[name]), 3),
        }
        for name in servers
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="short rounds, to see that it works")
    parser.add_argument("--hits", type=float, default=0.8, help="share of the traffic that is asked for beforehand")
    options = parser.parse_args()
    traffic, load_before = Traffic(), os.getloadavg()[0]
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as client, all_started() as servers:
        head = traffic.head(options.hits)
        for name in ("cache", "instant engine, cache"):
            fill(servers[name], head, client)
        found = measure(servers, traffic, QUICK if options.quick else FULL, client)
    instant = found["instant engine"]["requests_per_second"]
    for name, row in found.items():
        row["of_instant"] = round(row["requests_per_second"] / instant, 3)
        print(f"{name:24} {row['requests_per_second']:8.1f}/s  {row['of_instant']:5.2f}  {row['found']:6.1%} found")
    machine = {"cores": available_cores(), "load_average_before": round(load_before, 1)}
    print(json.dumps({"machine": machine, "asked_before": len(head), "services": found}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
