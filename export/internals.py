"""What happens inside a Transformer for one sentence, as the graph behind the page `/learn`.

Shapes: S source tokens, T target tokens (the start first), L layers, H heads, d head width, D d_model, V vocabulary.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import torch
from torch import Tensor, nn

from export.output import excluded_ids
from model.attention import MultiHeadAttention, causal_mask
from model.network import Embedding, EncoderDecoder, places_of
from model.transformer import Transformer

ATTENTION_PARTS = ("query", "key", "value", "products", "scores", "weights")
"""What is told of each attention: the three projections, then Q K^T, the same by sqrt(d), and the softmax of that."""


def has_internals(model: EncoderDecoder) -> bool:
    """Whether its attention is what the page explains: products of queries and keys, over the whole sentence."""
    return (
        isinstance(model, Transformer)
        and model.config.window is None
        and min(len(model.encoder), len(model.decoder)) > 0
        and all(layer.self_attention.dot_scale is not None for layer in model.encoder)
    )


@dataclasses.dataclass(frozen=True, slots=True)
class _Looked:
    """One layer's attention in the order of `ATTENTION_PARTS`, queries [H, T, d], keys and values [H, S, d], the rest
    [H, T, S]."""

    query: Tensor
    key: Tensor
    value: Tensor
    products: Tensor
    scores: Tensor
    weights: Tensor

    def parts(self) -> tuple[Tensor, ...]:
        """As a tuple: `dataclasses.astuple` would copy what is traced."""
        return self.query, self.key, self.value, self.products, self.scores, self.weights


class Internals(nn.Module):
    """One sentence and the beginning of its translation, with every number on the way that an introduction shows.

    It computes what `Scorer` does, spelled out: the same products in the same order. So in int8 too its weights are
    those that the service reports.
    """

    def __init__(self, model: Transformer) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("excluded", excluded_ids(model.config))

    def forward(self, source_ids: Tensor, target_ids: Tensor) -> tuple[Tensor, ...]:
        """source_ids [1, S] and target_ids [1, T], all in float32:

        log_probs [T, V] of the next token; source_tokens [S, D], source_positions [S, D], target_tokens [T, D] and
        target_positions [T, D], whose sums the first layers read; then the `ATTENTION_PARTS` of encoder, decoder and
        cross attention: query, key and value [L, H, tokens, d], the others [L, H, queries, keys]. Scores are told
        before the mask.
        """
        model = self.model
        encoder: list[_Looked] = []
        memory = model.embedding(source_ids, places_of(source_ids))
        for layer in model.encoder:
            memory = layer.residuals[0](memory, _looking(layer.self_attention, encoder))
            memory = layer.residuals[1](memory, layer.feed_forward)
        memory = model.encoder_norm(memory)
        decoder: list[_Looked] = []
        cross: list[_Looked] = []
        x = model.target_embedding(target_ids, places_of(target_ids))
        mask = causal_mask(target_ids.shape[1], target_ids.device)
        for layer in model.decoder:
            x = layer.residuals[0](x, _looking(layer.self_attention, decoder, mask=mask))
            x = layer.residuals[1](x, _looking(layer.cross_attention, cross, memory))
            x = layer.residuals[2](x, layer.feed_forward)
        logits = model.project(model.decoder_norm(x))[0].float()
        log_probs = (logits + self.excluded).log_softmax(dim=-1)
        embedded = (*_embedded(model.embedding, source_ids), *_embedded(model.target_embedding, target_ids))
        attention = (*_stacked(encoder), *_stacked(decoder), *_stacked(cross))
        return (log_probs, *embedded, *attention)


def _looking(
    attention: MultiHeadAttention, seen: list[_Looked], memory: Tensor | None = None, mask: Tensor | None = None
) -> Callable[[Tensor], Tensor]:
    """The attention as a sub-layer that appends what it did to `seen`; `memory` None means self-attention."""
    return functools.partial(_look, attention, seen, memory, mask)


def _look(
    attention: MultiHeadAttention, seen: list[_Looked], memory: Tensor | None, mask: Tensor | None, states: Tensor
) -> Tensor:
    """`MultiHeadAttention.with_weights`, with all that is on the way to them."""
    looked_at = states if memory is None else memory
    query = attention.split_heads(attention.query(states))
    key, value = (attention.split_heads(each(looked_at)) for each in (attention.key, attention.value))
    products = query @ key.transpose(-2, -1)
    assert attention.dot_scale is not None
    scores = products * attention.dot_scale
    allowed = scores if mask is None else scores.masked_fill(~mask, -torch.inf)
    weights = allowed.softmax(dim=-1)
    seen.append(_Looked(*(part[0].float() for part in (query, key, value, products, scores, weights))))
    output: Tensor = attention.output(attention.merge_heads(weights @ value))
    return output


def _embedded(embedding: Embedding, ids: Tensor) -> tuple[Tensor, Tensor]:
    """What an embedding adds up: vectors of the tokens, and of their places; each [tokens, D]."""
    tokens = embedding.tokens(ids)[0].float() * embedding.scale
    if embedding.positions is None:
        return tokens, torch.zeros_like(tokens)
    return tokens, embedding.positions(places_of(ids) + embedding.offset)[0].float()


def _stacked(layers: list[_Looked]) -> tuple[Tensor, ...]:
    """Each part of all layers [L, H, ...]."""
    return tuple(torch.stack(part) for part in zip(*(layer.parts() for layer in layers), strict=True))
