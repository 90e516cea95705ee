"""Modules whose `forward` signature is the contract of one ONNX graph; `export.contracts` has their names and axes.

Shapes: N sentences, K beams a sentence, S source tokens, T target tokens (so far), L decoder layers, H heads, d head
width, D d_model, V vocabulary. Masks are True where attention may look.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from export.quantize import ACTIVATION_ZERO, activation_scale, quantize_columns
from model.attention import MultiHeadAttention
from model.config import ModelConfig
from model.transformer import DecoderLayer, Transformer


class Encoder(nn.Module):
    """Source to memory, projected already to the keys and values of every decoder layer's encoder-decoder attention.

    The keys are divided by sqrt(d) here, once, instead of their products with the queries at every step.
    """

    def __init__(self, model: Transformer) -> None:
        super().__init__()
        self.model = model

    def forward(self, source_ids: Tensor, source_mask: Tensor) -> tuple[Tensor, ...]:
        """source_ids [N, S], source_mask [N, S] -> L keys [N, H, S, d], then L values [N, H, S, d]."""
        positions = torch.arange(source_ids.shape[1], device=source_ids.device)[None, :]
        mask = source_mask.to(torch.int32)

        def attend(attention: MultiHeadAttention, y: Tensor) -> Tensor:
            projected = [attention.query(y), attention.key(y), attention.value(y)]
            return _fused_attention(projected, mask, attention.num_heads)

        return _encode(self.model, self.model.embedding(source_ids, positions), attend)


class PackedEncoder(nn.Module):
    """As `Encoder`, of sentences laid end to end: nothing is computed for padding, and short ones share a product."""

    def __init__(self, model: Transformer) -> None:
        super().__init__()
        self.model = model

    def forward(self, source_ids: Tensor, positions: Tensor, sentences: Tensor) -> tuple[Tensor, ...]:
        """Tokens of all sentences [T], where in its sentence each stands [T], and in which one [T]: any number that no
        other sentence has. -> L keys [1, H, T, d], then L values [1, H, T, d]."""
        is_same = sentences[:, None] == sentences[None, :]
        x = self.model.embedding(source_ids[None], positions[None])

        def attend(attention: MultiHeadAttention, y: Tensor) -> Tensor:
            query = attention.split_heads(attention.query(y) * _scale(attention))
            key, value = attention.split_heads(attention.key(y)), attention.split_heads(attention.value(y))
            return attention.merge_heads(_attention_within(query, key, value, is_same))

        return _encode(self.model, x, attend)


def _encode(
    model: Transformer, embedded: Tensor, attend: Callable[[MultiHeadAttention, Tensor], Tensor]
) -> tuple[Tensor, ...]:
    """What an encoder returns, from the embedding [N, S, D]; `attend` makes the context [N, S, D] of self-attention."""
    x = embedded
    for layer in model.encoder:

        def self_attention(y: Tensor, attention: MultiHeadAttention = layer.self_attention) -> Tensor:
            output: Tensor = attention.output(attend(attention, y))
            return output

        x = layer.residuals[0](x, self_attention)
        x = layer.residuals[1](x, layer.feed_forward)
    memory = model.encoder_norm(x)
    attentions = [layer.cross_attention for layer in model.decoder]
    keys = [attention.split_heads(attention.key(memory) * _scale(attention)) for attention in attentions]
    values = [attention.split_heads(attention.value(memory)) for attention in attentions]
    return (*keys, *values)


def _scale(attention: MultiHeadAttention) -> float:
    return float((attention.key.out_features // attention.num_heads) ** -0.5)


def _attention_within(query: Tensor, key: Tensor, value: Tensor, is_same: Tensor) -> Tensor:
    """Attention of T tokens [1, H, T, d] on those of their own sentence, is_same [T, T] -> context [1, H, T, d].

    A sentence gets the same bits wherever it lies and whatever lies beside it. What others contribute is exactly zero,
    and weights are added up by a product with ones, which adds them one after another; the softmax operator adds them
    in the lanes of a vector register, in an order that depends on where the sentence begins.
    """
    zero, nothing = (torch.tensor(number, dtype=query.dtype) for number in (0.0, -math.inf))
    scores = query @ key.transpose(-2, -1)
    highest = (scores + torch.where(is_same, zero, nothing)).amax(-1, keepdim=True)
    # Not exp of -inf, which ONNX Runtime makes a denormal number: the product with those takes twice the time.
    weights = torch.minimum(scores - highest, zero).exp() * is_same.to(query.dtype)
    return (weights @ value) / (weights @ torch.ones_like(value))


def _fused_attention(projected: Sequence[Tensor], mask: Tensor, num_heads: int) -> Tensor:
    """Attention of queries [N, T, D] on keys and values, [N, S, D] or by head [N, H, S, d], where mask [N, S] is 1."""
    query, key, value = projected
    context: Tensor = torch.onnx.ops.symbolic(
        "com.microsoft::MultiHeadAttention",
        [query, key, value, None, mask],
        {"num_heads": num_heads},
        dtype=query.dtype,
        shape=query.shape,
        version=1,
    )
    return context


class WholeVocabulary(nn.Module):
    """From the decoder's states to the best next tokens, all V of them considered."""

    def __init__(self, model: Transformer) -> None:
        super().__init__()
        bias, config = model.output.bias, model.config
        # One addition, which int8 leaves to the product.
        self.register_buffer("bias", excluded_ids(config) if bias is None else bias.float() + excluded_ids(config))
        self.register_buffer("suppressed", suppressed_ids(config) if config.suppressed_ids else None)

    def forward(
        self, model: Transformer, states: Tensor, num_candidates: Tensor, shortlist: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """states [N, K, D] -> log-probabilities [R, C] and ids [R, C], best first. `shortlist` is empty."""
        logits = functional.linear(states, model.output_weight) + self.bias
        log_probs = logits.flatten(0, 1).float().log_softmax(dim=-1)
        return _best(log_probs if self.suppressed is None else log_probs + self.suppressed, num_candidates)


class ShortlistOnly(nn.Module):
    """From the decoder's states to the best next tokens of each row's shortlist (`model.shortlist`).

    The rows share one matrix whose U columns are what any of them needs; each row then looks at its own columns, in an
    order of its own, so that the others change nothing, not even the order of a sum.
    """

    def __init__(self, peak: float | None) -> None:
        """`peak`: the largest magnitude of a state, for int8; None leaves the product in floating point."""
        super().__init__()
        self.is_quantized = peak is not None
        self.register_buffer("scale", torch.tensor(activation_scale(peak or 1.0)))
        self.register_buffer("zero", torch.tensor(ACTIVATION_ZERO, dtype=torch.uint8))

    def forward(
        self, model: Transformer, states: Tensor, num_candidates: Tensor, shortlist: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """As `WholeVocabulary.forward`; the matrix is not the model's but what the shortlist brings.

        `shortlist`: the rows' ids [R, L]; the column of each [R, L]; then for the columns their bias [U], which is -inf
        in a column that stands for no token, their weights [D, U], and in int8 their scales [U].
        """
        ids, columns, bias, *weights = shortlist
        logits = self._project(states.flatten(0, 1), bias, weights)
        own = logits.gather(1, columns)
        log_probs, places = _best(own.float().log_softmax(dim=-1), num_candidates)
        return log_probs, ids.gather(1, places)

    def _project(self, states: Tensor, bias: Tensor, weights: Sequence[Tensor]) -> Tensor:
        if not self.is_quantized:
            return states @ weights[0] + bias
        values = torch.onnx.ops.symbolic(
            "ai.onnx::QuantizeLinear", [states, self.scale, self.zero], dtype=torch.uint8, shape=states.shape
        )
        logits: Tensor = torch.onnx.ops.symbolic(
            "com.microsoft::MatMulIntegerToFloat",
            [values, weights[0], self.scale, weights[1], self.zero, None, bias],
            dtype=torch.float32,
            shape=(states.shape[0], bias.shape[0]),
            version=1,
        )
        return logits


class OutputColumns(nn.Module):
    """Columns of the output projection, for `ShortlistOnly`."""

    def __init__(self, model: Transformer, *, is_quantized: bool) -> None:
        super().__init__()
        table = model.output_weight.detach()
        self.is_quantized = is_quantized
        if is_quantized:
            columns, scale = quantize_columns(table.T.numpy())
            self.register_buffer("table", torch.from_numpy(np.ascontiguousarray(columns.T)))
            self.register_buffer("scale", torch.from_numpy(scale))
        else:
            self.register_buffer("table", table)

    def forward(self, ids: Tensor) -> tuple[Tensor, ...]:
        """ids [U] -> weights [D, U], and in int8 scales [U]."""
        weights = self.table[ids].T.contiguous()
        return (weights, self.scale[ids]) if self.is_quantized else (weights,)


def _best(scores: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """The largest `count` [1] of each row of scores [R, V], and where they stand: torch.topk wants a plain number."""
    rows = (scores.shape[0], 1)
    values, indices = torch.onnx.ops.symbolic_multi_out(
        "ai.onnx::TopK",
        [scores, count],
        {"axis": -1, "largest": 1, "sorted": 1},
        dtypes=[scores.dtype, torch.int64],
        shapes=[rows, rows],
    )
    return values, indices


class DecoderStep(nn.Module):
    """One token for every beam of every running sentence, and the best next tokens of each.

    Sentences stand at different places: each row writes its key and value into its own next place of a cache that is
    updated where it lies. The K beams of a sentence are K queries on one memory, which is neither repeated nor
    reordered. Of a row's V log-probabilities only the best C leave the graph.
    """

    def __init__(self, model: Transformer, output: WholeVocabulary | ShortlistOnly) -> None:
        super().__init__()
        self.model = model
        self.output = output
        self.projections = nn.ModuleList(side_by_side(layer.self_attention) for layer in model.decoder)

    def forward(
        self,
        token_ids: Tensor,
        lengths: Tensor,
        longest: Tensor,
        num_candidates: Tensor,
        source_mask: Tensor,
        memory: Sequence[Tensor],
        past: Sequence[Tensor],
        shortlist: Sequence[Tensor],
    ) -> tuple[Tensor, ...]:
        """One step for R = N K rows.

        Args:
            token_ids: [N, K] the last token of each beam.
            lengths: [R] int32, entries of `past` each row already has; the same number is the position of its token.
            longest: [] int32, the largest of `lengths` plus one.
            num_candidates: [1], C.
            source_mask: [N, S], True at real tokens.
            memory: what `Encoder` returned, 2 L of [N, H, S, d].
            past: L keys, then L values [R, H, P, d], P places a row.
            shortlist: what the output projection takes, see `ShortlistOnly`.

        Returns:
            candidate_log_probs [R, C] of the next token, best first, and candidate_ids [R, C];
            present: `past` with one entry more a row; meant to be bound to the same memory.
        """
        layers = len(self.model.decoder)
        x = self.model.target_embedding(token_ids.reshape(-1, 1), lengths[:, None])
        keys, values = [], []
        zero, nothing = (torch.tensor(value, dtype=x.dtype) for value in (0.0, -math.inf))
        bias = torch.where(source_mask[:, None, None, :], zero, nothing)
        for index, layer in enumerate(self.model.decoder):
            cache = _Cache(past[index], past[layers + index], lengths, longest, self.projections[index])
            cross = _Memory(memory[index], memory[layers + index], bias, token_ids.shape[1])
            x, key, value = _step_layer(layer, x, cache, cross)
            keys.append(key)
            values.append(value)
        states = self.model.decoder_norm(x)
        log_probs, ids = self.output(self.model, states, num_candidates, shortlist)
        return (log_probs, ids, *keys, *values)


@dataclasses.dataclass(frozen=True, slots=True)
class _Cache:
    """Keys and values of one layer's self-attention [R, H, P, d], and how much of them is filled."""

    key: Tensor
    value: Tensor
    lengths: Tensor
    longest: Tensor
    projection: nn.Module
    """Query, key and value of a new position in one product."""


def side_by_side(attention: MultiHeadAttention) -> nn.Linear:
    """One linear map for query, key and value [D, 3 D], as GroupQueryAttention takes them."""
    parts = (attention.query, attention.key, attention.value)
    joined = nn.Linear(attention.query.in_features, 3 * attention.query.out_features)
    joined.weight = nn.Parameter(torch.cat([part.weight for part in parts]))
    joined.bias = nn.Parameter(torch.cat([part.bias for part in parts]))
    return joined


@dataclasses.dataclass(frozen=True, slots=True)
class _Memory:
    """Keys and values of one layer's encoder-decoder attention [N, H, S, d], as `Encoder` returns them.

    `bias` [N, 1, 1, S] is 0 where they are real, -inf elsewhere: adding it takes a quarter of the time that choosing
    by a mask does.
    """

    key: Tensor
    value: Tensor
    bias: Tensor
    beams: int
    """K."""


def _step_layer(layer: DecoderLayer, x: Tensor, cache: _Cache, memory: _Memory) -> tuple[Tensor, Tensor, Tensor]:
    """`DecoderLayer.forward` for one new position of every beam. x [R, 1, D] -> x, cache keys and values."""
    present: list[Tensor] = []

    def self_attention(y: Tensor) -> Tensor:
        context, key, value = _cached_attention(layer.self_attention, y, cache)
        present.extend((key, value))
        output: Tensor = layer.self_attention.output(context)
        return output

    def cross_attention(y: Tensor) -> Tensor:
        output: Tensor = layer.cross_attention.output(_memory_attention(layer.cross_attention, y, memory))
        return output

    x = layer.residuals[0](x, self_attention)
    x = layer.residuals[1](x, cross_attention)
    x = layer.residuals[2](x, layer.feed_forward)
    return x, present[0], present[1]


def _cached_attention(attention: MultiHeadAttention, y: Tensor, cache: _Cache) -> tuple[Tensor, Tensor, Tensor]:
    """Self-attention of one new position a row, y [R, 1, D], over its own past: each row reads only what it has
    filled."""
    context, key, value = torch.onnx.ops.symbolic_multi_out(
        "com.microsoft::GroupQueryAttention",
        [cache.projection(y), None, None, cache.key, cache.value, cache.lengths, cache.longest],
        {"num_heads": attention.num_heads, "kv_num_heads": attention.num_heads},
        dtypes=[y.dtype, y.dtype, y.dtype],
        shapes=[y.shape, cache.key.shape, cache.value.shape],
        version=1,
    )
    return context, key, value


def _memory_attention(attention: MultiHeadAttention, y: Tensor, memory: _Memory) -> Tensor:
    """Encoder-decoder attention of the K queries of a sentence on one memory, y [R, 1, D].

    Plain products: for a query or a few, ONNX Runtime's fused operator takes up to twice the time.
    """
    by_sentence = attention.query(y).reshape(memory.key.shape[0], memory.beams, attention.num_heads, -1)
    weights = (by_sentence.transpose(1, 2) @ memory.key.transpose(-2, -1) + memory.bias).softmax(dim=-1)
    return attention.merge_heads(weights @ memory.value).reshape(y.shape)


class Scorer(nn.Module):
    """A whole target at once, teacher-forced: the log-probability of each token, and every attention weight."""

    def __init__(self, model: Transformer) -> None:
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
        logits, attention = self.model.with_attention(source_ids, source_mask, target_ids)
        possible = (logits.float() + self.excluded).masked_fill(~allowed[:, None], -math.inf)
        log_probs = possible.log_softmax(dim=-1)
        chosen = log_probs.gather(-1, labels[..., None]).squeeze(-1)
        stacked = (torch.stack(kind, 1).float() for kind in (attention.encoder, attention.decoder, attention.cross))
        encoder, decoder, cross = stacked
        return chosen, encoder, decoder, cross


def excluded_ids(config: ModelConfig) -> Tensor:
    """[V]: -inf at the ids that have no probability, 0 elsewhere."""
    return _minus_infinity_at(config.excluded_ids, config)


def suppressed_ids(config: ModelConfig) -> Tensor:
    """[V]: -inf at the ids that have a probability but are not to be chosen, 0 elsewhere."""
    return _minus_infinity_at(config.suppressed_ids, config)


def _minus_infinity_at(ids: Sequence[int], config: ModelConfig) -> Tensor:
    bias = torch.zeros(config.output_size)
    bias[list(ids)] = -math.inf
    return bias
