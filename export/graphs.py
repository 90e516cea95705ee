"""A Transformer as modules whose `forward` signature is the contract of one ONNX graph; `export.contracts` has their
names and axes.

Shapes: N sentences, K beams a sentence, S source tokens, T target tokens (so far), L decoder layers, H heads, d head
width, D d_model, V vocabulary. Masks are True where attention may look.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from export.output import ShortlistOnly, WholeVocabulary
from model.attention import MultiHeadAttention
from model.similarity import ScaledDot
from model.transformer import DecoderLayer, Transformer


class Encoder(nn.Module):
    """Source to memory, projected already to the keys and values of every decoder layer's encoder-decoder attention.

    What the similarity makes of keys alone is done here, once: they are divided by sqrt(d), instead of their products
    with the queries at every step.
    """

    def __init__(self, model: Transformer) -> None:
        super().__init__()
        self.model = model

    def forward(self, source_ids: Tensor, source_mask: Tensor) -> tuple[Tensor, ...]:
        """source_ids [N, S], source_mask [N, S] -> L keys [N, H, S, d], then L values [N, H, S, d]."""
        positions = torch.arange(source_ids.shape[1], device=source_ids.device)[None, :]
        mask = source_mask.to(torch.int32)

        def attend(attention: MultiHeadAttention, y: Tensor) -> Tensor:
            if not _is_fusible(attention):
                return attention.with_weights(y, y, source_mask[:, None])[0]
            projected = [attention.query(y), attention.key(y), attention.value(y)]
            output: Tensor = attention.output(_fused_attention(projected, mask, attention))
            return output

        return _encode(self.model, self.model.embedding(source_ids, positions), attend)


class PackedEncoder(nn.Module):
    """As `Encoder`, of sentences laid end to end: nothing is computed for padding, and short ones share a product."""

    def __init__(self, model: Transformer) -> None:
        super().__init__()
        self.model = model

    def forward(self, source_ids: Tensor, positions: Tensor, sentences: Tensor) -> tuple[Tensor, ...]:
        """Tokens of all sentences [T], where in its sentence each stands [T], and in which one [T]: any number that no
        other sentence has. -> L keys [1, H, T, d], then L values [1, H, T, d]."""
        is_seen = sentences[:, None] == sentences[None, :]
        window = self.model.config.window
        if window is not None:
            is_seen = is_seen & ((positions[:, None] - positions[None, :]).abs() < window)
        x = self.model.embedding(source_ids[None], positions[None])

        def attend(attention: MultiHeadAttention, y: Tensor) -> Tensor:
            scale = attention.dot_scale
            query = attention.split_heads(attention.query(y) * (1.0 if scale is None else scale))
            key, value = attention.split_heads(attention.key(y)), attention.split_heads(attention.value(y))
            scores = query @ key.transpose(-2, -1) if scale is not None else attention.similarity.forward(query, key)
            output: Tensor = attention.output(attention.merge_heads(_context(scores, value, is_seen)))
            return output

        return _encode(self.model, x, attend)


def _encode(
    model: Transformer, embedded: Tensor, attend: Callable[[MultiHeadAttention, Tensor], Tensor]
) -> tuple[Tensor, ...]:
    """What an encoder returns, from the embedding [N, S, D]; `attend` is self-attention of [N, S, D]."""
    x = embedded
    for layer in model.encoder:
        x = layer.residuals[0](x, functools.partial(attend, layer.self_attention))
        x = layer.residuals[1](x, layer.feed_forward)
    memory = model.encoder_norm(x)
    attentions = [layer.cross_attention for layer in model.decoder]
    keys = [attention.similarity.keys(attention.split_heads(attention.key(memory))) for attention in attentions]
    values = [attention.split_heads(attention.value(memory)) for attention in attentions]
    return (*keys, *values)


def _is_fusible(attention: MultiHeadAttention) -> bool:
    """Whether ONNX Runtime's operators compute this attention: products of query and key, without a window."""
    return attention.dot_scale is not None and attention.window is None


def _context(scores: Tensor, value: Tensor, is_seen: Tensor) -> Tensor:
    """Mean of value [..., S, d] under the softmax of scores [..., T, S] over what is_seen [T, S] -> [..., T, d].

    With sentences end to end a token sees those of its own sentence, which gets the same bits wherever it lies and
    whatever lies beside it. What others contribute is exactly zero, and weights are added up by a product with ones,
    which adds them one after another; the softmax operator adds them in the lanes of a vector register, in an order
    that depends on where the sentence begins.
    """
    zero, nothing = (torch.tensor(number, dtype=scores.dtype) for number in (0.0, -math.inf))
    highest = (scores + torch.where(is_seen, zero, nothing)).amax(-1, keepdim=True)
    # Not exp of -inf, which ONNX Runtime makes a denormal number: the product with those takes twice the time.
    weights = torch.minimum(scores - highest, zero).exp() * is_seen.to(scores.dtype)
    return (weights @ value) / (weights @ torch.ones_like(value))


