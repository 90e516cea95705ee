"""Dropout (Srivastava et al. 2014) that does not wait for the random number generator."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_INT64 = torch.iinfo(torch.int64)


class Dropout(nn.Module):
    """Zero each element with probability `rate`, scale the others so that the mean stays.

    On the CPU torch draws one 32-bit number an element, serially: 12 % of a training step of the shipped model. One
    random byte an element is enough; the rate is rounded to 1/256, at most 255/256.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.threshold = min(round(rate * 256), 255)

    def forward(self, x: Tensor) -> Tensor:
        """x of any shape -> the same shape."""
        if not self.training or not self.threshold:
            return x
        words = torch.empty((x.numel() + 7) // 8, dtype=torch.int64, device=x.device).random_(_INT64.min, _INT64.max)
        random_bytes = words.view(torch.uint8)[: x.numel()].view(x.shape)
        keep = (random_bytes >= self.threshold).to(x.dtype)
        return x * keep.mul_(256 / (256 - self.threshold))
