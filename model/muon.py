"""Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/), an optimiser for matrices.

It is ours for two reasons: PyTorch's always computes in bf16, which takes minutes an update on a processor that has no
products in bf16, and it lets every process of a team repeat all of the work.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

MOMENTUM = 0.95
_A, _B, _C = 3.4445, -4.7750, 2.0315
"""Coefficients of the quintic step, from the page named above: five steps bring singular values near 1."""
_STEPS = 5
_LEAST_NORM = 1e-7

AddUp = Callable[[Sequence[Tensor]], None]
"""Replaces tensors by their sums over all processes."""


class Muon(torch.optim.Optimizer):
    """Momentum whose update is made orthogonal, and as large as Adam's would be (Liu et al. 2025, section 2.2).

    Args:
        params: matrices only.
        dtype: what the products are computed in.
        rank: this process's place among `size` processes, each of which orthogonalises every `size`-th update.
        add_up: how the processes exchange them.
    """

    def __init__(self, params: Sequence[Parameter], dtype: torch.dtype, rank: int, size: int, add_up: AddUp) -> None:
        super().__init__(params, {"lr": 0.0})
        self._dtype = dtype
        self._rank, self._size = rank, size
        self._add_up = add_up

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Update every matrix that has a gradient; there is no closure."""
        for group in self.param_groups:
            matrices = [matrix for matrix in group["params"] if matrix.grad is not None]
            updates = [self._update(number, matrix) for number, matrix in enumerate(matrices)]
            self._add_up(updates)
            for matrix, update in zip(matrices, updates, strict=True):
                matrix.add_(update, alpha=-0.2 * math.sqrt(max(matrix.shape)) * group["lr"])

    def _update(self, number: int, matrix: Tensor) -> Tensor:
        """This process's update of the matrix; nothing if another process makes it."""
        assert matrix.grad is not None
        state = self.state[matrix]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(matrix)
        momentum = state["momentum_buffer"].lerp_(matrix.grad, 1 - MOMENTUM)
        if number % self._size != self._rank:
            return torch.zeros_like(matrix)
        return orthogonal(matrix.grad.lerp(momentum, MOMENTUM), self._dtype).to(matrix.dtype)


def orthogonal(matrix: Tensor, dtype: torch.dtype) -> Tensor:
    """A matrix with the same singular vectors and singular values of about 0.7 to 1.2, in `dtype`.

    Five steps of Newton and Schulz, X <- a X + (b X X^T + c (X X^T)^2) X, from X of norm 1.
    """
    is_tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if is_tall else matrix
    x = (x / x.norm().clamp(min=_LEAST_NORM)).to(dtype)
    for _ in range(_STEPS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=_B, alpha=_C), x, beta=_A)
    return x.T if is_tall else x
