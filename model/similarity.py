"""How alike a query and a key are: five functions, one of which each attention uses before its softmax.

    dot         q . k                    "dot" of Luong et al. 2015, section 3.1
    scaled_dot  q . k / sqrt(d)          equation (1) of Vaswani et al. 2017
    bilinear    q W k                    "general" of Luong et al. 2015; W is learned
    additive    v . tanh(W q + U k)      appendix A.1.2 of Bahdanau et al. 2015, a perceptron; v, W, U are learned
    cosine      b q . k / (|q| |k|)      equations (5) and (6) of Graves et al. 2014; the sharpness b is learned

Each comes in two parts, so that what depends on the keys alone is computed once a sentence: `keys`, then `scores`.
Shapes: H heads, T queries, S keys, d width of a head.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.config import SimilarityKind


class Dot(nn.Module):
    """q . k: large where both point the same way, 0 where they are perpendicular."""

    def keys(self, key: Tensor) -> Tensor:
        """What `scores` needs of the keys [..., S, d] -> [..., S, d]."""
        return key

    def scores(self, query: Tensor, keys: Tensor) -> Tensor:
        """query [..., T, d], keys as `keys` made them [..., S, d] -> [..., T, S]."""
        return query @ keys.transpose(-2, -1)

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        """query [..., T, d], key [..., S, d] -> [..., T, S]."""
        return self.scores(query, self.keys(key))


class ScaledDot(Dot):
    """q . k / sqrt(d): the product of two random vectors has the variance d, this has the variance 1."""

    def keys(self, key: Tensor) -> Tensor:
        """[..., S, d] -> [..., S, d], divided by sqrt(d)."""
        return key * key.shape[-1] ** -0.5

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        """query [..., T, d], key [..., S, d] -> [..., T, S].

        The products are divided here and not the keys: runs go on to the bit with what they began with.
        """
        return query @ key.transpose(-2, -1) * (1.0 / math.sqrt(query.shape[-1]))


class Bilinear(Dot):
    """q W k: which directions of the query go with which of the key is learned."""

    def __init__(self, num_heads: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_heads, width, width))
        # So that scores of random vectors begin with the variance 1.
        nn.init.normal_(self.weight, std=1.0 / width)

    def keys(self, key: Tensor) -> Tensor:
        """[..., H, S, d] -> W k, of the same shape."""
        return key @ self.weight.transpose(-2, -1)


class Additive(Dot):
    """v . tanh(W q + U k): a perceptron with one hidden layer."""

    def __init__(self, num_heads: int, width: int) -> None:
        super().__init__()
        self.query_weight = nn.Parameter(torch.empty(num_heads, width, width))
        self.key_weight = nn.Parameter(torch.empty(num_heads, width, width))
        self.vector = nn.Parameter(torch.empty(num_heads, width, 1))
        for parameter in (self.query_weight, self.key_weight, self.vector):
            nn.init.normal_(parameter, std=width**-0.5)

    def keys(self, key: Tensor) -> Tensor:
        """[..., H, S, d] -> U k, of the same shape."""
        return key @ self.key_weight.transpose(-2, -1)

    def scores(self, query: Tensor, keys: Tensor) -> Tensor:
        """query [..., H, T, d], keys [..., H, S, d] -> [..., H, T, S]; on the way there are T x S x d numbers."""
        projected = query @ self.query_weight.transpose(-2, -1)
        hidden = torch.tanh(projected.unsqueeze(-2) + keys.unsqueeze(-3))
        return (hidden @ self.vector.unsqueeze(-3)).squeeze(-1)


class Cosine(Dot):
    """b cos(q, k): lengths count for nothing. Cosines lie in [-1, 1], which no softmax makes sharp: hence b."""

    def __init__(self, num_heads: int, width: int) -> None:
        super().__init__()
        # Random vectors' cosines have the variance 1 / d: their scores begin with the variance 1.
        self.sharpness = nn.Parameter(torch.full((num_heads, 1, 1), math.sqrt(width)))

    def keys(self, key: Tensor) -> Tensor:
        """[..., H, S, d] -> b k / |k|, of the same shape."""
        return functional.normalize(key, dim=-1) * self.sharpness

    def scores(self, query: Tensor, keys: Tensor) -> Tensor:
        """query [..., H, T, d], keys [..., H, S, d] -> [..., H, T, S]."""
        return functional.normalize(query, dim=-1) @ keys.transpose(-2, -1)


def new_similarity(kind: SimilarityKind, num_heads: int, width: int) -> Dot:
    """The function of this name, with what it learns for H heads of width d."""
    if kind == "dot":
        return Dot()
    if kind == "scaled_dot":
        return ScaledDot()
    learned: dict[SimilarityKind, type[Bilinear] | type[Additive] | type[Cosine]] = {
        "bilinear": Bilinear,
        "additive": Additive,
        "cosine": Cosine,
    }
    return learned[kind](num_heads, width)
