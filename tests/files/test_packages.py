"""Archives that are too much, broken or locked; and XML that would be more than it seems."""

from __future__ import annotations

import io
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import InvalidRequestError
from service.files.formats import FileOptions, read_file
from service.files.xml_parts import read_xml

TYPES = (
    '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Override PartName="/word/document.xml" '
    'ContentType="application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"/></Types>'
)
W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"


def docx(document: str = f'<w:document xmlns:w="{W}"><w:p><w:r><w:t>word</w:t></w:r></w:p></w:document>',
         **more: bytes) -> bytes:  # fmt: skip
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, part in {"[Content_Types].xml": TYPES, "word/document.xml": document, **more}.items():
            archive.writestr(name, part)
    return stream.getvalue()


def read(content: bytes, most_bytes: int = 1_000_000) -> list[str]:
    return list(read_file("a.docx", content, FileOptions(most_bytes=most_bytes)).texts)


def document(inside: str, before: str = "") -> str:
    return f'{before}<w:document xmlns:w="{W}"><w:p><w:r><w:t>{inside}</w:t></w:r></w:p></w:document>'


ENTITIES = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]>'
OUTSIDE = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"hello", "damaged: File is not a zip file"),
        (docx()[:-30], "damaged"),
        (docx()[:400] + b"x" * 40 + docx()[440:], "damaged"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600, "encrypted or of a program before 2007"),
        (docx(**{"word/vbaProject.bin": b"x"}), "holds macros"),
        (docx(big=b"\0" * 2_000_000), "unpacks to more than 1000000 bytes"),
        (docx(document("&b;", ENTITIES)), "entities or a document type of its own"),
        (docx(document("&a;", OUTSIDE)), "entities or a document type of its own"),
        (docx(document("&nbsp;")), "damaged: word/document.xml: undefined entity"),
        (docx(document("<x>")), "damaged: word/document.xml: mismatched tag"),
        (docx("<a>" * 300 + "</a>" * 300), "nested deeper than 200 levels"),
        (docx(""), "damaged: word/document.xml: no element found"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(content: bytes, message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        read(content)


def test_two_parts_of_one_name_and_missing_parts() -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a", "1")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a", "2")
    with pytest.raises(InvalidRequestError, match="same name"):
        read(stream.getvalue())
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a", "1")
    with pytest.raises(InvalidRequestError, match=r"\[Content_Types\].xml is missing"):
        read(stream.getvalue())


def test_an_encrypted_part() -> None:
    content = bytearray(docx())
    # The flag, in the central directory, of the first entry.
    content[content.index(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(InvalidRequestError, match="encrypted"):
        read(bytes(content))


def test_a_part_in_utf_16_stays_in_it() -> None:
    source = document("word é", '<?xml version="1.0" encoding="UTF-16"?>')
    file = read_file("a.docx", docx(**{"word/document.xml": source.encode("utf-16")}), FileOptions())
    with zipfile.ZipFile(io.BytesIO(file.written(["mot é"], "fr"))) as archive:
        written = archive.read("word/document.xml")
    assert written[:2] in (b"\xff\xfe", b"\xfe\xff")
    assert written.decode("utf-16") == source.replace("<w:t>word é", '<w:t xml:space="preserve">mot é')


NAMES = st.sampled_from(["a", "b:c", "d"])
TREES = st.recursive(
    st.one_of(st.sampled_from(["text ", "&amp;", "é&#x1F600;", "<!-- > -->", "<?i x?>", "<![CDATA[<a>]]>"])),
    lambda inner: st.builds(
        lambda name, children, empty: f"<{name} x='>'/>" if empty else
        f"<{name}\n x=\"/\" >{''.join(children)}</{name} >",
        NAMES, st.lists(inner, max_size=4), st.booleans(),
    ), max_leaves=25,
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(inside=TREES)
def test_every_node_knows_where_it_stands(inside: str) -> None:
    source = f'<?xml version="1.0"?><r xmlns:b="u">{inside}</r>'.encode()
    part = read_xml("x", source)
    for element in part.root.walk():
        name = (element.prefix + element.name.rpartition(":")[2]).encode()
        tag = source[element.start : element.inner]
        assert tag.startswith(b"<" + name)
        assert tag.endswith(b">")
        ending = source[element.close : element.end]
        assert ending == (b"" if tag.endswith(b"/>") else ending)
        assert ending in (b"", b"</" + name + b">", b"</" + name + b" >")
    assert source[part.root.start : part.root.end] == source[21:]
