"""What is written, and what is known to have been written: after any interruption the work goes on exactly there.

Beside the output `OUT` there are, until it is complete, `OUT.partial`, which holds what has been translated, and
`OUT.journal`, which says up to which byte of the input all is in it, and how long it was then. What is behind that is
cut off when the work goes on. Errors are lines of JSON in a file of their own, which is cut likewise.
"""

from __future__ import annotations

import dataclasses
import fcntl
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from attend.corpus.files import PackedWriter, packing_of
from attend.errors import RequestError


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """How far the work is."""

    lines: int = 0
    """Of the input, that are written."""
    failed: int = 0
    """Of them, that could not be translated."""
    input: int = 0
    """Bytes of the unpacked input that they take."""
    output: int = 0
    """Bytes of the partial file, as it lies on the disk."""
    errors: int = 0
    """Bytes of the file of errors."""
    digest: str | None = None
    """Of the input up to here, where it cannot be read again."""
    is_complete: bool = False


class Output:
    """A file that is written so that nothing is lost or doubled; one process at a time."""

    def __init__(self, path: Path, errors: Path | None, wish: Mapping[str, Any], *, overwrite: bool) -> None:
        """Open what was begun, or begin.

        Args:
            path: the file to write.
            errors: the file for errors; None: beside it.
            wish: all that decides what is written. What was begun is gone on with only if it was the same.
            overwrite: whether a file that is there, or was begun, is done anew.

        Raises:
            RequestError: the file is there, another process writes it, or it was begun with another wish.
            OSError: it cannot be written.
        """
        self._path, self._errors_path = path, errors or path.with_name(f"{path.name}.errors.jsonl")
        self._partial_path = path.with_name(f"{path.name}.partial")
        self._journal = path.with_name(f"{path.name}.journal")
        self._wish = json.loads(json.dumps(dict(wish)))
        self._file = self._locked()
        self._errors_file: BinaryIO = io.BytesIO()
        try:
            self.place = Place() if overwrite else self._found()
            if self.place == Place() and path.exists() and not overwrite:
                raise RequestError(f"{path} exists; --overwrite replaces it")
            self._errors_file = self._cut_to(self.place)
            self._writer = PackedWriter(self._file, packing_of(path))
            if self.place == Place():
                self.commit(self.place)
        except BaseException:
            if self._is_untouched():
                self._partial_path.unlink(missing_ok=True)
            self._close()
            raise

    def _locked(self) -> BinaryIO:
        descriptor = os.open(self._partial_path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise RequestError(f"another process writes {self._path}") from None
        return os.fdopen(descriptor, "r+b")

    def _is_untouched(self) -> bool:
        return not self._journal.exists() and not os.fstat(self._file.fileno()).st_size

    def _found(self) -> Place:
        """The place that the journal tells; the beginning if there is none.

        Raises:
            RequestError: it tells of something else.
        """
        try:
            known = json.loads(self._journal.read_text(encoding="utf-8"))
            place, wish = Place(**known["place"]), known["wish"]
        except FileNotFoundError:
            return Place()
        except (ValueError, KeyError, TypeError):
            raise RequestError(f"{self._journal} cannot be read; --overwrite begins {self._path} anew") from None
        different = sorted(name for name in {*wish, *self._wish} if wish.get(name) != self._wish.get(name))
        if different:
            raise RequestError(
                f"{self._path} was begun with another {' and another '.join(different)}; --overwrite begins it anew"
            )
        if place.is_complete and self._path.exists() and self._path.stat().st_size == place.output:
            return place  # perhaps interrupted when it had its name already
        if os.fstat(self._file.fileno()).st_size < place.output:
            raise RequestError(f"{self._partial_path} is shorter than it was; --overwrite begins {self._path} anew")
        return place

    def _cut_to(self, place: Place) -> BinaryIO:
        """Cut off what was written behind the place; returns the file of errors."""
        if os.fstat(self._file.fileno()).st_size > place.output:
            self._file.truncate(place.output)
        self._file.seek(0, os.SEEK_END)
        errors = self._errors_path.open("r+b" if self._errors_path.exists() else "w+b")
        errors.truncate(place.errors)
        errors.seek(0, os.SEEK_END)
        return errors

    def write(self, content: bytes) -> None:
        """Write lines."""
        self._writer.write(content)

    def write_error(self, error: Mapping[str, Any]) -> None:
        """Write down what happened to a line."""
        self._errors_file.write(json.dumps(error, ensure_ascii=False).encode() + b"\n")

    def commit(self, place: Place) -> None:
        """From here the work goes on if it is interrupted now: the places of the files are filled in."""
        output = self._writer.end_member()
        self._errors_file.flush()
        os.fsync(self._file.fileno())
        os.fsync(self._errors_file.fileno())
        self.place = dataclasses.replace(place, output=output, errors=self._errors_file.tell())
        written = json.dumps({"wish": self._wish, "place": dataclasses.asdict(self.place)})
        new = self._journal.with_name(f"{self._journal.name}.new")
        with new.open("w", encoding="utf-8") as file:
            file.write(written)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._journal)

    def finish(self) -> None:
        """All is written: the file gets its name."""
        if not self.place.is_complete:
            if not self.place.output:
                self.write(b"")  # a packed file of nothing is not an empty file
            self.commit(dataclasses.replace(self.place, is_complete=True))
        size = os.fstat(self._file.fileno()).st_size
        was_renamed = size < self.place.output or (not size and self._path.exists() and not self._path.stat().st_size)
        if was_renamed:
            self._partial_path.unlink(missing_ok=True)
        else:
            self._partial_path.replace(self._path)
        self._journal.unlink(missing_ok=True)
        self._close()
        if not self.place.errors:
            self._errors_path.unlink(missing_ok=True)

    def _close(self) -> None:
        self._file.close()
        self._errors_file.close()

    def close(self) -> None:
        """Leave it as it is; the work can go on later. Nothing is left of what was not begun."""
        if not (self._file.closed or self.place.lines or self.place.is_complete):
            for path in (self._journal, self._partial_path, self._errors_path):
                path.unlink(missing_ok=True)
        self._close()


class StandardOutput:
    """The same for standard output, which cannot be gone on with; errors are lines on standard error."""

    def __init__(self, file: BinaryIO, errors: BinaryIO) -> None:
        self._file, self._errors = file, errors
        self.place = Place()

    def write(self, content: bytes) -> None:
        """See `Output`."""
        self._file.write(content)

    def write_error(self, error: Mapping[str, Any]) -> None:
        """See `Output`."""
        self._errors.write(f"line {error['line']}: {error['error']}\n".encode())
        self._errors.flush()

    def commit(self, place: Place) -> None:
        """See `Output`."""
        self._file.flush()
        self.place = place

    def finish(self) -> None:
        """See `Output`."""
        self._file.flush()

    def close(self) -> None:
        """See `Output`."""
