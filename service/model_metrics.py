"""What `/metrics` says of each model, so that two versions can be compared."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

if TYPE_CHECKING:
    from service.model_names import ModelName

_SECONDS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
STATES = ("unloaded", "loading", "ready", "unloading", "failed")


class Standing(NamedTuple):
    """How it stands with a model."""

    model: ModelName
    state: str
    memory: int
    """Bytes of its files while it is in memory."""


class ModelMetrics:
    """Counts by model. The models are those of a directory, few and known."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "attend_model_requests_total",
            "Texts of one request and source that a model translated; by two models they count for each.",
            ["model", "outcome"], registry=registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "attend_model_request_duration_seconds", "Duration of that, with the time to load the model if it was not.",
            ["model"], buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self._tokens = Counter(
            "attend_model_tokens_total", "Tokens that a model read and wrote.", ["model", "side"], registry=registry
        )
        self._problems = Counter(
            "attend_model_problems_total",
            "Sentences of a model that were cut, or went round in circles at first (repetition).",
            ["model", "kind"], registry=registry,
        )  # fmt: skip
        self._loads = Counter(
            "attend_model_loads_total", "Times a model was loaded.", ["model", "outcome"], registry=registry
        )
        self._unloads = Counter(
            "attend_model_unloads_total",
            "Times a model left the memory: for another one (memory), or it was replaced or taken away (replaced).",
            ["model", "reason"], registry=registry,
        )  # fmt: skip
        self._memory = Gauge(
            "attend_model_memory_bytes", "Size of the files of a model that is in memory, else 0.", ["model"],
            registry=registry,
        )  # fmt: skip
        self._state = Gauge(
            "attend_model_state", "1 for the state that a model is in.", ["model", "state"], registry=registry
        )
        self._known: set[str] = set()
        self.standings: Callable[[], Iterable[Standing]] = tuple

    def observe_request(self, model: ModelName, outcome: str, seconds: float) -> None:
        """Count what one model did for a request."""
        self._requests.labels(str(model), outcome).inc()
        self._seconds.labels(str(model)).observe(seconds)

    def observe_tokens(self, model: ModelName, source: int, target: int) -> None:
        """Count what a model read and wrote."""
        self._tokens.labels(str(model), "source").inc(source)
        self._tokens.labels(str(model), "target").inc(target)

    def count_problem(self, model: ModelName, kind: str, count: int = 1) -> None:
        """Count sentences of a model with which something was wrong."""
        self._problems.labels(str(model), kind).inc(count)

    def count_load(self, model: ModelName, *, ok: bool) -> None:
        """Count an attempt to load a model."""
        self._loads.labels(str(model), "ok" if ok else "error").inc()

    def count_unload(self, model: ModelName, reason: str) -> None:
        """Count a model that left the memory."""
        self._unloads.labels(str(model), reason).inc()

    def look(self) -> None:
        """Let the gauges say how it stands now."""
        for standing in self.standings():
            name = str(standing.model)
            self._expect(name)
            self._memory.labels(name).set(standing.memory)
            for state in STATES:
                self._state.labels(name, state).set(state == standing.state)

    def _expect(self, name: str) -> None:
        """The counters of a model start at 0."""
        if name in self._known:
            return
        self._known.add(name)
        self._seconds.labels(name)
        for counter, values in (
            (self._requests, ("ok", "error")),
            (self._tokens, ("source", "target")),
            (self._problems, ("truncated", "repetition")),
            (self._loads, ("ok", "error")),
            (self._unloads, ("memory", "replaced")),
        ):
            for value in values:
                counter.labels(name, value)

    def forget(self, model: ModelName) -> None:
        """Tell no more of a model that is gone."""
        name = str(model)
        self._known.discard(name)
        for metric in (self._requests, self._tokens, self._problems, self._loads, self._unloads, self._state):
            metric.remove_by_labels({"model": name})
        for single in (self._seconds, self._memory):
            single.remove_by_labels({"model": name})
