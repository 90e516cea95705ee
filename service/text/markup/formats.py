"""Formats of texts: what of one is translated, and how it is put together again."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Literal

from service.text.markup.html import parse_html, parse_xml
from service.text.markup.markdown import parse_markdown
from service.text.tags import STAND_INS

if TYPE_CHECKING:
    from service.text.markup.units import MarkedText

Format = Literal["text", "html", "xml", "markdown"]
FORMATS: tuple[Format, ...] = ("text", "html", "xml", "markdown")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FormatOptions:
    """What format texts have, and what is wanted of it."""

    name: Format = "text"
    attributes: bool = False
    """Of HTML: values such as those of `alt` and `title` are translated too."""
    quotes: bool = False
    """Of HTML: quotes are written as entities."""
    splitting_tags: tuple[str, ...] = ()
    """Of XML: elements that are paragraphs."""
    ignored_tags: tuple[str, ...] = ()
    """Of XML: elements that are copied."""
    are_units: bool = False
    """Texts were parsed before: characters stand for tags in them."""

    @property
    def has_tags(self) -> bool:
        """Whether characters stand for tags in the texts of units."""
        return self.are_units or self.name in ("html", "xml")

    def parse(self, text: str) -> MarkedText | None:
        """The parts of the text that are translated; None for plain text."""
        if self.name == "html":
            parsed = parse_html(text, attributes=self.attributes)
            return parsed.with_quotes() if self.quotes else parsed
        if self.name == "xml":
            return parse_xml(text, splitting=self.splitting_tags, ignored=self.ignored_tags)
        return parse_markdown(text) if self.name == "markdown" else None

    def words_of(self, text: str) -> str:
        """The text as a reader sees it, to tell its language by."""
        if not self.has_tags:
            return text
        if self.are_units:
            return STAND_INS.sub(" ", text)
        parsed = self.parse(text)
        return "\n".join(STAND_INS.sub(" ", each) for each in parsed.texts) if parsed else text


PLAIN = FormatOptions()
UNITS = FormatOptions(are_units=True)
