"""What a caller wants translated in one way, or not at all."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping

from model.spans import FoundSpan


@dataclasses.dataclass(frozen=True)
class Terms:
    """Terms to find in lines: the longest of those that begin at a place, on whole words, in any case.

    A term that is written in small letters is found in any case, another one only as it is written.
    """

    targets: Mapping[str, str | None]
    """By the term in the source language; None for one that is not translated."""
    pattern: re.Pattern[str] | None = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        terms = sorted((term for term in self.targets if term.strip()), key=len, reverse=True)
        pattern = re.compile("|".join(map(_as_pattern, terms))) if terms else None
        object.__setattr__(self, "pattern", pattern)

    def spans(self, line: str) -> Iterator[FoundSpan]:
        """Where they stand, in order, without overlap."""
        if self.pattern is not None:
            for match in self.pattern.finditer(line):
                yield FoundSpan(*match.span(), "name" if self._target(match.group()) is None else "term")

    def target(self, found: str) -> str:
        """What stands for a term in the translation."""
        target = self._target(found)
        return found if target is None else target

    def _target(self, found: str) -> str | None:
        return self.targets[found] if found in self.targets else self.targets.get(found.lower())


def _as_pattern(term: str) -> str:
    """A whole word or words; next to letters of a script without spaces there is no end of a word."""
    before = r"(?<![^\W_])" if term[0].isalnum() and term[0] < "\u2e80" else ""
    after = r"(?![^\W_])" if term[-1].isalnum() and term[-1] < "\u2e80" else ""
    body = re.escape(term)
    return f"{before}{f'(?i:{body})' if term == term.lower() else body}{after}"


NO_TERMS = Terms({})
