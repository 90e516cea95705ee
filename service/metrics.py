"""Everything `/metrics` says, and the only file that knows Prometheus. One registry for each app."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, get_args

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from service.engine.types import Answer, Report, Stage
from service.engine.types import Outcome as Ending
from service.errors import Rejection
from service.model_metrics import ModelMetrics

Endpoint = Literal[
    "translate", "detect", "score", "internals", "file", "deepl", "infer", "google", "extension", "languages", "health",
    "metrics", "docs", "page", "other",
]  # fmt: skip
Outcome = Literal["ok", "client_error", "server_error", "refused", "deadline", "cancelled"]

CONTENT_TYPE: str = CONTENT_TYPE_LATEST
ENDPOINTS: tuple[Endpoint, ...] = get_args(Endpoint)
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)

_REQUEST_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_STEP_SECONDS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25)
_ENCODE_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
_WAIT_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
_RATIOS = (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1)

# They would be a second series beside every counter, telling when the process began to count.
disable_created_metrics()  # type: ignore[no-untyped-call]


_ADD_UP = {
    "process_cpu_seconds",
    "process_open_fds",
    "process_resident_memory_bytes",
    "process_virtual_memory_bytes",
}


class _Processes(Collector):
    """Memory, processor time and open files of this process and others together; limits and start of this one."""

    def __init__(self) -> None:
        self.others: Callable[[], Iterable[int]] = tuple

    def collect(self) -> Iterator[Metric]:
        own = list(ProcessCollector(registry=None).collect())
        others = [ProcessCollector(pid=functools.partial(int, pid), registry=None) for pid in self.others()]
        theirs = [family for other in others for family in other.collect()]
        for family in own:
            if family.name in _ADD_UP:
                same = (each for each in (family, *theirs) if each.name == family.name)
                total = sum(sample.value for each in same for sample in each.samples)
                family.samples = [sample._replace(value=total) for sample in family.samples]
            yield family


class DecodingMetrics:
    """What the engines that translate report."""

    def __init__(self, registry: CollectorRegistry, finished: Counter, cancelled: Counter, lost: Counter) -> None:
        def histogram(name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(name, text, buckets=buckets, registry=registry)

        self._batch_rows = histogram("attend_batch_rows", "Rows (sentences times beams) of a decoder step.", _ROWS)
        self._steps = Counter("attend_decode_steps_total", "Decoder steps.", registry=registry)
        self._step_seconds = histogram(
            "attend_decode_step_duration_seconds", "Duration of a decoder step.", _STEP_SECONDS
        )
        self._encode_seconds = histogram(
            "attend_encode_duration_seconds", "Duration of one run of the encoder.", _ENCODE_SECONDS
        )
        self._wait_seconds = histogram(
            "attend_queue_wait_seconds", "From submission of a sentence to the start of its encoding.", _WAIT_SECONDS
        )
        self._padding = histogram(
            "attend_padding_ratio", "Share of padding among the source places that a decoder step reads.", _RATIOS
        )
        # Looked up once: prometheus_client checks names and takes a lock for every look.
        self._finished = {ending: finished.labels(ending) for ending in get_args(Ending)}
        self._cancelled = {stage: cancelled.labels(stage) for stage in get_args(Stage)}
        self._lost = lost

    def observe_report(self, report: Report) -> None:
        """Count what an engine did since its last report."""
        for encode in report.encodes:
            self._encode_seconds.observe(encode.seconds)
        for step in report.steps:
            self._batch_rows.observe(step.rows)
            self._step_seconds.observe(step.seconds)
            self._padding.observe(step.padding)
        self._steps.inc(len(report.steps))
        for seconds in report.waits:
            self._wait_seconds.observe(seconds)

    def observe_answer(self, answer: Answer) -> None:
        """Count how a sentence ended."""
        failure = answer.failure
        if failure is None:
            self._finished[answer.result[0].finish_reason].inc()
        elif failure.kind == "cancelled":
            self._finished["cancelled"].inc()
            self._cancelled[failure.stage or "queue"].inc()
        else:
            self._finished["deadline" if failure.kind == "deadline" else "error"].inc()

    def count_lost_process(self, *, hung: bool) -> None:
        """Count a process that died, or was ended because it hung."""
        self._lost.labels("decode", "hung" if hung else "died").inc()


class ScoringMetrics:
    """What the engine that scores and aligns reports."""

    def __init__(self, registry: CollectorRegistry, lost: Counter) -> None:
        scored = Counter(
            "attend_scored_total",
            "Sentences the scorer is done with (replies with alignment or attention, and /score): scored, failed, or "
            "no longer waited for.",
            ["outcome"], registry=registry,
        )  # fmt: skip
        self._scored = {outcome: scored.labels(outcome) for outcome in ("ok", "error", "cancelled")}
        self._score_seconds = Histogram(
            "attend_score_duration_seconds", "Duration of one batch of the scorer.",
            buckets=_ENCODE_SECONDS, registry=registry,
        )  # fmt: skip
        self._wait_seconds = Histogram(
            "attend_score_queue_wait_seconds", "From submission of a sentence to the scorer to the start of its batch.",
            buckets=_WAIT_SECONDS, registry=registry,
        )  # fmt: skip
        self._lost = lost

    def observe_report(self, report: Report) -> None:
        """Count what the engine did since its last report."""
        for seconds in report.batches:
            self._score_seconds.observe(seconds)
        for seconds in report.waits:
            self._wait_seconds.observe(seconds)

    def observe_answer(self, answer: Answer) -> None:
        """Count how a sentence ended."""
        failure = answer.failure
        if failure is None:
            self._scored["ok"].inc()
        else:
            self._scored["cancelled" if failure.kind in ("cancelled", "deadline") else "error"].inc()

    def count_lost_process(self, *, hung: bool) -> None:
        """Count a process that died, or was ended because it hung."""
        self._lost.labels("score", "hung" if hung else "died").inc()


class Metrics:
    """The counters of one app; every method may be called from any thread."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._processes = _Processes()
        self._registry.register(self._processes)
        self._create_request_metrics()
        self._create_model_metrics()
        self._create_engine_metrics()
        self.decoding = DecodingMetrics(self._registry, self._finished, self._cancelled, self._lost)
        """For the engines that translate."""
        self.scoring = ScoringMetrics(self._registry, self._lost)
        """For the engine that scores."""
        self.models = ModelMetrics(self._registry)
        """By model."""

    def _create_request_metrics(self) -> None:
        registry = self._registry
        self._requests = Counter(
            "attend_requests_total", "Requests answered.", ["endpoint", "outcome"], registry=registry
        )
        self._duration = Histogram(
            "attend_request_duration_seconds", "From the headers of a request to the last byte of its answer.",
            ["endpoint"], buckets=_REQUEST_SECONDS, registry=registry,
        )  # fmt: skip
        cached = Counter(
            "attend_cache_total",
            "Sentences that the cache was asked for, if there is one: found, joined to the same under way, or decoded.",
            ["outcome"], registry=registry,
        )  # fmt: skip
        self._cached = {outcome: cached.labels(outcome) for outcome in ("hit", "joined", "miss")}
        self._cache_bytes = Gauge("attend_cache_bytes", "Memory that the cache takes, about.", registry=registry)
        first = Histogram(
            "attend_stream_first_seconds", "From the headers of a streamed request to its first event of a kind.",
            ["event"], buckets=_REQUEST_SECONDS, registry=registry,
        )  # fmt: skip
        self._first = {event: first.labels(event) for event in ("sentence", "partial")}
        self._source_tokens = Counter(
            "attend_source_tokens_total", "Tokens sent to the model, tags and end tokens included.", registry=registry
        )
        self._target_tokens = Counter(
            "attend_target_tokens_total", "Tokens of the translations returned, alternatives excluded.",
            registry=registry,
        )  # fmt: skip
        self._truncated = Counter(
            "attend_truncated_total",
            "Sentences that reached a length limit: source sentences were split (nothing is lost), targets cut.",
            ["side"], registry=registry,
        )  # fmt: skip
        self._repetitions = Counter(
            "attend_repetitions_total",
            "Sentences that went round in circles: a second attempt was better (removed), or not (kept).",
            ["outcome"], registry=registry,
        )  # fmt: skip
        self._rejected = Counter(
            "attend_rejected_total", "Requests refused before anything was done for them.", ["reason"],
            registry=registry,
        )  # fmt: skip
        self._finished = Counter(
            "attend_finished_total", "Sentences the engine is done with, by reason.", ["reason"], registry=registry
        )
        self._cancelled = Counter(
            "attend_cancelled_total",
            "Sentences nobody waited for any more, by where they were; attend_finished_total counts them too.",
            ["stage"], registry=registry,
        )  # fmt: skip
        # Looked up once: prometheus_client checks names and takes a lock for every look.
        self._durations = {endpoint: self._duration.labels(endpoint) for endpoint in ENDPOINTS}
        self._outcomes = {
            (endpoint, outcome): self._requests.labels(endpoint, outcome)
            for endpoint in ENDPOINTS
            for outcome in OUTCOMES
        }
        self._truncations = {side: self._truncated.labels(side) for side in ("source", "target")}
        for kind in ("removed", "kept"):
            self._repetitions.labels(kind)
        for rejection in get_args(Rejection):
            self._rejected.labels(rejection)
        for reason in get_args(Ending):
            self._finished.labels(reason)
        for stage in get_args(Stage):
            self._cancelled.labels(stage)

    def _create_model_metrics(self) -> None:
        registry = self._registry
        self._model_info = Gauge(
            "attend_model_info", "A model that is in memory; always 1.",
            ["name", "version", "precision", "provider"], registry=registry,
        )  # fmt: skip
        self._load_seconds = Gauge(
            "attend_model_load_duration_seconds", "Time to load and warm up the newest model.", registry=registry
        )
        self._ready = Gauge("attend_ready", "1 while the service can translate.", registry=registry)

    def _create_engine_metrics(self) -> None:
        registry = self._registry
        self._running_rows = Gauge("attend_running_rows", "Rows being decoded at the last report.", registry=registry)
        self._queue_tokens = Gauge(
            "attend_queue_tokens", "Source tokens of the sentences that wait.", registry=registry
        )
        self._score_queue_tokens = Gauge(
            "attend_score_queue_tokens", "Source and target tokens that wait to be scored.", registry=registry
        )
        self._lost = Counter(
            "attend_processes_lost_total",
            "Processes of engines that died, or were ended because they hung; another took their place.",
            ["engine", "reason"], registry=registry,
        )  # fmt: skip
        for engine in ("decode", "score"):
            for reason in ("died", "hung"):
                self._lost.labels(engine, reason)

    def observe_request(self, endpoint: Endpoint, outcome: Outcome, seconds: float) -> None:
        """Count one answered request."""
        self._outcomes[endpoint, outcome].inc()
        self._durations[endpoint].observe(seconds)

    def count_cached(self, outcome: str, sentences: int) -> None:
        """Count sentences that the cache was asked for."""
        self._cached[outcome].inc(sentences)

    def watch_cache(self, read: Callable[[], int]) -> None:
        """Publish what the cache takes."""
        self._cache_bytes.set_function(read)

    def observe_first(self, event: str, seconds: float) -> None:
        """Count the first event of a kind, `sentence` or `partial`, of one streamed request."""
        self._first[event].observe(seconds)

    def observe_translation(self, *, source_tokens: int, target_tokens: int, split: int, cut: int) -> None:
        """Count one translated request: its tokens, source sentences split and target sentences cut at a limit."""
        self._source_tokens.inc(source_tokens)
        self._target_tokens.inc(target_tokens)
        for side, count in (("source", split), ("target", cut)):
            if count:
                self._truncations[side].inc(count)

    def count_repetition(self, *, removed: bool) -> None:
        """Count one sentence that went round in circles."""
        self._repetitions.labels("removed" if removed else "kept").inc()

    def count_rejection(self, reason: Rejection) -> None:
        """Count one request refused before anything was done for it."""
        self._rejected.labels(reason).inc()

    def set_model(self, *, name: str, version: str, precision: str, provider: str, load_seconds: float) -> None:
        """Which model is served and how long it took to load."""
        self._model_info.labels(name, version, precision, provider).set(1)
        self._load_seconds.set(load_seconds)

    def drop_model(self, name: str, version: str, precision: str, provider: str) -> None:
        """A model has left the memory."""
        with contextlib.suppress(KeyError):
            self._model_info.remove(name, version, precision, provider)

    def watch_processes(self, pids: Callable[[], Iterable[int]]) -> None:
        """Let what `process_*` says include these processes."""
        self._processes.others = pids

    def watch_device_memory(self, read: Callable[[], int]) -> None:
        """Publish the device's memory; there is no such metric on the CPU."""
        gauge = Gauge(
            "attend_device_memory_bytes", "Memory in use on the device, by all processes.", registry=self._registry
        )
        gauge.set_function(read)

    def set_ready(self, ready: bool) -> None:
        """Whether the service can translate."""
        self._ready.set(int(ready))

    def set_running_rows(self, rows: int) -> None:
        """Rows that are being decoded."""
        self._running_rows.set(rows)

    def set_queues(self, *, to_translate: int, to_score: int) -> None:
        """How many tokens wait now."""
        self._queue_tokens.set(to_translate)
        self._score_queue_tokens.set(to_score)

    def table(self) -> str:
        """Every metric with its type and labels, as Markdown; `docs/metrics.md` holds it."""
        lines = ["| metric | type | labels | |", "| --- | --- | --- | --- |"]
        for family in self._registry.collect():
            if not family.name.startswith("attend_"):  # of the process, by the client library
                continue
            labels = _label_values(family)
            total = "_total" if family.type == "counter" else ""
            lines.append(f"| `{family.name}{total}` | {family.type} | {labels} | {family.documentation} |")
        return "\n".join(lines) + "\n"

    def render(self) -> bytes:
        """The Prometheus text format."""
        self.models.look()
        return generate_latest(self._registry)


def _label_values(family: Metric) -> str:
    """Each label with the values it has from the start, if there are any."""
    found: dict[str, dict[str, None]] = {}
    for sample in family.samples:
        for name, value in sample.labels.items():
            if name != "le":  # a histogram's own
                found.setdefault(name, {})[f"`{value}`"] = None
    return "; ".join(f"`{name}`: {', '.join(values)}" for name, values in found.items())
