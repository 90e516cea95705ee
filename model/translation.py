"""Sentences through a checkpoint with the reference search: for validation and for scoring, not for serving."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from model.batches import pad
from model.evaluation import by_length
from model.reference_search import beam_search, greedy_search
from model.transformer import Transformer
from model.vocabulary import PAD_ID, Vocabulary


def output_limit(source_tokens: int, max_positions: int) -> int:
    """Most tokens an output may have: room for twice the source and a little more."""
    return min(2 * source_tokens + 10, max_positions - 1)


def translate_greedily(
    model: Transformer, vocabulary: Vocabulary, texts: Sequence[str], target_language: str, batch_tokens: int = 2048
) -> list[str]:
    """Greedy translations of single sentences, in order. The model must be in evaluation mode."""
    device = next(model.parameters()).device
    limit = model.config.max_positions
    sources = [vocabulary.encode_source(text, target_language)[:limit] for text in texts]
    outputs = [""] * len(texts)
    for group in by_length([len(source) for source in sources], batch_tokens):
        source_ids = pad([sources[index] for index in group]).to(device)
        most = output_limit(source_ids.shape[1], limit)
        for index, ids in zip(group, greedy_search(model, source_ids, source_ids != PAD_ID, most), strict=True):
            outputs[index] = vocabulary.decode(ids)
    return outputs


def translate_with_beam(
    model: Transformer,
    vocabulary: Vocabulary,
    text: str,
    target_language: str,
    *,
    beam_size: int,
    length_penalty: float,
) -> str:
    """The best beam-search translation of one sentence."""
    device = next(model.parameters()).device
    source = vocabulary.encode_source(text, target_language)[: model.config.max_positions]
    best = beam_search(
        model,
        torch.tensor(source, device=device),
        beam_size=beam_size,
        max_output_tokens=output_limit(len(source), model.config.max_positions),
        length_penalty=length_penalty,
    )[0]
    return vocabulary.decode(best.target_ids)
