"""The contracts beside LibreTranslate's: what each sends, what it gets, and how it hears of an error."""

from __future__ import annotations

import json
import struct
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from service.settings import Settings
from tests.service.fakes import FakeLoader, ask, make_app

# The engine gives back what it read, so every text is its own translation.
EN, FR, ZH = "The weather is nice today.", "Il fait beau aujourd'hui.", "今天天气很好"


def post(app: FastAPI, path: str, **request: Any) -> httpx.Response:
    return ask(app, "POST", path, **request)


# --- DeepL


@pytest.mark.parametrize("as_form", [False, True])
def test_deepl_translates_each_text_from_its_own_language(app: FastAPI, as_form: bool) -> None:
    body = {"text": [FR, ZH, EN], "target_lang": "EN-US"}
    reply = post(app, "/v2/translate", **({"data": body} if as_form else {"json": body}))
    assert (reply.status_code, reply.json()) == (
        200,
        {
            "translations": [
                {"detected_source_language": "FR", "text": FR},
                {"detected_source_language": "ZH", "text": ZH},
                {"detected_source_language": "EN", "text": EN},
            ]
        },
    )


def test_deepl_accepts_what_changes_nothing(app: FastAPI) -> None:
    body = {
        "text": [FR], "source_lang": "FR", "target_lang": "EN-GB", "context": "A letter.",
        "split_sentences": "nonewlines", "preserve_formatting": True, "formality": "prefer_less",
        "model_type": "latency_optimized", "show_billed_characters": True, "glossary_id": None,
    }  # fmt: skip
    reply = post(app, "/v2/translate", json=body, headers={"authorization": "DeepL-Auth-Key any"})
    assert reply.json() == {
        "translations": [{"detected_source_language": "FR", "text": FR, "billed_characters": len(FR)}]
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text": None}, "Invalid request: missing text parameter"),
        ({"text": []}, "Invalid request: missing text parameter"),
        ({"text": ["a", 5]}, "item 1 is a number"),
        ({"target_lang": None}, "Invalid request: missing target_lang parameter"),
        ({"target_lang": "XX"}, "XX is not supported"),
        ({"source_lang": "ZH", "target_lang": "FR"}, "French (fr) is not available as a target language"),
        ({"tag_handling": "sgml"}, "tag_handling must be xml or html"),
        ({"formality": "more"}, "formality is not supported by this service"),
        ({"glossary_id": "abc"}, "glossary_id is not supported by this service"),
        ({"custom_instructions": ["Be kind."]}, "custom_instructions is not supported by this service"),
    ],
)
def test_deepl_hears_of_errors_in_its_shape(app: FastAPI, change: dict[str, Any], message: str) -> None:
    reply = post(app, "/v2/translate", json={"text": [FR], "source_lang": "FR", "target_lang": "EN", **change})
    assert (reply.status_code, list(reply.json())) == (400, ["message"])
    assert message in reply.json()["message"]


@pytest.mark.parametrize(("path", "status"), [("/v2/translate", 405), ("/v2/languages?type=x", 400)])
def test_deepl_hears_of_other_errors_in_its_shape_too(app: FastAPI, path: str, status: int) -> None:
    reply = ask(app, "GET", path)
    assert (reply.status_code, list(reply.json())) == (status, ["message"])


def test_deepl_of_a_body_too_large(loader: FakeLoader) -> None:
    reply = post(make_app(loader, max_body_bytes=1024), "/v2/translate", json={"text": ["a" * 2000]})
    assert (reply.status_code, list(reply.json())) == (413, ["message"])


def test_deepl_languages_and_usage(app: FastAPI) -> None:
    sources, targets = (ask(app, "GET", "/v2/languages", params={"type": kind}).json() for kind in ("source", "target"))
    assert {"language": "ZH-HANT", "name": "Chinese (traditional)"} in sources
    assert {"language": "EN", "name": "English", "supports_formality": False} in targets
    assert ask(app, "GET", "/v2/languages").json() == sources
    usage = ask(app, "GET", "/v2/usage").json()
    assert usage["character_count"] < usage["character_limit"]


# --- Open Inference Protocol


def tensor(name: str, *texts: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "datatype": "BYTES", "shape": [len(texts)], "data": list(texts), **more}


def packed(*texts: str) -> bytes:
    return b"".join(struct.pack("<I", len(text.encode())) + text.encode() for text in texts)


