"""docx, pptx and xlsx that python-docx, python-pptx and openpyxl made, and read again after their translation."""

from __future__ import annotations

import html
import io
import re
from typing import Any

import docx
import openpyxl
import pptx
import pytest
from docx.enum.text import WD_BREAK
from docx.oxml import OxmlElement, parse_xml
from docx.oxml.ns import nsdecls, qn
from hypothesis import given, settings
from hypothesis import strategies as st
from openpyxl.cell.rich_text import CellRichText, TextBlock
from openpyxl.cell.text import InlineFont
from openpyxl.comments import Comment
from openpyxl.worksheet.table import Table
from PIL import Image
from pptx.chart.data import CategoryChartData
from pptx.enum.chart import XL_CHART_TYPE

from tests.files.reading import bare, changed, loud, parts, translated, with_parts


def saved(document: Any) -> bytes:
    stream = io.BytesIO()
    document.save(stream)
    return stream.getvalue()


def picture() -> io.BytesIO:
    stream = io.BytesIO()
    Image.new("RGB", (2, 2)).save(stream, "PNG")
    stream.seek(0)
    return stream


def field(paragraph: Any, code: str, result: str) -> None:
    """A field as Word writes one: five runs."""
    for kind in ("begin", "code", "separate", "result", "end"):
        run = paragraph.add_run(result if kind == "result" else "")
        if kind == "code":
            run._r.append(instruction := OxmlElement("w:instrText"))
            instruction.text = code
        elif kind != "result":
            run._r.append(mark := OxmlElement("w:fldChar"))
            mark.set(qn("w:fldCharType"), kind)


def letter() -> Any:
    document = docx.Document()
    paragraph = document.add_paragraph("The ")
    paragraph.add_run("cat").bold = True
    paragraph.add_run(" sleeps in the ")
    run = paragraph.add_run("garden")
    run.bold = run.italic = True
    paragraph.add_run(".").add_break()
    paragraph.add_run("Next line\tand a cell")
    document.add_comment(paragraph.runs[1], text="Is this right?", author="Anna", initials="A")
    document.add_heading("A heading", 1)
    document.add_table(1, 2).cell(0, 1).text = "Tom & Jerry <1>"
    section = document.sections[0]
    section.header.paragraphs[0].text, section.footer.paragraphs[0].text = "My header", "My footer"
    paragraph = document.add_paragraph("See page ")
    field(paragraph, " PAGE ", "three")
    paragraph.add_run(" and ")
    field(paragraph, ' HYPERLINK "https://example.org" ', "our site")
    paragraph.add_run(" now.")
    document.add_picture(picture())
    document.inline_shapes[0]._inline.docPr.set("descr", 'A "small" house')
    document.add_paragraph("2031").add_run().add_break(WD_BREAK.PAGE)
    return document


def looks(content: bytes) -> list[list[tuple[str, Any, Any]]]:
    """Texts and formats of the runs of a document that have text."""
    paragraphs = docx.Document(io.BytesIO(content)).paragraphs
    return [[(run.text, run.bold, run.italic) for run in each.runs if run.text] for each in paragraphs]


def letters(content: bytes) -> list[list[tuple[Any, ...]]]:
    """Each letter with its format; a space or two take that of what stands beside them."""
    return [[(letter, *(look if letter.strip() else ())) for text, *look in row for letter in text]
            for row in looks(content)]  # fmt: skip


def test_a_letter_is_translated_and_nothing_else_of_it_changes() -> None:
    content = saved(letter())
    file, written = translated("a.docx", content)
    assert set(bare(list(file.texts))) == {
        "The cat sleeps in the garden.\nNext line\tand a cell", "A heading", "Tom & Jerry <1>",
        "See page  and our site now.", "My header", "My footer", "Is this right?",
    }  # fmt: skip
    texts = {"word/document.xml", "word/header1.xml", "word/footer1.xml", "word/comments.xml"}
    assert changed(content, written) == texts
    assert looks(written)[:2] == [
        [
            ("THE ", None, None), ("CAT", True, None), (" SLEEPS IN THE ", None, None), ("GARDEN", True, True),
            (".", None, None), ("\n", None, None), ("NEXT LINE", None, None), ("\t", None, None),
            ("AND A CELL", None, None),
        ],
        [("A HEADING", None, None)],
    ]  # fmt: skip
    again = docx.Document(io.BytesIO(written))
    assert again.tables[0].cell(0, 1).text == "TOM & JERRY <1>"
    assert [comment.text for comment in again.comments] == ["IS THIS RIGHT?"]
    xml = parts(written)["word/document.xml"]
    assert xml.count(b'w:fldCharType="separate"') == 2
    assert b"<w:instrText> PAGE </w:instrText></w:r>" in xml
    assert b"<w:t>three</w:t>" in xml, "a page's number is not translated"
    assert b'descr="A &quot;small&quot; house"' in xml
    assert xml.count(b"commentRange") == 2
    # A text of its own keeps every byte of the file.
    assert changed(content, translated("a.docx", content, lambda text: text)[1]) == texts
    assert letters(translated("a.docx", content, lambda text: text)[1]) == letters(content)


