"""HTML and XML: which runs of text are translated, with the tags inside them.

Tokens are those of the standard library's `html.parser`, which reads what browsers read. Nothing is parsed to a tree
and written again: what is not translated comes back letter for letter, broken mark-up too.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from html.parser import HTMLParser
from typing import TYPE_CHECKING

from service.text.markup.units import MarkedText, Piece, unit_of

if TYPE_CHECKING:
    from service.text.markup.units import Unit

_INLINE = frozenset(
    (
        "a", "abbr", "acronym", "b", "bdi", "bdo", "big", "cite", "data", "del", "dfn", "em", "font", "i", "img", "ins",
        "label", "mark", "nobr", "q", "ruby", "s", "small", "span", "strike", "strong", "sub", "sup", "time", "tt", "u",
        "wbr",
    )
)  # fmt: skip
_KNOWN_BLOCKS = frozenset(
    (
        "address", "article", "aside", "base", "blockquote", "body", "br", "button", "caption", "center", "col",
        "colgroup", "dd", "details", "dialog", "dir", "div", "dl", "dt", "fieldset", "figcaption", "figure", "footer",
        "form", "frame", "frameset", "h1", "h2", "h3", "h4", "h5", "h6", "head", "header", "hgroup", "hr", "html",
        "iframe", "input", "legend", "li", "link", "main", "map", "menu", "meta", "nav", "noscript", "object", "ol",
        "optgroup", "option", "p", "param", "picture", "section", "select", "source", "summary", "table", "tbody", "td",
        "tfoot", "th", "thead", "title", "tr", "track", "ul", "video", "audio", "canvas", "embed",
    )
)  # fmt: skip
_COPIED_INLINE = frozenset(("code", "kbd", "samp", "var", "math", "svg", "rt", "rp", "dnt"))
_COPIED_BLOCKS = frozenset(("pre", "script", "style", "textarea", "template", "xmp", "plaintext"))
_VOID = frozenset(
    ("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr")
)
_ATTRIBUTES = re.compile(
    r"(?<=\s)(?:alt|title|placeholder|aria-label|aria-description|label|summary)\s*=\s*(?:\"([^\"]*)\"|'([^']*)')",
    re.IGNORECASE,
)
_ENTITY = re.compile(r"&[A-Za-z0-9#]{1,32};?")
_CLASS = re.compile(r"(?:^|\s)notranslate(?:\s|$)")


@dataclasses.dataclass(frozen=True, slots=True)
class _Token:
    start: int
    kind: str
    """"start", "end", "void", "text", "entity" or "other"."""
    name: str = ""
    keeps: bool | None = None
    """For a start: whether it says that what it encloses is not translated, or, False, that it is."""


class _Tokens(HTMLParser):
    """Where each token of a source begins."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=False)
        lines = re.findall(r"[^\n]*\n|[^\n]+", source)
        self._lines = list(itertools.accumulate(map(len, lines), initial=0))
        self.found: list[_Token] = []
        self.feed(source)
        self.close()

    def _note(self, kind: str, name: str = "", keeps: bool | None = None) -> None:
        line, column = self.getpos()
        self.found.append(_Token(self._lines[line - 1] + column, kind, name, keeps))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        keeps = None
        if "translate" in values:
            keeps = values["translate"].lower() == "no"
        elif _CLASS.search(values.get("class", "")):
            keeps = True
        self._note("void" if tag in _VOID else "start", tag, keeps)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._note("void", tag)

    def handle_endtag(self, tag: str) -> None:
        self._note("end", tag)

    def handle_data(self, data: str) -> None:
        self._note("text")

    def handle_entityref(self, name: str) -> None:
        self._note("entity")

    def handle_charref(self, name: str) -> None:
        self._note("entity")

    def handle_comment(self, data: str) -> None:
        self._note("other")

    def handle_decl(self, decl: str) -> None:
        self._note("other")

    def handle_pi(self, data: str) -> None:
        self._note("other")

    def unknown_decl(self, data: str) -> None:
        self._note("other")


def parse_html(source: str, *, attributes: bool = False) -> MarkedText:
    """The paragraphs of an HTML text or fragment; with `attributes` also what those hold that are read.

    Tags inside a paragraph are moved with their words. `<code>`, `<pre>`, scripts, styles, comments and what is marked
    `translate="no"` come back untouched.
    """
    tokens = _Tokens(source).found
    units = [unit for run in _runs(source, tokens) if (unit := unit_of(source, run)) is not None]
    if attributes:
        units += _attribute_units(source, tokens, units)
    return MarkedText(source, tuple(sorted(units, key=lambda unit: unit.start)))


