"""Repetition, length and beginning under control: which log-probabilities to change before the next token is chosen.

The semantics are those of Hugging Face's logits processors in beam search: they act on log-probabilities, which are not
normalised again, and the token that starts the output counts as one the output already has.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from model.bundle import OWN_IDS, SpecialIds
from service.engine.types import SearchOptions

Change = tuple[float, float]
"""(factor, term): the log-probability p becomes p * factor + term."""

FORBIDDEN: Change = (1.0, -math.inf)
# Changes only ever lower a log-probability (`SearchOptions` sees to that), so the best tokens afterwards are among the
# best before and as many more as were changed.


def changes(target_ids: Sequence[int], options: SearchOptions, special: SpecialIds = OWN_IDS) -> dict[int, Change]:
    """What changes for the token after `target_ids` (without the starting token), by id."""
    written = (special.bos, *target_ids)
    found: dict[int, Change] = {}
    if options.repetition_penalty != 1.0:
        found.update(dict.fromkeys(written, (options.repetition_penalty, 0.0)))
    if options.no_repeat_ngram_size:
        found.update(dict.fromkeys(ends_of_repeated_ngrams(written, options.no_repeat_ngram_size), FORBIDDEN))
    if len(target_ids) < options.min_output_tokens:
        found[special.eos] = FORBIDDEN
    if options.required:
        found.update(dict.fromkeys(_written(target_ids, options), FORBIDDEN))
    if options.forbidden:
        found.update(dict.fromkeys(options.forbidden, FORBIDDEN))
    return found


def missing(target_ids: Sequence[int], options: SearchOptions) -> list[tuple[int, ...]]:
    """The groups of `options.required` that the output has no token of."""
    return [group for group in options.required if not any(token in target_ids for token in group)]


def _written(target_ids: Sequence[int], options: SearchOptions) -> Iterator[int]:
    for group in options.required:
        if any(token in target_ids for token in group):
            yield from group


def forced_token(num_tokens: int, options: SearchOptions) -> int | None:
    """The only token possible after `num_tokens`, if the output is still within its prefix. Nothing else changes it."""
    place = num_tokens - len(options.silent_prefix)
    return options.target_prefix[place] if 0 <= place < len(options.target_prefix) else None


def ends_of_repeated_ngrams(ids: Sequence[int], size: int) -> set[int]:
    """Tokens that would end a run of `size` tokens which `ids` already holds."""
    if len(ids) < size:
        return set()
    begun = tuple(ids[len(ids) - size + 1 :])
    return {
        ids[start + size - 1] for start in range(len(ids) - size + 1) if tuple(ids[start : start + size - 1]) == begun
    }
