"""OpenDocument (odt, odp, ods): paragraphs with spans and links in them, as in HTML."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

from service.errors import DamagedFileError, EncryptedFileError
from service.files.blocks import Block, Blocks, Item, Mark, Tag, Text, Writer, block_of, escaped
from service.files.packages import Package
from service.files.xml_parts import Element, Raw, XmlPart, read_xml

_TYPES = {".odt": b"opendocument.text", ".odp": b"opendocument.presentation", ".ods": b"opendocument.spreadsheet"}
_PARTS = ("content.xml", "styles.xml")
_PARAGRAPHS = frozenset({"text:p", "text:h", "text:index-title-template"})
_ALT_TEXTS = frozenset({"svg:title", "svg:desc"})
_AROUND = frozenset({"text:span", "text:a", "text:meta", "text:ruby", "text:ruby-base"})
_POINTS = frozenset(
    f"text:{name}"
    for name in (
        "bookmark", "bookmark-start", "bookmark-end", "reference-mark", "reference-mark-start", "reference-mark-end",
        "change", "change-start", "change-end", "toc-mark", "toc-mark-start", "toc-mark-end", "alphabetical-index-mark",
        "alphabetical-index-mark-start", "alphabetical-index-mark-end",
    )
) | {"office:annotation-end"}  # fmt: skip
_NEVER_SHOWN = frozenset({"text:tracked-changes"})
_SPACES = re.compile("^ {2,}|(?<= ) +")
_MOST_SPACES = 10_000


def read_opendocument(package: Package, ending: str, *, alt_texts: bool) -> Iterator[tuple[str, XmlPart, Blocks]]:
    """The parts of a file that hold text, with their names.

    Raises:
        InvalidRequestError: the file is damaged, encrypted, or of another format than `ending`.
    """
    if "META-INF/manifest.xml" in package.names and b"encryption-data" in package.part("META-INF/manifest.xml"):
        raise EncryptedFileError
    if not package.part("mimetype").strip().startswith(b"application/vnd.oasis." + _TYPES[ending]):
        raise DamagedFileError(f"it is no {ending[1:]} file")
    package.part("content.xml")
    for name in package.names:
        # Parts of objects in the document, such as charts, lie in folders of their own.
        if name.rpartition("/")[2] in _PARTS:
            part = read_xml(name, package.part(name))
            yield name, part, Blocks(part.source, _blocks(part.root, alt_texts))


def _blocks(element: Element, alt_texts: bool) -> Iterator[Block]:
    """Those in an element, and those in what they copy."""
    if element.name in _NEVER_SHOWN:
        return
    found: Block | None = None
    if element.name in _PARAGRAPHS:
        items = list(_with_single_spaces(_Paragraph().items(element)))
        found = block_of(element.inner, element.close, items, _writer(element.prefix))
    elif alt_texts and element.name in _ALT_TEXTS:
        found = block_of(element.inner, element.close, [Text(element.text)], escaped)
    if found is not None:
        yield found
    # The result of a formula is made anew, and what formulas compare must stay.
    if element.name == "table:table-cell" and "table:formula" in element.attributes:
        return
    for child in element.elements:
        yield from _blocks(child, alt_texts)


class _Paragraph:
    """Reads one paragraph."""

    def __init__(self) -> None:
        self._numbers = itertools.count()

    def items(self, element: Element) -> Iterator[Item]:
        """What an element of a paragraph consists of."""
        for child in element.children:
            if isinstance(child, str):
                yield Text(child)
            elif isinstance(child, Raw):
                yield Mark(((child.start, child.end),))
            elif child.name == "text:s":
                yield Text(" " * _count(child), "spaces")
            elif child.name in ("text:line-break", "text:tab"):
                yield Mark(((child.start, child.end),), "break" if child.name == "text:line-break" else "tab")
            elif child.name in _AROUND and child.inner < child.close:
                number = next(self._numbers)
                yield Tag(((child.start, child.inner),), number, opens=True)
                yield from self.items(child)
                yield Tag(((child.close, child.end),), number, opens=False)
            elif child.name != "text:soft-page-break":
                yield Mark(((child.start, child.end),), "point" if child.name in _POINTS else "mark")


def _count(spaces: Element) -> int:
    count = spaces.attributes.get("text:c", "1")
    return min(int(count), _MOST_SPACES) if count.isdecimal() else 1


def _with_single_spaces(items: Iterator[Item]) -> Iterator[Item]:
    """The items as they are shown: spaces and line breaks of the source are one space, at the beginning none."""
    after_space = True
    for item in items:
        if not isinstance(item, Text):
            after_space = after_space and isinstance(item, Tag)
            yield item
            continue
        text = item.text if item.format else re.sub(r"[ \t\r\n]+", " ", item.text)
        if after_space and not item.format:
            text = text.removeprefix(" ")
        if text:
            after_space = text.endswith(" ")
            yield Text(text)


def _writer(prefix: str) -> Writer:
    """Text in which only one space in a row is written as such."""

    def write(text: str, properties: bytes | None) -> bytes:
        parts: list[bytes] = []
        end = 0
        for match in _SPACES.finditer(text):
            count = len(match.group())
            parts += (escaped(text[end : match.start()]), f'<{prefix}s {prefix}c="{count}"/>'.encode())
            end = match.end()
        return b"".join((*parts, escaped(text[end:])))

    return write
