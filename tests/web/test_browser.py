"""The pages in a real browser, on the real service."""

from __future__ import annotations

import json
import re
import struct
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Download, Page, Route, expect

from tests.web.opening import Open

SENTENCE = "Je ne suis pas étudiant."
SVG = "{http://www.w3.org/2000/svg}"


def link(text: str = SENTENCE, **view: object) -> str:
    fields = {"source": "fr", "target": "en", "text": text} | view
    return "/#" + "&".join(f"{name}={quote(str(value))}" for name, value in fields.items())


def output(page: Page) -> Any:
    return page.locator("#target-text")


def loaded(page: Page) -> Page:
    """With everything that there is to see of a sentence."""
    expect(page.locator("#heatmap svg")).to_be_visible()
    expect(page.locator(".word").first).to_be_visible()
    return page


def asked(address: str, **body: Any) -> Any:
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{address}/translate", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request) as reply:
        return json.load(reply)


def word(page: Page, side: str, text: str) -> Any:
    return page.locator(f".words.{side} .word", has_text=re.compile(rf"^{re.escape(text)}\d*$"))


# Translate


def test_the_first_visit_shows_a_translation_and_how_it_came_about(visit: Open) -> None:
    page = loaded(visit())
    expect(page.locator("#source-text")).to_have_value("Il a dit qu'elle n'était pas venue.")
    expect(output(page)).to_have_text(re.compile(r"^He said .*\."))
    expect(page.locator("#alternatives li")).to_have_count(2)
    expect(page.locator("#count")).to_have_text("35 / 100,000 characters")
    expect(page.locator("#time")).to_have_text(re.compile(r"^\d+ ms$"))
    assert page.locator(".weave path").count() >= 4


def test_what_is_typed_is_sent_after_a_pause_and_without_details(visit: Open) -> None:
    bodies: list[Any] = []
    page = visit("/#source=fr&target=en&text=&look=closed&alternatives=0")
    page.on("request", lambda request: bodies.append(request.post_data_json) if request.method == "POST" else None)
    page.locator("#source-text").press_sequentially("Merci beaucoup")
    expect(output(page)).to_have_text(re.compile("Thank", re.IGNORECASE))
    assert len(bodies) < len("Merci beaucoup") / 2, "not at every letter"
    assert bodies[-1] == {"q": "Merci beaucoup", "source": "fr", "target": "en", "alternatives": 0}


def test_enter_sends_at_once_and_shift_enter_is_a_new_line(visit: Open) -> None:
    page = visit("/#source=fr&target=en&text=&look=closed")
    text = page.locator("#source-text")
    # Without the pause's timer, so that only Enter can have sent it.
    page.evaluate(
        "() => { const wait = window.setTimeout; window.setTimeout = (f, ms) => ms === 250 ? 0 : wait(f, ms); }"
    )
    text.fill("Merci.")
    text.press("Shift+Enter")
    text.press_sequentially("Bonjour.")
    text.press("Enter")
    expect(output(page)).to_have_text(re.compile(r"^Thank.*\n?.+"))
    expect(text).to_have_value("Merci.\nBonjour.")


def test_an_answer_that_is_not_wanted_any_more_is_cancelled(visit: Open) -> None:
    held: list[Route] = []

    def hold_the_first(route: Route) -> None:
        if route.request.post_data_json["q"] == "Premier":
            held.append(route)
        else:
            route.continue_()

    page = visit(
        "/#source=fr&target=en&text=&look=closed", before=lambda page: page.route("**/translate", hold_the_first)
    )
    failed: list[str] = []
    page.on("requestfailed", lambda request: failed.append(request.post_data_json["q"]))
    page.locator("#source-text").fill("Premier")
    page.wait_for_function("() => document.querySelector('#target-text').getAttribute('aria-busy')")
    page.locator("#source-text").fill("Merci.")
    expect(output(page)).to_have_text(re.compile("Thank"))
    assert (len(held), failed) == (1, ["Premier"])
    expect(page.locator("#notice")).to_be_empty()


