"""The runs of a paragraph of Office Open XML as texts, marks and tags; and text as runs again."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterator

from service.files.blocks import Item, Mark, Tag, Text, Writer, escaped
from service.files.xml_parts import Element, Raw

_RUNS = frozenset({"w:r", "a:r", "s:r"})
_TEXTS = frozenset({"w:t", "a:t", "s:t"})
_PROPERTIES = frozenset({"w:rPr", "a:rPr", "s:rPr"})
_AROUND = frozenset({"w:hyperlink", "w:ins", "w:smartTag", "w:customXml", "w:bdo", "w:dir", "w:moveTo"})
"""What encloses runs."""
_PARAGRAPH_PROPERTIES = frozenset({"w:pPr", "a:pPr", "a:endParaRPr"})
_DROPPED = frozenset(
    {"w:proofErr", "w:lastRenderedPageBreak", "w:softHyphen", "s:rPh", "s:phoneticPr", "w:smartTagPr", "w:customXmlPr"}
)
"""What says something of the old text only, or belongs to a tag."""
_NO_LOOK = frozenset({"w:lang", "w:noProof"})
_NO_LOOK_ATTRIBUTES = re.compile(rb"\s(?:lang|altLang|dirty|err|smtClean|bmk|w:hint)\s*=\s*(?:\"[^\"]*\"|'[^']*')")
_TRANSLATED_FIELDS = frozenset({"HYPERLINK", "TOC", "INDEX", "BIBLIOGRAPHY", "TOA"})
"""Fields whose results are texts of the document."""
_ESCAPED = re.compile(r"_x([0-9A-Fa-f]{4})_")


def cell_text(text: str) -> str:
    """A text of a spreadsheet, in which characters that XML cannot hold are written as their codes."""
    text = _ESCAPED.sub(lambda match: chr(int(match[1], 16)), text)
    return text.replace("\r\n", "\n").replace("\r", "\n")


@dataclasses.dataclass(slots=True)
class _Field:
    """A field of Word that was begun: its code, then its result, both in runs."""

    number: int
    pieces: list[tuple[int, int] | bytes] = dataclasses.field(default_factory=list)
    code: str = ""
    has_result: bool = False

    @property
    def is_translated(self) -> bool:
        """Whether its result is."""
        return self.code.split()[:1] != [] and self.code.split()[0].upper() in _TRANSLATED_FIELDS

    @property
    def is_copied(self) -> bool:
        """Whether what comes now is part of what is copied."""
        return not (self.has_result and self.is_translated)


class Runs:
    """Reads one paragraph."""

    def __init__(self, source: bytes) -> None:
        self._source = source
        self._numbers = itertools.count()
        self._fields: list[_Field] = []

    def of(self, paragraph: Element) -> Iterator[Item]:
        """What it consists of, in order."""
        yield from self._inside(paragraph)
        for field in self._fields:
            if field.is_copied:
                yield Mark(tuple(field.pieces))

    def _inside(self, element: Element) -> Iterator[Item]:
        for child in element.children:
            if isinstance(child, str):
                continue
            if isinstance(child, Raw):
                yield from self._copied(((child.start, child.end),))
            elif child.name in _RUNS:
                yield from self._run(child)
            elif child.name in _TEXTS:
                yield Text(cell_text(child.text))
            elif child.name in _AROUND:
                yield from self._around(child, child.inner, child.close, child)
            elif child.name == "w:sdt" and (content := child.first("w:sdtContent")) is not None:
                yield from self._around(child, content.inner, content.close, content)
            elif child.name == "a:br":
                yield Mark(((child.start, child.end),), "break")
            elif child.name not in _DROPPED | _PARAGRAPH_PROPERTIES:
                yield from self._copied(((child.start, child.end),), "mark" if child.name in _INLINE else "point")

    def _around(self, element: Element, inner: int, close: int, content: Element) -> Iterator[Item]:
        """An element that encloses runs, between its two tags."""
        if any(field.is_copied for field in self._fields):
            yield from self._copied(((element.start, element.end),))
            return
        number = next(self._numbers)
        # Properties of a tag stand in it before the runs.
        first = next((child.start for child in content.elements if child.name not in _DROPPED), close)
        yield Tag(((element.start, max(inner, first if content is element else inner)),), number, opens=True)
        yield from self._inside(content)
        yield Tag(((close, element.end),), number, opens=False)

    def _run(self, run: Element) -> Iterator[Item]:
        properties = next((child for child in run.elements if child.name in _PROPERTIES), None)
        raw = self._source[properties.start : properties.end] if properties else b""
        key = self._look(properties) if properties else ""
        before, after = b"<%br>" % run.prefix.encode() + raw, b"</%br>" % run.prefix.encode()
        for child in run.children:
            if child is properties or isinstance(child, str):
                continue
            pieces = (before, (child.start, child.end), after)
            if isinstance(child, Raw):
                yield from self._copied(pieces)
            elif child.name in ("w:fldChar", "w:instrText"):
                yield from self._field(child, pieces)
            elif child.name not in _DROPPED:
                yield from self._of_run(child, pieces, Text("", key, raw))

    def _of_run(self, child: Element, pieces: tuple[tuple[int, int] | bytes, ...], like: Text) -> Iterator[Item]:
        """What stands in a run and is no part of a field's code."""
        is_copied = any(field.is_copied for field in self._fields)
        if is_copied:
            yield from self._copied(pieces)
        elif child.name in _TEXTS:
            yield dataclasses.replace(like, text=_text_of(child))
        elif child.name == "w:noBreakHyphen":
            yield dataclasses.replace(like, text="\u2011")
        elif child.name in ("w:br", "w:cr"):
            yield Mark(pieces, "break")
        elif child.name in ("w:tab", "w:ptab"):
            yield Mark(pieces, "tab")
        else:
            yield Mark(pieces, "mark")

    def _look(self, properties: Element) -> str:
        """What of the properties of a run is seen."""
        tag = _NO_LOOK_ATTRIBUTES.sub(b"", self._source[properties.start : properties.inner]).replace(b"/>", b">")
        seen = [_NO_LOOK_ATTRIBUTES.sub(b"", self._source[child.start : child.end])
                for child in properties.elements if child.name not in _NO_LOOK]  # fmt: skip
        return b"".join((tag, *sorted(seen))).decode() if seen or tag.count(b"=") else ""

    def _copied(self, pieces: tuple[tuple[int, int] | bytes, ...], role: str = "mark") -> Iterator[Item]:
        """A mark; inside what a field copies, a part of that."""
        field = next((field for field in self._fields if field.is_copied), None)
        if field is not None:
            field.pieces += pieces
        else:
            yield Mark(pieces, "point" if role == "point" else "mark")

    def _field(self, child: Element, pieces: tuple[tuple[int, int] | bytes, ...]) -> Iterator[Item]:
        """The beginning of a field, its code, the beginning of its result, or its end."""
        outer = next((field for field in self._fields if field.is_copied), None)
        kind = child.attributes.get("w:fldCharType", "") if child.name == "w:fldChar" else "code"
        if kind == "begin":
            self._fields.append(_Field(next(self._numbers)))
        elif not self._fields:
            yield Mark(pieces)
            return
        field = self._fields[-1]
        (outer or field).pieces += pieces
        if kind == "code":
            field.code += child.text
        elif kind == "separate":
            field.has_result = True
            if outer in (None, field) and field.is_translated:
                yield Tag(tuple(field.pieces), field.number, opens=True)
        elif kind == "end":
            self._fields.pop()
            if outer is None:
                yield Tag(pieces, field.number, opens=False)
            elif outer is field:
                yield Mark(tuple(field.pieces), "mark")


_INLINE = frozenset({"w:fldSimple", "w:r", "m:oMath", "a:fld", "a14:m", "w:ruby"})


def _text_of(element: Element) -> str:
    if element.name == "s:t":
        return cell_text(element.text)
    text = re.sub(r"[ \t]*[\r\n]+[ \t]*", " ", element.text)
    if element.name == "w:t" and not any(name.endswith("space") for name in element.attributes):
        return text.strip(" \t")
    return text.replace("\t", " ")


def run_writer(family: str, prefix: str, *, is_rich: bool) -> Writer:
    """Writes texts as runs of a family of names: w, a or s; where no part has a format, a spreadsheet has no runs."""
    start, end = f"<{prefix}t>".encode(), f"</{prefix}t>".encode()
    if family != "a":
        start = f'<{prefix}t xml:space="preserve">'.encode()
    before, after = f"<{prefix}r>".encode(), f"</{prefix}r>".encode()

    def write(text: str, properties: bytes | None) -> bytes:
        if family == "s":
            text = _ESCAPED.sub(lambda match: f"_x005F{match[0]}", text)
        written = start + escaped(text) + end
        return before + (properties or b"") + written + after if is_rich else written

    return write
