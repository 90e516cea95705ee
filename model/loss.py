"""Cross entropy with label smoothing (Vaswani et al. 2017, section 5.4; Szegedy et al. 2016)."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from model.vocabulary import PAD_ID

Loss = Callable[[Tensor, Tensor, float], Tensor]

log = logging.getLogger(__name__)


def label_smoothed_loss(logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """Sum over real tokens of -sum_v q(v) log p(v), q = (1 - smoothing) one-hot + smoothing / V.

    Args:
        logits: [..., V].
        labels: [...]; PAD counts nothing.

    Returns:
        A scalar: nats, summed (divide by the number of real tokens for a mean).
    """
    return functional.cross_entropy(
        logits.flatten(0, -2).float(), labels.flatten(), ignore_index=PAD_ID, reduction="sum", label_smoothing=smoothing
    )


def sample_words(labels: Tensor, vocabulary_size: int, others: int) -> tuple[Tensor, Tensor, Tensor]:
    """Words to project a batch onto in place of the vocabulary: PAD, its labels, and as many of the others, at random.

    A product with 16,000 words is the dearest of a training step, and nearly all of them are unlikely everywhere. What
    the drawn ones add to the sum in the softmax stands for those that were not drawn (Jean et al. 2015, section 3.2).

    Args:
        labels: [N], without PAD.
        others: how many to draw; with as many as there are, nothing is left out.

    Returns:
        Ids of the C words, what to add to the logits of each [C], and the labels as places among the words [N].
    """
    seen, places = labels.unique(return_inverse=True)
    is_other = torch.ones(vocabulary_size, dtype=torch.bool, device=labels.device)
    is_other[seen] = False
    is_other[PAD_ID] = False
    rest = is_other.nonzero().squeeze(1)
    drawn = rest[torch.randperm(len(rest), device=labels.device)[:others]]
    words = torch.cat((seen.new_tensor([PAD_ID]), seen, drawn))
    weights = torch.zeros(len(words), device=labels.device)
    weights[1 + len(seen) :] = math.log(len(rest) / max(len(drawn), 1))
    return words, weights, places + 1


def compiled_loss(device: torch.device, dtype: torch.dtype = torch.float32) -> Loss:
    """`label_smoothed_loss` compiled for logits of any size, or as it is where nothing here can compile it.

    Uncompiled, softmax and its gradient read and write the logits many times: a fifth of a training step on a CPU.
    """
    try:
        return _compiled(device, dtype)
    except Exception as error:  # whatever a missing or unfit compiler raises
        log.warning("the loss is not compiled, which is slower: %s", str(error).splitlines()[0])
        return label_smoothed_loss


def _compiled(device: torch.device, dtype: torch.dtype) -> Loss:
    with warnings.catch_warnings():
        # The compiler's own modules warn of one another when they are imported.
        warnings.simplefilter("ignore")
        loss: Loss = torch.compile(label_smoothed_loss, dynamic=True)
        logits = torch.zeros(3, 300, device=device, dtype=dtype, requires_grad=True)
        labels = torch.ones(3, dtype=torch.int64, device=device)
        loss(logits, labels, 0.1).backward()  # type: ignore[no-untyped-call]
    return loss
