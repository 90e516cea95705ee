"""Restricted self-attention (Vaswani et al. 2017, section 4): a position sees only those that are near.

With window r a position sees those fewer than r away: itself alone for r = 1, all of them once r is the length. The
sequence is cut into blocks of r positions, each of which looks at itself and its neighbours, so time and memory grow
as n r and not as n^2.

Shapes: B sentences, H heads, n positions, d width of a head, m blocks of r positions.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional


def window_mask(length: int, window: int, *, is_causal: bool, device: torch.device | None = None) -> Tensor:
    """[n, n]: True where a position may look, for attention that spells out every weight."""
    places = torch.arange(length, device=device)
    return _is_near(places[:, None] - places, window, is_causal)


def _is_near(distance: Tensor, window: int, is_causal: bool) -> Tensor:
    """Of query place minus key place."""
    return (distance.abs() < window) & (distance >= 0) if is_causal else distance.abs() < window


def attend_within_window(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    is_real: Tensor,
    window: int,
    similarity: Callable[[Tensor, Tensor], Tensor],
    *,
    is_causal: bool,
) -> Tensor:
    """What full attention under `window_mask` gives.

    Args:
        query: [B, H, n, d].
        key: [B, H, n, d].
        value: [B, H, n, d].
        is_real: [B or 1, n], False at padding, which nobody sees.
        window: r.
        similarity: of queries [B, m, H, r, d] and keys [B, m, H, s, d] -> [B, m, H, r, s].
        is_causal: whether a position sees only itself and those before it.

    Returns:
        Contexts [B, H, n, d]; zero where a position sees nothing.
    """
    length = query.shape[2]
    behind = 0 if is_causal else window
    queries = _blocks(query, window, 0, 0)
    keys, values = (_blocks(each, window, window, behind) for each in (key, value))
    reality = _blocks(is_real[:, None, :, None].to(torch.int8), window, window, behind)[..., 0] > 0
    places = torch.arange(window, device=query.device)
    others = torch.arange(-window, window + behind, device=query.device)
    near = _is_near(places[:, None] - others, window, is_causal)
    mask = near & reality.unsqueeze(-2)
    scores = similarity(queries, keys).masked_fill(~mask, -math.inf)
    # Blocks of padding see nothing: their softmax is of nothing but -inf.
    weights = scores.softmax(dim=-1).masked_fill(~mask, 0.0)
    return (weights @ values).transpose(1, 2).flatten(2, 3)[:, :, :length]


def _blocks(x: Tensor, window: int, before: int, behind: int) -> Tensor:
    """x [B, H, n, *] -> [B, m, H, before + r + behind, *], zeros beyond both ends."""
    length = x.shape[2]
    short = -length % window
    padded = functional.pad(x, (0, 0, before, short + behind))
    return padded.unfold(2, before + window + behind, window).movedim(2, 1).transpose(-2, -1)