def test_alt_texts_are_translated_on_request() -> None:
    content = saved(letter())
    written = translated("a.docx", content, alt_texts=True)[1]
    assert docx.Document(io.BytesIO(written)).inline_shapes[0]._inline.docPr.get("descr") == 'A "SMALL" HOUSE'


W = nsdecls("w")
BODIES = {
    "a text box inside a run": (
        f'<w:p {W}><w:r><w:t>Outside </w:t></w:r><w:r><w:pict><w:txbxContent><w:p><w:r><w:t>inside</w:t></w:r></w:p>'
        "</w:txbxContent></w:pict></w:r></w:p>", ["Outside", "inside"], b"<w:txbxContent>",
    ),
    "a paragraph that begins with what is copied": (
        f'<w:p {W}><w:bookmarkStart w:id="7" w:name="x"/><w:r><w:t>word</w:t></w:r><w:bookmarkEnd w:id="7"/></w:p>',
        ["word"], b'<w:bookmarkStart w:id="7" w:name="x"/>',
    ),
    "what was deleted is not translated": (
        f'<w:p {W}><w:del w:id="1" w:author="a"><w:r><w:delText>old</w:delText></w:r></w:del>'
        '<w:ins w:id="2" w:author="a"><w:r><w:t>new</w:t></w:r></w:ins></w:p>', ["new"], b"<w:delText>old</w:delText>",
    ),
    "a word in several runs": (
        f'<w:p {W}><w:r w:rsidR="1"><w:t>Hel</w:t></w:r><w:proofErr w:type="spellStart"/>'
        '<w:r><w:rPr><w:lang w:val="en-GB"/></w:rPr><w:t>lo</w:t></w:r></w:p>', ["Hello"], b">HELLO</w:t>",
    ),
    "a content control": (
        f'<w:p {W}><w:sdt><w:sdtPr><w:alias w:val="Name"/></w:sdtPr><w:sdtContent><w:r><w:t>field</w:t></w:r>'
        "</w:sdtContent></w:sdt></w:p>", ["field"], b'<w:alias w:val="Name"/>',
    ),
    "a footnote's mark": (
        f'<w:p {W}><w:r><w:t xml:space="preserve">Here </w:t><w:footnoteReference w:id="2"/><w:t>too</w:t></w:r></w:p>',
        ["Here too"], b'<w:r><w:footnoteReference w:id="2"/></w:r>',
    ),
    "a comment, an instruction and a section": (
        f"<w:p {W}><!-- > --><?x y?><w:r><w:t><![CDATA[a <b> & c]]></w:t></w:r></w:p>", ["a <b> & c"],
        b"<!-- > --><?x y?>",
    ),
    "a character that stands for tags": (
        f"<w:p {W}><w:r><w:t>a&#xF0001;b</w:t></w:r></w:p>", ["ab"],
        "<w:t xml:space=\"preserve\">\U000f0001</w:t>".encode(),
    ),
    "a table of contents over several paragraphs": (
        f'<w:p {W}><w:r><w:fldChar w:fldCharType="begin"/></w:r><w:r><w:instrText>TOC \\o</w:instrText></w:r>'
        '<w:r><w:fldChar w:fldCharType="separate"/></w:r><w:r><w:t>First</w:t></w:r></w:p>', ["First"],
        b"<w:instrText>TOC \\o</w:instrText>",
    ),
}  # fmt: skip


def shown(content: bytes) -> str:
    """All text that is shown."""
    return html.unescape(
        "".join(re.findall("<w:t(?: [^>]*)?>([^<]*)</w:t>", parts(content)["word/document.xml"].decode()))
    )


@pytest.mark.parametrize("kind", BODIES)
def test_what_word_writes_and_the_library_does_not(kind: str) -> None:
    xml, texts, kept = BODIES[kind]
    document = docx.Document()
    document.element.body.insert(0, parse_xml(xml))
    content = saved(document)
    file, written = translated("a.docx", content)
    assert bare(list(file.texts)) == texts
    result = parts(written)["word/document.xml"]
    assert kept in result
    assert re.findall("[A-Z]", shown(written)) == re.findall("[A-Z]", loud(" ".join(texts)))
    docx.Document(io.BytesIO(written))


RUNS = st.lists(
    st.tuples(st.text("ab é<&\t\n\u00a0", min_size=1, max_size=6), st.booleans(), st.booleans()), min_size=1, max_size=6
)


