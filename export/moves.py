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
        self, states: Sequence[Tensor], parts: Sequence[Tensor], rows: Tensor, places: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """Let row rows[b] and place p of each state be row b and place places[p] of its part.

        Args:
            states: each [A, H, P, d], or [A, H, 1, d] if it has no places.
            parts: each [B, H, Q, d], or [B, H, 1, d].
            rows: [B].
            places: [P], below Q; None where no state has places.

        Returns:
            The states.
        """
        return tuple(
            torch.onnx.ops.symbolic(
                "ai.onnx::ScatterND",
                [state, rows[:, None], part if _has_one_place(state) else _at(part, places)],
                dtype=state.dtype,
                shape=state.shape,
            )
            for state, part in zip(states, parts, strict=True)
        )


def _at(part: Tensor, places: Tensor | None) -> Tensor:
    assert places is not None
    return part.index_select(2, places)


def _has_one_place(state: Tensor) -> bool:
    """Whether the axis of places is none that varies: then its size is a plain number when a graph is traced."""
    return isinstance(state.shape[2], int) and state.shape[2] == 1
