"""A text through two models: what each is asked, and what becomes of the two answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from service.errors import InvalidFieldError, ServiceError, TruncatedError
from service.text.terms import Terms
from service.translation.results import SentenceWarning, Timing, Translation

if TYPE_CHECKING:
    from service.models.routing import Hop
    from service.text.edits import Span
    from service.translation.options import TranslationOptions
    from service.translation.results import Hop as ToldHop


def refuse_alignment(route: Sequence[Hop], options: TranslationOptions) -> None:
    """Words of the source and of what two models made of it belong together by way of a third text only.

    Raises:
        InvalidFieldError: an alignment is asked for.
    """
    if options.details is not None and options.details.alignment:
        first, second = route
        raise InvalidFieldError(
            f"alignment is not told across two models ({first.model}, {second.model}); ask for {first.source} to "
            f"{first.target}, and then for {second.source} to {second.target}"
        )


def first_options(options: TranslationOptions) -> TranslationOptions:
    """How the first model translates. What is said of the translation that is returned is not for it."""
    return dataclasses.replace(options, alternatives=0, target_prefix="", min_output_tokens=1, max_output_tokens=None)


def second_options(options: TranslationOptions) -> TranslationOptions:
    """How the second does. It finds the terms as they are to come back, and leaves them alone; whether a sentence was
    cut is judged by the source's sentences."""
    terms = {term if target is None else target: None for term, target in options.terms.targets.items()}
    return dataclasses.replace(options, terms=Terms(terms), strict=False)


def combined(
    first: Translation | ServiceError, second: Translation | ServiceError, *, strict: bool, index: int | None
) -> Translation | ServiceError:
    """What became of a text: the second's translation, with the warnings of both at places of the source.

    Args:
        first: of the source.
        second: of the first's text.
        strict: whether a sentence that was cut is an error.
        index: which of several texts it is.
    """
    if isinstance(first, ServiceError):
        return first
    if isinstance(second, ServiceError):
        return second
    moved = [
        dataclasses.replace(each, start=start, end=end)
        for each in second.warnings
        for start, end in [source_span((each.start, each.end), first.places)]
    ]
    warnings = tuple(dict.fromkeys((*first.warnings, *moved)))
    cut = next((each for each in warnings if each.warning == "truncated"), None)
    if strict and cut is not None:
        return TruncatedError(cut.start, cut.end, index)
    return Translation(
        second.text,
        second.alternatives,
        tuple(sorted(warnings, key=_place)),
        places=_through(first.places, second.places),
        hops=_hops(first, second),
    )


def _place(warning: SentenceWarning) -> Span:
    return warning.start, warning.end


def _hops(first: Translation, second: Translation) -> tuple[ToldHop, ...]:
    return (*first.hops, *second.hops)


def source_span(span: Span, places: Sequence[tuple[Span, Span]]) -> Span:
    """Where the sentences stand in the source that became `span` of the translation: from the first of those that
    touch it to the last; all of them if none does."""
    touching = [source for source, target in places if target[0] < span[1] and span[0] < target[1]]
    found = touching or [source for source, _ in places] or [(0, 0)]
    return min(start for start, _ in found), max(end for _, end in found)


def _through(first: Sequence[tuple[Span, Span]], second: Sequence[tuple[Span, Span]]) -> tuple[tuple[Span, Span], ...]:
    return tuple((source_span(middle, first), target) for middle, target in second)


def total(first: Timing, second: Timing) -> Timing:
    """What both took, part by part."""
    score = None if first.score is None and second.score is None else (first.score or 0) + (second.score or 0)
    return Timing(
        first.tokenize + second.tokenize,
        first.queue + second.queue,
        first.encode + second.encode,
        first.decode + second.decode,
        score,
    )
