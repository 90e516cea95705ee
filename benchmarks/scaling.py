"""What more machines bring: a capacity model fitted to measurements, and a simulation of many replicas.

    python -m benchmarks.scaling --png docs/images/scaling.png          a few minutes; --quick: seconds

Nothing is translated here. The rates that the model is fitted to are those of `docs/performance.md` (two cores, shipped
model); other rates can be put in their place. Writes the tables of docs/scaling.md; the last line is one JSON object.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.autoscaler import Autoscaler, manifest
from benchmarks.cluster import Cluster, Counts, Machine

ROOT = Path(__file__).parents[1]
CORES = 2
MEASURED = {1: {1: 74.0, 8: 232.0, 64: 331.0}, 4: {1: 49.0, 8: 140.0, 64: 206.0}}
"""Sentences a second by beam and clients that each wait for their answer: docs/performance.md, "Served"."""
OPEN = {1: {169.0: 67, 258.0: 125}, 4: {104.0: 44, 164.0: 73}}
"""Median milliseconds by beam and sentences a second that came at random moments, same place."""
OFFLINE = {
    "shipped, greedy": 6800.0, "shipped, beam 4": 3300.0, "base size, greedy": 1780.0, "base size, beam 4": 750.0
}  # fmt: skip
"""Target tokens a second of the engine on two cores: docs/performance.md, "Where the decoder stands"."""
CHARACTERS_A_TOKEN = 3.8
POLICIES = {
    "queue": {"queue": 1000.0},
    "queue and processor 70 %": {"queue": 1000.0, "processor": 0.7},
    "queue and 64 rows": {"queue": 1000.0, "rows": 64.0},
    "queue and 32 rows": {"queue": 1000.0, "rows": 32.0},
    "queue and 24 rows": {"queue": 1000.0, "rows": 24.0},
}


def works() -> list[float]:
    """How much work sentences are, by their characters: the everyday sentences of the benchmarks."""
    with gzip.open(ROOT / "benchmarks/everyday.fr.gz", "rt", encoding="utf-8") as file:
        return [float(len(line.strip())) for line in file if line.strip()]


def fit(measured: Mapping[int, float]) -> tuple[float, float]:
    """a and s of `Machine.rate` by least squares of n / X(n) = 1/a + s/a (n - 1), relative errors alike."""
    clients = np.array(list(measured), dtype=float)
    rates = np.array(list(measured.values()))
    weights = rates / clients
    design = np.stack([np.ones_like(clients), clients - 1], axis=1) * weights[:, None]
    (inverse, slope), *_ = np.linalg.lstsq(design, np.ones_like(clients), rcond=None)
    return float(1 / inverse), float(slope / inverse)


def machine(beam: int = 4, **others: Any) -> Machine:
    """A replica of two cores with the shipped model."""
    alone, contention = fit(MEASURED[beam])
    return Machine(alone, contention, beam=beam, **others)


def milliseconds(counts: Counts, share: float, since: float = 0.0) -> float:
    """A percentile of what answers took."""
    taken = [seconds for time, seconds in counts.answers if time >= since]
    return float(np.quantile(taken, share)) * 1000 if taken else math.nan


def load(size: int, share: float, seconds: float, choices: int = 2, **others: Any) -> dict[str, float]:
    """Replicas under a share of what they could do together."""
    one = machine(**others)
    cluster = Cluster(one, works(), choices)
    cluster.add(size, delay=0.0)
    rate = share * size * one.most
    cluster.arrivals(lambda _: rate, rate, seconds)
    counts = cluster.run(seconds)
    late = seconds / 4
    answered = sum(time >= late for time, _ in counts.answers) / (seconds - late)
    return {
        "replicas": size, "share": share, "choices": choices, "sentences/s": answered, "came": counts.came,
        "refused": counts.refused / counts.came,
        "p50": milliseconds(counts, 0.5, late), "p99": milliseconds(counts, 0.99, late),
    }  # fmt: skip


def failures(size: int, share: float, seconds: float, retry: bool) -> dict[str, Any]:
    """A replica dies every tenth of the time, and all are exchanged one after another in the second half."""
    one = machine()
    cluster = Cluster(one, works())
    cluster.add(size, delay=0.0)
    rate = share * size * one.most
    cluster.arrivals(lambda _: rate, rate, seconds)

    def die() -> None:
        cluster.kill(cluster.chance.choice(cluster.ready), retry)
        cluster.add()

    def exchange(old: list[Any]) -> None:
        cluster.add()
        cluster.at(cluster.now + one.start, lambda: replace(old))

    def replace(old: list[Any]) -> None:
        if old[0] in cluster.ready:
            cluster.drain(old[0])
        if old[1:]:
            exchange(old[1:])

    for tenth in range(1, 5):
        cluster.at(seconds * tenth / 10, die)
    cluster.at(seconds / 2, lambda: exchange(list(cluster.ready)))
    counts = cluster.run(seconds + 60)
    return {
        "retry": retry, "share": share, "came": counts.came, "answered": len(counts.answers), "lost": counts.lost,
        "refused": counts.refused, "retried": counts.retried, "p99": milliseconds(counts, 0.99),
    }  # fmt: skip


def day(second: float, length: float, peak: float) -> float:
    """Sentences a second: quiet, all at once a plateau, and quiet again."""
    return peak if 0.2 <= second / length < 0.6 else 0.15 * peak


def autoscaling(policy: str, length: float, peak: float) -> dict[str, Any]:
    """One policy on a load that becomes almost seven times as much at once."""
    cluster = Cluster(machine(), works())
    cluster.add(2, delay=0.0)
    scaler = Autoscaler(cluster, POLICIES[policy], manifest())
    cluster.at(0.1, scaler.begin)
    cluster.arrivals(lambda now: day(now, length, peak), peak, length)
    counts = cluster.run(length)
    return {
        "policy": policy, "came": counts.came, "refused": counts.refused / counts.came,
        "p50": milliseconds(counts, 0.5), "p99": milliseconds(counts, 0.99),
        "settled p99": milliseconds(counts, 0.99, length * 0.45),
        "replica hours": counts.replica_seconds(length) / 3600, "changes": scaler.changes, "sizes": counts.replicas,
    }  # fmt: skip


def cost() -> dict[str, float]:
    """Hours of one core for a million characters, everything busy."""
    return {name: 1e6 / CHARACTERS_A_TOKEN / rate * CORES / 3600 for name, rate in OFFLINE.items()}


def table(rows: list[dict[str, Any]]) -> str:
    """Rows as Markdown."""
    names = [name for name in rows[0] if name != "sizes"]
    cells = [[f"{row[name]:.3g}" if isinstance(row[name], float) else str(row[name]) for name in names] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in [names, ["---"] * len(names), *cells])


def draw(path: Path, found: Mapping[str, list[dict[str, Any]]]) -> None:
    """Throughput against replicas, latency against load, and replicas against time."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, (sizes, loads, times) = pyplot.subplots(1, 3, figsize=(13, 4))
    sizes.loglog([row["replicas"] for row in found["sizes"]], [row["sentences/s"] for row in found["sizes"]], "o-")
    sizes.set(xlabel="replicas of 2 cores", ylabel="sentences/s at 80 % load", title="beam 4")
    for choices, name in ((1, "at random"), (2, "less busy of two")):
        rows = [row for row in found["loads"] if row["choices"] == choices]
        loads.semilogy([row["share"] for row in rows], [row["p99"] for row in rows], "o-", label=name)
    loads.set(xlabel="share of what 20 replicas can do", ylabel="p99, ms", title="balancing")
    loads.legend()
    for row in found["policies"]:
        ends = [*row["sizes"], (found["length"][0]["seconds"], row["sizes"][-1][1])]
        times.step([time / 60 for time, _ in ends], [count for _, count in ends], where="post", label=row["policy"])
    times.set(xlabel="minutes", ylabel="replicas", title="autoscaling")
    times.legend(fontsize="small", loc="lower center")
    figure.tight_layout()
    figure.savefig(path, dpi=100)


