"""Files of the tests, read, translated by a function, and compared part by part."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable

from service.files.formats import FileOptions, TranslatableFile, read_file
from service.text.tags import STAND_INS


def loud(text: str) -> str:
    """A translation that keeps what stands for tags, as every translation does."""
    return "".join(letter.upper() if len(letter.upper()) == 1 else letter for letter in text)


def translated(
    name: str, content: bytes, translate: Callable[[str], str] = loud, **options: bool
) -> tuple[TranslatableFile, bytes]:
    """The file as it was read, and translated."""
    file = read_file(name, content, FileOptions(**options))
    return file, file.written([translate(text) for text in file.texts], "fr")


def bare(texts: list[str]) -> list[str]:
    """Texts as a reader sees them."""
    return [STAND_INS.sub("", text) for text in texts]


def parts(content: bytes) -> dict[str, bytes]:
    """What an archive holds, in order."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        return {info.filename: archive.read(info) for info in archive.infolist()}


def changed(before: bytes, after: bytes) -> set[str]:
    """Names of the parts that are not the same; all have their places, dates and ways of being packed."""
    with zipfile.ZipFile(io.BytesIO(before)) as one, zipfile.ZipFile(io.BytesIO(after)) as other:
        look = [[(each.filename, each.date_time, each.compress_type, each.external_attr) for each in archive.infolist()]
                for archive in (one, other)]  # fmt: skip
        assert look[0] == look[1]
    old, new = parts(before), parts(after)
    return {name for name in old if old[name] != new[name]}


def with_parts(content: bytes, **replaced: bytes) -> bytes:
    """The archive with parts of these names (dots written as `__`, slashes as `___`) replaced or added."""
    named = {name.replace("___", "/").replace("__", "."): part for name, part in replaced.items()}
    result = io.BytesIO()
    with zipfile.ZipFile(result, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, part in (parts(content) | named).items():
            archive.writestr(name, part)
    return result.getvalue()
