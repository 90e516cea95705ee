"""Which sentences are encoded in one run."""

from __future__ import annotations

import collections
from collections.abc import Sequence


def of_one_length(lengths: Sequence[int]) -> list[list[int]]:
    """Indices of equal lengths together, for an encoder that takes sentences side by side."""
    together: collections.defaultdict[int, list[int]] = collections.defaultdict(list)
    for index, length in enumerate(lengths):
        together[length].append(index)
    return list(together.values())


def packs(lengths: Sequence[int], most_tokens: int) -> list[list[int]]:
    """Indices in their order, as many together as have at most `most_tokens`, for an encoder that takes sentences end
    to end. A longer one goes by itself."""
    found: list[list[int]] = []
    room = 0
    for index, length in enumerate(lengths):
        if length > room:
            found.append([])
            room = most_tokens
        found[-1].append(index)
        room -= length
    return found
