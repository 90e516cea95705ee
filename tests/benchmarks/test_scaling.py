"""The simulation of many replicas against what queueing theory and Kubernetes' documentation say."""

from __future__ import annotations

import pytest

from benchmarks.autoscaler import Autoscaler, desired, manifest
from benchmarks.cluster import Cluster, Machine
from benchmarks.scaling import MEASURED, failures, fit, machine, works

SPEC = {"minReplicas": 2, "maxReplicas": 20}


@pytest.mark.parametrize("beam", MEASURED)
def test_the_model_goes_through_what_was_measured(beam: int) -> None:
    for clients, rate in MEASURED[beam].items():
        assert machine(beam).rate(clients) == pytest.approx(rate, rel=0.1)


def test_rates_of_the_law_are_found_again() -> None:
    exact = Machine(50.0, 0.2)
    assert fit({count: exact.rate(count) for count in (1, 8, 64)}) == pytest.approx((50.0, 0.2))


def test_without_a_gain_from_company_it_is_a_shared_processor() -> None:
    """M/M/1 with processor sharing: the mean time of a sentence is 1 / (what it can do - what comes)."""
    cluster = Cluster(Machine(alone=10.0, contention=1.0, rows=4000), works())
    cluster.add(delay=0.0)
    cluster.arrivals(lambda _: 6.0, 6.0, 3000.0)
    counts = cluster.run(3100.0)
    assert sum(seconds for _, seconds in counts.answers) / len(counts.answers) == pytest.approx(1 / 4, rel=0.1)


def test_no_sentence_is_lost_or_doubled_when_replicas_die_and_are_exchanged() -> None:
    told = failures(4, 0.6, 40.0, retry=True)
    assert told["retried"] > 0
    assert told["answered"] + told["refused"] == told["came"]
    untried = failures(4, 0.6, 40.0, retry=False)
    assert untried["lost"] > 0
    assert untried["answered"] + untried["refused"] + untried["lost"] == untried["came"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"queue": 2000.0, "rows": 10.0}, 8),
        ({"queue": 1050.0, "rows": 10.0}, 4),
        ({"queue": 0.0, "rows": 10.0}, 2),
        ({"queue": 0.0, "rows": 96.0}, 6),
        ({"queue": 90000.0, "rows": 0.0}, 20),
    ],
)
def test_the_largest_wish_counts_within_the_bounds(values: dict[str, float], expected: int) -> None:
    assert desired(4, values, {"queue": 1000.0, "rows": 64.0}, SPEC) == expected


def test_it_grows_at_once_and_shrinks_slowly() -> None:
    cluster = Cluster(machine(), works())
    cluster.add(2, delay=0.0)
    scaler = Autoscaler(cluster, {"rows": 64.0}, manifest())
    cluster.at(0.1, scaler.begin)
    cluster.arrivals(lambda now: 700.0 if now < 90 else 20.0, 700.0, 200.0)
    cluster.run(90.0)
    grown = cluster.size
    assert grown >= 4
    cluster.run(200.0)
    assert cluster.size == grown
    assert scaler.changes >= 1
