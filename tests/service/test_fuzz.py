"""Whatever is sent, the answer is one of ours."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.vocabulary import Vocabulary
from tests.service.fakes import FakeLoader, make_app, running

SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20))
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4))
NAMES = (
    "q",
    "source",
    "target",
    "format",
    "alternatives",
    "beam_size",
    "length_penalty",
    "max_output_tokens",
    "api_key",
)
VALID = st.fixed_dictionaries({"q": st.text(min_size=1), "source": st.just("zh"), "target": st.just("en")})
BODIES = st.one_of(
    JSON,
    st.dictionaries(st.sampled_from(NAMES), JSON),
    st.builds(lambda valid, extra: valid | extra, VALID, st.dictionaries(st.sampled_from(NAMES[3:]), JSON, max_size=2)),
)
CODES = st.sampled_from([("zh", "en"), ("en", "zh"), ("fr", "en")])


Post = Callable[..., httpx.Response]


@pytest.fixture(scope="module")
def post(vocabulary: Vocabulary) -> Iterator[Post]:
    """POST /translate to one app that lives through all examples."""
    with asyncio.Runner() as runner:
        service = running(make_app(FakeLoader(vocabulary)))
        client = runner.run(_enter(service))
        yield lambda **request: runner.run(client.post("/translate", **request))
        runner.run(_leave(service))


async def _enter(service: AbstractAsyncContextManager[httpx.AsyncClient]) -> httpx.AsyncClient:
    return await service.__aenter__()


async def _leave(service: AbstractAsyncContextManager[httpx.AsyncClient]) -> None:
    await service.__aexit__(None, None, None)


@settings(max_examples=100, deadline=None)
@given(body=BODIES)
def test_any_json_is_answered_in_our_shape(post: Post, body: Any) -> None:
    # json.dumps writes NaN and Infinity, which are no JSON and must be refused, not understood.
    reply = post(content=json.dumps(body).encode(), headers={"content-type": "application/json"})
    assert reply.status_code in (200, 400, 422)
    assert ("translatedText" if reply.status_code == 200 else "error") in reply.json()
    assert "detail" not in reply.json()


@settings(max_examples=60, deadline=None)
@given(body=st.binary(max_size=200))
def test_any_bytes_are_answered_in_our_shape(post: Post, body: bytes) -> None:
    reply = post(content=body)
    assert (reply.status_code, list(reply.json())) in ((400, ["error"]), (422, ["error"]))


@settings(max_examples=100, deadline=None)
@given(text=st.text(min_size=1, max_size=300), pair=CODES)
def test_any_text_is_translated(post: Post, text: str, pair: tuple[str, str]) -> None:
    source, target = pair
    reply = post(json={"q": [text, "a"], "source": source, "target": target})
    assert reply.status_code == 200
    assert len(reply.json()["translatedText"]) == 2
