"""Files on the page, in a real browser, on the real service."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import docx
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, Route, expect

from tests.web.opening import Open

START = "/#source=en&target=fr&text=&look=closed"


def office_file(words: str = "The cat sleeps.") -> bytes:
    document = docx.Document()
    document.add_paragraph(words)
    stream = io.BytesIO()
    document.save(stream)
    return stream.getvalue()


def choose(page: Page, *files: tuple[str, bytes]) -> None:
    with page.expect_file_chooser() as chooser:
        page.locator("#choose-file").press("Enter")
    chooser.value.set_files([{"name": name, "mimeType": "", "buffer": content} for name, content in files])


def line(page: Page, name: str) -> Any:
    return page.locator("#files li", has_text=name)


def test_a_file_is_chosen_with_the_keyboard_translated_and_taken_along(visit: Open, tmp_path: Path) -> None:
    page = visit(START)
    choose(page, ("letter.docx", office_file()), ("notes.txt", b"Good night."))
    for name in ("letter.docx", "notes.txt"):
        expect(line(page, name).locator("[role=status]")).to_have_text("Translated")
    with page.expect_download() as download:
        line(page, "letter.docx").get_by_role("link", name="Download: letter.docx").press("Enter")
    assert download.value.suggested_filename == "letter.docx"
    download.value.save_as(tmp_path / "letter.docx")
    assert docx.Document(str(tmp_path / "letter.docx")).paragraphs[0].text == "Le chat dort."
    page.get_by_role("button", name="Remove: letter.docx").press("Enter")
    expect(page.locator("#files li")).to_have_count(1)
    expect(page.get_by_role("link", name="Download: notes.txt")).to_be_focused()
    page.locator("#language-toggle").click()
    expect(line(page, "notes.txt").locator("[role=status]")).to_have_text("已翻译")


def drop(page: Page, name: str, content: str) -> None:
    page.evaluate(
        """([name, content]) => {
          const data = new DataTransfer();
          data.items.add(new File([content], name));
          for (const type of ["dragover", "drop"]) {
            const event = new DragEvent(type, { dataTransfer: data, bubbles: true, cancelable: true });
            document.querySelector("#source-text").dispatchEvent(event);
            if (!event.defaultPrevented) throw new Error("the browser would open the file");
          }
        }""",
        [name, content],
    )


def test_a_file_is_dropped_and_its_progress_is_shown_until_it_is_cancelled(visit: Open) -> None:
    held: list[Route] = []

    def hold(page: Page) -> None:
        page.route("**/translate_file", lambda route: held.append(route))
        page.route("**/translate_file/*", lambda route: route.fulfill(json={"done": 30, "total": 120}))

    page = visit(START, before=hold)
    expect(page.locator("#choose-file")).to_be_visible()
    drop(page, "notes.txt", "Good night.")
    expect(line(page, "notes.txt").locator("[role=status]")).to_have_text("Translating: 25 %")
    expect(page.get_by_role("progressbar", name="Progress of notes.txt")).to_have_attribute("value", "0.25")
    assert Axe().run(page).violations_count == 0
    page.get_by_role("button", name="Cancel: notes.txt").click()
    expect(line(page, "notes.txt").locator("[role=status]")).to_have_text("Cancelled")
    page.unroute("**/translate_file")
    page.unroute("**/translate_file/*")
    page.get_by_role("button", name="Try again: notes.txt").click()
    expect(line(page, "notes.txt").locator("[role=status]")).to_have_text("Translated")


def test_what_is_wrong_with_a_file_is_said(visit: Open) -> None:
    page = visit(START)
    choose(page, ("letter.docx", b"no archive"))
    expect(line(page, "letter.docx")).to_contain_text("The service could not take this request.")
    expect(line(page, "letter.docx")).to_contain_text("the file is damaged")
    assert Axe().run(page).violations_count == 0
