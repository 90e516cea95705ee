"""Where a token stands in its sentence."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.config import SinusoidLayout


def sinusoidal_positions(length: int, d_model: int) -> Tensor:
    """The fixed position encodings of Vaswani et al. 2017, section 3.5. [length, d_model]

    PE(pos, 2i) = sin(pos / 10000^(2i/d_model)) and PE(pos, 2i+1) = cos of the same angle, so PE(pos + k) is the same
    rotation of PE(pos) for every pos: a linear function of it.
    """
    position = torch.arange(length, dtype=torch.float64)[:, None]
    frequency = 10000.0 ** (-torch.arange(0, d_model, 2, dtype=torch.float64) / d_model)
    angle = position * frequency
    return torch.stack((angle.sin(), angle.cos()), dim=-1).reshape(length, d_model).float()


def sinusoids(layout: SinusoidLayout, length: int, d_model: int) -> Tensor:
    """Position encodings in one of the layouts `model.config` names. [length, d_model]"""
    if layout == "tensor2tensor":
        return _tensor2tensor_positions(length, d_model)
    table = sinusoidal_positions(length, d_model)
    return table if layout == "interleaved" else torch.cat([table[:, 0::2], table[:, 1::2]], dim=1)


def _tensor2tensor_positions(length: int, d_model: int) -> Tensor:
    """As tensor2tensor and fairseq have them, in fp32 like theirs: far from the start its rounding shows."""
    half = d_model // 2
    frequency = torch.exp(torch.arange(half).float() * -(math.log(10000.0) / max(half - 1, 1)))
    angle = torch.arange(length).float()[:, None] * frequency
    return torch.cat([angle.sin(), angle.cos()], dim=1)


class SinusoidalPositions(nn.Module):
    """A table of sines and cosines; nothing is learned and nothing is stored in checkpoints."""

    table: Tensor

    def __init__(self, max_positions: int, d_model: int, layout: SinusoidLayout = "interleaved") -> None:
        super().__init__()
        self.size = (max_positions, d_model)
        self.layout = layout
        self.make_table()

    def make_table(self) -> None:
        """Compute the table, where the device is the present one."""
        self.register_buffer("table", sinusoids(self.layout, *self.size), persistent=False)

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
