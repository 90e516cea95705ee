"""Languages, health, metrics, documentation, start-up and shutdown."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from model.errors import BundleError
from model.vocabulary import Vocabulary
from service.app import create_app
from service.settings import Settings
from tests.service.fakes import FakeLoader, ask, make_app, running, samples, scope_of

GOOD = {"q": "好！", "source": "zh", "target": "en"}


def test_languages_are_those_that_can_be_translated_from(app: FastAPI) -> None:
    assert ask(app, "GET", "/languages").json() == [
        {"code": "zh", "name": "Chinese", "targets": ["en"]},
        {"code": "zt", "name": "Chinese (traditional)", "targets": ["en"]},
        {"code": "fr", "name": "French", "targets": ["en"]},
        {"code": "en", "name": "English", "targets": ["fr", "zh"]},
    ]


def test_health(app: FastAPI) -> None:
    assert ask(app, "GET", "/health").json() == {"status": "ok"}
    assert ask(app, "GET", "/health/live").json() == {"live": True}


@pytest.mark.parametrize(("provider", "device"), [("CPUExecutionProvider", "cpu"), ("CUDAExecutionProvider", "cuda")])
def test_ready_says_what_really_runs(loader: FakeLoader, provider: str, device: str) -> None:
    loader.provider = provider
    loader.fallback = "the NVIDIA driver is missing" if device == "cpu" else None
    assert ask(make_app(loader), "GET", "/health/ready").json() == {
        "ready": True, "bundle": "tiny", "version": "7", "precision": "fp32", "device": device, "provider": provider,
        "fallback": loader.fallback,
    }  # fmt: skip


def test_while_the_model_loads_the_process_is_alive_but_not_ready(loader: FakeLoader) -> None:
    loader.gate = threading.Event()

    async def scenario() -> list[httpx.Response]:
        async with running(make_app(loader), until_ready=False) as client:
            replies = [await client.get("/health/live"), await client.get("/health")]
            replies += [await client.get("/health/ready"), await client.get("/languages")]
            replies += [await client.post("/translate", json=GOOD), await client.get("/metrics")]
            loader.gate.set()
            return replies

    live, health, *waiting, metrics = asyncio.run(scenario())
    assert live.status_code == health.status_code == 200
    for reply in waiting:
        assert (reply.status_code, reply.json()) == (503, {"error": "the model is still loading"})
        assert reply.headers["retry-after"] == "2"
    assert samples(metrics.text)["attend_ready"] == 0


def test_a_model_that_cannot_be_loaded_says_why_and_asks_to_stop(loader: FakeLoader) -> None:
    loader.failure = BundleError("bundle/manifest.json: damaged")
    stopped = threading.Event()
    app = create_app(Settings(), loader, on_failure=stopped.set)

    async def scenario() -> list[httpx.Response]:
        async with running(app, until_ready=False) as client:
            while not stopped.is_set():
                await asyncio.sleep(0.001)
            return [await client.get("/health/live"), await client.post("/translate", json=GOOD)]

    for reply in asyncio.run(scenario()):
        assert reply.status_code == 503
        assert reply.json() == {"error": "the model could not be loaded: bundle/manifest.json: damaged"}


def test_start_up_is_over_once_the_model_is_loaded_whatever_happens_later(loader: FakeLoader) -> None:
    loader.gate = threading.Event()

    async def scenario() -> list[int]:
        async with running(make_app(loader), until_ready=False) as client:
            found = [(await client.get("/health/startup")).status_code]
            loader.gate.set()
            while (await client.get("/health/ready")).status_code != 200:
                await asyncio.sleep(0.001)
            found.append((await client.get("/health/startup")).status_code)
            loader.engine.dies = True
            return [*found, (await client.get("/health/startup")).status_code]

    assert asyncio.run(scenario()) == [503, 200, 200]


def test_without_an_engine_the_service_is_alive_and_not_ready(loader: FakeLoader) -> None:
    async def scenario() -> list[httpx.Response]:
        async with running(make_app(loader)) as client:
            loader.engine.dies = True
            return [await client.get(path) for path in ("/health/live", "/health/ready", "/metrics")]

    live, ready, metrics = asyncio.run(scenario())
    assert (live.status_code, ready.status_code) == (200, 503)
    assert ready.json() == {"error": "the engines are being started again"}
    assert ready.headers["retry-after"]
    assert samples(metrics.text)["attend_ready"] == 0


def test_engines_that_cannot_be_started_again_end_the_service(loader: FakeLoader) -> None:
    stopped: list[bool] = []

    async def scenario() -> list[httpx.Response]:
        app = create_app(Settings(), loader, on_failure=lambda: stopped.append(True))
        async with running(app) as client:
            loader.on_failure()
            return [await client.get(path) for path in ("/health/live", "/health/ready")]

    replies = asyncio.run(scenario())
    assert [reply.status_code for reply in replies] == [503, 503]
    assert all(reply.json() == {"error": "the engines cannot be started again"} for reply in replies)
    assert stopped == [True]


def test_an_engine_that_was_closed_is_503(loader: FakeLoader, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> httpx.Response:
        async with running(make_app(loader)) as client:
            await loader.engine.close()
            monkeypatch.setattr(loader.engine, "is_ready", lambda: True)
            return await client.post("/translate", json=GOOD)

    reply = asyncio.run(scenario())
    assert (reply.status_code, reply.json()) == (503, {"error": "the service is shutting down"})


def test_requests_that_are_given_up_when_the_service_stops_are_503(loader: FakeLoader) -> None:
    loader.delay = 0.05

    async def scenario() -> httpx.Response:
        async with running(make_app(loader)) as client:
            asking = asyncio.create_task(client.post("/translate", json=GOOD))
            while not loader.engine.submitted:
                await asyncio.sleep(0.001)
            loader.engine.abort()
            return await asking

    reply = asyncio.run(scenario())
    assert (reply.status_code, reply.json()) == (503, {"error": "the service is shutting down"})


def test_a_client_that_goes_away_takes_its_jobs_along(loader: FakeLoader) -> None:
    loader.delay = 0.1

    async def scenario() -> dict[str, float]:
        app = make_app(loader)
        async with running(app) as client:
            await _post_and_hang_up(app, b'{"q": ["a", "b", "c"], "source": "en", "target": "fr"}', loader)
            return samples((await client.get("/metrics")).text)

    counted = asyncio.run(scenario())
    assert len(loader.engine.submitted) == 3
    assert loader.engine.cancelled == loader.engine.submitted
    assert counted['attend_requests_total{endpoint="translate",outcome="cancelled"}'] == 1


async def _post_and_hang_up(app: FastAPI, body: bytes, loader: FakeLoader) -> None:
    """The ASGI conversation of a client that closes the connection once its jobs are queued."""
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop()
        while not loader.engine.submitted:
            await asyncio.sleep(0.001)
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        pass

    await app(scope_of(b"/translate"), receive, send)
    await asyncio.sleep(0)


def test_a_cancelled_handler_cancels_its_jobs_and_no_other(loader: FakeLoader) -> None:
    loader.delay = 0.05

    async def scenario() -> httpx.Response:
        async with running(make_app(loader)) as client:
            kept = asyncio.create_task(client.post("/translate", json=GOOD))
            while not loader.engine.submitted:
                await asyncio.sleep(0.001)
            dropped = asyncio.create_task(client.post("/translate", json={**GOOD, "q": ["我", "你"]}))
            while len(loader.engine.submitted) < 3:
                await asyncio.sleep(0.001)
            dropped.cancel()
            return await kept

    assert asyncio.run(scenario()).json() == {"translatedText": "好!"}
    assert loader.engine.cancelled == loader.engine.submitted[1:]


def test_every_expected_series_starts_at_zero(app: FastAPI) -> None:
    counted = samples(ask(app, "GET", "/metrics").text)
    for endpoint in ("translate", "score", "languages", "metrics", "docs", "page", "other"):
        for outcome in ("ok", "client_error", "server_error", "refused", "deadline", "cancelled"):
            assert counted[f'attend_requests_total{{endpoint="{endpoint}",outcome="{outcome}"}}'] == 0
    for name in (
        'attend_truncated_total{side="source"}',
        'attend_finished_total{reason="error"}',
        'attend_finished_total{reason="deadline"}',
        'attend_cancelled_total{stage="queue"}',
        'attend_cancelled_total{stage="decode"}',
        'attend_rejected_total{reason="queue_full"}',
        'attend_rejected_total{reason="too_many_requests"}',
        'attend_rejected_total{reason="deadline"}',
        'attend_rejected_total{reason="draining"}',
        'attend_repetitions_total{outcome="kept"}',
        "attend_queue_tokens",
    ):
        assert counted[name] == 0
    assert counted["attend_decode_steps_total"] == counted["attend_running_rows"] == 0
    assert counted["attend_batch_rows_count"] == counted["attend_queue_wait_seconds_count"] == 0


def test_metrics_count_what_happened(loader: FakeLoader) -> None:
    async def scenario() -> dict[str, float]:
        async with running(make_app(loader)) as client:
            await asyncio.gather(*(client.post("/translate", json=GOOD) for _ in range(20)))
            for _ in range(3):
                await client.post("/translate", json={})
            await client.post("/translate", json={**GOOD, "max_output_tokens": 1})
            await client.get("/what/ever")
            await client.get("/docs")
            return samples((await client.get("/metrics")).text)

    counted = asyncio.run(scenario())
    request = 'attend_requests_total{{endpoint="{}",outcome="{}"}}'
    assert counted[request.format("translate", "ok")] == 21
    assert counted[request.format("translate", "client_error")] == 3
    assert counted[request.format("other", "client_error")] == 1
    assert counted[request.format("docs", "ok")] == 1
    assert counted['attend_request_duration_seconds_count{endpoint="translate"}'] == 24
    pieces = len(loader.vocabulary.encode("好！"))
    assert counted["attend_source_tokens_total"] == 21 * (pieces + 2)
    assert counted["attend_target_tokens_total"] == 20 * pieces + 1
    assert counted['attend_truncated_total{side="target"}'] == 1
    assert counted['attend_finished_total{reason="eos"}'] == 20
    assert counted['attend_finished_total{reason="length"}'] == 1
    # The fake engine makes a step for each token of its answer.
    assert counted["attend_batch_rows_count"] == counted["attend_decode_steps_total"] == 20 * pieces + 1
    assert counted["attend_queue_wait_seconds_count"] == 21
    info = 'attend_model_info{name="tiny",precision="fp32",provider="CPUExecutionProvider",version="7"}'
    assert counted[info] == counted["attend_ready"] == 1


def test_memory_of_the_device_is_a_metric_where_there_is_one(loader: FakeLoader) -> None:
    assert "attend_device_memory_bytes" not in samples(ask(make_app(loader), "GET", "/metrics").text)
    loader.provider = "CUDAExecutionProvider"

    async def scenario() -> str:
        async with running(make_app(loader)) as client:
            return (await client.get("/metrics")).text

    assert samples(asyncio.run(scenario()))["attend_device_memory_bytes"] == 77_000


def test_two_apps_share_nothing(vocabulary: Vocabulary) -> None:
    async def scenario() -> list[float]:
        first, second = make_app(FakeLoader(vocabulary)), make_app(FakeLoader(vocabulary))
        async with running(first) as one, running(second) as other:
            await one.post("/translate", json=GOOD)
            name = 'attend_requests_total{endpoint="translate",outcome="ok"}'
            return [samples((await client.get("/metrics")).text)[name] for client in (one, other)]

    assert asyncio.run(scenario()) == [1, 0]


def test_the_schema_describes_what_is_sent(app: FastAPI) -> None:
    schema = ask(app, "GET", "/openapi.json").json()
    body = schema["paths"]["/translate"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body["required"] == ["q", "source", "target"]
    assert "log_prob / n^length_penalty" in body["properties"]["length_penalty"]["description"]
    assert set(schema["paths"]["/translate"]["post"]["responses"]) == {
        "200", "400", "401", "403", "404", "405", "408", "413", "415", "422", "429", "500", "503", "504",
    }  # fmt: skip
