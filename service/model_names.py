"""How models are named: `fr-en` any version of a name, `fr-en@2` one of them."""

from __future__ import annotations

import functools
import re
from typing import NamedTuple

_NUMBERS = re.compile(r"\d+|\D+")
SEPARATOR = "@"


class ModelName(NamedTuple):
    """One version of a model."""

    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name}{SEPARATOR}{self.version}"

    @property
    def order(self) -> tuple[tuple[int, int, str], ...]:
        """By which versions are compared: `10` comes after `9`, and `1.10` after `1.9`."""
        return _order(self.version)

    def is_meant_by(self, written: str) -> bool:
        """Whether `written` names it, alone or among other versions."""
        return written in (self.name, str(self))


@functools.lru_cache(maxsize=1000)
def _order(version: str) -> tuple[tuple[int, int, str], ...]:
    parts: list[str] = _NUMBERS.findall(version)
    return tuple((1, int(part), "") if part.isdecimal() else (0, 0, part) for part in parts)


class Canary(NamedTuple):
    """A version that gets a share of the requests for its name."""

    model: ModelName
    share: float


def parse_canaries(written: str) -> tuple[Canary, ...]:
    """From `fr-en@2=0.1,zh-en@4=0.05`.

    Raises:
        ValueError: that is not what it looks like, with a sentence that says why.
    """
    found = [_canary(part.strip()) for part in written.split(",") if part.strip()]
    names = [each.model.name for each in found]
    if len(names) != len(set(names)):
        raise ValueError("a model can have one canary only")
    return tuple(found)


def _canary(part: str) -> Canary:
    model, _, share = part.rpartition("=")
    name, _, version = model.strip().rpartition(SEPARATOR)
    try:
        value = float(share)
    except ValueError:
        value = -1.0
    if not name or not version or not 0 <= value <= 1:
        raise ValueError("a canary is written name@version=share, with a share from 0 to 1")
    return Canary(ModelName(name, version), value)
