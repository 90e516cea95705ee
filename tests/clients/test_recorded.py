"""What applications send, as their sources say, and what they read of the answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import httpx
import pytest

from tests.clients.conftest import Translate

EN, FR = "The weather is nice today.", "Il fait beau aujourd'hui."
HTML = f"<p>{FR}</p>"
FORM = "application/x-www-form-urlencoded"


class Recorded(NamedTuple):
    """A request of an application, and what it makes of the answer."""

    application: str
    method: str
    path: str
    request: dict[str, Any]
    reads: Callable[[Any, str, str], bool]
    """Of the answer, and of the two texts in the other language."""


def parameters(*recorded: Recorded) -> list[Any]:
    return [pytest.param(each, id=f"{each.application}-{each.path[1:]}") for each in recorded]


TEXT = parameters(
    Recorded("mastodon", "GET", "/languages", {}, lambda body, fr, en: "en" in {c for e in body for c in e["targets"]}),
    Recorded("discourse", "GET", "/languages", {}, lambda body, fr, en: all("targets" in each for each in body)),
    Recorded("discourse", "POST", "/detect", {"data": {"q": FR, "api_key": ""}},
             lambda body, fr, en: body[0]["language"] == "fr"),
    Recorded("weblate", "POST", "/translate",
             {"json": {"api_key": "", "q": [EN, "12"], "source": "en", "target": "fr"}},
             lambda body, fr, en: body["translatedText"] == [fr, "12"]),
    Recorded("weblate", "GET", "/languages", {},
             lambda body, fr, en: {"en", "fr"} <= {each["code"] for each in body}),
    Recorded("akkoma", "GET", "/languages", {},
             lambda body, fr, en: all({"code", "name"} <= set(each) for each in body)),
    Recorded("subtitleedit", "POST", "/translate", {"json": {"q": EN, "source": "en", "target": "fr"}},
             lambda body, fr, en: body["translatedText"] == fr),
    Recorded("nextcloud", "POST", "/detect", {"json": {"q": FR, "api_key": None}},
             lambda body, fr, en: body[0]["confidence"] > 50),
    Recorded("n8n", "POST", "/translate", {"json": {"q": FR, "source": "auto", "target": "en", "format": "text"}},
             lambda body, fr, en: body["translatedText"] == en and body["detectedLanguage"]["language"] == "fr"),
    Recorded("n8n", "POST", "/detect", {"json": {"q": FR}}, lambda body, fr, en: body[0]["language"] == "fr"),
    Recorded("n8n", "POST", "/translate_file",
             {"files": {"file": ("a.txt", EN.encode(), "text/plain")}, "data": {"source": "en", "target": "fr"}},
             lambda body, fr, en: body["translatedFileUrl"].endswith(".a.txt")),
    Recorded("immersive-translate", "POST", "/imme",
             {"json": {"source_lang": "auto", "target_lang": "en", "text_list": [FR, "{0}", "<b0></b0>"]}},
             lambda body, fr, en: [e["text"] for e in body["translations"]][1:] == ["{0}", "<b0></b0>"]),
    Recorded("kiss-translator", "POST", "/kiss", {"json": {"texts": [FR], "from": "auto", "to": "en"}},
             lambda body, fr, en: body["translations"][0]["src"] == "fr"),
    Recorded("kiss-translator-old", "POST", "/kiss", {"json": {"text": FR, "from": "fr", "to": "en"}},
             lambda body, fr, en: body == {"text": en, "src": "fr"}),
    Recorded("bob, pot (MTranServer)", "POST", "/translate", {"json": {"from": "fr", "to": "en", "text": FR}},
             lambda body, fr, en: body == {"result": en}),
    Recorded("zotero, readers (DeepLX)", "POST", "/translate",
             {"json": {"text": FR, "source_lang": "auto", "target_lang": "EN"}},
             lambda body, fr, en: (body["code"], body["data"]) == (200, en)),
    Recorded("curl -d", "POST", "/translate",
             {"content": f"q={EN}&source=en&target=fr", "headers": {"content-type": FORM}},
             lambda body, fr, en: body == {"translatedText": fr}),
    Recorded("curl -d, JSON", "POST", "/translate",
             {"content": f'{{"q": "{EN}", "source": "en", "target": "fr"}}', "headers": {"content-type": FORM}},
             lambda body, fr, en: body == {"translatedText": fr}),
)  # fmt: skip
WITH_HTML = parameters(
    Recorded("mastodon", "POST", "/translate",
             {"json": {"q": [HTML, FR], "source": "fr", "target": "en", "format": "html", "api_key": None}},
             lambda body, fr, en: body["translatedText"] == [f"<p>{en}</p>", en]),
    Recorded("mastodon-without-language", "POST", "/translate",
             {"json": {"q": [HTML], "source": "auto", "target": "en", "format": "html", "api_key": None}},
             lambda body, fr, en: body["detectedLanguage"][0]["language"] == "fr"),
    Recorded("discourse", "POST", "/translate",
             {"data": {"q": HTML, "source": "fr", "target": "en", "format": "html", "api_key": ""}},
             lambda body, fr, en: body["translatedText"] == f"<p>{en}</p>"),
    Recorded("akkoma", "POST", "/translate",
             {"json": {"q": HTML, "source": "auto", "target": "en", "format": "html", "api_key": None}},
             lambda body, fr, en: body["detectedLanguage"]["language"] == "fr"),
    Recorded("wagtail-localize", "POST", "/translate",
             {"json": {"q": [HTML, FR], "source": "fr", "target": "en", "api_key": "", "format": "html"}},
             lambda body, fr, en: len(body["translatedText"]) == 2),
    Recorded("nextcloud", "POST", "/translate",
             {"json": {"q": FR, "source": "fr", "target": "en", "format": "html", "api_key": None}},
             lambda body, fr, en: body["translatedText"] == en),
)  # fmt: skip


def send(address: str, recorded: Recorded) -> httpx.Response:
    return httpx.request(recorded.method, address + recorded.path, timeout=30, **recorded.request)


@pytest.mark.parametrize("recorded", TEXT)
def test_an_application_is_answered(
    address: str, recorded: Recorded, to_french: Translate, to_english: Translate
) -> None:
    reply = send(address, recorded)
    assert reply.status_code == 200, reply.text
    assert recorded.reads(reply.json(), to_french(EN), to_english(FR)), reply.text


@pytest.mark.parametrize("recorded", WITH_HTML)
def test_an_application_that_sends_html_is_answered(
    address: str, recorded: Recorded, to_french: Translate, to_english: Translate
) -> None:
    reply = send(address, recorded)
    assert reply.status_code == 200, reply.text
    assert recorded.reads(reply.json(), to_french(EN), to_english(FR)), reply.text


def test_a_broken_template_is_refused_as_libretranslate_does(address: str) -> None:
    """SubtitleEdit with a key: its template lacks a comma before `api_key`."""
    body = '{"q": "The cat sleeps.", "source": "en", "target": "fr" "api_key": "x"}'
    reply = httpx.post(f"{address}/translate", content=body, headers={"content-type": "application/json"})
    assert (reply.status_code, reply.json()) == (400, {"error": "Invalid JSON format"})