def infer(app: FastAPI, **body: Any) -> httpx.Response:
    return post(app, "/v2/models/tiny/infer", json=body)


def test_infer_in_json(app: FastAPI) -> None:
    reply = infer(app, id="7", inputs=[tensor("text", EN, ""), tensor("source", "en"), tensor("target", "fr")])
    assert (reply.status_code, reply.json()) == (
        200,
        {
            "model_name": "tiny",
            "model_version": "7",
            "id": "7",
            "outputs": [{"name": "translation", "datatype": "BYTES", "shape": [2], "data": [EN, ""]}],
        },
    )


@pytest.mark.parametrize("data", [[[EN, FR], [ZH, EN]], [EN, FR, ZH, EN]])
def test_nested_data_and_any_shape(app: FastAPI, data: list[Any]) -> None:
    inputs = [{"name": "text", "datatype": "BYTES", "shape": [2, 2], "data": data}]
    output = infer(app, inputs=inputs, parameters={"target": "en"}).json()["outputs"][0]
    assert (output["shape"], output["data"]) == ([2, 2], [EN, FR, ZH, EN])


def test_infer_in_binary(app: FastAPI) -> None:
    texts = packed(ZH, EN)
    inputs = [
        {"name": "text", "datatype": "BYTES", "shape": [2], "parameters": {"binary_data_size": len(texts)}},
        {"name": "target", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 6}},
    ]
    header = httpx.Request(
        "POST", "http://x", json={"inputs": inputs, "parameters": {"binary_data_output": True}}
    ).content
    reply = post(
        app, "/v2/models/tiny/versions/7/infer", content=header + texts + packed("en"),
        headers={"Inference-Header-Content-Length": str(len(header))},
    )  # fmt: skip
    assert reply.status_code == 200
    length = int(reply.headers["inference-header-content-length"])
    assert reply.content[length:] == packed(ZH, EN)
    assert f'"binary_data_size": {len(texts)}'.encode() in reply.content[:length]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "inputs must be an array of objects"),
        ({"inputs": [5]}, "inputs must be an array of objects"),
        ({"inputs": []}, "input 'text' is missing"),
        ({"inputs": [tensor("words", "a")]}, "unknown input; the inputs are text, source, target"),
        ({"inputs": [tensor("text", "a", datatype="INT64")]}, "datatype of input 'text' must be BYTES"),
        ({"inputs": [tensor("text", "a", shape=[2])]}, "input 'text' has 1 elements, but its shape says 2"),
        ({"inputs": [tensor("text", "a", shape=[-1])]}, "shape of input 'text' must be an array of sizes"),
        ({"inputs": [tensor("text", "a", data=[5])]}, "data of input 'text' must be an array of strings"),
        ({"inputs": [tensor("text", "a")]}, "'target' must be a language code, as an input or a parameter"),
        ({"inputs": [tensor("text", "a"), tensor("target", "en", "fr")]}, "input 'target' must have one element"),
        ({"inputs": [tensor("text", "a"), tensor("target", "xx")]}, "xx is not supported"),
        ({"inputs": [tensor("text", "a", parameters={"binary_data_size": 9})]}, "binary_data_size of input 'text'"),
        ({"inputs": [tensor("text", "a"), tensor("target", "en")], "outputs": [{"name": "x"}]}, "unknown output"),
        ({"inputs": [tensor("text", "a"), tensor("target", "en")], "parameters": {"timeout": "x"}}, "'timeout' must"),
        ({"inputs": [tensor("text", "a")], "parameters": 5}, "parameters must be an object"),
    ],
)  # fmt: skip
def test_what_infer_refuses(app: FastAPI, body: dict[str, Any], message: str) -> None:
    reply = infer(app, **body)
    assert reply.status_code == 400
    assert message in reply.json()["error"]