def test_languages_swap_and_a_pair_that_does_not_exist_is_said(visit: Open) -> None:
    page = loaded(visit(link()))
    page.locator("#swap").click()
    expect(page.locator("#source-language")).to_have_value("en")
    expect(page.locator("#target-language")).to_have_value("fr")
    expect(output(page)).to_have_text(re.compile("étudiant"))
    page.goto(page.url.split("#")[0] + "#source=zh&target=fr&text=" + quote("你好"))
    expect(page.locator("#notice")).to_have_text("There is no model for Chinese to French. From Chinese: English.")
    expect(output(page)).to_have_text("Translation")
    page.locator("#target-language").select_option("en")
    expect(page.locator("#notice")).to_be_empty()
    expect(output(page)).to_have_text(re.compile(r"^(?!Translation$)\S"))
    page.locator("#source-language").select_option("en")
    expect(page.locator("#target-language")).to_have_value("fr")


def test_traditional_chinese_is_shown_as_it_was_written(visit: Open) -> None:
    page = loaded(visit(link("我們愛你。", source="zt")))
    expect(page.locator("#source-text")).to_have_attribute("lang", "zh-Hant")
    expect(page.locator("#source-language option:checked")).to_have_text("Traditional Chinese")
    words = page.locator(".words.source .word > span")
    assert "".join(words.all_text_contents()) == "我們愛你。"
    expect(words.first).to_have_attribute("lang", "zh-Hant")


def test_copying_the_translation_and_a_link_that_brings_everything_back(visit: Open) -> None:
    page = loaded(visit(link("Je t'aime. Il est parti. 🎉 C'est tout <b>&</b>.", alternatives=3)))
    page.locator("#copy").click()
    expect(page.locator("#copy")).to_have_text("Copied")
    assert page.evaluate("() => navigator.clipboard.readText()") == output(page).text_content()
    page.locator("#next").click()
    expect(page.locator(".words.source")).to_contain_text("parti")
    page.locator("#kind").select_option("encoder")
    expect(page.locator("#layer option")).to_have_count(7)
    page.locator("#layer").select_option("2")
    page.locator("#head").select_option("5")
    page.locator(".version").nth(1).click()
    page.locator("#link").click()
    copied = page.evaluate("() => navigator.clipboard.readText()")
    other = loaded(visit(copied.removeprefix(page.url.split("/#")[0])))
    expect(other.locator("#source-text")).to_have_value("Je t'aime. Il est parti. 🎉 C'est tout <b>&</b>.")
    expect(other.locator("#sentence")).to_have_value("1")
    for select, value in {"kind": "encoder", "layer": "2", "head": "5", "alternatives-count": "3"}.items():
        expect(other.locator(f"#{select}")).to_have_value(value)
    expect(other.locator(".version").nth(1)).to_have_attribute("aria-pressed", "true")
    assert other.locator("#heatmap").inner_html() == page.locator("#heatmap").inner_html()


# Errors


def refuse(times: int, **reply: Any) -> Callable[[Page], None]:
    """The first requests to translate are answered so."""
    left = [times]

    def answer(route: Route) -> None:
        left[0] -= 1
        if left[0] >= 0:
            route.fulfill(**reply)
        else:
            route.continue_()

    return lambda page: page.route("**/translate", answer)


def test_a_refused_request_is_sent_again_when_the_service_said_to(visit: Open) -> None:
    busy = refuse(1, status=503, headers={"Retry-After": "1"}, json={"error": "the queue is full"})
    page = visit(link(), before=busy)
    expect(page.locator("#notice")).to_contain_text("The service has too much to do right now.")
    expect(page.locator("#notice")).to_contain_text("the queue is full")
    expect(page.locator("#notice")).to_contain_text("Trying again in 1 s.")
    expect(output(page)).to_have_text(re.compile("not a student"))
    expect(page.locator("#notice")).to_be_empty()


def test_trying_again_by_itself_has_an_end(visit: Open) -> None:
    sent: list[str] = []

    def refusing(route: Route) -> None:
        sent.append(route.request.post_data_json["q"])
        route.fulfill(status=503, headers={"Retry-After": "1"}, json={"error": "the queue is full"})

    page = visit(link(look="closed"), before=lambda page: page.route("**/translate", refusing))
    expect(page.locator("#notice .waiting")).to_be_empty(timeout=15_000)
    assert sent == [SENTENCE] * 4, "once, and three times more"
    with page.expect_response("**/translate"):
        page.locator("#notice button").click()


