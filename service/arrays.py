"""Words for arrays that every package of the service uses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def round_up(number: int, multiple: int) -> int:
    """The smallest multiple of `multiple` that is not below `number`."""
    return -(-number // multiple) * multiple


def next_power_of_two(number: int) -> int:
    """The smallest power of two that is not below `number` (at least 1)."""
    return 1 << max(number - 1, 0).bit_length()


def padded(rows: Sequence[Sequence[int] | Array], length: int, fill: int) -> npt.NDArray[np.int64]:
    """Rows of ids as one array [rows, length], `fill` behind their ends."""
    result = np.full((len(rows), length), fill, np.int64)
    for place, row in enumerate(rows):
        result[place, : len(row)] = row
    return result
