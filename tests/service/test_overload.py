"""Too much to do, too little time, texts that fail: who is told what."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from model.vocabulary import Vocabulary
from service.engine.scheduler import QueueLimit
from service.engine.types import DeadlineError, Hypothesis, Job, QueueFullError
from service.logs import configure_logging
from service.settings import Settings
from tests.service.fakes import FakeLoader, ask, echo, make_app, running, samples, translate

GOOD = {"q": "好！", "source": "zh", "target": "en"}
FRENCH = {"source": "en", "target": "fr"}


def refused(loader: FakeLoader, refusal: Exception) -> tuple[httpx.Response, dict[str, float]]:
    async def scenario() -> tuple[httpx.Response, dict[str, float]]:
        async with running(make_app(loader)) as client:
            loader.engine.refusal = refusal
            reply = await client.post("/translate", json=GOOD)
            return reply, samples((await client.get("/metrics")).text)

    return asyncio.run(scenario())


def test_a_full_queue_is_503_and_says_when_to_come_back(loader: FakeLoader) -> None:
    reply, counted = refused(loader, QueueFullError("full", 3.2))
    assert (reply.status_code, reply.json()) == (503, {"error": "too much waits already"})
    assert reply.headers["retry-after"] == "4"
    assert counted['attend_rejected_total{reason="queue_full"}'] == 1
    assert counted['attend_requests_total{endpoint="translate",outcome="refused"}'] == 1
    assert counted['attend_requests_total{endpoint="translate",outcome="server_error"}'] == 0


def at_a_full_door(loader: FakeLoader, path: str, **request: Any) -> tuple[httpx.Response, dict[str, float]]:
    """The answer to a request that comes while the queue is full, and the metrics after it."""

    async def scenario() -> tuple[httpx.Response, dict[str, float]]:
        async with running(make_app(loader)) as client:
            loader.engine.is_full = True
            reply = await client.post(path, **request)
            assert (await client.get("/health/ready")).status_code == 200
            return reply, samples((await client.get("/metrics")).text)

    return asyncio.run(scenario())


def test_while_the_queue_is_full_requests_are_refused_before_they_are_read(loader: FakeLoader) -> None:
    headers = {"Content-Type": "application/json", "X-Request-ID": "mine"}
    reply, counted = at_a_full_door(loader, "/translate", content=b"{no json", headers=headers)
    assert (reply.status_code, reply.json()) == (503, {"error": "too much waits already"})
    assert (reply.headers["retry-after"], reply.headers["x-request-id"]) == ("4", "mine")
    assert counted['attend_rejected_total{reason="queue_full"}'] == 1
    assert counted['attend_requests_total{endpoint="translate",outcome="refused"}'] == 1
    assert loader.engine.submitted == []


def test_the_door_goes_by_the_length_of_the_body(loader: FakeLoader) -> None:
    at_a_full_door(loader, "/translate", content=b"x" * 600)
    assert loader.engine.asked_for_room == [(50, 300)]


def test_a_body_of_unknown_length_may_be_of_any_size(loader: FakeLoader) -> None:
    async def parts() -> AsyncIterator[bytes]:
        yield b"{}"

    at_a_full_door(loader, "/translate", content=parts())
    assert loader.engine.asked_for_room == [(0, Settings().max_tokens)]


def test_while_too_much_waits_to_be_scored_only_score_is_refused(
    loader: FakeLoader, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> list[httpx.Response]:
        async with running(make_app(loader)) as client:
            monkeypatch.setattr(QueueLimit, "is_full", True)
            return [await client.post("/score", content=b"{no json"), await client.post("/translate", json=GOOD)]

    refused, translated = asyncio.run(scenario())
    assert (refused.status_code, refused.json()) == (503, {"error": "too much waits already to be scored"})
    assert refused.headers["retry-after"] == "1"  # how fast the queue empties is not known yet
    assert translated.status_code == 200


def test_a_deadline_that_cannot_be_met_is_504_at_once(loader: FakeLoader) -> None:
    reply, counted = refused(loader, DeadlineError("too long", 9.0))
    assert (reply.status_code, reply.json()) == (504, {"error": "too much waits already to answer in time"})
    assert reply.headers["retry-after"] == "9"
    assert counted['attend_rejected_total{reason="deadline"}'] == 1
    assert counted['attend_requests_total{endpoint="translate",outcome="deadline"}'] == 1


def test_a_deadline_that_passes_is_504(vocabulary: Vocabulary) -> None:
    def answer(job: Job) -> tuple[Hypothesis, ...]:
        raise DeadlineError("passed", 0.0)

    loader = FakeLoader(vocabulary, answer=answer)
    reply = translate(make_app(loader), GOOD)
    assert reply.status_code == 504
    assert reply.json() == {"error": "the deadline passed before the translation was done"}
    assert "retry-after" not in reply.headers


@pytest.mark.parametrize(("asked", "seconds"), [({}, 60.0), ({"timeout_ms": 500}, 0.5), ({"timeout_ms": None}, 60.0)])
def test_the_engine_is_told_how_long_there_is(loader: FakeLoader, asked: dict[str, Any], seconds: float) -> None:
    before = time.monotonic()
    translate(make_app(loader, max_timeout_ms=60_000), {**GOOD, **asked})
    (deadline,) = loader.engine.deadlines
    assert before + seconds <= deadline <= time.monotonic() + seconds


def test_only_so_many_requests_are_under_way_at_once_and_health_is_none_of_them(vocabulary: Vocabulary) -> None:
    gate = threading.Event()

    def answer(job: Job) -> tuple[Hypothesis, ...]:
        gate.wait(20)
        return echo(job)

    async def scenario() -> tuple[list[httpx.Response], httpx.Response, dict[str, float]]:
        loader = FakeLoader(vocabulary, answer=answer)
        async with running(make_app(loader, max_requests=3)) as client:
            inside = [asyncio.create_task(client.post("/translate", json=GOOD)) for _ in range(3)]
            while len(loader.engine.submitted) < 3:
                await asyncio.sleep(0.001)
            outside = await client.post("/translate", json=GOOD)
            health = await client.get("/health/ready")
            gate.set()
            again = await asyncio.gather(*inside), await client.post("/translate", json=GOOD)
            counted = samples((await client.get("/metrics")).text)
            return [outside, health, *again[0], again[1]], outside, counted

    (outside, *fine), _, counted = asyncio.run(scenario())
    assert (outside.status_code, outside.json()) == (503, {"error": "3 requests are under way already"})
    assert outside.headers["retry-after"]
    assert [reply.status_code for reply in fine] == [200] * 5
    assert counted['attend_rejected_total{reason="too_many_requests"}'] == 1


def test_what_waits_is_on_the_metrics_page(vocabulary: Vocabulary) -> None:
    gate = threading.Event()

    def answer(job: Job) -> tuple[Hypothesis, ...]:
        gate.wait(20)
        return echo(job)

    async def scenario() -> list[float]:
        loader = FakeLoader(vocabulary, answer=answer)
        async with running(make_app(loader)) as client:
            asking = asyncio.create_task(client.post("/translate", json=GOOD))
            while not loader.engine.submitted:
                await asyncio.sleep(0.001)
            pages = [(await client.get("/metrics")).text]
            gate.set()
            await asking
            pages.append((await client.get("/metrics")).text)
            return [samples(page)["attend_queue_tokens"] for page in pages]

    assert asyncio.run(scenario()) == [len(vocabulary.encode_source("好！", "en")), 0]


def fails_at_tea(vocabulary: Vocabulary) -> FakeLoader:
    def answer(job: Job) -> tuple[Hypothesis, ...]:
        text = vocabulary.decode(job.source_ids)
        if "tea" in text:
            raise RuntimeError("secret detail")
        if "weather" in text:
            raise DeadlineError("passed", 0.0)
        return echo(job)

    return FakeLoader(vocabulary, answer=answer)


TEXTS = ["I love you.", "You love me. I like tea.", "", "The weather is nice today.", "Do we meet tomorrow?"]


def test_text_by_text_a_failure_is_null_in_its_place(vocabulary: Vocabulary, caplog: pytest.LogCaptureFixture) -> None:
    reply = translate(make_app(fails_at_tea(vocabulary)), {"q": TEXTS, **FRENCH, "on_error": "item"})
    request_id = reply.headers["x-request-id"]
    assert reply.status_code == 200
    assert reply.json() == {
        "translatedText": [TEXTS[0], None, "", None, "Do we meet tomorrow ?"],
        "errors": [
            {"index": 1, "error": f"internal error, logged with id {request_id}"},
            {"index": 3, "error": "the deadline passed before the translation was done"},
        ],
    }
    assert f"a text of request {request_id} failed" in caplog.text
    assert "secret detail" in caplog.text


@pytest.mark.parametrize("on_error", [None, "fail"])
def test_otherwise_it_is_all_or_nothing(vocabulary: Vocabulary, on_error: str | None) -> None:
    reply = translate(make_app(fails_at_tea(vocabulary)), {"q": TEXTS, **FRENCH, "on_error": on_error})
    assert (reply.status_code, list(reply.json())) == (500, ["error"])


def test_a_single_text_that_fails_is_null(vocabulary: Vocabulary) -> None:
    body = {"q": "I like tea.", **FRENCH, "on_error": "item", "alternatives": 2}
    reply = translate(make_app(fails_at_tea(vocabulary)), body).json()
    assert (reply["translatedText"], reply["alternatives"]) == (None, [])
    assert [error["index"] for error in reply["errors"]] == [0]


def test_text_by_text_without_failures_has_no_errors(app: FastAPI) -> None:
    assert translate(app, {**GOOD, "on_error": "item"}).json() == {"translatedText": "好!"}


def test_a_refusal_is_never_an_item(loader: FakeLoader) -> None:
    async def scenario() -> httpx.Response:
        async with running(make_app(loader)) as client:
            loader.engine.refusal = QueueFullError("full", 1.0)
            return await client.post("/translate", json={**GOOD, "on_error": "item"})

    assert asyncio.run(scenario()).status_code == 503


LONG, SHORT = "I like coffee, you like tea.", "I love you."


def test_every_sentence_that_was_cut_is_named(loader: FakeLoader) -> None:
    pieces = len(loader.vocabulary.encode(SHORT)) + 1
    assert pieces < len(loader.vocabulary.encode(LONG))
    body = {"q": [SHORT, f"{SHORT} {LONG}"], **FRENCH, "max_output_tokens": pieces}
    reply = translate(make_app(loader), body).json()
    assert reply["truncated"] == [False, True]
    start = len(SHORT) + 1
    assert reply["warnings"] == [{"index": 1, "start": start, "end": start + len(LONG), "warning": "truncated"}]


def test_strict_refuses_what_was_cut(loader: FakeLoader) -> None:
    body = {"q": [SHORT, LONG], **FRENCH, "max_output_tokens": 5, "strict": True}
    reply = translate(make_app(loader), body)
    message = "the translation of the sentence at 0 to 11 of text 0 was cut at its length limit, and strict is set"
    assert (reply.status_code, reply.json()) == (422, {"error": message})


def test_strict_text_by_text_refuses_only_the_text(loader: FakeLoader) -> None:
    pieces = len(loader.vocabulary.encode(SHORT)) + 1
    body = {"q": [SHORT, LONG], **FRENCH, "max_output_tokens": pieces, "strict": True, "on_error": "item"}
    reply = translate(make_app(loader), body).json()
    assert reply["translatedText"] == [SHORT, None]
    assert [error["index"] for error in reply["errors"]] == [1]


def test_strict_is_content_with_what_is_whole(loader: FakeLoader) -> None:
    text = "，".join(["我喜欢咖啡"] * 40) + "。"  # too long for the model: split, not cut
    reply = translate(make_app(loader), {"q": text, "source": "zh", "target": "en", "strict": True}).json()
    assert list(reply) == ["translatedText"]


def test_control_of_repetition_and_length_reaches_the_engine(loader: FakeLoader) -> None:
    control = {
        "repetition_penalty": 1.5,
        "no_repeat_ngram_size": 3,
        "min_output_tokens": 4,
        "max_output_tokens": 60,
        "beam_size": 2,
        "length_penalty": 0,
    }
    translate(make_app(loader), {"q": SHORT, **FRENCH, **control})
    (job,) = loader.engine.submitted
    assert {name: getattr(job.options, name) for name in control} == control


def test_a_minimum_above_the_usual_limit_raises_the_limit(loader: FakeLoader) -> None:
    translate(make_app(loader), {**GOOD, "min_output_tokens": 80})
    (job,) = loader.engine.submitted
    assert (job.options.min_output_tokens, job.options.max_output_tokens) == (80, 80)


def test_every_reply_has_an_id_and_its_time(app: FastAPI) -> None:
    for method, path in (("GET", "/languages"), ("GET", "/nowhere"), ("POST", "/translate"), ("OPTIONS", "/translate")):
        headers = ask(app, method, path).headers
        assert re.fullmatch("[0-9a-f]{32}", headers["x-request-id"])
        assert re.fullmatch(r"total;dur=[\d.]+", headers["server-timing"])


def test_a_translation_says_where_its_time_went(app: FastAPI) -> None:
    timing = translate(app, GOOD).headers["server-timing"]
    pattern = r"tokenize;dur=[\d.]+, queue;dur=[\d.]+, encode;dur=[\d.]+, decode;dur=[\d.]+, total;dur=[\d.]+"
    assert re.fullmatch(pattern, timing)


@pytest.mark.parametrize("mine", ["abc-1", "7f.x_Y", "z" * 64])
def test_a_caller_may_name_its_request(app: FastAPI, mine: str) -> None:
    assert ask(app, "GET", "/languages", headers={"X-Request-ID": mine}).headers["x-request-id"] == mine


@pytest.mark.parametrize("odd", ["", "a b", "z" * 65, '"', "é".encode()])
def test_a_name_that_could_be_mistaken_for_something_else_is_replaced(app: FastAPI, odd: str | bytes) -> None:
    reply = ask(app, "GET", "/languages", headers={"X-Request-ID": odd})
    assert re.fullmatch("[0-9a-f]{32}", reply.headers["x-request-id"])


@pytest.fixture
def root_logger() -> Any:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield root
    root.handlers[:], root.level = before


def test_the_log_is_json_with_the_request_id_and_without_the_text(
    loader: FakeLoader, root_logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging("info", "json")

    async def scenario() -> None:
        async with running(make_app(loader)) as client:
            await client.post("/translate", json=GOOD, headers={"X-Request-ID": "mine"})
            await client.post("/translate", json={**GOOD, "我的秘密": 1, "strict_fields": True})
            loader.engine.refusal = ZeroDivisionError("a defect")
            await client.post("/translate", json=GOOD, headers={"X-Request-ID": "worse"})

    asyncio.run(scenario())
    text = capsys.readouterr().out
    assert "好" not in text
    assert "秘密" not in text
    lines = [json.loads(line) for line in text.splitlines()]
    requests = [line for line in lines if line["logger"] == "attend.requests"]
    assert [(line["endpoint"], line["status"], line["outcome"]) for line in requests] == [
        ("translate", 200, "ok"), ("translate", 422, "client_error"), ("translate", 500, "server_error"),
    ]  # fmt: skip
    assert requests[0]["request_id"] == "mine"
    assert requests[0]["duration_ms"] > 0
    (defect,) = [line for line in lines if line["level"] == "error"]
    assert defect["request_id"] == "worse"
    assert "ZeroDivisionError: a defect" in defect["exception"]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT.*\+00:00", line["time"]) for line in lines)


def test_a_refusal_is_counted_and_logged_only_for_those_who_debug(
    loader: FakeLoader, caplog: pytest.LogCaptureFixture
) -> None:
    for level in (logging.INFO, logging.DEBUG):
        caplog.clear()
        caplog.set_level(level, "attend.requests")
        at_a_full_door(loader, "/translate", json=GOOD)
        lines = [record for record in caplog.records if getattr(record, "fields", {}).get("outcome") == "refused"]
        translations = [line for line in lines if line.fields["endpoint"] == "translate"]
        assert len(translations) == (1 if level == logging.DEBUG else 0)


def test_the_log_can_be_for_a_person(root_logger: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("warning", "text")
    logging.getLogger("attend").info("not this")
    logging.getLogger("attend").warning("this", extra={"fields": {"rows": 3}})
    assert capsys.readouterr().out.endswith("WARNING attend: this rows=3\n")
