"""The formats of files, by the ending of the name."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath
from typing import Protocol

from service.errors import InvalidRequestError
from service.files import gettext, subtitles
from service.text.markup.formats import PLAIN, FormatOptions


class Parsed(Protocol):
    """A file that was read."""

    @property
    def texts(self) -> Sequence[str]:
        """What is to be translated, in order."""

    @property
    def format(self) -> FormatOptions:
        """The format of each text."""

    def written(self, translations: Sequence[str], target: str) -> str:
        """The file with a translation into `target` in place of each text."""


class PlainText:
    """A file that is one text; the translator keeps its layout."""

    def __init__(self, source: str, format: FormatOptions = PLAIN) -> None:
        self.texts = [source]
        self.format = format

    def written(self, translations: Sequence[str], target: str) -> str:
        """The translation."""
        return translations[0]


_HTML = FormatOptions(name="html", attributes=True)
_READERS: Mapping[str, Callable[[str], Parsed]] = {
    ".txt": PlainText,
    ".srt": subtitles.Subtitles,
    ".vtt": subtitles.Subtitles,
    ".po": gettext.Catalogue,
    **dict.fromkeys((".html", ".htm", ".xhtml"), functools.partial(PlainText, format=_HTML)),
    **dict.fromkeys((".md", ".markdown"), functools.partial(PlainText, format=FormatOptions(name="markdown"))),
}
FORMATS = tuple(_READERS)
_BYTE_ORDER_MARKS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))


def translated_by(name: str, content: bytes) -> tuple[Parsed, Callable[[str], bytes]]:
    """The file of this name, and how its text becomes bytes again: in the encoding it had, with the mark it had.

    Raises:
        InvalidRequestError: it is empty, of no known format, in no known encoding, or damaged.
    """
    reader = _READERS.get(PurePath(name).suffix.lower())
    if reader is None:
        raise InvalidRequestError("Invalid request: file format not supported")
    mark, encoding = next((each for each in _BYTE_ORDER_MARKS if content.startswith(each[0])), (b"", "utf-8"))
    try:
        text = content[len(mark) :].decode(encoding)
    except UnicodeDecodeError:
        raise InvalidRequestError("Invalid request: the file is neither UTF-8 nor UTF-16 with its mark") from None
    if not text.strip():
        raise InvalidRequestError("Invalid request: empty file")
    return reader(text), lambda written: mark + written.encode(encoding)
