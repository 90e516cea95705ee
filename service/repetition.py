"""Does an output go round in circles? A known failure of translation models: "salad salad salad salad"."""

from __future__ import annotations

from collections.abc import Sequence

MIN_ROUNDS = 3
MIN_TOKENS = 12
"""Fewer rounds or fewer tokens than these may well be meant: "no, no, no", "ha ha ha ha"."""
MAX_PERIOD = 24
"""Tokens of the longest phrase that is looked for."""


def is_loop(target_ids: Sequence[int], source_ids: Sequence[int]) -> bool:
    """Whether a target repeats one phrase over and over, and its source does nothing of the kind."""
    # All rounds but the first bring nothing new: most sentences need no further look.
    if len(target_ids) - len(set(target_ids)) < MIN_TOKENS - MIN_TOKENS // MIN_ROUNDS:
        return False
    length = longest_loop(target_ids)
    return length >= MIN_TOKENS and 2 * longest_loop(source_ids) < length


def longest_loop(ids: Sequence[int]) -> int:
    """Tokens of the longest stretch in which one phrase follows itself at least `MIN_ROUNDS` times; 0 if none does."""
    return max((_stretch(ids, period) for period in range(1, min(MAX_PERIOD, len(ids) // MIN_ROUNDS) + 1)), default=0)


def _stretch(ids: Sequence[int], period: int) -> int:
    """The longest stretch that is the same `period` tokens later, with its first round; 0 if it is no loop."""
    longest = current = 0
    for earlier, later in zip(ids, ids[period:], strict=False):
        current = current + 1 if earlier == later else 0
        longest = max(longest, current)
    tokens = longest + period
    return tokens if tokens >= MIN_ROUNDS * period else 0
