"""Cross entropy with label smoothing (Vaswani et al. 2017, section 5.4; Szegedy et al. 2016)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from model.vocabulary import PAD_ID


def label_smoothed_loss(logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """Sum over real tokens of -sum_v q(v) log p(v), q = (1 - smoothing) one-hot + smoothing / V.

    Args:
        logits: [B, T, V].
        labels: [B, T]; PAD counts nothing.

    Returns:
        A scalar: nats, summed (divide by the number of real tokens for a mean).
    """
    return functional.cross_entropy(
        logits.flatten(0, 1).float(), labels.flatten(), ignore_index=PAD_ID, reduction="sum", label_smoothing=smoothing
    )
