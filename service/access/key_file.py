"""The file of keys: a JSON object a line, each with a checksum, so that no damaged one is taken for another."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from service.access.keys import Key, UnusableKeysError, check
from service.access.rate import Rate
from service.access.rights import parse_rights

MOST_BYTES = 16 * 1024 * 1024
_CHECK = "check"
_FIELDS = {field.name for field in dataclasses.fields(Key)}


def read_keys(path: Path) -> list[Key]:
    """The keys of a file.

    Raises:
        UnusableKeysError: it cannot be read, or a line of it is damaged.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise UnusableKeysError(f"{path} cannot be read: {error.strerror or error}") from None
    if len(content) > MOST_BYTES:
        raise UnusableKeysError(f"{path} is larger than {MOST_BYTES} bytes")
    if content and not content.endswith(b"\n"):
        raise UnusableKeysError(f"{path} ends in the middle of a line")
    return [_read_line(line, f"{path}, line {number}") for number, line in enumerate(content.split(b"\n")[:-1], 1)]


def _read_line(line: bytes, where: str) -> Key:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        raise UnusableKeysError(f"{where} is no JSON") from None
    if not isinstance(found, dict) or line != _line(found) or found.pop(_CHECK, None) != _checksum(found):
        raise UnusableKeysError(f"{where} is damaged, or was written by hand: make keys with `python -m service keys`")
    if not found.keys() <= _FIELDS or not {"name", "digest", "rights"} <= found.keys():
        raise UnusableKeysError(f"{where} is of another version")
    try:
        return check(Key(**{**found, "rights": parse_rights(",".join(found["rights"]))}))
    except (TypeError, ValueError) as error:
        raise UnusableKeysError(f"{where}: {error}") from None


def write_keys(path: Path, keys: Iterable[Key]) -> None:
    """Put the keys in the place of those of the file, at once: a reader sees the old ones or the new ones.

    Raises:
        UnusableKeysError: it cannot be written.
    """
    try:
        mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o600
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}-", delete=False) as file:
            try:
                file.writelines(_line(_described(key)) + b"\n" for key in keys)
                file.flush()
                os.fsync(file.fileno())
                os.fchmod(file.fileno(), mode)
                Path(file.name).replace(path)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        raise UnusableKeysError(f"{path} cannot be written: {error.strerror or error}") from None


def _described(key: Key) -> dict[str, Any]:
    """Without what is not said of it."""
    said = {name: value for name, value in dataclasses.asdict(key).items() if value not in (None, "")}
    return {**said, _CHECK: _checksum(said)}


def _checksum(said: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]


def _line(said: Mapping[str, Any]) -> bytes:
    return json.dumps(said).encode()


def check_rates(key: Key) -> Key:
    """The key, if its own rates are rates.

    Raises:
        UnusableKeysError: one of them is none.
    """
    for rate in (key.requests, key.characters):
        try:
            Rate.parse(rate or "")
        except ValueError as error:
            raise UnusableKeysError(f"the key '{key.name}': {error}") from None
    return key
