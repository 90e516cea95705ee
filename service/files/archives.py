"""Files of office programs and books: archives of parts, some of which hold text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from service.files.epub import read_epub
from service.files.office import read_office
from service.files.opendocument import read_opendocument
from service.files.packages import Package
from service.text.markup.formats import UNITS

if TYPE_CHECKING:
    from service.files.blocks import Blocks
    from service.files.epub import Page
    from service.files.xml_parts import XmlPart

ENDINGS = (".docx", ".pptx", ".xlsx", ".odt", ".odp", ".ods", ".epub")
WITH_MACROS = frozenset({".docm", ".dotm", ".pptm", ".potm", ".ppsm", ".xlsm", ".xltm"})


class Archive:
    """A file that is an archive of parts."""

    def __init__(self, ending: str, content: bytes, most_bytes: int, *, alt_texts: bool) -> None:
        """Read a file.

        Args:
            ending: of its name, one of `ENDINGS`.
            content: of the file.
            most_bytes: that it may unpack to.
            alt_texts: whether what pictures are said to show is translated too.

        Raises:
            InvalidRequestError: it is damaged, encrypted, of another format, holds macros, or unpacks to too much.
        """
        self.format = UNITS
        self._package = Package(content, most_bytes)
        self._parts = list(_read(self._package, ending, alt_texts))
        self.texts = [text for _, _, part in self._parts for text in part.texts]

    def written(self, translations: Sequence[str], target: str) -> bytes:
        """The file with a translation in place of each text."""
        remaining = iter(translations)
        replaced: dict[str, bytes] = {}
        for name, xml, part in self._parts:
            texts = [next(remaining) for _ in part.texts]
            if texts:
                written = part.written(texts)
                replaced[name] = xml.encoded(written) if xml else written
        return self._package.written(replaced)


def _read(package: Package, ending: str, alt_texts: bool) -> Iterator[tuple[str, XmlPart | None, Blocks | Page]]:
    if ending == ".epub":
        yield from read_epub(package, alt_texts=alt_texts)
    elif ending.startswith(".od"):
        yield from read_opendocument(package, ending, alt_texts=alt_texts)
    else:
        yield from read_office(package, ending, alt_texts=alt_texts)