@pytest.mark.parametrize(
    ("status", "sentence", "said"),
    [
        (500, "internal error, logged with id 1", "Something went wrong in the service."),
        (504, "not in time", "That took too long."),
        (413, "the request body is larger than 9 bytes", "The text is too long for one request."),
        (422, "no such thing", "The service could not take this request."),
    ],
)
def test_what_went_wrong_is_said_with_the_services_own_words(
    visit: Open, status: int, sentence: str, said: str
) -> None:
    page = visit(link(), before=refuse(1, status=status, json={"error": sentence}))
    expect(page.locator("#notice")).to_contain_text(said)
    expect(page.locator("#notice")).to_contain_text(sentence)
    page.locator("#notice button").click()
    expect(output(page)).to_have_text(re.compile("not a student"))


def test_without_a_connection_it_says_so_and_goes_on_when_there_is_one(visit: Open) -> None:
    page = loaded(visit(link()))
    page.context.set_offline(True)
    page.locator("#source-text").fill("Merci.")
    expect(page.locator("#notice")).to_contain_text("No connection to the service.")
    page.context.set_offline(False)
    expect(output(page)).to_have_text(re.compile("Thank"))
    expect(page.locator("#notice")).to_be_empty()


def test_a_text_that_is_too_long_is_not_sent(visit: Open) -> None:
    sent: list[str] = []
    limits = {"charLimit": 10, "maxAlternatives": 1}

    def before(page: Page) -> None:
        page.route("**/frontend/settings", lambda route: route.fulfill(json=limits))
        page.on("request", lambda request: sent.append(request.post_data or ""))

    page = visit(link("🎉" * 10), before=before)
    expect(page.locator("#count")).to_have_text("10 / 10 characters")
    expect(page.locator("#notice")).to_be_empty()
    page.locator("#source-text").fill("🎉" * 11)
    expect(page.locator("#notice")).to_have_text("The text is too long: 11 characters, and 10 are allowed.")
    expect(page.locator("#count")).to_have_class(re.compile("over"))
    assert page.locator("#alternatives-count option").all_text_contents() == ["0", "1"]
    assert [body for body in sent if "🎉" * 10 in body]
    assert not [body for body in sent if "🎉" * 11 in body]


def test_a_service_that_is_still_loading_is_asked_again(visit: Open) -> None:
    answers = iter([503])

    def loading(route: Route) -> None:
        if next(answers, None):
            route.fulfill(status=503, headers={"Retry-After": "1"}, json={"error": "the model is still loading"})
        else:
            route.continue_()

    page = visit(before=lambda page: page.route("**/languages", loading))
    expect(page.locator("#notice")).to_contain_text("the model is still loading")
    loaded(page)


def test_text_is_never_markup(visit: Open) -> None:
    evil = "Le chat dort. <img src=x onerror=alert(1)><script>alert(2)</script>"

    def answer(route: Route) -> None:
        reply = route.fetch().json()
        reply["translatedText"] = evil
        reply["alternatives"] = [evil] * len(reply.get("alternatives", []))
        route.fulfill(json=reply)

    page = visit(link(evil), before=lambda page: page.route("**/translate", answer))
    page.on("dialog", lambda dialog: pytest.fail("a script of the text ran"))
    expect(output(page)).to_have_text(evil)
    loaded(page)
    assert page.locator("main img, main script").count() == 0


# Look


def test_a_word_lights_what_it_belongs_to_in_both_directions(visit: Open) -> None:
    page = loaded(visit(link()))
    word(page, "target", "student").hover()
    expect(word(page, "source", "étudiant")).to_have_class(re.compile("lit"))
    expect(page.locator("#alignment-reading")).to_have_text(re.compile(r"student → étudiant \(\d\.\d\d\) · \d+ % sure"))
    word(page, "source", "pas").hover()
    expect(word(page, "target", "not")).to_have_class(re.compile("lit"))
    expect(word(page, "target", "student")).not_to_have_class(re.compile("lit"))
    page.locator("h1, h2").last.hover()
    expect(page.locator(".word.lit")).to_have_count(0)


