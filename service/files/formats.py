"""The formats of files, by the ending of the name."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Protocol

from service.errors import InvalidRequestError
from service.files import gettext, subtitles
from service.files.archives import ENDINGS, WITH_MACROS, Archive
from service.text.markup.formats import PLAIN, UNITS, FormatOptions

_LONG = 4000
"""Characters of a text behind which another may begin."""
_PARAGRAPH_END = re.compile(r"\n[ \t\r]*\n")


class Parsed(Protocol):
    """A file of text that was read."""

    @property
    def texts(self) -> Sequence[str]:
        """What is to be translated, in order."""

    @property
    def format(self) -> FormatOptions:
        """The format of each text."""

    def written(self, translations: Sequence[str], target: str) -> str:
        """The file with a translation into `target` in place of each text."""


class PlainText:
    """A file of lines; the translator keeps its layout. Long ones are several texts, cut between paragraphs."""

    def __init__(self, source: str) -> None:
        self.format = PLAIN
        self.texts = list(_cut(source))

    def written(self, translations: Sequence[str], target: str) -> str:
        """The translations, one behind the other."""
        return "".join(translations)


def _cut(source: str) -> Iterator[str]:
    # Code between fences and the like may hold empty lines.
    start = 0 if not any(sign in source for sign in ("```", "~~~", "<")) else len(source)
    begun = 0
    for match in _PARAGRAPH_END.finditer(source, start):
        if match.end() - begun >= _LONG:
            yield source[begun : match.end()]
            begun = match.end()
    if begun < len(source):
        yield source[begun:]


class MarkedFile:
    """A file with mark-up: its paragraphs are texts."""

    def __init__(self, source: str, format: FormatOptions) -> None:
        parsed = format.parse(source)
        assert parsed is not None
        self._marked = parsed
        self.format = UNITS if format.has_tags else PLAIN
        self.texts = self._marked.texts

    def written(self, translations: Sequence[str], target: str) -> str:
        """The file with the translations of its paragraphs."""
        return self._marked.assembled(translations)


@dataclasses.dataclass(frozen=True, slots=True)
class FileOptions:
    """What is wanted of a file."""

    alt_texts: bool = False
    """What pictures are said to show is translated too; of web pages it always is."""
    most_bytes: int = 64 * 1024 * 1024
    """That an archive may unpack to."""


@dataclasses.dataclass(frozen=True, slots=True)
class TranslatableFile:
    """A file that was read."""

    texts: Sequence[str]
    format: FormatOptions
    written: Callable[[Sequence[str], str], bytes]
    """The file with a translation into a language in place of each text."""


_HTML, _MARKDOWN = FormatOptions(name="html", attributes=True), FormatOptions(name="markdown")
_READERS: Mapping[str, Callable[[str], Parsed]] = {
    ".txt": PlainText,
    ".srt": subtitles.Subtitles,
    ".vtt": subtitles.Subtitles,
    ".po": gettext.Catalogue,
    **dict.fromkeys((".html", ".htm", ".xhtml"), lambda text: MarkedFile(text, _HTML)),
    **dict.fromkeys((".md", ".markdown"), lambda text: MarkedFile(text, _MARKDOWN)),
}
FORMATS = (*_READERS, *ENDINGS)
_BYTE_ORDER_MARKS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))


def read_file(name: str, content: bytes, options: FileOptions) -> TranslatableFile:
    """The file of this name. A text file is written in the encoding it had, with the mark it had.

    Raises:
        InvalidRequestError: it is empty, of no known format, in no known encoding, damaged, encrypted, holds macros, or
            unpacks to too much.
    """
    ending = PurePath(name).suffix.lower()
    if ending in WITH_MACROS:
        raise InvalidRequestError("Invalid request: file format not supported: the file holds macros; save it without")
    if ending not in FORMATS:
        raise InvalidRequestError("Invalid request: file format not supported")
    if not content.strip():
        raise InvalidRequestError("Invalid request: empty file")
    if ending in ENDINGS:
        archive = Archive(ending, content, options.most_bytes, alt_texts=options.alt_texts)
        return TranslatableFile(archive.texts, archive.format, archive.written)
    return _read_text(_READERS[ending], content)


def _read_text(reader: Callable[[str], Parsed], content: bytes) -> TranslatableFile:
    mark, encoding = next((each for each in _BYTE_ORDER_MARKS if content.startswith(each[0])), (b"", "utf-8"))
    try:
        text = content[len(mark) :].decode(encoding)
    except UnicodeDecodeError:
        raise InvalidRequestError("Invalid request: the file is neither UTF-8 nor UTF-16 with its mark") from None
    if not text.strip():
        raise InvalidRequestError("Invalid request: empty file")
    parsed = reader(text)

    def written(translations: Sequence[str], target: str) -> bytes:
        return mark + parsed.written(translations, target).encode(encoding)

    return TranslatableFile(parsed.texts, parsed.format, written)
