"""However a request is packed, it is read alike; what cannot be read is refused in one sentence."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import given, settings
from hypothesis import strategies as st

from model.vocabulary import Vocabulary
from tests.service.fakes import FakeLoader, ask, make_app, running

Post = Callable[..., httpx.Response]
FORM = {"content-type": "application/x-www-form-urlencoded"}
GOOD = {"q": "I love you. 100%&=+é 好", "source": "en", "target": "fr"}


@pytest.fixture(scope="module")
def post(vocabulary: Vocabulary) -> Iterator[Post]:
    """POST to one app that lives through all tests."""
    with asyncio.Runner() as runner:
        service = running(make_app(FakeLoader(vocabulary)))
        client = runner.run(service.__aenter__())
        yield lambda path="/translate", **request: runner.run(client.post(path, **request))
        runner.run(service.__aexit__(None, None, None))


def raw_deflate(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(body) + packer.flush()


def packed(fields: dict[str, str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The same fields in every way that a client may send them."""
    body, form = json.dumps(fields).encode(), urlencode(fields, errors="surrogatepass").encode()
    json_type = {"content-type": "application/json"}
    yield "json", {"json": fields}
    yield "json with a charset", {"content": body, "headers": {"content-type": "application/json; charset=utf-8"}}
    yield "json of another kind", {"content": body, "headers": {"content-type": "application/vnd.api+json"}}
    yield "json without a type", {"content": body}
    yield "json that curl -d declares a form", {"content": body, "headers": FORM}
    yield "json as text", {"content": body, "headers": {"content-type": "text/plain;charset=UTF-8"}}
    yield "form", {"content": form, "headers": FORM}
    yield "form without a type", {"content": form}
    yield "multipart", {"files": {name: (None, value.encode()) for name, value in fields.items()}}
    yield "query", {"params": fields}
    yield "query and a form", {"params": {"q": fields["q"]}, "data": {"source": "en", "target": "fr"}}
    yield "gzip", {"content": gzip.compress(body), "headers": {**json_type, "content-encoding": "gzip"}}
    yield "deflate", {"content": zlib.compress(body), "headers": {**json_type, "content-encoding": "deflate"}}
    yield "raw deflate", {"content": raw_deflate(body), "headers": {**json_type, "content-encoding": "deflate"}}
    yield "gzip form", {"content": gzip.compress(form), "headers": {**FORM, "content-encoding": "x-gzip"}}


@settings(max_examples=25, deadline=None)
@given(text=st.text(min_size=1, max_size=60).filter(lambda text: text.strip()))
def test_a_text_is_the_same_text_however_it_is_sent(post: Post, text: str) -> None:
    fields = {"q": text, "source": "en", "target": "fr"}
    replies = {kind: post(**request) for kind, request in packed(fields)}
    wanted = replies["json"].json()
    assert {kind: (reply.status_code, reply.json()) for kind, reply in replies.items()} == dict.fromkeys(
        replies, (200, wanted)
    )


@pytest.mark.parametrize("kind", [kind for kind, _ in packed(GOOD)])
@pytest.mark.parametrize(
    ("change", "status", "message"),
    [
        ({"q": ""}, 400, "Invalid request: missing q parameter"),
        ({"target": ""}, 400, "Invalid request: missing target parameter"),
        ({"source": "zz"}, 400, "zz is not supported"),
        ({"target": "xx-YY"}, 400, "xx-YY is not supported"),
    ],
)
def test_the_same_is_refused_in_the_same_words(
    post: Post, kind: str, change: dict[str, str], status: int, message: str
) -> None:
    fields = {**GOOD, **change}
    request = dict(packed(fields))[kind]
    if kind == "query and a form":
        request = {"params": {"q": fields["q"]}, "data": {name: fields[name] for name in ("source", "target")}}
    reply = post(**request)
    assert (reply.status_code, reply.json()["error"]) == (status, message)


