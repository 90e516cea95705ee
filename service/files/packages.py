"""Files that are ZIP archives of parts: read within limits, and written with some parts replaced.

Parts that are not replaced keep their bytes, names, order, dates and attributes; they are compressed anew.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping
from fnmatch import fnmatch

from service.errors import DamagedFileError, EncryptedFileError, InvalidRequestError

MOST_PARTS = 10_000
_COMPOUND_FILE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
"""What files of the programs before 2007, and encrypted ones of those after, begin with."""
_MACROS = ("*vbaProject*.bin", "*vbaData.xml", "Basic/*", "Scripts/*", "*/macrosheets/*")
_ENCRYPTED_FLAG = 1


class Package:
    """The parts of an archive, by name."""

    def __init__(self, content: bytes, most_bytes: int) -> None:
        """Open an archive.

        Args:
            content: the file.
            most_bytes: of all parts together, unpacked.

        Raises:
            InvalidRequestError: it is damaged, encrypted, holds macros, or unpacks to too much.
        """
        if content.startswith(_COMPOUND_FILE):
            raise InvalidRequestError(
                "Invalid request: the file is encrypted or of a program before 2007; save it without a password, in "
                "the format its name says"
            )
        try:
            self._archive = zipfile.ZipFile(io.BytesIO(content))
        except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError) as error:
            raise DamagedFileError(str(error)) from None
        self._check(most_bytes)

    def _check(self, most_bytes: int) -> None:
        infos = self._archive.infolist()
        if len(infos) > MOST_PARTS or sum(info.file_size for info in infos) > most_bytes:
            raise InvalidRequestError(
                f"Invalid request: the file unpacks to more than {most_bytes} bytes or {MOST_PARTS} parts"
            )
        if len({info.filename for info in infos}) < len(infos):
            raise DamagedFileError("two parts have the same name")
        if any(info.flag_bits & _ENCRYPTED_FLAG for info in infos):
            raise EncryptedFileError
        if any(fnmatch(info.filename, pattern) for info in infos for pattern in _MACROS):
            raise InvalidRequestError("Invalid request: the file holds macros; save it without them")

    @property
    def names(self) -> list[str]:
        """Of all parts, in order."""
        return self._archive.namelist()

    def part(self, name: str) -> bytes:
        """The content of a part, no longer than the archive says.

        Raises:
            InvalidRequestError: it is missing or damaged.
        """
        try:
            return self._archive.read(name)
        except KeyError:
            raise DamagedFileError(f"{name} is missing") from None
        except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, OSError, RuntimeError) as error:
            raise DamagedFileError(f"{name}: {error}") from None

    def written(self, replaced: Mapping[str, bytes]) -> bytes:
        """The archive with these parts instead of those of their names."""
        result = io.BytesIO()
        with zipfile.ZipFile(result, "w") as archive:
            archive.comment = self._archive.comment
            for info in self._archive.infolist():
                content = replaced[info.filename] if info.filename in replaced else self.part(info.filename)
                archive.writestr(_copy(info), content)
        return result.getvalue()


def _copy(info: zipfile.ZipInfo) -> zipfile.ZipInfo:
    """The same entry, to be written: where and how long it was belongs to the archive it came from."""
    copy = zipfile.ZipInfo(info.filename, info.date_time)
    for name in ("compress_type", "comment", "extra", "create_system", "external_attr", "internal_attr"):
        setattr(copy, name, getattr(info, name))
    return copy
