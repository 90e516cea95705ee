"""Books that EbookLib made, and read again after their translation."""

from __future__ import annotations

import io
import warnings
from typing import Any

import pytest

from service.errors import InvalidRequestError
from tests.files.reading import bare, changed, parts, translated, with_parts

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from ebooklib import ITEM_DOCUMENT, epub


def book() -> bytes:
    made = epub.EpubBook()
    made.set_identifier("id1")
    made.set_title("My book")
    made.set_language("en")
    chapter = epub.EpubHtml(title="The first chapter", file_name="text/one page.xhtml", lang="en")
    chapter.content = (
        '<h1>One</h1><p>The <b>cat</b> sleeps.<br/>It <a href="#x">dreams</a>.</p><p><img src="a.png" alt="A cat"/></p>'
        "<pre>code here</pre>"
    )
    made.add_item(chapter)
    made.add_item(epub.EpubItem(uid="css", file_name="a.css", media_type="text/css", content=b"p { color: red }"))
    made.toc = (epub.Link("text/one page.xhtml", "The first chapter", "one"),)
    made.spine = ["nav", chapter]
    made.add_item(epub.EpubNcx())
    made.add_item(epub.EpubNav())
    stream = io.BytesIO()
    epub.write_epub(stream, made)
    return stream.getvalue()


def pages(content: bytes) -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        read = epub.read_epub(io.BytesIO(content))
    return {item.file_name: item.get_content().decode() for item in read.get_items_of_type(ITEM_DOCUMENT)}


def test_pages_and_contents_are_translated_and_nothing_else_changes() -> None:
    content = book()
    file, written = translated("a.epub", content)
    assert set(bare(list(file.texts))) == {
        "The first chapter", "One", "The cat sleeps.", "It dreams.", "My book",
    }  # fmt: skip
    assert changed(content, written) == {"EPUB/text/one page.xhtml", "EPUB/nav.xhtml", "EPUB/toc.ncx"}
    assert next(iter(parts(written))) == "mimetype"
    page = pages(written)["text/one page.xhtml"]
    for part in ("<b>CAT</b>", '<a href="#x">DREAMS</a>', "code here", 'alt="A cat"'):
        assert part in page
    assert b"<title>THE FIRST CHAPTER</title>" in parts(written)["EPUB/text/one page.xhtml"]
    assert changed(content, translated("a.epub", content, lambda text: text)[1]) == set()
    assert 'alt="A CAT"' in pages(translated("a.epub", content, alt_texts=True)[1])["text/one page.xhtml"]


def locked(name: str) -> bytes:
    return (
        '<encryption xmlns="urn:oasis:names:tc:opendocument:xmlns:container" '
        'xmlns:e="http://www.w3.org/2001/04/xmlenc#"><e:EncryptedData>'
        f'<e:CipherData><e:CipherReference URI="{name}"/></e:CipherData></e:EncryptedData></encryption>'
    ).encode()


def test_only_fonts_may_be_encrypted() -> None:
    content = book()
    encryption = "META-INF___encryption__xml"
    assert translated("a.epub", with_parts(content, **{encryption: locked("EPUB/font.otf")}))
    with pytest.raises(InvalidRequestError, match="encrypted"):
        translated("a.epub", with_parts(content, **{encryption: locked("EPUB/text/one%20page.xhtml")}))


@pytest.mark.parametrize(
    ("name", "part", "message"),
    [
        ("META-INF___container__xml", b"<a/>", "names no book"),
        ("META-INF___container__xml", b"<a>", "damaged: META-INF/container.xml"),
        ("EPUB___text___one page__xhtml", b"\xff\xff", "neither in UTF-8 nor in UTF-16"),
        ("EPUB___toc__ncx", b'<?xml version="1.0" encoding="latin-1"?><ncx/>', "is in latin-1"),
    ],
)
def test_a_damaged_book_says_what_is_wrong(name: str, part: bytes, message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        translated("a.epub", with_parts(book(), **{name: part}))
