"""EPUB: the pages of a book are HTML, its table of contents perhaps XML of its own."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from urllib.parse import unquote

from service.errors import DamagedFileError, EncryptedFileError
from service.files.blocks import Block, Blocks, Text, block_of, escaped
from service.files.packages import Package
from service.files.xml_parts import Element, XmlPart, read_xml
from service.text.markup.html import parse_html

_CONTAINER, _ENCRYPTION = "META-INF/container.xml", "META-INF/encryption.xml"
_PAGES = frozenset({"application/xhtml+xml", "text/html"})
_CONTENTS = "application/x-dtbncx+xml"


class Page:
    """One page."""

    def __init__(self, name: str, content: bytes, *, alt_texts: bool) -> None:
        self._encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8"
        try:
            source = content.decode(self._encoding)
        except UnicodeDecodeError:
            raise DamagedFileError(f"{name} is neither in UTF-8 nor in UTF-16") from None
        self._marked = parse_html(source, attributes=alt_texts)

    @property
    def texts(self) -> list[str]:
        """What is translated."""
        return self._marked.texts

    def written(self, translations: Sequence[str]) -> bytes:
        """The page with a translation in place of each text."""
        return self._marked.assembled(translations).encode(self._encoding)


def read_epub(package: Package, *, alt_texts: bool) -> Iterator[tuple[str, XmlPart | None, Blocks | Page]]:
    """The parts of a book that hold text, with their names.

    Raises:
        InvalidRequestError: the book is damaged or encrypted.
    """
    locked = _encrypted(package)
    for name, kind in _manifest(package):
        if name in locked and kind in (*_PAGES, _CONTENTS):
            raise EncryptedFileError
        if kind in _PAGES:
            yield name, None, Page(name, package.part(name), alt_texts=alt_texts)
        elif kind == _CONTENTS:
            part = read_xml(name, package.part(name))
            yield name, part, Blocks(part.source, _titles(part.root))


def _manifest(package: Package) -> Iterator[tuple[str, str]]:
    """Names and types of the parts that the book says it has, each once."""
    known: set[str] = set()
    names = frozenset(package.names)
    container = read_xml(_CONTAINER, package.part(_CONTAINER)).root
    books = [each.attributes.get("full-path", "") for each in container.walk() if each.name.endswith(":rootfile")]
    if not books:
        raise DamagedFileError(f"{_CONTAINER} names no book")
    for book in books:
        folder = posixpath.dirname(book)
        for item in _of_name(read_xml(book, package.part(book)).root, "opf:item"):
            name = posixpath.normpath(posixpath.join(folder, unquote(item.attributes.get("href", ""))))
            if name in names and name not in known:
                known.add(name)
                yield name, item.attributes.get("media-type", "")


def _encrypted(package: Package) -> frozenset[str]:
    """Names of parts that only who has a key can read; fonts often are."""
    if _ENCRYPTION not in package.names:
        return frozenset()
    root = read_xml(_ENCRYPTION, package.part(_ENCRYPTION)).root
    references = _of_name(root, "enc:CipherReference")
    return frozenset(unquote(each.attributes.get("URI", "")) for each in references)


def _titles(root: Element) -> Iterator[Block]:
    for element in _of_name(root, "ncx:text"):
        block = block_of(element.inner, element.close, [Text(element.text)], escaped)
        if block is not None:
            yield block


def _of_name(root: Element, name: str) -> Iterator[Element]:
    return (element for element in root.walk() if element.name == name)
