"""Markdown: which blocks are translated. Inside them, links, code, emphasis and the like are found as in any text.

Blocks are those of `markdown-it-py` (CommonMark with tables). A paragraph in several lines is one text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from markdown_it import MarkdownIt
from markdown_it.token import Token

from service.text.edits import Edit, Edited
from service.text.markup.units import MarkedText, Unit

_PARSER = MarkdownIt("commonmark").enable("table")
_FRONT = re.compile(r"\A---[ \t]*\n.*?\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_SOFT_BREAK = re.compile(r"(?<![ \\\n])[ \t]?\n[ \t]*(?=[^\s>])")
_LINE = re.compile(r"[^\n]*\n|[^\n]+\Z")


def parse_markdown(source: str) -> MarkedText:
    """The paragraphs, headings, items and cells of a Markdown text; code, HTML blocks, front matter and definitions of
    links come back untouched."""
    front = _FRONT.match(source)
    first = front.end() if front else 0
    starts = [first]
    for match in _LINE.finditer(source, first):
        starts.append(match.end())
    units = []
    for begin, end in _blocks(_PARSER.parse(source[first:].replace("\r\n", "\n").replace("\r", "\n"))):
        if end < len(starts):
            units.append(_unit(source, starts[begin], starts[end]))
    return MarkedText(source, tuple(unit for unit in units if any(map(str.isalpha, unit.text.text))))


def _blocks(tokens: list[Token]) -> Iterator[tuple[int, int]]:
    """Ranges of lines that hold text, in order; rows of a table are one each."""
    last = 0
    for token in tokens:
        if token.type == "inline" and token.map and token.map[0] >= last:
            yield token.map[0], token.map[1]
            last = token.map[1]


def _unit(source: str, start: int, end: int) -> Unit:
    text = source[start:end]
    body = text.rstrip("\r\n")
    # Lines that begin with the mark of a quotation stay lines.
    breaks = _SOFT_BREAK.finditer(body) if not body.lstrip().startswith(">") else ()
    return Unit(start, Edited(body, tuple(Edit(*match.span(), " ") for match in breaks)), {}, "none")
