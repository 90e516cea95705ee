"""The page `/learn` in a real browser, on the real service: its numbers are the service's."""

from __future__ import annotations

import json
import re
import urllib.request
from typing import Any
from urllib.parse import quote

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, Route, expect

from tests.web.opening import Open

SENTENCE = "Je ne suis pas étudiant."


def link(text: str = SENTENCE, source: str = "fr", target: str = "en", beams: int = 4) -> str:
    return f"/learn#source={source}&target={target}&beams={beams}&text={quote(text)}"


def asked(address: str, path: str, **body: Any) -> Any:
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{address}/{path}", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request) as reply:
        return json.load(reply)


def opened(page: Page) -> Page:
    """With all that there is to see of a sentence."""
    expect(page.locator("#of-head")).to_be_visible(timeout=30_000)
    expect(page.locator("#notice")).to_be_empty()
    return page


def cells(page: Page, table: str) -> list[list[str]]:
    rows = page.locator(f"{table} tbody tr")
    return [row.locator("th, td").all_text_contents() for row in rows.all()]


def test_every_step_shows_the_services_own_numbers_and_is_reached_with_the_keyboard(visit: Open, address: str) -> None:
    page = opened(visit(link()))
    languages = {"source": "fr", "target": "en"}
    search = asked(address, "internals/search", q=SENTENCE, beam_size=4, **languages)
    best = search["hypotheses"][0]
    expect(page.locator("#found")).to_have_text(f"{SENTENCE} → {best['text']}")
    shown = [token.replace("▁", "·") for token in search["source_tokens"]]
    assert page.locator("#tokens .chips").first.locator(".token").all_text_contents() == shown
    expect(page.locator("#sinusoid-same")).to_contain_text("The model's own rows for this sentence are these")

    # Another head, by keys alone.
    page.locator("#all-heads button[aria-pressed=true]").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(page.locator("#head")).to_have_value("1")
    expect(page.locator("#all-heads button").nth(1)).to_be_focused()
    expect(page.locator("#all-heads button").nth(1)).to_have_attribute("aria-pressed", "true")
    page.locator("#place").select_option("2")
    question = {"q": SENTENCE, **languages, "target_ids": best["target_ids"], "head": 1}
    inside = asked(address, "internals", **question)
    for key, row in enumerate(cells(page, "#scores")):
        numbers = [float(text) for text in row[1:4]]
        expected = [inside[part][2][key] for part in ("products", "scores", "weights")]
        assert numbers == pytest.approx(expected, abs=6e-4)
    assert sum(float(row[4]) for row in cells(page, "#scores")) == pytest.approx(1, abs=5e-3)

    # The mask, one step further.
    before = page.locator("#mask-step-of").text_content() or ""
    page.locator("#mask-step").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#mask-step-of")).not_to_have_text(before)
    decoder = asked(address, "internals", **question, kind="decoder")
    masked = cells(page, "#mask > .scroll")
    assert [row[1] for row in masked[4:]] == ["−∞"] * (len(masked) - 4)
    assert [float(row[2]) for row in masked] == pytest.approx(decoder["weights"][3], abs=6e-4)

    # The beam, at its last step.
    page.locator("#beam-step").focus()
    page.keyboard.press("End")
    expect(page.locator("#beam-next")).to_be_disabled()
    last = search["steps"][-1]
    assert [float(row[3]) for row in cells(page, "#ranking")] == pytest.approx(
        [each["log_prob"] for each in last], abs=6e-4
    )
    assert page.locator(".tree .node.best").count() == len(best["tokens"])
    assert [row[0] for row in cells(page, "#results")] == [each["text"] for each in search["hypotheses"]]


def test_another_sentence_and_kind_of_attention(visit: Open) -> None:
    page = opened(visit(link()))
    page.locator("#sentence").fill("Merci.")
    page.locator("#beams").select_option("1")
    page.locator("#sentence").press("Enter")
    expect(page.locator("#found")).to_contain_text(re.compile("^Merci. → Thank"))
    expect(page.locator("#results tbody tr")).to_have_count(1)
    page.locator("#kind").select_option("encoder")
    expect(page.locator("#layer option")).to_have_count(6)
    expect(page.locator("#qkv")).to_contain_text("query of ·Merci")
    assert "text=Merci." in page.url


def test_where_it_is_switched_off_the_page_says_so_and_explains_what_needs_no_numbers(visit: Open) -> None:
    error = {"error": "this service cannot be looked into; ATTEND_INTERNALS=true allows it"}

    def before(page: Page) -> None:
        def refuse(route: Route) -> None:
            route.fulfill(status=403, json=error)

        page.route("**/internals/search", refuse)

    page = visit(link(), before=before)
    expect(page.locator("#notice")).to_contain_text("ATTEND_INTERNALS=true")
    expect(page.locator("#sinusoids canvas")).to_be_visible()
    expect(page.locator("#errors li")).to_have_count(10)
    expect(page.locator("#of-head")).to_be_hidden()


def test_what_is_refused_is_said_in_the_services_words(visit: Open) -> None:
    page = visit(link("Bonjour. Merci."))
    expect(page.locator("#notice")).to_contain_text("q must be one sentence; it has 2")


@pytest.mark.parametrize(
    "how",
    [
        {"color_scheme": "light", "viewport": {"width": 360, "height": 740}, "has_touch": True},
        {"color_scheme": "dark", "locale": "zh-CN"},
    ],
    ids=["phone", "Chinese"],
)
def test_a_phone_another_language_and_accessibility(visit: Open, how: dict[str, Any]) -> None:
    page = opened(visit(link(), **how))
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    if "locale" in how:
        expect(page.locator("h1")).to_have_text("Transformer 怎样翻译你的句子")
        latin = set(re.findall(r"[a-z]{4,}", " ".join(page.locator("h2, .explained").all_inner_texts())))
        assert latin <= {"softmax"}
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
