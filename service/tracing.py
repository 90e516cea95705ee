"""Traces: W3C's `traceparent` of a request, and spans for whoever collects them.

The only file that knows OpenTelemetry, which is imported where a setting names a collector.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

_TRACEPARENT = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SERVICE = "attend"


class TracingError(Exception):
    """Traces cannot be sent; the text is one sentence for the operator."""


class Stretch(NamedTuple):
    """A part of the work on a request; times in seconds of `time.monotonic`."""

    name: str
    start: float
    end: float


def parent_of(headers: Mapping[str, str]) -> str | None:
    """The `traceparent` of a request, if it is one; what is none is as good as absent, says W3C."""
    found = headers.get("traceparent", "")
    match = _TRACEPARENT.fullmatch(found)
    # Version 00 has nothing after its four fields; a later one may have.
    return found if match and not (match[1] == "00" and match[5]) else None


class Trace:
    """One request: its id for the log, and nothing more where nobody collects."""

    def __init__(self, parent: str | None) -> None:
        self.id = parent.split("-")[1] if parent else ""

    def end(self, name: str, status: int, stretches: Sequence[Stretch], attributes: Mapping[str, Any]) -> None:
        """The request is answered."""


class Tracer:
    """Begins traces; this one sends nothing."""

    def begin(self, headers: Mapping[str, str], began: float) -> Trace:
        """A request came at `began`, in seconds of `time.monotonic`."""
        return Trace(parent_of(headers))

    def close(self) -> None:
        """Send what is left."""


def open_tracer(endpoint: str, version: str) -> Tracer:
    """What sends spans to `endpoint` by OTLP over HTTP; an empty one is nobody.

    Raises:
        TracingError: OpenTelemetry is not installed.
    """
    if not endpoint:
        return Tracer()
    try:
        return _OtlpTracer(endpoint, version)
    except ModuleNotFoundError:
        raise TracingError("ATTEND_OTLP_ENDPOINT needs OpenTelemetry: pip install 'attend[tracing]'") from None


class _OtlpTracer(Tracer):
    """Sends spans from a thread of its own; where nobody takes them they are dropped."""

    def __init__(self, endpoint: str, version: str) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        resource = Resource.create({"service.name": _SERVICE, "service.version": version})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint, timeout=5)))
        self._tracer = self._provider.get_tracer(_SERVICE, version)
        self._propagator = TraceContextTextMapPropagator()

    def begin(self, headers: Mapping[str, str], began: float) -> Trace:
        """See `Tracer.begin`."""
        carrier = {name: headers[name] for name in ("traceparent", "tracestate") if name in headers}
        parent = parent_of(headers)
        context = self._propagator.extract(carrier if parent else {})
        return _OtlpTrace(self._tracer, context, began)

    def close(self) -> None:
        """See `Tracer.close`."""
        self._provider.shutdown()


class _OtlpTrace(Trace):
    """A span for the request, and one in it for each stretch."""

    def __init__(self, tracer: Any, context: Any, began: float) -> None:
        from opentelemetry.trace import SpanKind

        self._tracer = tracer
        # Wall time, for which no duration is measured: it is that of now, less what has passed.
        self._epoch = time.time() - time.monotonic()
        kind = SpanKind.SERVER
        self._span = tracer.start_span("request", context=context, kind=kind, start_time=self._nanoseconds(began))
        self.id = format(self._span.get_span_context().trace_id, "032x")

    def end(self, name: str, status: int, stretches: Sequence[Stretch], attributes: Mapping[str, Any]) -> None:
        """See `Trace.end`."""
        from opentelemetry.trace import Status, StatusCode, set_span_in_context

        context = set_span_in_context(self._span)
        for stretch in stretches:
            inner = self._tracer.start_span(stretch.name, context=context, start_time=self._nanoseconds(stretch.start))
            inner.end(end_time=self._nanoseconds(stretch.end))
        self._span.update_name(name)
        self._span.set_attributes({**attributes, "http.response.status_code": status})
        if status >= 500:
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end(end_time=self._nanoseconds(time.monotonic()))

    def _nanoseconds(self, monotonic: float) -> int:
        return int((self._epoch + monotonic) * 1e9)
