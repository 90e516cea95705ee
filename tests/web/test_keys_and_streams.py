"""The page of a service that asks for keys, and long texts that appear sentence by sentence, in a real browser."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Request, expect

from service.access.keys import digest_of
from tests.processes import serving_process

KEY = "the key of a test"
LONG = "Je suis étudiant. Il fait beau aujourd'hui. J'aime le café et le thé. " * 8


@pytest.fixture(scope="module")
def guarded() -> Iterator[str]:
    with serving_process(keys=f"ann:translate:{digest_of(KEY)}") as address:
        yield address


def translated(address: str, text: str) -> str:
    body = json.dumps({"q": text, "source": "fr", "target": "en", "alternatives": 2, "api_key": KEY}).encode()
    headers = {"Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(f"{address}/translate", body, headers)) as reply:
        found: str = json.load(reply)["translatedText"]
        return found


def test_the_page_asks_for_a_key_keeps_it_and_shows_long_texts_as_they_come(guarded: str, browser: Browser) -> None:
    page = browser.new_page()
    asked: list[Request] = []
    page.on("request", lambda request: asked.append(request))
    page.goto(f"{guarded}/#source=fr&target=en&look=closed&text=")
    page.fill("#source-text", LONG)
    expect(page.locator("#notice")).to_contain_text("This service asks for a key.")
    page.fill("#key", "no key at all")
    page.press("#key", "Enter")
    expect(page.locator("#notice")).to_contain_text("Invalid API key")
    # What the page shows on the way to the end.
    page.evaluate(
        """() => { window.shown = []; new MutationObserver(() => window.shown.push(document.getElementById(
        'target-text').textContent)).observe(document.getElementById('target-text'), {childList: true}) }"""
    )
    page.fill("#key", KEY)
    page.press("#key", "Enter")
    expect(page.locator("#notice")).to_be_empty()
    whole = translated(guarded, LONG)
    expect(page.locator("#target-text")).to_have_text(whole, use_inner_text=False)
    assert any(request.url.endswith("/translate/stream") for request in asked)
    shown = page.evaluate("window.shown")
    assert len(shown) > 2
    assert shown[-1] == whole
    page.reload()
    page.fill("#source-text", "Je suis étudiant.")
    expect(page.locator("#target-text")).to_have_text(translated(guarded, "Je suis étudiant."))
    assert KEY not in page.url
    page.close()
