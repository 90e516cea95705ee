"""What the cache of sentences is worth, and what it costs, with traffic that repeats itself.

    python -m benchmarks.cache [--quick] [--hits 0.8]

One sentence a request, drawn from 50,000 by Zipf's law, to four services in turn: the shipped model with a cache and
without, and the same code with an engine that answers at once (`benchmarks/instant_service.py`) with a cache and
without. The most frequent sentences are asked for beforehand, as many as make the wanted share of hits, which is then
measured from `/metrics`; a case of its own asks for these alone. What 80 % of hits should reach is 0.9 of the rate of a
service whose engine answers at once. Beside each rate stands the processor time of a request by who takes it, and the
most that it leaves possible: no core idle, and the service's process, which runs on one of them, neither. At first all
clients ask for one new sentence at once, twenty times: how many are decoded? The last line of stdout is one JSON
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
ALL_KNOWN = "cache, hits alone"
CASES = {name: name for name in SERVICES} | {ALL_KNOWN: "cache"}
"""What is measured, and of which service."""
MOST_RATE = 5_000
"""Requests a second that are made in advance: a loop must not come to the end of its own and begin anew."""
FILL_TEXTS = 200
"""Of one request before the measurement."""


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """How long it takes."""

    rounds: int
    seconds: float


FULL, QUICK = Plan(3, 6.0), Plan(2, 2.0)


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

    def requests(self, count: int, share: float = 1.0) -> list[bytes]:
        """So many, each for one sentence, of the most frequent that make this share."""
        ranks = np.searchsorted(self._cumulative, share * self._random.random(count))
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


@dataclasses.dataclass(frozen=True, slots=True)
class Round:
    """What one round of one case found; milliseconds of processor time a request."""

    rate: float
    found: float
    """Share of the sentences that were not decoded."""
    service_ms: float
    engines_ms: float
    client_ms: float

    @property
    def possible_rate(self) -> float:
        """Requests a second, if nothing waited for anything but processors."""
        return 1000 / max(self.service_ms, (self.service_ms + self.engines_ms + self.client_ms) / available_cores())


def one_round(server: Server, requests: list[bytes], seconds: float, client: concurrent.futures.Executor) -> Round:
    """Ask so long."""
    before = looked_up(server), server.own_cpu_seconds(), server.child_cpu_seconds()
    load = client.submit(closed_loop, server.port, requests, CLIENTS, Window(seconds)).result()
    if load.failed:
        raise RuntimeError(f"{load.failed} requests failed")
    asked = {outcome: count - before[0][outcome] for outcome, count in looked_up(server).items()}
    spent = server.own_cpu_seconds() - before[1], server.child_cpu_seconds() - before[2], load.client_cpu_seconds
    found = 1 - asked["miss"] / sum(asked.values()) if any(asked.values()) else 0.0
    return Round(load.rate, found, *(1000 * each / load.answered for each in spent))


def at_once(server: Server, texts: list[str], client: concurrent.futures.Executor) -> dict[str, float]:
    """What became of sentences, each asked for by all clients at the same time."""
    before = looked_up(server)
    for text in texts:
        client.submit(closed_loop, server.port, [_request([text])], CLIENTS, Window(0.001, whole=True)).result()
    return {outcome: count - before[outcome] for outcome, count in looked_up(server).items()}


def measure(
    servers: dict[str, Server], traffic: Traffic, plan: Plan, hits: float, client: concurrent.futures.Executor
) -> dict[str, dict[str, float]]:
    """Medians over rounds in which the cases take turns."""
    rounds: dict[str, list[Round]] = {name: [] for name in CASES}
    for _ in range(plan.rounds):
        for name, service in CASES.items():
            requests = traffic.requests(int(MOST_RATE * plan.seconds), hits if name == ALL_KNOWN else 1.0)
            rounds[name].append(one_round(servers[service], requests, plan.seconds, client))
    return {name: _median(each) for name, each in rounds.items()}


def _median(rounds: list[Round]) -> dict[str, float]:
    names = ("rate", "found", "service_ms", "engines_ms", "client_ms", "possible_rate")
    return {name: round(statistics.median(getattr(each, name) for each in rounds), 3) for name in names}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="short rounds, to see that it works")
    parser.add_argument("--hits", type=float, default=0.8, help="share of the traffic that is asked for beforehand")
    options = parser.parse_args()
    traffic, load_before = Traffic(), os.getloadavg()[0]
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as client, all_started() as servers:
        head = traffic.head(options.hits)
        joined = at_once(servers["cache"], traffic.texts[-20:], client)
        for name in ("cache", "instant engine, cache"):
            fill(servers[name], head, client)
        found = measure(servers, traffic, QUICK if options.quick else FULL, options.hits, client)
    instant = found["instant engine"]
    print(f"the same at once, {CLIENTS} clients, 20 sentences: {joined}")
    print("                          rate  of instant  found  possible   service  engines  client (ms)")
    for name, row in found.items():
        row["of_instant"] = round(row["rate"] / instant["rate"], 3)
        print(
            f"{name:24} {row['rate']:6.0f}  {row['of_instant']:10.2f}  {row['found']:5.0%}  {row['possible_rate']:8.0f}"
            f"  {row['service_ms']:8.2f} {row['engines_ms']:8.2f} {row['client_ms']:7.2f}"
        )
    machine = {"cores": available_cores(), "load_average_before": round(load_before, 1)}
    print(json.dumps({"machine": machine, "asked_before": len(head), "at_once": joined, "services": found}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
