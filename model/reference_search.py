"""Greedy and beam search as the textbook has them: slow, obvious, no cache. The oracle for everything faster.

Every step runs the decoder over the whole prefix again. score = log_prob / n^length_penalty, where n counts the end
token; an end token counts when it is among the `beam_size` best candidates of its step, and a sentence is done when
`beam_size` hypotheses have ended (Hugging Face's `early_stopping=True`) or `max_output_tokens` is reached.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from model.network import EncoderDecoder, Memory


@dataclasses.dataclass(frozen=True, slots=True)
class ReferenceHypothesis:
    """One finished output: ids without the end token, sum of log-probabilities (end included), ranking value."""

    target_ids: tuple[int, ...]
    log_prob: float
    score: float
    finished: bool


def next_log_probs(
    model: EncoderDecoder,
    prefixes: Tensor,
    memory: Memory,
    source_mask: Tensor,
    shortlist: Tensor | None = None,
) -> Tensor:
    """Log-probabilities of the token after each prefix. prefixes [B, T] -> [B, V].

    An output has at least one token: after the start alone the end token is impossible. With a `shortlist` [L] of ids
    all others are.
    """
    config = model.config
    states = model.decode(prefixes, memory, source_mask)[:, -1]
    logits = model.project(states).float()
    logits[:, list(config.excluded_ids)] = -torch.inf
    if shortlist is not None:
        logits += torch.full_like(logits[0], -torch.inf).index_fill_(0, shortlist, 0.0)
    log_probs = logits.log_softmax(dim=-1)
    log_probs[:, list(config.suppressed_ids)] = -torch.inf
    if prefixes.shape[1] == 1:
        log_probs[:, config.eos_id] = -torch.inf
    return log_probs


@torch.inference_mode()
def greedy_search(
    model: EncoderDecoder,
    source_ids: Tensor,
    source_mask: Tensor,
    max_output_tokens: int,
    prefix: Sequence[int] = (),
) -> list[list[int]]:
    """The most probable token at every step after the start and `prefix`, for a batch [B, S] at once; ids without
    these and the end token."""
    start, end, padding = model.config.start_id, model.config.eos_id, model.config.pad_id
    memory = model.encode(source_ids, source_mask)
    begin = torch.tensor([start, *prefix], dtype=torch.int64, device=source_ids.device)
    prefixes = begin.repeat(len(source_ids), 1)
    ended = torch.zeros(len(source_ids), dtype=torch.bool, device=source_ids.device)
    for _ in range(max_output_tokens):
        best = next_log_probs(model, prefixes, memory, source_mask).argmax(dim=-1)
        prefixes = torch.cat([prefixes, best.masked_fill(ended, padding)[:, None]], dim=1)
        ended |= best == end
        if ended.all():
            break
    return [[i for i in row if i not in (padding, end)] for row in prefixes[:, len(begin) :].tolist()]


@torch.inference_mode()
def beam_search(
    model: EncoderDecoder,
    source_ids: Tensor,
    *,
    beam_size: int,
    max_output_tokens: int,
    length_penalty: float = 1.0,
    shortlist: Tensor | None = None,
) -> list[ReferenceHypothesis]:
    """The best hypotheses of one source [S], best first; ties keep the earlier beam and the smaller id."""
    source_mask = torch.ones(1, len(source_ids), dtype=torch.bool, device=source_ids.device)
    memory = model.encode(source_ids[None], source_mask)
    beams: list[tuple[float, tuple[int, ...]]] = [(0.0, (model.config.start_id,))]
    done: list[ReferenceHypothesis] = []
    for length in range(1, max_output_tokens + 1):
        prefixes = torch.tensor([ids for _, ids in beams], device=source_ids.device)
        rows = len(beams)
        mask = source_mask.expand(rows, -1)
        log_probs = next_log_probs(model, prefixes, model.expanded(memory, rows), mask, shortlist)
        totals = log_probs + torch.tensor([log_prob for log_prob, _ in beams], device=source_ids.device)[:, None]
        values, order = (part[: 2 * beam_size] for part in totals.flatten().sort(descending=True, stable=True))
        previous, beams = beams, []
        for rank, (total, place) in enumerate(zip(values.tolist(), order.tolist(), strict=True)):
            if total == -math.inf:
                break  # only impossible tokens are left, which a tiny vocabulary reaches
            origin, token = divmod(place, log_probs.shape[1])
            ids = previous[origin][1]
            if token != model.config.eos_id:
                beams.append((total, (*ids, token)))
            elif rank < beam_size:
                done.append(ReferenceHypothesis(ids[1:], total, total / length**length_penalty, True))
            if len(beams) == beam_size:
                break
        if len(done) >= beam_size or not beams:
            break
    else:
        length = max_output_tokens
        done += [ReferenceHypothesis(ids[1:], total, total / length**length_penalty, False) for total, ids in beams]
    return sorted(done, key=lambda hypothesis: -hypothesis.score)[:beam_size]
