"""HTTP around every endpoint: paths, HEAD, compression, other origins, a root path."""

from __future__ import annotations

import asyncio
import gzip
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from tests.service.fakes import FakeLoader, ask, make_app, running

GOOD = {"q": "I love you.", "source": "en", "target": "fr"}
READABLE = ["/", "/status", "/docs", "/languages", "/health", "/health/live", "/health/ready", "/metrics", "/spec",
            "/frontend/settings", "/openapi.json", "/web/js/main.js", "/v2", "/v2/health/ready"]  # fmt: skip


@pytest.mark.parametrize("path", ["/translate/", "//translate", "//translate//", "/translate//"])
def test_slashes_too_many_are_none(app: FastAPI, path: str) -> None:
    reply = ask(app, "POST", f"http://attend{path}", json=GOOD)
    assert (reply.status_code, reply.json()) == (200, {"translatedText": "I love you."})


@pytest.mark.parametrize("path", READABLE)
def test_head_is_get_without_the_body(app: FastAPI, path: str) -> None:
    async def scenario() -> tuple[httpx.Response, httpx.Response]:
        async with running(app) as client:
            return await client.get(path), await client.head(path)

    got, headed = asyncio.run(scenario())
    assert headed.status_code == got.status_code == 200
    assert headed.content == b""
    assert headed.headers["content-type"] == got.headers["content-type"]
    if path != "/metrics":  # which counts the requests between
        assert headed.headers.get("content-length") == got.headers.get("content-length")


def test_head_of_what_takes_only_post_is_405_without_a_body(app: FastAPI) -> None:
    reply = ask(app, "HEAD", "/translate")
    assert (reply.status_code, reply.content, reply.headers["allow"]) == (405, b"", "POST")


async def raw(app: FastAPI, method: str, path: str, **request: Any) -> tuple[httpx.Headers, bytes]:
    """Headers and body as they were sent."""
    async with running(app) as client, client.stream(method, path, **request) as reply:
        body = b"".join([chunk async for chunk in reply.aiter_raw()])
        return reply.headers, body


@pytest.mark.parametrize("count", [1, 200])
def test_replies_from_1_kib_on_are_compressed_for_who_takes_it(app: FastAPI, count: int) -> None:
    body = {**GOOD, "q": ["I love you."] * count}
    plain_headers, plain = asyncio.run(
        raw(app, "POST", "/translate", json=body, headers={"accept-encoding": "identity"})
    )
    headers, sent = asyncio.run(raw(app, "POST", "/translate", json=body, headers={"accept-encoding": "gzip, br"}))
    assert "content-encoding" not in plain_headers
    assert (headers.get("content-encoding") == "gzip") == (len(plain) >= 1024)
    assert (gzip.decompress(sent) if len(plain) >= 1024 else sent) == plain
    assert int(headers["content-length"]) == len(sent)


def test_pages_are_compressed_and_caches_know_it(app: FastAPI) -> None:
    headers, sent = asyncio.run(raw(app, "GET", "/web/js/main.js", headers={"accept-encoding": "gzip"}))
    assert (headers["content-encoding"], headers["vary"]) == ("gzip", "Accept-Encoding")
    assert b"import" in gzip.decompress(sent)


@pytest.mark.parametrize(
    ("setting", "origin", "allowed"),
    [
        ("*", "https://a.example", "*"),
        ("*", None, "*"),
        ("none", "https://a.example", None),
        ("https://a.example, https://b.example/", "https://b.example", "https://b.example"),
        ("https://a.example", "https://evil.example", None),
        ("https://a.example", None, None),
    ],
)
def test_origins_by_setting(loader: FakeLoader, setting: str, origin: str | None, allowed: str | None) -> None:
    headers = {"origin": origin} if origin else {}
    for method, path in (("OPTIONS", "/translate"), ("GET", "/languages"), ("GET", "/nowhere")):
        reply = ask(make_app(loader, cors_origins=setting), method, path, headers=headers)
        assert reply.headers.get("access-control-allow-origin") == allowed
        named = allowed not in (None, "*")
        assert (reply.headers.get("access-control-allow-credentials") == "true") == named
        assert ("Origin" in reply.headers.get("vary", "")) == (setting.startswith("https"))
        if allowed:
            assert "X-Request-ID" in reply.headers["access-control-allow-headers"]
            exposed = reply.headers["access-control-expose-headers"].split(", ")
            assert {"X-Request-ID", "Retry-After", "Server-Timing"} <= set(exposed)


@pytest.mark.parametrize("path", ["/base/translate", "/base/translate/", "/translate"])
def test_a_root_path_is_taken_away_if_the_proxy_does_not(loader: FakeLoader, path: str) -> None:
    assert ask(make_app(loader, root_path="/base"), "POST", path, json=GOOD).status_code == 200


def test_below_a_root_path_pages_and_files_are_there_too(loader: FakeLoader) -> None:
    app = make_app(loader, root_path="/a/b")
    for path in ("/a/b", "/a/b/", "/a/b/web/js/main.js", "/a/b/docs", "/a/b/openapi.json"):
        assert ask(app, "GET", path).status_code == 200
    assert ask(app, "GET", "/a/bc").status_code == 404