@pytest.mark.parametrize("tail", [b"\x05\x00", b"\x05\x00\x00\x00ab", b"\x01\x00\x00\x00\xff"])
def test_damaged_bytes_are_refused(app: FastAPI, tail: bytes) -> None:
    inputs = [{"name": "text", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": len(tail)}}]
    header = httpx.Request("POST", "http://x", json={"inputs": inputs, "parameters": {"target": "en"}}).content
    for length in (str(len(header)), "99999", "x"):
        headers = {"Inference-Header-Content-Length": length}
        reply = post(app, "/v2/models/tiny/infer", content=header + tail, headers=headers)
        assert (reply.status_code, list(reply.json())) == (400, ["error"])


def test_the_model_and_the_server_describe_themselves(app: FastAPI) -> None:
    assert ask(app, "GET", "/v2").json()["extensions"] == ["binary_tensor_data"]
    assert ask(app, "GET", "/v2/health/live").json() == {"live": True}
    assert ask(app, "GET", "/v2/health/ready").json() == {"ready": True, "live": True}
    for path in ("/v2/models/tiny", "/v2/models/tiny/versions/7"):
        assert [each["name"] for each in ask(app, "GET", path).json()["inputs"]] == ["text", "source", "target"]
        assert ask(app, "GET", f"{path}/ready").json() == {"name": "tiny", "ready": True}
    for path in ("/v2/models/other", "/v2/models/tiny/versions/8", "/v2/models/other/ready"):
        reply = ask(app, "GET", path)
        assert (reply.status_code, reply.json()) == (404, {"error": "no such model; there is tiny, version 7"})
    assert post(app, "/v2/repository/index").json()[0]["state"] == "READY"


# --- browser extensions and desktop tools


def test_immersive_translate_sends_a_whole_page(app: FastAPI) -> None:
    texts = [FR, ZH, "", "{0}", f"{{0}}{FR}{{1}}", f"<b0>{FR}</b0> <b1></b1>", EN]
    reply = post(app, "/imme", json={"source_lang": "auto", "target_lang": "en", "text_list": texts})
    assert reply.status_code == 200
    assert [each["text"] for each in reply.json()["translations"]] == texts
    assert [each["detected_source_lang"] for each in reply.json()["translations"]] == [
        "fr", "zh-CN", "en", "en", "fr", "fr", "en",
    ]  # fmt: skip
    assert reply.headers["access-control-allow-origin"] == "*"
    assert post(app, "/imme", json={"source_lang": "auto", "target_lang": "en", "text_list": []}).json() == {
        "translations": []
    }


def test_placeholders_never_reach_the_model(loader: FakeLoader) -> None:
    app = make_app(loader)
    text = f"{{12}} {FR} <b3>{FR}</b3>[4]"
    for path, body in (
        ("/imme", {"source_lang": "fr", "target_lang": "en", "text_list": [text]}),
        ("/kiss", {"from": "fr", "to": "en", "text": text}),
        ("/deeplx/translate", {"source_lang": "fr", "target_lang": "en", "text": text}),
    ):
        assert json.dumps(text, ensure_ascii=False)[1:-1] in post(app, path, json=body).text
        sent = {loader.vocabulary.decode(job.source_ids) for job in loader.engine.submitted}
        assert sent
        assert not any(mark in each for each in sent for mark in "{}<>[]")


def test_kiss_translator_sends_one_or_several(app: FastAPI) -> None:
    assert post(app, "/kiss", json={"from": "auto", "to": "en", "text": FR}).json() == {"text": FR, "src": "fr"}
    reply = post(app, "/kiss", json={"from": "auto", "to": "en", "texts": [FR, ZH]})
    assert reply.json() == {"translations": [{"text": FR, "src": "fr"}, {"text": ZH, "src": "zh-CN"}]}


@pytest.mark.parametrize("path", ["/deeplx/translate", "/translate"])
@pytest.mark.parametrize("source", ["FR", "auto", "", None])
def test_deeplx(app: FastAPI, path: str, source: str | None) -> None:
    reply = post(app, path, json={"text": FR, "source_lang": source, "target_lang": "EN"})
    assert reply.status_code == 200
    body = reply.json()
    assert isinstance(body.pop("id"), int)
    assert body == {
        "code": 200, "data": FR, "alternatives": [], "source_lang": "FR", "target_lang": "EN", "method": "Free",
    }  # fmt: skip


@pytest.mark.parametrize("path", ["/deeplx/translate", "/translate"])
def test_deeplx_hears_of_errors_in_its_shape(app: FastAPI, path: str) -> None:
    reply = post(app, path, json={"text": FR, "source_lang": "FR", "target_lang": "XX"})
    assert (reply.status_code, reply.json()) == (400, {"code": 400, "message": "XX is not supported"})


def test_mtranserver_sends_one_or_several(app: FastAPI) -> None:
    assert post(app, "/translate", json={"from": "fr", "to": "en", "text": FR, "html": False}).json() == {"result": FR}
    body = {"from": "en", "to": "zh-Hans", "texts": [EN, ""]}
    assert post(app, "/translate/batch", json=body).json() == {"results": ["The weather is nice today。", ""]}
    reply = post(app, "/translate/batch", json={**body, "texts": ["<p>1 &lt; 2 <b>cats</b></p>"], "html": True})
    assert reply.json() == {"results": ["<p>1 &lt; 2 <b>cats</b></p>"]}


# --- Google


@pytest.mark.parametrize("path", ["/language/translate/v2", "/google/language/translate/v2"])
def test_google_translates_in_its_shape(app: FastAPI, path: str) -> None:
    body = {"q": [FR, ZH], "target": "en", "format": "text", "key": "any"}
    reply = post(app, path, json=body)
    assert reply.json() == {
        "data": {
            "translations": [
                {"translatedText": FR, "detectedSourceLanguage": "fr"},
                {"translatedText": ZH, "detectedSourceLanguage": "zh-CN"},
            ]
        }
    }
    one = ask(app, "GET", path, params={"q": FR, "source": "fr", "target": "en", "format": "text", "key": "any"})
    assert one.json() == {"data": {"translations": [{"translatedText": FR}]}}


def test_googles_default_is_html(app: FastAPI) -> None:
    reply = post(app, "/language/translate/v2", json={"q": FR, "source": "fr", "target": "en"})
    assert reply.json()["data"]["translations"] == [{"translatedText": FR.replace("'", "&#39;")}]
    body = {"q": "<p>Tu <b>m'aimes</b></p>", "source": "fr", "target": "en"}
    reply = post(app, "/language/translate/v2", json=body)
    assert reply.json()["data"]["translations"] == [{"translatedText": "<p>Tu <b>m&#39;aimes</b></p>"}]


def test_google_detects_and_lists(app: FastAPI) -> None:
    detections = post(app, "/language/translate/v2/detect", json={"q": [FR, "123"]}).json()["data"]["detections"]
    assert (detections[0][0]["language"], detections[0][0]["isReliable"]) == ("fr", True)
    assert 0 < detections[0][0]["confidence"] <= 1
    assert (detections[1][0]["confidence"], detections[1][0]["isReliable"]) == (0, False)
    listed = ask(app, "GET", "/language/translate/v2/languages", params={"target": "fr"}).json()["data"]["languages"]
    assert listed == [{"language": "fr", "name": "Français"}, {"language": "en", "name": "Anglais"}]
    listed = ask(app, "GET", "/language/translate/v2/languages").json()["data"]["languages"]
    assert {"language": "zh-TW"} in listed


@pytest.mark.parametrize(
    "path",
    [
        "/v2/document", "/v2/glossaries", "/v3/languages", "/v2/models/tiny/generate", "/v2/models/tiny/stats",
        "/v2/repository/models/tiny/load", "/v2/systemsharedmemory/status", "/hcfy", "/deepl",
        "/google/translate_a/single", "/v3/projects/1:translateText",
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_is_not_served_says_so(app: FastAPI, method: str, path: str) -> None:
    reply = ask(app, method, path)
    assert reply.status_code == 404
    assert "no such endpoint" in reply.text


def test_every_contract_is_refused_alike_when_the_service_is_full(loader: FakeLoader) -> None:
    """Whatever the shape, the status and the time to come back are those of any request."""
    bodies = {
        "/translate": {"q": EN, "source": "en", "target": "fr"},
        "/v2/translate": {"text": [EN], "target_lang": "FR"},
        "/imme": {"target_lang": "fr", "text_list": [EN]},
        "/kiss": {"to": "fr", "text": EN},
        "/deeplx/translate": {"text": EN, "target_lang": "fr"},
        "/translate/batch": {"from": "en", "to": "fr", "texts": [EN]},
        "/language/translate/v2": {"q": EN, "target": "fr", "format": "text"},
        "/v2/models/tiny/infer": {"inputs": [tensor("text", EN)], "parameters": {"target": "fr"}},
    }
    assert Settings().max_requests > 1
    for path, body in bodies.items():
        app = make_app(loader)
        app.state.service.admission.close()
        reply = asyncio_post(app, path, body)
        assert reply.status_code == 503, path
        assert "retry-after" in reply.headers


def asyncio_post(app: FastAPI, path: str, body: dict[str, Any]) -> httpx.Response:
    import asyncio

    async def scenario() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://attend") as client:
            return await client.post(path, json=body)

    return asyncio.run(scenario())
