"""Held-out texts during training: loss, BLEU and chrF by greedy search."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from model.batches import make_batch
from model.evaluation import by_length, score
from model.loss import label_smoothed_loss
from model.network import EncoderDecoder
from model.recipe import split_direction
from model.translation import translate_greedily
from model.vocabulary import Vocabulary


@dataclasses.dataclass(frozen=True, slots=True)
class ValidationSet:
    """One direction of one held-out text."""

    name: str
    direction: str
    sources: Sequence[str]
    targets: Sequence[str]
    vocabulary: Vocabulary

    @property
    def target_language(self) -> str:
        """Language of `targets`."""
        return split_direction(self.direction)[1]


def validate(model: EncoderDecoder, sets: Sequence[ValidationSet], label_smoothing: float) -> Iterator[dict[str, Any]]:
    """One row of results a set: loss with and without smoothing (nats a token), BLEU, chrF."""
    was_training = model.training
    model.eval()
    for held_out in sets:
        hypotheses = translate_greedily(model, held_out.vocabulary, held_out.sources, held_out.target_language)
        scores = score(hypotheses, held_out.targets, held_out.target_language)
        yield {
            "set": held_out.name,
            "direction": held_out.direction,
            "loss": round(_mean_loss(model, held_out, label_smoothing), 4),
            "nll": round(_mean_loss(model, held_out, 0.0), 4),
            "bleu": round(scores.bleu, 2),
            "chrf": round(scores.chrf, 2),
        }
    model.train(was_training)


@torch.inference_mode()
def _mean_loss(model: EncoderDecoder, held_out: ValidationSet, label_smoothing: float) -> float:
    device = next(model.parameters()).device
    longest = model.config.max_positions - 1
    sources = [held_out.vocabulary.encode_source(text, held_out.target_language)[:longest] for text in held_out.sources]
    targets = [held_out.vocabulary.encode(text)[:longest] for text in held_out.targets]
    lengths = [max(len(source), len(target) + 1) for source, target in zip(sources, targets, strict=True)]
    total, tokens = 0.0, 0
    for group in by_length(lengths, 4096):
        batch = make_batch([sources[i] for i in group], [targets[i] for i in group]).to(device)
        logits = model(batch.source_ids, batch.source_mask, batch.target_ids)
        total += float(label_smoothed_loss(logits, batch.labels, label_smoothing))
        tokens += batch.num_target_tokens
    return total / tokens