def parse_xml(source: str, *, splitting: Sequence[str] = (), ignored: Sequence[str] = ()) -> MarkedText:
    """The paragraphs of an XML text: an element is a paragraph of its own unless text stands beside it in its parent.

    Args:
        source: a document, or a part of one.
        splitting: names of elements that are paragraphs wherever they stand.
        ignored: names of elements that are copied.
    """
    tokens = _Tokens(source).found
    beside = _names_beside_text(source, tokens) - {name.lower() for name in splitting}
    copied = frozenset(name.lower() for name in ignored)
    runs = _runs(source, tokens, is_inline=beside.__contains__, copied=copied)
    return MarkedText(source, tuple(unit for run in runs if (unit := unit_of(source, run)) is not None))


def _names_beside_text(source: str, tokens: Sequence[_Token]) -> set[str]:
    """Names of elements in whose parent, somewhere, text stands directly."""
    found: set[str] = set()
    parents: list[tuple[list[str], bool]] = [([], False)]
    starts = [*(token.start for token in tokens), len(source)]
    for token, end in zip(tokens, starts[1:], strict=True):
        children, has_text = parents[-1]
        if token.kind in ("start", "void"):
            children.append(token.name)
            if token.kind == "start":
                parents.append(([], False))
        elif token.kind == "end" and len(parents) > 1:
            found.update(children if has_text else ())
            parents.pop()
        elif token.kind in ("text", "entity") and source[token.start : end].strip():
            parents[-1] = (children, True)
    for children, has_text in parents:
        found.update(children if has_text else ())
    return found


def _is_inline(name: str) -> bool:
    """Whether a tag may stand in a paragraph; a name that is none of HTML's may."""
    return name in _INLINE or name not in _KNOWN_BLOCKS | _COPIED_BLOCKS


def _runs(
    source: str,
    tokens: Sequence[_Token],
    is_inline: Callable[[str], bool] = _is_inline,
    copied: frozenset[str] = _COPIED_INLINE,
) -> Iterator[list[Piece]]:
    """Text with the tags inside it, between tags that end a paragraph."""
    run: list[Piece] = []
    ends = [*(token.start for token in tokens[1:]), len(source)]
    index = 0
    while index < len(tokens):
        token = tokens[index]
        last = _copied_until(tokens, index, copied)
        stays = is_inline(token.name) if token.kind in ("start", "end", "void") else token.kind != "other"
        if last is not None:
            stays = token.name in copied or is_inline(token.name)
        if stays:
            kind = token.kind if token.kind in ("text", "entity") else "tag"
            run.append(
                Piece(token.start, ends[index if last is None else last], "opaque" if last is not None else kind)
            )
        elif run:
            yield from _trimmed(source, run)
            run = []
        index = (index if last is None else last) + 1
    if run:
        yield from _trimmed(source, run)


def _copied_until(tokens: Sequence[_Token], index: int, copied: frozenset[str]) -> int | None:
    """Index of the token that ends what begins at `index` and is copied whole; None if it is not."""
    token = tokens[index]
    is_copied = token.keeps if token.keeps is not None else token.name in copied | _COPIED_BLOCKS
    if token.kind != "start" or not is_copied:
        return None
    depth = 0
    for place in range(index, len(tokens)):
        if tokens[place].name == token.name:
            depth += (tokens[place].kind == "start") - (tokens[place].kind == "end")
            if depth == 0:
                return place
    return len(tokens) - 1


def _trimmed(source: str, run: list[Piece]) -> Iterator[list[Piece]]:
    """The run without the pieces at its ends that have no letter and no need to be in it, if anything is left."""

    def is_blank(piece: Piece) -> bool:
        return piece.kind == "text" and not source[piece.start : piece.end].strip()

    while run and is_blank(run[0]):
        run = run[1:]
    while run and is_blank(run[-1]):
        run = run[:-1]
    if any(piece.kind in ("text", "entity") for piece in run):
        yield run


def _attribute_units(source: str, tokens: Sequence[_Token], units: Sequence[Unit]) -> Iterator[Unit]:
    """The values of attributes that are read, of tags that stand in no unit."""
    taken = [(unit.start, unit.end) for unit in units]
    ends = [*(token.start for token in tokens[1:]), len(source)]
    for token, end in zip(tokens, ends, strict=True):
        if token.kind not in ("start", "void") or token.keeps:
            continue
        for match in _ATTRIBUTES.finditer(source, token.start, end):
            group = 1 if match[1] is not None else 2
            start, last = match.span(group)
            value = source[start:last]
            inside = any(first <= start < final for first, final in taken)
            unit = None if inside or not value else unit_of(source, list(_value_pieces(source, start, last)))
            if unit is not None:
                yield dataclasses.replace(unit, escapes="attribute")


def _value_pieces(source: str, start: int, end: int) -> Iterator[Piece]:
    for match in _ENTITY.finditer(source, start, end):
        if start < match.start():
            yield Piece(start, match.start(), "text")
        yield Piece(*match.span(), "entity")
        start = match.end()
    if start < end:
        yield Piece(start, end, "text")
