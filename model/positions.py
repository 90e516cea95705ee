"""Where a token stands in its sentence."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


def sinusoidal_positions(length: int, d_model: int) -> Tensor:
    """The fixed position encodings of Vaswani et al. 2017, section 3.5. [length, d_model]

    PE(pos, 2i) = sin(pos / 10000^(2i/d_model)) and PE(pos, 2i+1) = cos of the same angle, so PE(pos + k) is the same
    rotation of PE(pos) for every pos: a linear function of it.
    """
    position = torch.arange(length, dtype=torch.float64)[:, None]
    frequency = 10000.0 ** (-torch.arange(0, d_model, 2, dtype=torch.float64) / d_model)
    angle = position * frequency
    return torch.stack((angle.sin(), angle.cos()), dim=-1).reshape(length, d_model).float()


class SinusoidalPositions(nn.Module):
    """Table of `sinusoidal_positions`; nothing is learned and nothing is stored in checkpoints."""

    table: Tensor

    def __init__(self, max_positions: int, d_model: int) -> None:
        super().__init__()
        self.register_buffer("table", sinusoidal_positions(max_positions, d_model), persistent=False)

    def forward(self, positions: Tensor) -> Tensor:
        """positions [...] of int64 -> encodings [..., D]."""
        return functional.embedding(positions, self.table)


class LearnedPositions(nn.Module):
    """A learned vector per position (section 3.5, table 3 row E)."""

    def __init__(self, max_positions: int, d_model: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(max_positions, d_model)
        nn.init.normal_(self.embedding.weight, std=d_model**-0.5)

    def forward(self, positions: Tensor) -> Tensor:
        """positions [...] of int64 -> encodings [..., D]."""
        vectors: Tensor = self.embedding(positions)
        return vectors
