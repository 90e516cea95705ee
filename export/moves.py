"""Modules that move decoder state on a device, where an array cannot be indexed: graphs of their own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class TakeRows(nn.Module):
    """Rows of state tensors in another order: what moves state on a device, where an array cannot be indexed."""

    def forward(self, states: Sequence[Tensor], rows: Tensor) -> tuple[Tensor, ...]:
        """states, each [A, ...], rows [B] -> row rows[b] of each as row b, [B, ...]."""
        return tuple(state.index_select(0, rows) for state in states)


class PutRows(nn.Module):
    """Rows of one set of state tensors into another, which may have more places; meant to be written where it lies."""

    def forward(
        self, states: Sequence[Tensor], parts: Sequence[Tensor], rows: Tensor, places: Tensor
    ) -> tuple[Tensor, ...]:
        """states, each [A, H, P, d], parts, each [B, H, Q, d], rows [B], places [P] below Q -> `states`, of which row
        rows[b] and place p are row b and place places[p] of `parts`."""
        return tuple(
            torch.onnx.ops.symbolic(
                "ai.onnx::ScatterND",
                [state, rows[:, None], part.index_select(2, places)],
                dtype=state.dtype,
                shape=state.shape,
            )
            for state, part in zip(states, parts, strict=True)
        )
