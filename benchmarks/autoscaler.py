"""Kubernetes' horizontal autoscaler, for `cluster.py`: its documented algorithm, with the numbers of our manifest.

Every 15 s: of each metric ceil(replicas * value / target), nothing within a tenth of the target, the largest counts;
upwards as far as policies allow, downwards to the largest wish of the last minutes.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from benchmarks.cluster import Cluster

MANIFEST = Path(__file__).parents[1] / "docker/kubernetes/base/autoscaler.yaml"
PERIOD = 15.0
TOLERANCE = 0.1


@dataclasses.dataclass
class Autoscaler:
    """Adds and takes away replicas."""

    cluster: Cluster
    targets: Mapping[str, float]
    """Of `queue` (source tokens a replica), `rows` (a replica), `processor` (share)."""
    spec: Mapping[str, Any]
    wishes: list[tuple[float, int]] = dataclasses.field(default_factory=list)
    sizes: list[tuple[float, int]] = dataclasses.field(default_factory=list)
    changes: int = 0

    def begin(self) -> None:
        """From now on, every 15 s."""
        self.cluster.at(self.cluster.now + PERIOD, self._look)

    def _look(self) -> None:
        ready = self.cluster.ready
        for replica in ready:
            replica.advance(self.cluster.now)
        if ready:
            wish = desired(self.cluster.size, self._values(), self.targets, self.spec)
            self._scale(self._allowed(wish))
        for replica in ready:
            replica.busy = 0.0
        self.cluster.at(self.cluster.now + PERIOD, self._look)

    def _values(self) -> dict[str, float]:
        machine, ready = self.cluster.machine, self.cluster.ready
        found: dict[str, Callable[[], float]] = {
            "queue": lambda: sum(len(each.queue) for each in ready) * machine.tokens / len(ready),
            "rows": lambda: sum(each.running for each in ready) * machine.beam / len(ready),
            "processor": lambda: sum(each.busy for each in ready) / PERIOD / len(ready),
        }
        return {name: found[name]() for name in self.targets}

    def _allowed(self, wish: int) -> int:
        """The wish within what `behavior` says."""
        now, size = self.cluster.now, self.cluster.size
        self.wishes.append((now, wish))
        self.sizes.append((now, size))
        up, down = self.spec["behavior"]["scaleUp"], self.spec["behavior"]["scaleDown"]
        if wish > size:
            return min(wish, max(self._limit(policy, 1) for policy in up["policies"]))
        kept = max(count for time, count in self.wishes if time >= now - down["stabilizationWindowSeconds"])
        return max(min(kept, size), min(self._limit(policy, -1) for policy in down["policies"]), wish)

    def _limit(self, policy: Mapping[str, Any], direction: int) -> int:
        """How many there may be by one policy, which counts from the size a period ago."""
        since = self.cluster.now - policy["periodSeconds"]
        before = next(count for time, count in self.sizes if time >= since)
        step = policy["value"] if policy["type"] == "Pods" else before * policy["value"] / 100
        return before + direction * math.ceil(step)

    def _scale(self, size: int) -> None:
        change = size - self.cluster.size
        self.changes += change != 0
        if change > 0:
            self.cluster.add(change)
        for _ in range(min(-change, len(self.cluster.ready) - 1)):
            self.cluster.drain(self.cluster.ready[-1])


def desired(size: int, values: Mapping[str, float], targets: Mapping[str, float], spec: Mapping[str, Any]) -> int:
    """How many replicas the metrics ask for."""
    ratios = [values[name] / targets[name] for name in targets]
    wishes = [size if abs(ratio - 1) <= TOLERANCE else math.ceil(size * ratio) for ratio in ratios]
    return min(max(*wishes, spec["minReplicas"]), spec["maxReplicas"])


def manifest() -> Mapping[str, Any]:
    """The specification of our own autoscaler."""
    spec: Mapping[str, Any] = yaml.safe_load(MANIFEST.read_text(encoding="utf-8"))["spec"]
    return spec
