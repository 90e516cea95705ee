"""What is done with each part of a text: translated from which language, or left as it is, and why."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from service.errors import ServiceError
from service.text.detection import SURE, has_enough_words, is_in_target_already, source_of
from service.translation.results import Translation, WarningKind

if TYPE_CHECKING:
    from service.explain.details import Inspection
    from service.text.detection import Guess
    from service.text.languages import Directions
    from service.text.markup.units import MarkedText
    from service.translation.results import SentenceWarning

NoteKind = WarningKind | Literal["already_in_target", "language_not_available"]
_LINE = re.compile("[^\n]*\n|[^\n]+")


@dataclasses.dataclass(frozen=True, slots=True)
class Note:
    """Something a caller should know about `text[start:end]`, in code points."""

    start: int
    end: int
    warning: NoteKind


@dataclasses.dataclass(frozen=True, slots=True)
class Decision:
    """What is done with a text."""

    source: str
    """The code of the language it is in, of the model where it has one."""
    guess: Guess | None = None
    """Where the language was detected."""
    is_copied: bool = False
    note: NoteKind | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Unit:
    """A part of a text that is translated by itself, or copied, and what follows it and is always copied."""

    text: str
    decision: Decision
    tail: str = ""


def decided(text: str, source: str | None, target: str, directions: Directions) -> Decision:
    """Of a text as a whole; `source` is None if the caller does not say it."""
    if source is not None:
        already = source != target and is_in_target_already(text, directions, target)
        note: NoteKind | None = "already_in_target" if already else None
        return Decision(source, is_copied=already or source == target, note=note)
    guess = source_of(text, directions, target)
    code = directions.find(guess.language) or guess.language
    if guess.probability == 0 or code == target:
        return Decision(code, guess, is_copied=True)
    if not directions.translates(code, target):
        return Decision(code, guess, is_copied=True, note="language_not_available")
    return Decision(code, guess)


def line_by_line(text: str, whole: Decision, source: str | None, target: str, directions: Directions) -> list[Unit]:
    """The text in runs of lines with which the same is done. A line that has too few words to tell, or does not differ
    surely, goes with the one before it."""
    lines = _LINE.findall(text)
    decisions = itertools.accumulate(
        (_of_line(line, source, target, directions) for line in lines),
        lambda before, this: before if this is None or _is_alike(before, this) else this,
        initial=whole,
    )
    pairs = zip(lines, itertools.islice(decisions, 1, None), strict=True)
    runs = itertools.groupby(pairs, key=lambda pair: pair[1])
    return [Unit("".join(line for line, _ in run), decision) for decision, run in runs]


def _of_line(line: str, source: str | None, target: str, directions: Directions) -> Decision | None:
    """None if nothing is sure."""
    if not has_enough_words(line):
        return None
    found = decided(line, source, target, directions)
    return None if found.guess is not None and found.guess.probability < SURE else found


def _is_alike(one: Decision, other: Decision) -> bool:
    return (one.source, one.is_copied) == (other.source, other.is_copied)


def joined(units: Sequence[Unit], results: Sequence[Translation | ServiceError | None]) -> Translation | ServiceError:
    """A text again, of its units; the result of one that was copied is None."""
    if len(units) == 1 and not units[0].tail:
        return results[0] or _copy(units[0].text)
    parts, warnings, place = [], [], 0
    for unit, result in zip(units, results, strict=True):
        if isinstance(result, ServiceError):
            return result
        found = result or _copy(unit.text)
        parts += [found.text, unit.tail]
        warnings += [
            dataclasses.replace(each, start=place + each.start, end=place + each.end) for each in found.warnings
        ]
        place += len(unit.text) + len(unit.tail)
    return Translation("".join(parts), (), tuple(warnings))


def marked_up(marked: MarkedText, results: Sequence[Translation | ServiceError | None]) -> Translation | ServiceError:
    """A text with mark-up again, of the translations of its units; or what one of them failed with."""
    found: list[Translation] = []
    for unit, result in zip(marked.units, results, strict=True):
        if isinstance(result, ServiceError):
            return result
        found.append(result or _copy(unit.text.text))
    text, places = marked.placed([each.text for each in found])
    warnings: list[SentenceWarning] = []
    inspections: list[Inspection] = []
    for unit, place, each in zip(marked.units, places, found, strict=True):
        for warning in each.warnings:
            start, end = unit.source_span((warning.start, warning.end))
            warnings.append(dataclasses.replace(warning, start=start, end=end))
        for inspection in each.inspections[0] if each.inspections else ():
            inspections.append(inspection.inside(unit.source_span, place.span))
    return Translation(text, (), tuple(warnings), (tuple(inspections),))


def _copy(text: str) -> Translation:
    """The text itself, without a sentence that was translated."""
    return Translation(text, (), (), ((),))


def notes_of(units: Sequence[Unit], translation: Translation | ServiceError) -> Iterator[Note]:
    """What is to be known of a text: of its sentences, and of what was left as it was."""
    if isinstance(translation, Translation):
        yield from (Note(each.start, each.end, each.warning) for each in translation.warnings)
    place = 0
    for unit in units:
        if unit.decision.note is not None:
            yield Note(place, place + len(unit.text), unit.decision.note)
        place += len(unit.text) + len(unit.tail)
