"""gettext catalogues (.po): what has no translation yet gets one; every other line stays as it is.

By hand, for the libraries write a file anew and drop without a word what they do not understand.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence

from service.errors import InvalidRequestError
from service.text.markup.formats import PLAIN

_STRING = re.compile(r'(?:(msgctxt|msgid_plural|msgid|msgstr(?:\[\d+\])?)[ \t]*)?"((?:[^"\\]|\\.)*)"[ \t]*')
# Nothing else breaks lines here, whatever Python may think of it.
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+\Z")
_PART = re.compile(r"[^\n]*\n|[^\n]+")
_ESCAPED = re.compile(r"\\(.)")
_MEANING = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
_WRITTEN = {character: f"\\{letter}" for letter, character in _MEANING.items()} | {"\\": "\\\\", '"': '\\"'}


@dataclasses.dataclass(slots=True)
class _Entry:
    """A text, perhaps with its plural, and the lines of translations that are empty."""

    msgid: str = ""
    plural: str | None = None
    translation: str = ""
    empty_lines: list[int] = dataclasses.field(default_factory=list)

    @property
    def texts(self) -> tuple[str, ...]:
        """What is to be translated: nothing of the header or where there is a translation."""
        if not self.msgid or self.translation or not self.empty_lines:
            return ()
        return (self.msgid,) if self.plural is None else (self.msgid, self.plural)


class Catalogue:
    """A catalogue whose `msgid` is in the source language."""

    def __init__(self, source: str) -> None:
        self.format = PLAIN
        self._lines = _LINE.findall(source)
        self._entries = [entry for entry in _entries(self._lines) if entry.texts]
        self.texts = [text for entry in self._entries for text in entry.texts]

    def written(self, translations: Sequence[str], target: str) -> str:
        """The catalogue with the translations in it: of a plural the first form is the singular's, others the
        plural's."""
        lines, remaining = list(self._lines), iter(translations)
        for entry in self._entries:
            found = [next(remaining) for _ in entry.texts]
            for form, place in enumerate(entry.empty_lines):
                lines[place] = _with_text(lines[place], found[min(form, len(found) - 1)])
        return "".join(lines)


def _entries(lines: Sequence[str]) -> Iterator[_Entry]:
    entry, keyword = _Entry(), ""
    for place, line in enumerate(lines):
        plain = line.rstrip("\r\n")
        if not plain.strip() or plain.lstrip().startswith("#"):
            continue
        found = _STRING.fullmatch(plain.strip())
        if found is None or not (found.group(1) or keyword):
            raise InvalidRequestError(f"Invalid request: the file is no gettext catalogue: line {place + 1}")
        # Comments and contexts stand before the text they belong to.
        if found.group(1) in ("msgid", "msgctxt") and keyword.startswith("msgstr"):
            yield entry
            entry = _Entry()
        keyword = found.group(1) or keyword
        _note(entry, keyword, _ESCAPED.sub(_meant, found.group(2)), place, is_first=found.group(1) is not None)
    yield entry


def _note(entry: _Entry, keyword: str, text: str, place: int, *, is_first: bool) -> None:
    if keyword == "msgid":
        entry.msgid += text
    elif keyword == "msgid_plural":
        entry.plural = (entry.plural or "") + text
    elif keyword.startswith("msgstr"):
        entry.translation += text
        if is_first:
            entry.empty_lines.append(place)


def _meant(escaped: re.Match[str]) -> str:
    return _MEANING.get(escaped.group(1), escaped.group(1))


def _with_text(line: str, text: str) -> str:
    """A line `msgstr ""` with a text in it, in as many lines as the text has."""
    plain = line.rstrip("\r\n")
    ending = line[len(plain) :]
    keyword = plain[: plain.index('"')]
    written = ['"' + "".join(_WRITTEN.get(letter, letter) for letter in part) + '"' for part in _PART.findall(text)]
    if len(written) > 1:
        return (ending or "\n").join((f'{keyword}""', *written)) + ending
    return f"{keyword}{''.join(written) or chr(34) * 2}{ending}"