def main() -> None:
    """Fit, simulate, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--png", type=Path, help="write the curves there")
    parser.add_argument("--quick", action="store_true", help="less of everything")
    options = parser.parse_args()
    seconds, length = (10.0, 900.0) if options.quick else (30.0, 1800.0)
    fits = [
        {"beam": beam, "a": machine(beam).alone, "s": machine(beam).contention, "clients": clients,
         "measured": rate, "model": machine(beam).rate(clients)}
        for beam, measured in MEASURED.items() for clients, rate in measured.items()
    ]  # fmt: skip
    opened = [
        {"beam": beam, "sentences/s": rate, "measured p50": median,
         "model p50": load(1, rate / machine(beam).most, seconds, 1, beam=beam)["p50"]}
        for beam, cells in OPEN.items() for rate, median in cells.items()
    ]  # fmt: skip
    shares = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 1.1)
    counts = (1, 3, 10, 30, 100) if options.quick else (1, 3, 10, 30, 100, 300)
    found = {
        "fits": fits,
        "open loop": opened,
        "cost": [cost()],
        "sizes": [load(size, 0.8, max(4.0, min(seconds, 300 / size))) for size in counts],
        "loads": [load(20, share, 10.0, choices) for choices in (1, 2) for share in shares],
        "failures": [failures(10, share, 120.0, retry) for share, retry in ((0.5, True), (0.5, False), (0.85, True))],
        "policies": [autoscaling(policy, length, 1200.0) for policy in POLICIES],
        "length": [{"seconds": length}],
    }  # fmt: skip
    for name, rows in found.items():
        print(f"\n{name}\n\n{table(rows)}")
    if options.png:
        draw(options.png, found)
    print(
        json.dumps(
            {name: [{k: v for k, v in row.items() if k != "sizes"} for row in rows] for name, rows in found.items()}
        )
    )


if __name__ == "__main__":
    main()
