"""A target that is given, scored at once: the graph behind scores, alignments and attention maps.

Shapes: N sentences, S source tokens, T target tokens, Le encoder layers, L decoder layers, H heads, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from export.output import excluded_ids
from model.network import Attention, EncoderDecoder


class Scorer(nn.Module):
    """A whole target at once, teacher-forced: the log-probability of each token, and every attention weight."""

    def __init__(self, model: EncoderDecoder) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("excluded", excluded_ids(model.config))

    def forward(
        self, source_ids: Tensor, source_mask: Tensor, target_ids: Tensor, labels: Tensor, allowed: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Score `labels` [N, T] after `target_ids` [N, T] (the start first), among the `allowed` [N, V] tokens.

        Returns:
            token_log_probs [N, T]; attention of encoder [N, Le, H, S, S], decoder [N, L, H, T, T], cross [N, L, H, T,
            S].
        """
        states, attention = self.states_with_attention(source_ids, source_mask, target_ids)
        logits = self.model.project(states)
        possible = (logits.float() + self.excluded).masked_fill(~allowed[:, None], -math.inf)
        log_probs = possible.log_softmax(dim=-1)
        chosen = log_probs.gather(-1, labels[..., None]).squeeze(-1)
        encoder = stacked(attention.encoder, source_ids, source_ids)
        decoder = stacked(attention.decoder, target_ids, target_ids)
        return chosen, encoder, decoder, stacked(attention.cross, target_ids, source_ids)

    def states_with_attention(
        self, source_ids: Tensor, source_mask: Tensor, target_ids: Tensor
    ) -> tuple[Tensor, Attention]:
        """As the network's own; what cannot be traced so is written anew in a subclass."""
        return self.model.states_with_attention(source_ids, source_mask, target_ids)


def stacked(layers: Sequence[Tensor], queries: Tensor, keys: Tensor) -> Tensor:
    """Weights of L layers [N, H, T, S] each -> [N, L, H, T, S], of queries [N, T] and keys [N, S]; with one head in
    each of no layers if there are none."""
    if not layers:
        return torch.zeros(queries.shape[0], 0, 1, queries.shape[1], keys.shape[1])
    return torch.stack(tuple(layers), 1).float()
