"""What is certain of a sentence that is not done."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt


def common_start(beams: npt.NDArray[np.int64], ended: Iterable[Sequence[int]]) -> tuple[int, ...]:
    """The tokens that all beams [K, T] and all hypotheses that have ended begin with: one of them will be the best."""
    same = (beams == beams[:1]).all(axis=0)
    certain: list[int] = beams[0, : len(same) if same.all() else int(same.argmin())].tolist()
    for other in ended:
        pairs = zip(certain, other, strict=False)
        certain = [token for token, _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)]
    return tuple(certain)
