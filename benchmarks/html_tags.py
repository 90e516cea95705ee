"""The tags of an HTML text: what benchmarks and tests compare of a source and its translation."""

from __future__ import annotations

from collections import Counter
from html.parser import HTMLParser

_VOID = {"br", "img"}
"""Tags without an end, as far as the texts here have them."""


class Tags(HTMLParser):
    """How often each tag and comment of a text stands in it, and whether what is opened is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()
        self.is_balanced = True
        self._open: list[str] = []
        self.feed(text)
        self.close()
        self.is_balanced &= not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Count it, and remember what has to be closed."""
        self.found[self.get_starttag_text() or ""] += 1
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Count it: it is open and closed at once."""
        self.found[self.get_starttag_text() or ""] += 1

    def handle_endtag(self, tag: str) -> None:
        """Count it; it closes what was opened last."""
        self.found[f"</{tag}>"] += 1
        self.is_balanced &= bool(self._open) and self._open.pop() == tag

    def handle_comment(self, data: str) -> None:
        """Count it: comments are copied."""
        self.found[f"<!--{data}-->"] += 1
