"""Sentences through a checkpoint with the reference search: for validation and for scoring, not for serving."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from model.batches import pad
from model.bundle import Limits
from model.evaluation import by_length
from model.network import EncoderDecoder
from model.reference_search import beam_search, greedy_search
from model.vocabulary import PAD_ID, Vocabulary


def translate_greedily(
    model: EncoderDecoder, vocabulary: Vocabulary, texts: Sequence[str], target_language: str, batch_tokens: int = 2048
) -> list[str]:
    """Greedy translations of single sentences, in order. The model must be in evaluation mode."""
    device = next(model.parameters()).device
    limits = _limits(model)
    sources = [vocabulary.encode_source(text, target_language)[: limits.source_tokens] for text in texts]
    outputs = [""] * len(texts)
    for group in by_length([len(source) for source in sources], batch_tokens):
        source_ids = pad([sources[index] for index in group]).to(device)
        most = limits.output_tokens(source_ids.shape[1])
        for index, ids in zip(group, greedy_search(model, source_ids, source_ids != PAD_ID, most), strict=True):
            outputs[index] = vocabulary.decode(ids)
    return outputs


def translate_with_beam(
    model: EncoderDecoder,
    vocabulary: Vocabulary,
    text: str,
    target_language: str,
    *,
    beam_size: int,
    length_penalty: float,
) -> str:
    """The best beam-search translation of one sentence."""
    device = next(model.parameters()).device
    limits = _limits(model)
    source = vocabulary.encode_source(text, target_language)[: limits.source_tokens]
    best = beam_search(
        model,
        torch.tensor(source, device=device),
        beam_size=beam_size,
        max_output_tokens=limits.output_tokens(len(source)),
        length_penalty=length_penalty,
    )[0]
    return vocabulary.decode(best.target_ids)


def _limits(model: EncoderDecoder) -> Limits:
    """What the position tables have room for; an output's first place is the starting token's."""
    positions = model.config.max_positions
    return Limits(source_tokens=positions, target_tokens=positions - 1)
