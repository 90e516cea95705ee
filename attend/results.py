"""What translators and clients return."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from attend.errors import AttendError


@dataclasses.dataclass(frozen=True, slots=True)
class TranslationWarning:
    """Something to know about `text[start:end]` of a source, in code points."""

    warning: str
    """`truncated`, `repetition`, `repetition_removed`, `numbers_differ`, `placeholder_lost`, `incomplete`,
    `already_in_target` or `language_not_available`: docs/command.md says what each means."""
    start: int
    end: int


@dataclasses.dataclass(frozen=True, slots=True)
class Translation:
    """What became of one text; `str()` of it is the translation."""

    text: str
    source: str
    """The code of the language that the text was in."""
    target: str
    alternatives: tuple[str, ...] = ()
    """Further translations, the best first, if some were asked for."""
    warnings: tuple[TranslationWarning, ...] = ()
    confidence: float | None = None
    """From 0 to 100, how sure the source language is, where it was detected."""
    segments: tuple[Mapping[str, Any], ...] = ()
    """With `details`, `alignment` or `attention`: each sentence, as `POST /translate` tells it."""
    alternative_segments: tuple[tuple[Mapping[str, Any], ...], ...] = ()
    """The same of each of `alternatives`."""

    def __str__(self) -> str:
        return self.text


def all_or_error(done: Sequence[Translation | AttendError], *, is_single: bool) -> Translation | list[Translation]:
    """What `translate` returns for the results of all texts: the only one, if a single text was given, or all.

    Raises:
        AttendError: the error of the first text that has one.
    """
    good = []
    for each in done:
        if isinstance(each, AttendError):
            raise each
        good.append(each)
    return good[0] if is_single else good