@settings(max_examples=25, deadline=None)
@given(paragraphs=st.lists(RUNS, min_size=1, max_size=3))
def test_whatever_the_formats_each_letter_keeps_its_own(paragraphs: list[Any]) -> None:
    document = docx.Document()
    for runs in paragraphs:
        paragraph = document.add_paragraph()
        for text, bold, italic in runs:
            run = paragraph.add_run(text)
            run.bold, run.italic = bold, italic
    content = saved(document)
    written = translated("a.docx", content, lambda text: text)[1]

    assert letters(written) == letters(content)


def test_slides_with_notes_tables_charts_and_groups() -> None:
    show = pptx.Presentation()
    slide = show.slides.add_slide(show.slide_layouts[1])
    slide.shapes.title.text = "My title"
    frame = slide.placeholders[1].text_frame
    frame.text = "The cat "
    run = frame.paragraphs[0].add_run()
    run.text, run.font.bold = "sleeps", True
    frame.paragraphs[0].add_line_break()
    frame.paragraphs[0].add_run().text = "at home"
    slide.notes_slide.notes_text_frame.text = "Say it slowly"
    table = slide.shapes.add_table(1, 1, 0, 0, 9, 9).table
    table.cell(0, 0).text = "A cell"
    group = slide.shapes.add_group_shape()
    group.shapes.add_textbox(0, 0, 9, 9).text_frame.text = "In a group"
    data = CategoryChartData()
    data.categories = ["East", "West"]
    data.add_series("Sales", (1, 2))
    chart = slide.shapes.add_chart(XL_CHART_TYPE.PIE, 0, 0, 9, 9, data).chart
    chart.chart_title.text_frame.text = "Title of a chart"
    content = saved(show)
    file, written = translated("a.pptx", content)
    assert set(bare(list(file.texts))) == {
        "My title", "The cat sleeps\nat home", "Say it slowly", "A cell", "In a group", "East", "West", "Sales",
        "Title of a chart",
    }  # fmt: skip
    again = pptx.Presentation(io.BytesIO(written)).slides[0]
    body = again.placeholders[1].text_frame.paragraphs[0]
    assert [(run.text, run.font.bold) for run in body.runs] == [
        ("THE CAT ", None), ("SLEEPS", True), ("AT HOME", None),
    ]  # fmt: skip
    assert again.notes_slide.notes_text_frame.text == "SAY IT SLOWLY"
    assert all("Layout" not in name and "Master" not in name for name in changed(content, written))


def test_a_spreadsheet_and_what_its_formulas_know() -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.append(["Name", "Town", "Plain text"])
    sheet.append(["Tom", "Two\nlines", 12.5])
    sheet["A4"] = CellRichText("The ", TextBlock(InlineFont(b=True), "big"), " house")
    sheet["A5"] = '=IF(B2="Two","yes","no")'
    sheet["A6"] = "_x0041_ is written"
    sheet.add_table(Table(displayName="T", ref="A1:B2"))
    sheet["C1"].comment = Comment("A comment", "Anna")
    sheet.oddHeader.left.text, sheet.oddHeader.center.text = "Our report && more", "&D"
    content = saved(book)
    file, written = translated("a.xlsx", content)
    # Tom, because a cell is text; Name and Town, because they are columns of a table.
    assert set(bare(list(file.texts))) == {
        "Plain text", "Tom", "Two\nlines", "The big house", "A is written", "A comment", "\tOur report & more\t",
    }  # fmt: skip
    again = openpyxl.load_workbook(io.BytesIO(written), rich_text=True).active
    assert again is not None
    assert [cell.value for cell in again[1]] == ["Name", "Town", "PLAIN TEXT"]
    assert [cell.value for cell in again[2]] == ["TOM", "TWO\nLINES", 12.5]
    assert str(again["A4"].value) == "THE BIG HOUSE"
    assert again["A4"].value[1].font.b
    assert again["A5"].value == '=IF(B2="Two","yes","no")'
    assert (again["C1"].comment.text, again.oddHeader.left.text) == ("A COMMENT", "OUR REPORT && MORE")
    assert again.oddHeader.center.text == "&D"
    assert [column.name for column in again.tables["T"].tableColumns] == ["Name", "Town"]


def test_a_file_of_another_kind_says_so() -> None:
    from service.errors import InvalidRequestError

    content = saved(docx.Document())
    with pytest.raises(InvalidRequestError, match="is no xlsx file"):
        translated("a.xlsx", content)
    types = parts(content)["[Content_Types].xml"].replace(
        b"vnd.openxmlformats-officedocument.wordprocessingml.document.main", b"vnd.ms-word.document.macroEnabled.main"
    )
    with pytest.raises(InvalidRequestError, match="macros"):
        translated("a.docx", with_parts(content, **{"[Content_Types]__xml": types}))
