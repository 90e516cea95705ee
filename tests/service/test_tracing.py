"""Traces: what of a request reaches a real receiver of OTLP, and the log."""

from __future__ import annotations

import asyncio
import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from service.logs import configure_logging
from service.tracing import parent_of
from tests.bundles import ROOT
from tests.service.fakes import FakeLoader, make_app, running

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"
ASK = {"q": "好！", "source": "zh", "target": "en"}


class Receiver(http.server.BaseHTTPRequestHandler):
    """Takes spans."""

    def do_POST(self) -> None:
        said = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.spans += [  # type: ignore[attr-defined]
            span for resource in said.resource_spans for scope in resource.scope_spans for span in scope.spans
        ]
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[http.server.ThreadingHTTPServer]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        server.spans = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def asking(loader: FakeLoader, *asked: tuple[str, dict[str, Any]], **settings: Any) -> list[int]:
    async def scenario() -> list[int]:
        async with running(make_app(loader, **settings)) as client:
            return [(await client.post(path, json=ASK, headers=headers)).status_code for path, headers in asked]

    return asyncio.run(scenario())


def test_a_request_is_a_span_with_its_parts_in_the_trace_of_its_caller(
    loader: FakeLoader, receiver: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging("info", "auto")  # standard output is no terminal here
    endpoint = f"http://127.0.0.1:{receiver.server_port}/v1/traces"
    own = {"traceparent": PARENT, "X-Request-ID": "mine"}
    statuses = asking(loader, ("/translate", own), ("/nothing", {}), ("/translate", {"traceparent": "00-0-0-0"}),
                      otlp_endpoint=endpoint)  # fmt: skip
    assert statuses == [200, 404, 200]
    spans = {(span.trace_id.hex(), span.name): span for span in receiver.spans}
    request = spans[TRACE, "POST translate"]
    assert request.parent_span_id.hex() == SPAN
    told = {each.key: each.value.string_value or each.value.int_value for each in request.attributes}
    assert told == {"http.request.method": "POST", "http.response.status_code": 200, "attend.request_id": "mine"}
    parts = [spans[TRACE, name] for name in ("text", "queue", "encode", "decode")]
    assert all(part.parent_span_id == request.span_id for part in parts)
    times = [request.start_time_unix_nano, *(part.start_time_unix_nano for part in parts), request.end_time_unix_nano]
    assert times == sorted(times)
    # The others have traces of their own.
    traces = {span.trace_id.hex() for span in receiver.spans if span.name.startswith("POST")}
    assert len(traces) == 3
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    logged = {line["trace_id"]: line["request_id"] for line in lines if line["message"] == "request"}
    assert logged.keys() == traces
    assert logged[TRACE] == "mine"


def test_without_a_collector_the_log_has_the_callers_trace(
    loader: FakeLoader, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging("info", "json")
    asking(loader, ("/translate", {"traceparent": PARENT}), ("/translate", {}))
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line.get("trace_id") for line in lines if line["message"] == "request"] == [TRACE, None]


def test_a_collector_that_is_not_there_harms_nobody(loader: FakeLoader) -> None:
    assert asking(loader, ("/translate", {}), otlp_endpoint="http://127.0.0.1:9/v1/traces") == [200]


def test_a_slow_request_is_logged_with_its_parts(loader: FakeLoader, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("warning", "json")
    loader.delay = 0.002
    asking(loader, ("/translate", {}), slow_request_ms=1)
    asking(loader, ("/translate", {}), slow_request_ms=0)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    (line,) = [line for line in lines if (line["message"], line["endpoint"]) == ("slow request", "translate")]
    assert {"endpoint", "status", "duration_ms", "tokenize_ms", "queue_ms", "encode_ms", "decode_ms"} <= line.keys()
    assert "好" not in json.dumps(line, ensure_ascii=False)


@pytest.mark.parametrize(
    ("header", "is_one"),
    [
        (PARENT, True),
        (f"01-{TRACE}-{SPAN}-00-more", True),
        (f"00-{TRACE}-{SPAN}-00-more", False),
        (f"ff-{TRACE}-{SPAN}-01", False),
        (f"00-{'0' * 32}-{SPAN}-01", False),
        (f"00-{TRACE}-{'0' * 16}-01", False),
        (PARENT.upper(), False),
        ("", False),
    ],
)
def test_what_a_traceparent_is(header: str, is_one: bool) -> None:
    assert (parent_of({"traceparent": header}) is not None) == is_one


def test_what_is_not_asked_for_is_not_imported() -> None:
    code = (
        "import sys, service.__main__; "
        "print([name for name in ('redis', 'opentelemetry.sdk', 'requests') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