def test_a_form_says_numbers_and_truth_values_in_letters(post: Post) -> None:
    sent = {
        **GOOD,
        "q": "I love you.",
        "alternatives": "2",
        "beam_size": "4",
        "details": "true",
        "length_penalty": "0.5",
    }
    in_json = {**sent, "alternatives": 2, "beam_size": 4, "details": False, "length_penalty": 0.5}
    reply = post(data={**sent, "details": "false", "timeout_ms": "", "strict": "", "api_key": ""})
    assert (reply.status_code, reply.json()) == (200, post(json=in_json).json())
    assert post(data={**sent, "beam_size": "many"}).json() == {"error": "beam_size must be an integer from 1 to 8"}
    assert post(data={**sent, "beam_size": "1e400"}).status_code == 422
    assert post(data={**sent, "length_penalty": "NaN"}).status_code == 422
    assert post(data={**sent, "alternatives": "abc"}).status_code == 400


def test_a_text_that_looks_like_a_number_stays_a_text(post: Post) -> None:
    for text in ("12", "true", "null", '["a"]', '{"a": 1'):
        assert post(data={**GOOD, "q": text}).json()["translatedText"] is not None
        assert isinstance(post(data={**GOOD, "q": text}).json()["translatedText"], str)


def test_a_field_that_a_form_names_twice_is_an_array(post: Post) -> None:
    reply = post(data={**GOOD, "q": ["I love you.", "You love me."]})
    assert reply.json() == {"translatedText": ["I love you.", "You love me."]}
    reply = post(data={**GOOD, "source": ["en", "fr"]})
    assert (reply.status_code, reply.json()) == (400, {"error": "Invalid request: source parameter must be a string"})


def test_line_breaks_of_a_form_come_back_as_they_were(post: Post) -> None:
    assert post(data={**GOOD, "q": "I love you.\r\nI love you.\n"}).json() == {
        "translatedText": "I love you.\r\nI love you.\n"
    }


@pytest.mark.parametrize(
    ("request_", "status", "message"),
    [
        ({"content": b"q=%ff&source=en&target=fr", "headers": FORM}, 400, "Invalid request: the form is not UTF-8"),
        ({"content": b"q=\xff&source=en&target=fr", "headers": FORM}, 400, "Invalid request: the form is not UTF-8"),
        ({"content": b"&".join([b"q=a"] * 1101), "headers": FORM}, 400, "exceeds text limit (1100 fields)"),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data"}}, 400, "Missing boundary"),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data; boundary=b"}}, 400, "Invalid request: "),
        ({"content": b"{}", "headers": {"content-encoding": "br"}}, 415, "cannot read Content-Encoding: br; send"),
        ({"content": b"{}", "headers": {"content-encoding": "gzip"}}, 400, "the body is not gzip"),
        ({"content": gzip.compress(b"{}")[:-4], "headers": {"content-encoding": "gzip"}}, 400, "the body is not gzip"),
        ({"content": b"{}", "headers": {"content-encoding": "deflate"}}, 400, "the body is not deflate"),
        ({"content": b'{"q": '}, 400, "Invalid JSON format"),
        ({"content": b"[1]", "headers": FORM}, 400, "Invalid JSON format"),
    ],
)
def test_what_cannot_be_read_is_refused(post: Post, request_: dict[str, Any], status: int, message: str) -> None:
    reply = post(**request_)
    assert reply.status_code == status
    assert message in reply.json()["error"]


