"""Every refusal: its status and its exact words."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from model.vocabulary import Vocabulary
from service.engine.types import Hypothesis, Job
from tests.service.fakes import FakeLoader, ask, echo, make_app, running, samples, scope_of, translate

GOOD = {"q": "好！", "source": "zh", "target": "en"}
MISSING = "Invalid request: missing {} parameter"
NOT_A_NUMBER = "Invalid request: alternatives parameter is not a number"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"q": None}, MISSING.format("q")),
        ({"q": ""}, MISSING.format("q")),
        ({"q": []}, MISSING.format("q")),
        ({"source": ""}, MISSING.format("source")),
        ({"source": None}, MISSING.format("source")),
        ({"target": ""}, MISSING.format("target")),
        ({"q": 5}, "Invalid request: q parameter must be a string or an array of strings"),
        ({"q": {"a": 1}}, "Invalid request: q parameter must be a string or an array of strings"),
        (
            {"q": ["a", ["b"]]},
            "Invalid request: q parameter must be a string or an array of strings; item 1 is an array",
        ),
        ({"q": [None, 5]}, "Invalid request: q parameter must be a string or an array of strings; item 0 is null"),
        ({"source": 1}, "Invalid request: source parameter must be a string"),
        ({"target": ["en"]}, "Invalid request: target parameter must be a string"),
        ({"alternatives": "abc"}, NOT_A_NUMBER),
        ({"alternatives": []}, NOT_A_NUMBER),
        ({"alternatives": True}, NOT_A_NUMBER),
        ({"alternatives": 1.5}, NOT_A_NUMBER),
        ({"alternatives": 8}, "Invalid request: alternatives parameter must be <= 7"),
        ({"alternatives": 10**30}, "Invalid request: alternatives parameter must be <= 7"),
        ({"format": "rtf"}, "rtf format is not supported"),
        ({"format": 3}, "3 format is not supported"),
        ({"source": "zz"}, "zz is not supported"),
        ({"target": "Q" * 100}, f"{'Q' * 60}... is not supported"),
        ({"target": "fr"}, "French (fr) is not available as a target language from Chinese (zh)"),
        ({"q": ["好"] * 4}, "Invalid request: request (4) exceeds text limit (3)"),
        ({"q": "好" * 51}, "Invalid request: request (51) exceeds text limit (50)"),
        ({"q": ["好" * 30, "好" * 30]}, "Invalid request: request (60) exceeds text limit (50)"),
    ],
)
def test_what_libretranslate_refuses_is_400(loader: FakeLoader, change: dict[str, Any], message: str) -> None:
    reply = translate(make_app(loader, max_texts=3, max_characters=50), {**GOOD, **change})
    assert (reply.status_code, reply.json()["error"]) == (400, message)


@pytest.mark.parametrize("field", ["q", "source", "target"])
def test_an_absent_field_is_named(app: FastAPI, field: str) -> None:
    reply = translate(app, {name: value for name, value in GOOD.items() if name != field})
    assert (reply.status_code, reply.json()) == (400, {"error": MISSING.format(field)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"beam_size": 0}, "beam_size must be an integer from 1 to 8"),
        ({"beam_size": 9}, "beam_size must be an integer from 1 to 8"),
        ({"beam_size": "4"}, "beam_size must be an integer from 1 to 8"),
        ({"beam_size": True}, "beam_size must be an integer from 1 to 8"),
        ({"length_penalty": -0.1}, "length_penalty must be a number from 0 to 5"),
        ({"length_penalty": "1"}, "length_penalty must be a number from 0 to 5"),
        ({"max_output_tokens": 0}, "max_output_tokens must be a positive integer"),
        ({"max_output_tokens": 91}, "max_output_tokens must be at most 90, the limit of this model"),
        ({"min_output_tokens": 91}, "min_output_tokens must be at most 90, the limit of this model"),
        ({"min_output_tokens": 0}, "min_output_tokens must be a positive integer"),
        (
            {"min_output_tokens": 9, "max_output_tokens": 8},
            "min_output_tokens must not be larger than max_output_tokens",
        ),
        ({"repetition_penalty": 0.9}, "repetition_penalty must be a number from 1 to 10"),
        ({"repetition_penalty": "2"}, "repetition_penalty must be a number from 1 to 10"),
        ({"no_repeat_ngram_size": -1}, "no_repeat_ngram_size must be an integer from 0 to 100"),
        ({"no_repeat_ngram_size": 1.5}, "no_repeat_ngram_size must be an integer from 0 to 100"),
        ({"strict": 1}, "strict must be true or false"),
        ({"on_error": "ignore"}, "on_error must be 'fail' or 'item'"),
        ({"target_prefix": 5}, "target_prefix must be a string of at most 1000 characters"),
        ({"target_prefix": "a" * 1001}, "target_prefix must be a string of at most 1000 characters"),
        ({"details": 1}, "details must be true or false"),
        ({"timeout_ms": 0}, "timeout_ms must be a positive integer"),
        ({"timeout_ms": 60_001}, "timeout_ms must be at most 60000, the limit of this service"),
        ({"beam_size": 7}, "beam_size must be at most 6, the limit of this service"),
        (
            {"frmat": "text", "strict_fields": True},
            "unknown field 'frmat'; the fields are q, source, target, format, alternatives, api_key, secret, "
            "beam_size, length_penalty, repetition_penalty, no_repeat_ngram_size, min_output_tokens, "
            "max_output_tokens, strict, strict_fields, on_error, timeout_ms, target_prefix, html_attributes, "
            "glossary, do_not_translate, model, details, alignment, attention",
        ),
    ],
)
def test_our_own_and_unknown_fields_are_422(loader: FakeLoader, change: dict[str, Any], message: str) -> None:
    app = make_app(loader, max_timeout_ms=60_000, max_beam_size=6, max_alternatives=5)
    reply = translate(app, {**GOOD, **change})
    assert (reply.status_code, reply.json()) == (422, {"error": message})


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b'"text"', b"null", b"5", b"\xff\xfe\xfd", b'{"q": NaN}', b'{"length_penalty": -Infinity}',
        b"[" * 100_000, b'{"q":' * 50_000, b'{"beam_size": ' + b"9" * 5000 + b"}",
    ],
)  # fmt: skip
def test_what_is_no_json_object_is_400(app: FastAPI, body: bytes) -> None:
    reply = ask(app, "POST", "/translate", content=body, headers={"content-type": "application/json"})
    assert (reply.status_code, reply.json()) == (400, {"error": "Invalid JSON format"})


@pytest.mark.parametrize("field", ["q", "source", "target"])
def test_half_a_surrogate_pair_is_no_text(app: FastAPI, field: str) -> None:
    body = json.dumps({**GOOD, field: "a\ud800b"})
    reply = ask(app, "POST", "/translate", content=body, headers={"content-type": "application/json"})
    message = f"Invalid request: {field} parameter holds half a surrogate pair, which is no text"
    assert (reply.status_code, reply.json()) == (400, {"error": message})


def nested(depth: int) -> bytes:
    """A body of that many containers inside one another."""
    return b'{"format": ' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"


def test_a_body_nested_too_deep_is_400(loader: FakeLoader) -> None:
    app = make_app(loader, max_json_depth=8)
    message = "Invalid request: the body is nested deeper than 8 levels"
    for depth in (9, 200, 900):
        reply = ask(app, "POST", "/translate", content=nested(depth))
        assert (reply.status_code, reply.json()) == (400, {"error": message})
    assert "nested" not in ask(app, "POST", "/translate", content=nested(8)).json()["error"]


def test_a_body_of_too_many_values_is_400_before_it_is_parsed(loader: FakeLoader) -> None:
    app = make_app(loader, max_texts=3, max_characters=50)
    reply = ask(app, "POST", "/translate", content=b'{"q": [' + b"[]," * 200 + b"]")  # and no JSON
    message = "Invalid request: request (200 values) exceeds text limit (153 values)"
    assert (reply.status_code, reply.json()) == (400, {"error": message})


def test_more_tokens_than_allowed_are_400(loader: FakeLoader) -> None:
    app = make_app(loader, max_tokens=20)
    assert translate(app, {**GOOD, "q": "好！"}).status_code == 200
    reply = translate(app, {**GOOD, "q": ["好！"] * 6})
    tokens = len(loader.vocabulary.encode_source("好！", "en"))
    assert reply.json() == {"error": f"Invalid request: request ({6 * tokens} tokens) exceeds text limit (20 tokens)"}
    assert reply.status_code == 400


def test_a_client_that_hangs_up_before_its_body_is_there_gets_no_500(
    loader: FakeLoader, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> dict[str, float]:
        app = make_app(loader)
        async with running(app) as client:
            await app(scope_of(b"/translate"), _hung_up, _nobody)
            return samples((await client.get("/metrics")).text)

    counted = asyncio.run(scenario())
    assert counted['attend_requests_total{endpoint="translate",outcome="cancelled"}'] == 1
    assert "failed" not in caplog.text


async def _hung_up() -> dict[str, Any]:
    return {"type": "http.disconnect"}


async def _nobody(message: Any) -> None:
    pass


def test_a_body_that_does_not_come_is_408(loader: FakeLoader) -> None:
    async def trickle() -> Any:
        yield b'{"q": '
        await asyncio.sleep(30)

    async def scenario() -> httpx.Response:
        async with running(make_app(loader, body_timeout_ms=20)) as client:
            return await client.post("/translate", content=trickle())

    reply = asyncio.run(scenario())
    assert (reply.status_code, reply.json()) == (408, {"error": "the request body did not arrive within 20 ms"})
    assert reply.headers["connection"] == "close"


def test_half_a_surrogate_pair_in_an_array_is_no_text(app: FastAPI) -> None:
    body = json.dumps({**GOOD, "q": ["fine", "a\ud800b"]})
    reply = ask(app, "POST", "/translate", content=body, headers={"content-type": "application/json"})
    message = "Invalid request: q parameter holds half a surrogate pair, which is no text, in item 1"
    assert (reply.status_code, reply.json()) == (400, {"error": message})


def test_half_a_surrogate_pair_in_a_message_is_replaced(app: FastAPI) -> None:
    for change, status in (({"format": "\udfff"}, 400), ({"\udfff": 1, "strict_fields": True}, 422)):
        body = json.dumps({**GOOD, **change})
        reply = ask(app, "POST", "/translate", content=body, headers={"content-type": "application/json"})
        assert reply.status_code == status
        assert "?" in reply.json()["error"]


@pytest.mark.parametrize("content_type", ["text/plain", "application/xml", "image/png"])
def test_other_content_types_are_415(app: FastAPI, content_type: str) -> None:
    reply = ask(app, "POST", "/translate", content=b"q=a", headers={"content-type": content_type})
    message = f"cannot read {content_type}; send JSON, application/x-www-form-urlencoded or multipart/form-data"
    assert (reply.status_code, reply.json()) == (415, {"error": message})


def test_unknown_paths_and_methods(app: FastAPI) -> None:
    reply = ask(app, "GET", "/nowhere")
    assert (reply.status_code, reply.json()) == (
        404,
        {"error": "GET /nowhere: no such endpoint; /docs describes those there are"},
    )
    reply = ask(app, "GET", "/translate")
    assert (reply.status_code, reply.json()) == (405, {"error": "GET /translate: this endpoint takes POST"})
    assert reply.headers["allow"] == "POST"
    assert ask(app, "POST", "/languages").json() == {"error": "POST /languages: this endpoint takes GET"}
    assert ask(app, "GET", "/docs/nothing.js").status_code == 404


def test_a_body_that_declares_too_much_is_413(loader: FakeLoader) -> None:
    reply = translate(make_app(loader, max_body_bytes=1024), {**GOOD, "q": "a" * 2000})
    assert (reply.status_code, reply.json()) == (413, {"error": "the request body is larger than 1024 bytes"})


def test_an_endless_body_is_413_without_reading_it_all(loader: FakeLoader) -> None:
    sent = 0

    async def endless() -> Any:
        nonlocal sent
        while True:
            sent += 1000
            yield b"a" * 1000

    async def scenario() -> int:
        async with running(make_app(loader, max_body_bytes=10_000)) as client:
            reply = await client.post("/translate", content=endless(), headers={"content-type": "application/json"})
            return reply.status_code

    assert asyncio.run(scenario()) == 413
    assert sent < 20_000


def test_an_engine_failure_is_500_with_an_id_for_its_own_request_only(
    vocabulary: Vocabulary, caplog: pytest.LogCaptureFixture
) -> None:
    def answer(job: Job) -> tuple[Hypothesis, ...]:
        if "tea" in vocabulary.decode(job.source_ids):
            raise RuntimeError("secret detail")
        return echo(job)

    async def scenario() -> tuple[Any, ...]:
        async with running(make_app(FakeLoader(vocabulary, answer=answer))) as client:
            pair = {"source": "en", "target": "fr"}
            bodies = [{"q": ["I love you.", "You like tea."], **pair}, {"q": "You love me.", **pair}]
            return tuple(await asyncio.gather(*(client.post("/translate", json=body) for body in bodies)))

    failed, fine = asyncio.run(scenario())
    assert (fine.status_code, fine.json()) == (200, {"translatedText": "You love me."})
    assert failed.status_code == 500
    request_id = failed.headers["x-request-id"]
    assert fine.headers["x-request-id"] != request_id
    assert re.fullmatch("[0-9a-f]{32}", request_id)
    assert failed.json() == {"error": f"internal error, logged with id {request_id}"}
    assert f"request {request_id} failed" in caplog.text
    assert "secret detail" in caplog.text


@pytest.mark.parametrize("path", ["/translate", "/nowhere", "/languages"])
def test_every_reply_allows_other_origins(app: FastAPI, path: str) -> None:
    for method in ("POST", "OPTIONS"):
        headers = ask(app, method, path).headers
        assert {name: headers[f"access-control-{name}"] for name in (
            "allow-origin", "allow-headers", "expose-headers", "allow-methods", "max-age"
        )} == {
            "allow-origin": "*",
            "allow-headers": "Authorization, Content-Type, X-Request-ID, Inference-Header-Content-Length",
            "expose-headers": "Authorization, X-Request-ID, Retry-After, RateLimit-Limit, RateLimit-Remaining, "
            "RateLimit-Reset, Server-Timing, "
            "Inference-Header-Content-Length",
            "allow-methods": "GET, HEAD, POST",
            "max-age": "1728000",
        }  # fmt: skip
        # With `*` browsers would refuse it, and who asks with a cookie of another site must not be answered.
        assert "access-control-allow-credentials" not in headers


def test_a_preflight_request_is_answered(app: FastAPI) -> None:
    assert ask(app, "OPTIONS", "/translate").status_code == 204
