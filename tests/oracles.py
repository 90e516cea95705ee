"""Slow, obvious second implementations that the tests hold the project against."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn

from model.attention import MultiHeadAttention
from model.config import ModelConfig
from model.network import EncoderDecoder
from model.reference_search import ReferenceHypothesis
from model.transformer import DecoderLayer, EncoderLayer, FeedForward, Residual
from model.vocabulary import BOS_ID, EOS_ID, PAD_ID


def smoothed_loss(logits: Tensor, labels: Tensor, smoothing: float) -> float:
    """Sum of -sum_v q(v) log p(v), term by term."""
    total = 0.0
    for row, label in zip(logits.flatten(0, 1).double().tolist(), labels.flatten().tolist(), strict=True):
        if label == PAD_ID:
            continue
        largest = max(row)
        log_sum = largest + math.log(sum(math.exp(x - largest) for x in row))
        for index, logit in enumerate(row):
            q = smoothing / len(row) + (1 - smoothing if index == label else 0.0)
            total -= q * (logit - log_sum)
    return total


class TableModel:
    """Stands in for a network in `reference_search`: the next logits depend on position and last token alone."""

    def __init__(self, table: Tensor) -> None:
        self.table = table  # [T, V, V]
        self.config = ModelConfig(vocabulary_size=table.shape[-1])

    def project(self, states: Tensor) -> Tensor:
        """The states are the logits."""
        return states.clone()

    @classmethod
    def random(cls, seed: int, *, length: int, words: int) -> TableModel:
        """`words` ordinary words beside the four special ids."""
        size = EOS_ID + 1 + words
        return cls(torch.randn(length, size, size, generator=torch.Generator().manual_seed(seed)))

    def encode(self, source_ids: Tensor, source_mask: Tensor) -> Tensor:
        """Memory that says nothing."""
        return torch.zeros(*source_ids.shape, 1)

    def expanded(self, memory: Tensor, rows: int) -> Tensor:
        """The same for every row."""
        return memory.expand(rows, -1, -1)

    def decode(self, target_ids: Tensor, memory: Tensor, source_mask: Tensor) -> Tensor:
        """Rows of the table, [B, T, V]."""
        return self.table[torch.arange(target_ids.shape[1]), target_ids]


def log_prob_of(
    model: TableModel | EncoderDecoder, source_ids: Tensor, target_ids: tuple[int, ...], *, end: bool
) -> float:
    """Log-probability of a forced target, with or without the end token, from one teacher-forced pass."""
    forced = [*target_ids, EOS_ID] if end else list(target_ids)
    source_mask = torch.ones(1, len(source_ids), dtype=torch.bool)
    memory = model.encode(source_ids[None], source_mask)
    states = model.decode(torch.tensor([[BOS_ID, *forced[:-1]]]), memory, source_mask)
    logits = model.project(states)[0]
    logits[:, list(model.config.excluded_ids)] = -torch.inf
    return float(logits.log_softmax(-1)[torch.arange(len(forced)), torch.tensor(forced)].double().sum())


def every_hypothesis(model: TableModel, max_output_tokens: int, length_penalty: float) -> list[ReferenceHypothesis]:
    """All there are, best first: every ended sequence but the empty one, and every one that was cut at the limit."""
    words = range(EOS_ID + 1, model.table.shape[-1])
    source_ids = torch.tensor([EOS_ID])
    found = []
    for length in range(1, max_output_tokens + 1):
        for ids in itertools.product(words, repeat=length):
            ended = length < max_output_tokens
            log_prob = log_prob_of(model, source_ids, ids, end=ended)
            score = log_prob / (length + ended) ** length_penalty
            found.append(ReferenceHypothesis(ids, log_prob, score, ended))
    return sorted(found, key=lambda hypothesis: -hypothesis.score)


def torch_encoder_layer(ours: EncoderLayer, d_ff: int) -> nn.TransformerEncoderLayer:
    """torch's own layer with the weights of ours."""
    theirs = nn.TransformerEncoderLayer(**_layer_arguments(ours, d_ff))
    _copy_attention(ours.self_attention, theirs.self_attn)
    _copy_feed_forward(ours.feed_forward, theirs)
    _copy_norms(ours.residuals, (theirs.norm1, theirs.norm2))
    return theirs


def torch_decoder_layer(ours: DecoderLayer, d_ff: int) -> nn.TransformerDecoderLayer:
    """torch's own layer with the weights of ours."""
    theirs = nn.TransformerDecoderLayer(**_layer_arguments(ours, d_ff))
    _copy_attention(ours.self_attention, theirs.self_attn)
    _copy_attention(ours.cross_attention, theirs.multihead_attn)
    _copy_feed_forward(ours.feed_forward, theirs)
    _copy_norms(ours.residuals, (theirs.norm1, theirs.norm2, theirs.norm3))
    return theirs


def _layer_arguments(ours: EncoderLayer | DecoderLayer, d_ff: int) -> dict[str, object]:
    attention = ours.self_attention
    return {
        "d_model": attention.query.in_features,
        "nhead": attention.num_heads,
        "dim_feedforward": d_ff,
        "dropout": 0.0,
        "batch_first": True,
        "norm_first": ours.residuals[0].pre,
    }


@torch.no_grad()
def _copy_attention(ours: MultiHeadAttention, theirs: nn.MultiheadAttention) -> None:
    parts = (ours.query, ours.key, ours.value)
    theirs.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
    theirs.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
    theirs.out_proj.load_state_dict(ours.output.state_dict())


def _copy_feed_forward(ours: FeedForward, theirs: nn.TransformerEncoderLayer | nn.TransformerDecoderLayer) -> None:
    theirs.linear1.load_state_dict(ours.inner.state_dict())
    theirs.linear2.load_state_dict(ours.outer.state_dict())


def _copy_norms(ours: nn.ModuleList, theirs: tuple[nn.LayerNorm, ...]) -> None:
    residual: Residual
    for residual, norm in zip(ours, theirs, strict=True):
        norm.load_state_dict(residual.norm.state_dict())