def test_words_are_reached_with_the_keyboard_alone(visit: Open) -> None:
    page = loaded(visit(link()))
    first = page.locator(".words.source .word").first
    page.locator("#look-toggle").focus()
    page.keyboard.press("Tab")
    expect(first).to_be_focused()
    page.keyboard.press("End")
    expect(page.locator(".words.target .word").last).to_be_focused()
    word(page, "source", "étudiant").focus()
    page.keyboard.press("ArrowDown")
    expect(word(page, "target", "student")).to_be_focused()
    expect(word(page, "source", "étudiant")).to_have_class(re.compile("lit"))
    page.keyboard.press("ArrowUp")
    expect(word(page, "source", "étudiant")).to_be_focused()
    page.keyboard.press("Enter")
    expect(word(page, "source", "étudiant")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("Tab")
    expect(page.locator(".version").first).to_be_focused()


def test_a_words_number_is_the_models_probability(visit: Open, address: str) -> None:
    page = loaded(visit(link(alternatives=0)))
    segment = asked(address, q=SENTENCE, source="fr", target="en", details=True)["segments"][0]
    last = 2.718281828 ** segment["token_log_probs"][-2]
    assert page.locator(".words.target .word small").last.text_content() == f"{100 * last:.0f}"
    doubt = page.locator(".words.target .word").last.evaluate("word => Number(word.style.getPropertyValue('--doubt'))")
    assert doubt == pytest.approx(1 - last, abs=1e-6)


@pytest.mark.parametrize(("before", "words"), [("🎉🎉", ""), ("𠮷", "𠮷")], ids=["copied", "translated"])
def test_astral_characters_move_no_word(visit: Open, before: str, words: str) -> None:
    page = loaded(visit("/#source=zh&target=en&text=" + quote(before + "我爱你。")))
    assert "".join(page.locator(".words.source .word").all_text_contents()) == words + "我爱你。"
    translated = "".join(page.locator(".words.target .word span").all_text_contents())
    assert translated
    assert translated == output(page).text_content().replace(" ", "").removeprefix("🎉🎉")


def test_the_map_is_that_of_the_layer_and_head_chosen(visit: Open, address: str) -> None:
    page = loaded(visit(link(alternatives=0)))
    segment = asked(address, q=SENTENCE, source="fr", target="en", attention=True)["segments"][0]
    for kind, layer, head in (("encoder", 3, 2), ("cross", 1, "mean"), ("decoder", 0, 7), ("cross", 0, 4)):
        page.locator("#kind").select_option(kind)
        expect(page.locator("#layer option")).to_have_count(len(segment["attention"][kind]) + 1)
        page.locator("#layer").select_option(str(layer))
        page.locator("#head").select_option(str(head))
        heads = segment["attention"][kind][layer]
        weights = [each[2][1] for each in (heads if head == "mean" else [heads[int(head)]])]
        expect(page.locator("#heatmap")).to_have_attribute(
            "aria-label", re.compile(f"{kind}: .*layer {layer}, head {head}")
        )
        page.locator("#heatmap").focus()
        for key in ("ArrowDown", "ArrowDown", "ArrowRight"):
            page.keyboard.press(key)
        shown = float(page.locator("#cell-reading b").text_content() or "nan")
        assert shown == pytest.approx(sum(weights) / len(weights), abs=1e-3)
        page.locator("#heatmap").blur()


def test_a_small_map_chooses_its_head_and_the_keys_move_among_them(visit: Open) -> None:
    page = loaded(visit(link()))
    expect(page.locator("#heads button")).to_have_count(16)
    page.get_by_label("Layer 0, head 3", exact=True).click()
    expect(page.locator("#layer")).to_have_value("0")
    expect(page.locator("#head")).to_have_value("3")
    expect(page.get_by_label("Layer 0, head 3", exact=True)).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(page.locator("#head")).to_have_value("4")


def test_pointing_reads_a_cell_and_zooming_makes_it_larger(visit: Open) -> None:
    page = loaded(visit(link()))
    cell = page.locator("#heatmap g[aria-label=cell] rect").first
    cell.hover(force=True)  # its number lies above it
    expect(page.locator("#cell-reading")).to_have_text(re.compile(r"^·I looks at <2en>: 0\.\d{3}$"))
    fitting = cell.get_attribute("width") or ""
    page.locator("#zoom-in").click()
    expect(cell).not_to_have_attribute("width", fitting)
    assert float(cell.get_attribute("width") or 0) > float(fitting)
    page.locator("#zoom-fit").click()
    expect(cell).to_have_attribute("width", fitting)


def test_the_beams_alternatives_side_by_side(visit: Open, address: str) -> None:
    page = loaded(visit(link(alternatives=3)))
    reply = asked(address, q=SENTENCE, source="fr", target="en", alternatives=3, details=True)
    expect(page.locator(".version .text")).to_have_text([reply["translatedText"], *reply["alternatives"]])
    scores = [reply["segments"][0]["score"], *(each[0]["score"] for each in reply["alternative_segments"])]
    for card, score in zip(page.locator(".version .figure").all(), scores, strict=True):
        expect(card).to_contain_text(f"score {score:.2f}")
    expect(page.locator(".version").first.locator("mark")).to_have_count(0)
    page.locator(".version").nth(2).click()
    shown = "".join(page.locator(".words.target .word span").all_text_contents())
    assert shown == reply["alternatives"][1].replace(" ", "")
    assert page.locator(".version").nth(2).locator("mark").count() > 0


def test_a_long_text_is_looked_at_sentence_by_sentence(visit: Open) -> None:
    text = "\n".join(f"Il y a {number} chats dans la maison. Ils dorment." for number in range(2, 42))
    page = loaded(visit(link(text)))
    expect(page.locator("#sentence option")).to_have_count(80)
    expect(page.locator("#previous")).to_be_disabled()
    page.locator("#sentence").select_option("78")
    expect(page.locator(".words.source")).to_contain_text("41")
    page.locator("#next").click()
    expect(page.locator(".words.source")).to_contain_text("dorment")
    expect(page.locator("#next")).to_be_disabled()


def test_maps_too_large_for_one_reply_are_refused_in_words(visit: Open) -> None:
    reply = {"error": "the reply would have 3000000 attention weights, more than 2000000"}

    def answer(route: Route) -> None:
        if route.request.post_data_json.get("attention"):
            route.fulfill(status=422, json=reply)
        else:
            route.continue_()

    page = visit(link(), before=lambda page: page.route("**/translate", answer))
    expect(page.locator("#look-body .notice")).to_contain_text("3000000 attention weights")
    expect(page.locator(".word").first).to_be_visible()


def test_a_text_without_sentences_and_no_text_say_so(visit: Open) -> None:
    page = visit(link("123"))
    expect(page.locator("#look-empty")).to_have_text("There is no sentence in this text that was translated.")
    page.locator("#clear").click()
    expect(page.locator("#look-empty")).to_have_text(re.compile("^Translate something"))
    expect(page.locator("#source-text")).to_be_focused()


def saved(page: Page, button: str, folder: Path) -> Path:
    with page.expect_download() as waiting:
        page.locator(button).click()
    download: Download = waiting.value
    path = folder / download.suggested_filename
    download.save_as(path)
    return path


def test_downloads(visit: Open, tmp_path: Path) -> None:
    page = loaded(visit(link(layer=1, head=5)))
    record = json.loads(saved(page, "#download-json", tmp_path).read_text(encoding="utf-8"))
    assert (record["source"], record["target"]) == (SENTENCE, output(page).text_content())
    rows, columns = record["attention"]["rows"], record["attention"]["columns"]
    assert [len(row) for row in record["attention"]["weights"]] == [len(columns)] * len(rows)
    assert [sum(row) for row in record["attention"]["weights"]] == pytest.approx([1] * len(rows), abs=5e-3)
    page.locator("#heatmap g[aria-label=cell] rect").first.hover(force=True)
    picture = saved(page, "#download-svg", tmp_path)
    assert picture.name == "attention-cross-layer-1-head-5.svg"
    svg = ElementTree.parse(picture).getroot()
    assert svg.tag == f"{SVG}svg"
    assert len(svg.findall(f".//{SVG}g[@aria-label='cell']/{SVG}rect")) == len(rows) * len(columns)
    text = picture.read_text(encoding="utf-8")
    assert not re.search(r"cursor|var\(", text), "stands alone"
    image = saved(page, "#download-png", tmp_path).read_bytes()
    assert image[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">I", image[16:20])[0] == int(2 * float(svg.attrib["width"]))


# The interface


def test_the_interface_speaks_chinese(visit: Open) -> None:
    page = loaded(visit(locale="zh-CN"))
    assert page.locator("html").get_attribute("lang") == "zh"
    expect(page.locator("#look-title")).to_have_text("翻译过程")
    expect(page.locator("#source-language")).to_have_value("zh")
    expect(page.locator("#target-language option:checked")).to_have_text("英语")
    latin = re.findall(
        r"[a-z]{4,}", page.locator("nav, .look-head, .panel-head, .sheet-foot").all_inner_texts().__str__()
    )
    assert latin == []
    page.locator("#language-toggle").click()
    expect(page.locator("#look-title")).to_have_text("How it was translated")
    expect(page.locator("#target-language option:checked")).to_have_text("English")
    page.reload()
    expect(page.locator("#look-title")).to_have_text("How it was translated")


def test_light_and_dark_follow_the_system_until_told_otherwise(visit: Open) -> None:
    page = visit("/status", color_scheme="dark")
    background = "() => getComputedStyle(document.documentElement).backgroundColor"
    assert page.evaluate(background) == "rgb(15, 20, 22)"
    page.locator("#theme-toggle").click()
    assert page.evaluate(background) == "rgb(246, 244, 238)"
    page.reload()
    assert page.evaluate(background) == "rgb(246, 244, 238)"
    page.locator("#theme-toggle").click()
    assert page.evaluate(background) == "rgb(15, 20, 22)"


@pytest.mark.parametrize("path", ["/", "/status", link("Donaudampfschifffahrtsgesellschaftskapitän" * 4 + " est là.")])
def test_a_phone_needs_no_scrolling_sideways(visit: Open, path: str) -> None:
    page = visit(path, viewport={"width": 360, "height": 740}, has_touch=True)
    if path != "/status":
        loaded(page)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 360


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(
    ("path", "how"),
    [(link(), {}), (link(), {"locale": "zh-CN"}), ("/status", {}), (link(source="zh", target="fr"), {})],
)
def test_accessibility(visit: Open, path: str, how: Any, theme: Any) -> None:
    page = visit(path, color_scheme=theme, **how)
    if path == "/status":
        expect(page.locator(".tile svg").first).to_be_visible()
    elif path == link():
        loaded(page)
        page.locator(".words.target .word").nth(1).hover()
    else:
        expect(page.locator("#notice")).not_to_be_empty()
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_status_shows_what_the_service_does(visit: Open, address: str) -> None:
    page = visit("/status")
    expect(page.locator("#state")).to_have_text("Ready")
    expect(page.locator("#model")).to_have_text(re.compile(r"attend-zh-fr-en 1 · int8 · CPUExecutionProvider"))
    expect(page.locator(".tile svg")).to_have_count(6)
    tokens = page.locator(".tile").nth(1).locator(".value")
    expect(tokens).to_have_text("0")
    asked(address, q=SENTENCE, source="fr", target="en")
    expect(tokens).not_to_have_text("0")
    page.route("**/metrics", lambda route: route.abort())
    expect(page.locator("#state")).to_have_text("No connection")


@pytest.mark.parametrize("operation", ["translation-translate", "DeepL-deepl_translate", "Google-google_translate"])
def test_the_description_of_the_api_translates_as_it_stands(visit: Open, operation: str) -> None:
    """*Try it out*, *Execute*, and nothing to fill in; under the page's policy."""
    page = visit("/docs")
    described = page.locator(f"#operations-{operation}")
    described.locator(".opblock-summary-control").click()
    described.locator(".try-out__btn").click()
    described.locator(".execute").click()
    expect(described.locator(".live-responses-table .response .response-col_status")).to_contain_text("200")
