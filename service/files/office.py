"""Office Open XML (docx, pptx, xlsx): paragraphs of runs, each run with a format of its own.

Runs that look alike are one text, a run that looks otherwise is an inline tag, and all that is no text is copied.
"""

from __future__ import annotations

import dataclasses
import html
import re
from collections.abc import Iterator, Mapping

from service.errors import DamagedFileError
from service.files.blocks import Block, Blocks, Item, Mark, Text, block_of, escaped, escaped_attribute
from service.files.packages import Package
from service.files.runs import Runs, cell_text, run_writer
from service.files.xml_parts import Element, XmlPart, read_xml

_MAIN = {".docx": "wordprocessingml.document.main", ".pptx": "presentationml.presentation.main",
         ".xlsx": "spreadsheetml.sheet.main"}  # fmt: skip
_READ = re.compile(
    r"wordprocessingml\.(?:document\.main|header|footer|footnotes|endnotes|comments)\+xml"
    r"|presentationml\.(?:slide|notesSlide|slideLayout|slideMaster|comments)\+xml|ms-powerpoint\.comments\+xml"
    r"|spreadsheetml\.(?:sharedStrings|worksheet|comments)\+xml|threadedcomments\+xml"
    r"|drawingml\.(?:chart|diagramData)\+xml|drawing(?:ml\.diagramDrawing)?\+xml"
)
_NAMES_OF_DATA = re.compile(r"spreadsheetml\.(?:table|pivotCacheDefinition)\+xml")
_PROMPTS = re.compile(r"presentationml\.(?:slideLayout|slideMaster)\+xml")
_NEVER_SHOWN = frozenset({"w:del", "w:moveFrom", "c:numCache", "s:rPh"})
_ALT_TEXT = re.compile(rb"\s(?:descr|title)\s*=\s*(?:\"([^\"]*)\"|'([^']*)')")
_PARAGRAPHS = {"w:p": "w", "a:p": "a", "s:si": "s", "s:is": "s", "s:text": "s"}
_PLAIN = frozenset({"p:text", "tc:text", "c:v"})
_HEADERS = frozenset(f"s:{which}{what}" for which in ("odd", "even", "first") for what in ("Header", "Footer"))
_HEADER_CODE = re.compile(r"(&(?:\"[^\"]*\"|K[0-9A-Fa-f]{6}|K[0-9]{2}[+-][0-9]{3}|[0-9]{1,3}|.))", re.DOTALL)
_WITH_TEXT = re.compile(rb"inlineStr|(?:odd|even|first)(?:Header|Footer)")
"""What a sheet has in it that has text of its own: most have only numbers of shared texts, and are long."""


def read_office(package: Package, ending: str, *, alt_texts: bool) -> Iterator[tuple[str, XmlPart, Blocks]]:
    """The parts of a file that hold text, with their names.

    Raises:
        InvalidRequestError: the file is damaged, or of another format than `ending`.
    """
    types = _content_types(package)
    if not any(_MAIN[ending] in kind for kind in types.values()):
        what = "a file with macros" if any("macroEnabled" in kind for kind in types.values()) else "another format"
        raise DamagedFileError(f"it is no {ending[1:]} file but {what}")
    kept = _names_of_data(package, types)
    for name in package.names:
        if _READ.search(types.get(name, "")):
            content = package.part(name)
            if types[name].endswith("spreadsheetml.worksheet+xml") and not _WITH_TEXT.search(content):
                continue
            part = read_xml(name, content)
            finder = _Part(part.source, kept, bool(_PROMPTS.search(types[name])), alt_texts)
            yield name, part, Blocks(part.source, finder.blocks(part.root))


def _content_types(package: Package) -> Mapping[str, str]:
    root = read_xml("[Content_Types].xml", package.part("[Content_Types].xml")).root
    defaults = {each.attributes.get("Extension", "").lower(): each.attributes.get("ContentType", "")
                for each in root.elements if each.name == "types:Default"}  # fmt: skip
    found = {name: defaults.get(name.rpartition(".")[2].lower(), "") for name in package.names}
    overrides = (each.attributes for each in root.elements if each.name == "types:Override")
    return found | {each.get("PartName", "").lstrip("/"): each.get("ContentType", "") for each in overrides}


def _names_of_data(package: Package, types: Mapping[str, str]) -> frozenset[str]:
    """Names of columns of tables and of fields of pivot tables: formulas know them, so that cells of this text stay."""
    names: set[str] = set()
    for name in package.names:
        if _NAMES_OF_DATA.search(types.get(name, "")):
            root = read_xml(name, package.part(name)).root
            names.update(each.attributes.get("name", "") for each in root.walk()
                         if each.name in ("s:tableColumn", "s:cacheField"))  # fmt: skip
    return frozenset(map(cell_text, names))


@dataclasses.dataclass(frozen=True, slots=True)
class _Part:
    """Finds the blocks of one part."""

    source: bytes
    kept: frozenset[str]
    """Texts of cells that stay."""
    has_prompts: bool
    """Whether what stands in its placeholders is only shown to who writes slides."""
    alt_texts: bool

    def blocks(self, element: Element) -> Iterator[Block]:
        """Those in an element, and those in what they copy."""
        if element.name in _NEVER_SHOWN or (self.has_prompts and element.name == "p:sp" and _is_placeholder(element)):
            return
        found: Block | None = None
        if element.name in _PARAGRAPHS:
            found = self._paragraph(element)
        elif element.name in _PLAIN and cell_text(element.text) not in self.kept:
            found = block_of(element.inner, element.close, [Text(element.text)], escaped)
        elif element.name in _HEADERS:
            found = block_of(element.inner, element.close, list(_of_header(element.text)), _header_writer)
        if found is not None:
            yield found
        if self.alt_texts and element.name in ("wp:docPr", "p:cNvPr", "xdr:cNvPr"):
            yield from self._attributes(element)
        for child in element.elements:
            yield from self.blocks(child)

    def _attributes(self, element: Element) -> Iterator[Block]:
        """What a picture is said to show."""
        for match in _ALT_TEXT.finditer(self.source, element.start, element.inner):
            first, last = match.span(1 if match[1] is not None else 2)
            text = html.unescape(self.source[first:last].decode())
            block = block_of(first, last, [Text(text)], escaped_attribute)
            if block is not None:
                yield block

    def _paragraph(self, element: Element) -> Block | None:
        family = _PARAGRAPHS[element.name]
        if family == "s" and cell_text(element.text) in self.kept:
            return None
        is_rich = family != "s" or any(child.name == "s:r" for child in element.elements)
        start, end = element.inner, element.close
        for child in element.elements:
            if child.name in ("w:pPr", "a:pPr"):
                start = child.end
            elif child.name == "a:endParaRPr":
                end = child.start
        writer = run_writer(family, element.prefix, is_rich=is_rich)
        return block_of(start, end, list(Runs(self.source).of(element)), writer)


def _is_placeholder(shape: Element) -> bool:
    return any(each.name == "p:ph" for each in shape.walk())


def _of_header(text: str) -> Iterator[Item]:
    """Of a page of a spreadsheet: text with codes for its place, its font, numbers and dates."""
    for part in _HEADER_CODE.split(text):
        if part == "&&":
            yield Text("&")
        elif _HEADER_CODE.fullmatch(part):
            yield Mark((escaped(part),), "tab" if part in ("&L", "&C", "&R") else "mark")
        elif part:
            yield Text(part)


def _header_writer(text: str, properties: bytes | None) -> bytes:
    return escaped(text.replace("&", "&&"))