def _fused_attention(projected: Sequence[Tensor], mask: Tensor, attention: MultiHeadAttention) -> Tensor:
    """Attention of queries [N, T, D] on keys and values, [N, S, D] or by head [N, H, S, d], where mask [N, S] is 1."""
    query, key, value = projected
    context: Tensor = torch.onnx.ops.symbolic(
        "com.microsoft::MultiHeadAttention",
        [query, key, value, None, mask],
        {"num_heads": attention.num_heads, **_scale(attention)},
        dtype=query.dtype,
        shape=query.shape,
        version=1,
    )
    return context


def _scale(attention: MultiHeadAttention) -> dict[str, float]:
    """The attribute `scale` of ONNX Runtime's operators, which divide by sqrt(d) without it."""
    return {} if type(attention.similarity) is ScaledDot else {"scale": 1.0}


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
        self.projections = nn.ModuleList(
            side_by_side(layer.self_attention) if _is_fusible(layer.self_attention) else nn.Identity()
            for layer in model.decoder
        )

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
    """Query, key and value of a new position in one product, for attention that an operator computes."""


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
    if not _is_fusible(attention):
        return _spelt_out_attention(attention, y, cache)
    context, key, value = torch.onnx.ops.symbolic_multi_out(
        "com.microsoft::GroupQueryAttention",
        [cache.projection(y), None, None, cache.key, cache.value, cache.lengths, cache.longest],
        {"num_heads": attention.num_heads, "kv_num_heads": attention.num_heads, **_scale(attention)},
        dtypes=[y.dtype, y.dtype, y.dtype],
        shapes=[y.shape, cache.key.shape, cache.value.shape],
        version=1,
    )
    return context, key, value


def _spelt_out_attention(attention: MultiHeadAttention, y: Tensor, cache: _Cache) -> tuple[Tensor, Tensor, Tensor]:
    """`_cached_attention` where no operator computes it: other similarities, or a window. Keys lie in the cache as
    `Dot.keys` makes them."""
    query, key, value = (attention.split_heads(each(y)) for each in (attention.query, attention.key, attention.value))
    keys = _written(cache.key, attention.similarity.keys(key), cache.lengths)
    values = _written(cache.value, value, cache.lengths)
    age = cache.lengths[:, None].to(torch.int64) - torch.arange(keys.shape[2], device=keys.device)
    is_seen = (age >= 0) & (age < attention.window) if attention.window is not None else age >= 0
    is_seen = is_seen[:, None, None, :]
    # What lies in places that are not filled may be no number.
    zero = torch.tensor(0.0, dtype=y.dtype)
    scores = torch.where(is_seen, attention.similarity.scores(query, keys), zero)
    filled = torch.where(is_seen.transpose(-2, -1), values, zero)
    return attention.merge_heads(_context(scores, filled, is_seen)), keys, values


def _written(state: Tensor, entry: Tensor, lengths: Tensor) -> Tensor:
    """`state` [R, H, P, d] with `entry` [R, H, 1, d] at each row's place lengths[r]; meant to be written where it
    lies."""
    rows, heads = torch.arange(entry.shape[0]), torch.arange(entry.shape[1])
    places = torch.broadcast_tensors(rows[:, None], heads, lengths[:, None].to(torch.int64))
    written: Tensor = torch.onnx.ops.symbolic(
        "ai.onnx::ScatterND",
        [state, torch.stack(places, dim=-1), entry.squeeze(2)],
        dtype=state.dtype,
        shape=state.shape,
    )
    return written


def _memory_attention(attention: MultiHeadAttention, y: Tensor, memory: _Memory) -> Tensor:
    """Encoder-decoder attention of the K queries of a sentence on one memory, y [R, 1, D].

    Plain products: for a query or a few, ONNX Runtime's fused operator takes up to twice the time.
    """
    by_sentence = attention.query(y).reshape(memory.key.shape[0], memory.beams, attention.num_heads, -1)
    scores = attention.similarity.scores(by_sentence.transpose(1, 2), memory.key)
    weights = (scores + memory.bias).softmax(dim=-1)
    return attention.merge_heads(weights @ memory.value).reshape(y.shape)
