"""Word alignment by a hidden Markov model (Vogel et al. 1996): each target piece was written from a source piece, which
is likely near the one after that of the piece before.

Shapes: I source pieces, J target pieces.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from model.lexical import LexicalTable
from service.arrays import Array

_DECAY = 0.5
"""A jump of n pieces too far or too short is exp(-n decay) as likely."""
_ANYWHERE = 0.1
"""Share of the jumps that go anywhere."""
_NOWHERE = 0.2
"""Share of the pieces that were written from no source piece."""
_FROM_NOWHERE = 1e-3
"""Probability of each piece that was written from none."""


def hmm_evidence(source_ids: Sequence[int], target_ids: Sequence[int], table: LexicalTable) -> Array:
    """[J, I]: how likely target piece j and source piece i are linked, the geometric mean of both directions."""
    forward, backward = table.between(source_ids, target_ids)
    if not forward.size:
        return np.zeros(forward.shape)
    return np.asarray(np.sqrt(_posteriors(forward) * _posteriors(backward.T).T))


def _posteriors(emissions: Array) -> Array:
    """The forward-backward algorithm.

    Args:
        emissions: [J, I], the probability of what was observed at j if it was written from i.

    Returns:
        [J, I], the probability that j was written from i; a row sums to 1 with the probability of none.
    """
    steps, places = emissions.shape
    jumps = _jumps(places)
    # State I + i: written from none, after what was written from i.
    emissions = np.concatenate([emissions, np.full((steps, places), _FROM_NOWHERE)], axis=1)
    forward = np.zeros((steps, 2 * places))
    reached = np.full(places, 1 / places)
    for step in range(steps):
        # The first piece may come from anywhere.
        origin = reached @ jumps if step else reached
        arrived = np.concatenate([(1 - _NOWHERE) * origin, _NOWHERE * reached]) * emissions[step]
        forward[step] = arrived / arrived.sum()
        reached = forward[step, :places] + forward[step, places:]
    posteriors = np.zeros((steps, places))
    ahead = np.ones(places)
    for step in reversed(range(steps)):
        both = forward[step] * np.concatenate([ahead, ahead])
        posteriors[step] = both[:places] / both.sum()
        seen = emissions[step] * np.concatenate([ahead, ahead])
        ahead = (1 - _NOWHERE) * (jumps @ seen[:places]) + _NOWHERE * seen[places:]
        ahead /= ahead.max()
    return posteriors


def _jumps(places: int) -> Array:
    """[I, I]: how likely the next piece is written from column i if the last one was from the row's."""
    index = np.arange(places)
    near = np.exp(-_DECAY * np.abs(index[None, :] - index[:, None] - 1))
    return np.asarray((1 - _ANYWHERE) * near / near.sum(axis=1, keepdims=True) + _ANYWHERE / places)