@settings(max_examples=60, deadline=None)
@given(body=st.binary(max_size=300), kind=st.sampled_from(
    [*FORM.values(), "multipart/form-data; boundary=b", "application/json", "text/plain", ""]
), encoding=st.sampled_from(["", "gzip", "deflate", "br"]))  # fmt: skip
def test_any_bytes_are_answered(post: Post, body: bytes, kind: str, encoding: str) -> None:
    if kind.startswith("multipart"):
        body = b"--b\r\n" + body + b"\r\n--b--\r\n"
    reply = post(content=body, headers={"content-type": kind, "content-encoding": encoding})
    assert reply.status_code in (400, 415)
    assert list(reply.json()) == ["error"]


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_body_that_unpacks_to_too_much_is_413_and_not_unpacked(loader: FakeLoader, encoding: str) -> None:
    bomb = b" " * 50_000_000
    content = gzip.compress(bomb) if encoding == "gzip" else zlib.compress(bomb)
    app = make_app(loader, max_body_bytes=100_000)
    reply = ask(app, "POST", "/translate", content=content, headers={"content-encoding": encoding})
    assert (reply.status_code, reply.json()) == (413, {"error": "the request body is larger than 100000 bytes"})


def test_a_body_of_several_gzip_members_is_one_body(app: FastAPI) -> None:
    body = json.dumps(GOOD).encode()
    content = gzip.compress(body[:9]) + gzip.compress(body[9:])
    assert ask(app, "POST", "/translate", content=content, headers={"content-encoding": "gzip"}).status_code == 200


@pytest.mark.parametrize(
    "ignored", [{"api_key": None}, {"api_key": ""}, {"api_key": 5}, {"apiKey": "x"}, {"secret": []}]
)
def test_keys_are_ignored(app: FastAPI, ignored: dict[str, Any]) -> None:
    reply = ask(app, "POST", "/translate", json={**GOOD, "q": "I love you.", **ignored})
    assert reply.json() == {"translatedText": "I love you."}


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        ("beamsize", "beam_size"), ("beamSize", "beam_size"), ("beam-size", "beam_size"), ("beam_sizes", "beam_size"),
        ("bean_size", "beam_size"), ("beam_szie", "beam_size"), ("timeout", None), ("timeoutms", "timeout_ms"),
        ("detials", "details"), ("on_eror", "on_error"), ("colour", None), ("x", None), ("strickt", "strict"),
    ],
)  # fmt: skip
def test_a_field_that_is_nearly_ours_is_named(app: FastAPI, sent: str, meant: str | None) -> None:
    reply = ask(app, "POST", "/translate", json={**GOOD, "q": "I love you.", sent: 4})
    note = {"warnings": [{"field": sent, "nearest": meant, "warning": "unknown_field"}]} if meant else {}
    assert (reply.status_code, reply.json()) == (200, {"translatedText": "I love you.", **note})


def test_unknown_fields_are_refused_if_that_is_asked_for_or_set(loader: FakeLoader) -> None:
    body = {**GOOD, "colour": "red"}
    assert ask(make_app(loader), "POST", "/translate", json=body).status_code == 200
    assert ask(make_app(loader), "POST", "/translate", json={**body, "strict_fields": True}).status_code == 422
    app = make_app(loader, strict_fields=True)
    reply = ask(app, "POST", "/translate", json=body)
    assert reply.status_code == 422
    assert reply.json()["error"].startswith("unknown field 'colour'; the fields are q, source, target, ")
    assert ask(app, "POST", "/translate", json={**body, "strict_fields": False}).status_code == 200


def test_an_item_that_is_no_text_fails_alone_if_that_is_asked_for(app: FastAPI) -> None:
    texts = ["I love you.", None, "a\ud800", 5, "You love me."]
    body = json.dumps({**GOOD, "q": texts, "on_error": "item"})
    reply = ask(app, "POST", "/translate", content=body).json()
    assert reply["translatedText"] == ["I love you.", None, None, None, "You love me."]
    assert [each["index"] for each in reply["errors"]] == [1, 2, 3]
    assert "item 1 is null" in reply["errors"][0]["error"]
    assert "half a surrogate pair" in reply["errors"][1]["error"]


def test_only_bad_items_are_still_an_answer(app: FastAPI) -> None:
    reply = ask(app, "POST", "/translate", json={**GOOD, "q": [None], "on_error": "item"})
    assert (reply.status_code, reply.json()["translatedText"]) == (200, [None])
