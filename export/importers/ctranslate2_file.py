"""The variables of a `model.bin`, as `ctranslate2/specs/model_spec.py` writes them: names, shapes, types, bytes."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from model.errors import CheckpointError

Array = npt.NDArray[Any]
_TYPES = ("<f4", "i1", "<i2", "<i4", "<f2", "bfloat16")
_OLD_TYPES = {4: "<f4", 1: "i1", 2: "<i2"}
"""Before version 4 of the format a type was known by its size."""
_VERSIONS = range(2, 7)
_MOST_NAMES = 100_000
_HEADS = {"TransformerBase": 8, "TransformerBig": 16}
"""Of specifications that do not store their number."""


def read_variables(path: Path) -> dict[str, Array]:
    """The variables of a model.bin by name, quantised ones with their scales; aliases share memory.

    Raises:
        CheckpointError: damaged, or of another format.
    """
    try:
        with path.open("rb") as file:
            return _Reader(file, path.stat().st_size).variables()
    except (struct.error, ValueError, KeyError, UnicodeDecodeError, EOFError) as error:
        raise CheckpointError(f"{path}: damaged, or not a model of CTranslate2: {error}") from error


class _Reader:
    """The file from its beginning to its end; nothing larger than the file is ever allocated."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._size = size
        self._version = 0

    def variables(self) -> dict[str, Array]:
        self._version = self._number("I")
        if self._version not in _VERSIONS:
            raise ValueError(f"version {self._version} of the format")
        name, _ = self._text(), self._number("I")
        if name not in ("TransformerSpec", *_HEADS):
            raise ValueError(f"its specification is {name}, not TransformerSpec")
        found = dict(self._variable() for _ in range(self._count()))
        for _ in range(self._count() if self._version >= 3 else 0):
            alias, original = self._text(), self._text()
            found |= {alias + end: found[original + end] for end in ("", "_scale") if original + end in found}
        if name in _HEADS:
            found.setdefault("encoder/num_heads", np.int16(_HEADS[name]) * np.ones((), np.int16))
        return found

    def _variable(self) -> tuple[str, Array]:
        name, rank = self._text(), self._number("B")
        shape = [self._number("I") for _ in range(rank)]
        kind = self._number("B")
        dtype = _TYPES[kind] if self._version >= 4 else _OLD_TYPES[kind]
        size = self._number("I") * (1 if self._version >= 4 else kind)
        return name, _array(self._bytes(size), dtype).reshape(shape)

    def _count(self) -> int:
        count = self._number("I")
        if count > _MOST_NAMES:
            raise ValueError(f"{count} variables")
        return count

    def _number(self, kind: str) -> int:
        return int(struct.unpack(f"<{kind}", self._bytes(struct.calcsize(f"<{kind}")))[0])

    def _text(self) -> str:
        return self._bytes(self._number("H")).rstrip(b"\0").decode("utf-8")

    def _bytes(self, size: int) -> bytes:
        if size > self._size - self._file.tell():
            raise EOFError("it ends too early")
        return self._file.read(size)


def _array(data: bytes, dtype: str) -> Array:
    if dtype != "bfloat16":
        return np.frombuffer(data, dtype)
    return (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
