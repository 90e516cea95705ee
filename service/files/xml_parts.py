"""An XML part as a tree whose nodes know where they stand, so that what is not translated stays byte for byte.

The parser is expat. Entities of a document's own are refused before one is read, and nothing outside is ever fetched.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Iterator
from xml.parsers import expat

from service.errors import DamagedFileError, InvalidRequestError

MOST_DEPTH = 200
_NAMESPACES = (
    ("w", "wordprocessingml/2006/main", "ooxml/wordprocessingml/main"),
    ("wp", "drawingml/2006/wordprocessingDrawing", "ooxml/drawingml/wordprocessingDrawing"),
    ("a", "drawingml/2006/main", "ooxml/drawingml/main"),
    ("c", "drawingml/2006/chart", "ooxml/drawingml/chart"),
    ("p", "presentationml/2006/main", "ooxml/presentationml/main"),
    ("s", "spreadsheetml/2006/main", "ooxml/spreadsheetml/main"),
    ("xdr", "drawingml/2006/spreadsheetDrawing", "ooxml/drawingml/spreadsheetDrawing"),
    ("tc", "spreadsheetml/2018/threadedcomments"),
    ("types", "package/2006/content-types"),
    *((name, f"opendocument:xmlns:{name}:1.0") for name in ("text", "office", "table", "draw", "presentation")),
    ("svg", "opendocument:xmlns:svg-compatible:1.0"),
    ("opf", "idpf.org/2007/opf"),
    ("ncx", "daisy.org/z3986/2005/ncx/"),
    ("ocf", "opendocument:xmlns:container"),
    ("enc", "www.w3.org/2001/04/xmlenc#"),
)
_ENCODING = re.compile(rb"<\?xml[^>]*?encoding\s*=\s*[\"']([A-Za-z0-9._-]+)")
_UTF_16 = ((b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))
_UTF_8_MARK = b"\xef\xbb\xbf"


@dataclasses.dataclass(slots=True)
class Raw:
    """A comment or an instruction at source[start:end]."""

    start: int
    end: int


@dataclasses.dataclass(slots=True)
class Element:
    """An element at source[start:end]; its content is source[inner:close]."""

    name: str
    """With a short name of its namespace before it, the same whatever prefix the source has: `w:p`."""
    prefix: str
    """Of the source, with its colon."""
    attributes: dict[str, str]
    start: int
    inner: int = -1
    close: int = -1
    end: int = -1
    children: list[Element | Raw | str] = dataclasses.field(default_factory=list)

    @property
    def elements(self) -> Iterator[Element]:
        """Those directly in it."""
        return (child for child in self.children if isinstance(child, Element))

    def first(self, name: str) -> Element | None:
        """The first of this name directly in it."""
        return next((child for child in self.elements if child.name == name), None)

    def walk(self) -> Iterator[Element]:
        """It and all elements in it, in order."""
        yield self
        for child in self.elements:
            yield from child.walk()

    @property
    def text(self) -> str:
        """All text in it."""
        return "".join(child if isinstance(child, str) else child.text for child in self.children
                       if not isinstance(child, Raw))  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True)
class XmlPart:
    """A part that was read."""

    source: bytes
    """In UTF-8, whatever it was in."""
    root: Element
    encoding: str
    mark: bytes

    def encoded(self, written: bytes) -> bytes:
        """What was written in UTF-8, in the encoding that the part had."""
        return self.mark + (written if self.encoding == "utf-8" else written.decode().encode(self.encoding))


def read_xml(name: str, content: bytes) -> XmlPart:
    """The part of this name.

    Raises:
        InvalidRequestError: it is not well-formed, in another encoding than UTF-8 or UTF-16, has entities of its own,
            or is nested too deep.
    """
    mark, encoding = next((each for each in _UTF_16 if content.startswith(each[0])), (b"", "utf-8"))
    if not mark and content.startswith(_UTF_8_MARK):
        mark = _UTF_8_MARK
    source = content[len(mark) :]
    declared = _ENCODING.match(source)
    if encoding == "utf-8" and declared and declared[1].lower() not in (b"utf-8", b"us-ascii"):
        raise DamagedFileError(f"{name} is in {declared[1].decode()}, not in UTF-8 or UTF-16")
    try:
        source = source.decode(encoding).encode()
        return XmlPart(source, _Reader(name, source).root, encoding, mark)
    except UnicodeDecodeError:
        raise DamagedFileError(f"{name} is not in {encoding.upper()}") from None
    except expat.ExpatError as error:
        raise DamagedFileError(f"{name}: {error}") from None


class _Reader:
    """Makes the tree of one source."""

    def __init__(self, name: str, source: bytes) -> None:
        self._name, self._source = name, source
        self._open: list[Element] = [Element("", "", {}, 0)]
        self._begun: Element | None = None
        parser = self._parser = expat.ParserCreate("utf-8", " ")
        parser.namespace_prefixes = True
        parser.StartDoctypeDeclHandler = self._doctype
        parser.StartElementHandler, parser.EndElementHandler = self._start, self._end
        parser.CharacterDataHandler = self._characters
        parser.CommentHandler = lambda data: self._raw(b"-->")
        parser.ProcessingInstructionHandler = lambda target, data: self._raw(b"?>")
        parser.StartCdataSectionHandler = parser.EndCdataSectionHandler = lambda: self._here()
        parser.DefaultHandler = self._other
        parser.Parse(source, True)
        self.root = next(self._open[0].elements)

    def _here(self) -> int:
        """Where the parser is; what was begun last has its content from here on."""
        here = self._parser.CurrentByteIndex
        if self._begun is not None:
            self._begun.inner, self._begun = here, None
        return here

    def _doctype(self, name: str, system: str | None, public: str | None, has_internal_subset: int) -> None:
        if has_internal_subset:
            raise InvalidRequestError(f"Invalid request: {self._name} has entities or a document type of its own")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        here = self._here()
        if len(self._open) > MOST_DEPTH:
            raise InvalidRequestError(f"Invalid request: {self._name} is nested deeper than {MOST_DEPTH} levels")
        short, prefix = _short(name)
        element = Element(short, prefix, {_short(each)[0]: value for each, value in attributes.items()}, here)
        self._open[-1].children.append(element)
        self._open.append(element)
        self._begun = element

    def _end(self, name: str) -> None:
        was_begun = self._begun is not None
        here = self._here()
        element = self._open.pop()
        element.close = element.end = here
        # An empty element's own tag ends here; another's closing tag begins.
        if not (was_begun and self._source.endswith(b"/>", 0, here)):
            element.end = self._source.index(b">", here) + 1

    def _characters(self, data: str) -> None:
        self._here()
        children = self._open[-1].children
        if children and isinstance(children[-1], str):
            children[-1] += data
        else:
            children.append(data)

    def _raw(self, ending: bytes) -> None:
        here = self._here()
        self._open[-1].children.append(Raw(here, self._source.index(ending, here) + len(ending)))

    def _other(self, data: str) -> None:
        here = self._here()
        if len(self._open) > 1 and data:
            self._open[-1].children.append(Raw(here, here + len(data.encode())))


@functools.lru_cache(maxsize=2000)
def _short(name: str) -> tuple[str, str]:
    """The name with its namespace's short name, and the prefix that the source has."""
    space, local, prefix = (["", *name.split(" "), ""] if " " not in name else [*name.split(" "), ""])[:3]
    known = next((short for short, *ends in _NAMESPACES if any(space.endswith(end) for end in ends)), space)
    return f"{known}:{local}" if known else local, f"{prefix}:" if prefix else ""
