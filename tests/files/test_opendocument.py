"""odt, odp and ods that odfpy made, and read again after their translation."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from odf import draw, presentation, style, svg, table, teletype, text
from odf.opendocument import OpenDocumentPresentation, OpenDocumentSpreadsheet, OpenDocumentText, load

from service.errors import InvalidRequestError
from service.text.tags import STAND_INS
from tests.files.reading import bare, changed, loud, parts, translated, with_parts


def saved(document: Any) -> bytes:
    stream = io.BytesIO()
    document.write(stream)
    return stream.getvalue()


def report() -> Any:
    document = OpenDocumentText()
    document.automaticstyles.addElement(bold := style.Style(name="Bold", family="text"))
    bold.addElement(style.TextProperties(fontweight="bold"))
    paragraph = text.P()
    paragraph.addText("The ")
    paragraph.addElement(span := text.Span(stylename=bold))
    span.addText("cat")
    paragraph.addText(" sleeps")
    note = text.Note(noteclass="footnote", id="n1")
    note.addElement(text.NoteCitation(text="1"))
    note.addElement(body := text.NoteBody())
    body.addElement(text.P(text="A note below"))
    paragraph.addElement(note)
    paragraph.addText(" at ")
    paragraph.addElement(link := text.A(href="https://example.org"))
    link.addText("home")
    paragraph.addText(".")
    paragraph.addElement(text.LineBreak())
    teletype.addTextToElement(paragraph, "  Two cells\there & there   now")
    document.text.addElement(text.H(outlinelevel=1, text="A heading"))
    document.text.addElement(paragraph)
    document.text.addElement(grid := table.Table())
    grid.addElement(row := table.TableRow())
    row.addElement(cell := table.TableCell())
    cell.addElement(text.P(text="In a table"))
    document.text.addElement(text.P(text="2031"))
    document.text.addElement(holder := text.P())
    holder.addElement(frame := draw.Frame())
    frame.addElement(box := draw.TextBox())
    box.addElement(text.P(text="In a box"))
    document.automaticstyles.addElement(layout := style.PageLayout(name="L"))
    document.masterstyles.addElement(master := style.MasterPage(name="Standard", pagelayoutname=layout))
    master.addElement(header := style.Header())
    header.addElement(text.P(text="My header"))
    return document


def paragraphs(content: bytes) -> list[str]:
    return [teletype.extractText(each) for each in load(io.BytesIO(content)).getElementsByType(text.P)]


def test_a_report_is_translated_and_nothing_else_of_it_changes() -> None:
    content = saved(report())
    file, written = translated("a.odt", content)
    assert set(bare(list(file.texts))) == {
        "A heading", "The cat sleeps at home.\n  Two cells\there & there   now", "A note below", "In a table",
        "In a box", "My header",
    }  # fmt: skip
    assert changed(content, written) == {"content.xml", "styles.xml"}
    assert paragraphs(written) == [loud(each) for each in paragraphs(content)]
    xml = parts(written)["content.xml"].decode()
    assert re.search(r'<text:span [^>]*"Bold"[^>]*>CAT</text:span>', xml)
    assert re.search(r'<text:a [^>]*"https://example.org"[^>]*>HOME</text:a>', xml)
    assert '<text:s text:c="2"/>TWO CELLS<text:tab/>HERE &amp; THERE <text:s text:c="2"/>NOW' in xml
    same = translated("a.odt", content, lambda each: each)[1]
    assert paragraphs(same) == paragraphs(content)


def test_words_that_change_places_take_their_formats_along() -> None:
    content = saved(report())

    def turned(each: str) -> str:
        return re.sub(r"(\S*cat\S*) (sleeps)", r"\2 \1", each)

    assert "SLEEPS CAT" not in paragraphs(translated("a.odt", content)[1])
    xml = parts(translated("a.odt", content, turned)[1])["content.xml"].decode()
    assert re.search(r"sleeps <text:span [^>]*>cat</text:span>", xml)


@pytest.mark.parametrize("mistake", ["lost", "twice", "crossed"])
def test_whatever_comes_back_the_file_is_well_formed_and_has_all_its_tags(mistake: str) -> None:
    content = saved(report())

    def spoilt(each: str) -> str:
        signs = STAND_INS.findall(each)
        if mistake == "lost":
            return STAND_INS.sub("", each)
        return each + "".join(signs) if mistake == "twice" else "".join(reversed(signs)) + STAND_INS.sub("", each)

    written = translated("a.odt", content, spoilt)[1]
    tags = [sorted(re.findall(r"</?text:(?:span|a|note|p)\b[^>]*>", parts(each)["content.xml"].decode()))
            for each in (content, written)]  # fmt: skip
    assert tags[0] == tags[1]
    letters = [sorted(letter for each in paragraphs(file) for letter in each if letter.strip())
               for file in (content, written)]  # fmt: skip
    assert letters[0] == letters[1]


def test_alt_texts_of_pictures_on_request() -> None:
    document = OpenDocumentText()
    document.text.addElement(holder := text.P(text="Look"))
    holder.addElement(frame := draw.Frame())
    frame.addElement(description := svg.Desc())
    description.addText("A house")
    content = saved(document)
    assert b"A house" in parts(translated("a.odt", content)[1])["content.xml"]
    assert b"A HOUSE" in parts(translated("a.odt", content, alt_texts=True)[1])["content.xml"]


def test_slides_with_notes() -> None:
    document = OpenDocumentPresentation()
    document.automaticstyles.addElement(layout := style.PageLayout(name="L"))
    document.masterstyles.addElement(master := style.MasterPage(name="M", pagelayoutname=layout))
    document.presentation.addElement(page := draw.Page(masterpagename=master))
    page.addElement(frame := draw.Frame())
    frame.addElement(box := draw.TextBox())
    box.addElement(text.P(text="My title"))
    page.addElement(notes := presentation.Notes())
    notes.addElement(frame := draw.Frame())
    frame.addElement(box := draw.TextBox())
    box.addElement(text.P(text="Say it slowly"))
    content = saved(document)
    assert paragraphs(translated("a.odp", content)[1]) == ["MY TITLE", "SAY IT SLOWLY"]


def test_cells_of_a_spreadsheet_without_results_of_formulas() -> None:
    document = OpenDocumentSpreadsheet()
    document.spreadsheet.addElement(sheet := table.Table(name="Sheet"))
    sheet.addElement(row := table.TableRow())
    for words, formula in (("A word", None), ("yes", 'of:=IF([.A1]="A word";"yes";"no")')):
        row.addElement(cell := table.TableCell(valuetype="string", **({"formula": formula} if formula else {})))
        cell.addElement(text.P(text=words))
    content = saved(document)
    assert paragraphs(translated("a.ods", content)[1]) == ["A WORD", "yes"]


def test_old_text_of_tracked_changes_stays() -> None:
    content = saved(report())
    xml = parts(content)["content.xml"].decode()
    old = (
        "<text:tracked-changes><text:changed-region><text:deletion><text:p>Old words</text:p></text:deletion>"
        "</text:changed-region></text:tracked-changes>"
    )
    changed_ = with_parts(content, content__xml=xml.replace("<office:text>", "<office:text>" + old).encode())
    assert old in parts(translated("a.odt", changed_)[1])["content.xml"].decode()


def test_an_encrypted_file_and_one_of_another_kind_say_so() -> None:
    content = saved(report())
    manifest = b'<manifest:manifest xmlns:manifest="m"><manifest:encryption-data/></manifest:manifest>'
    with pytest.raises(InvalidRequestError, match="encrypted"):
        translated("a.odt", with_parts(content, **{"META-INF___manifest__xml": manifest}))
    with pytest.raises(InvalidRequestError, match="is no odp file"):
        translated("a.odp", content)
    with pytest.raises(InvalidRequestError, match="macros"):
        translated("a.odt", with_parts(content, Basic___Standard___x__xml=b"<a/>"))
