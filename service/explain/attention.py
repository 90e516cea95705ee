"""Which of a model's attention weights a caller wants, and the forms they leave the service in.

Shapes: L layers, H heads, S source tokens, T target tokens. Row t of decoder and cross attention is the one that
predicts target token t; the columns of decoder attention are what the decoder has read by then: the start, then tokens.
"""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from service.engine.scores import KINDS
from service.errors import InvalidFieldError

if TYPE_CHECKING:
    from model.bundle import Manifest
    from service.arrays import Array
    from service.engine.scores import AttentionKind

_DECIMALS = 6


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AttentionSelection:
    """Which attention, in which form; as it stands all of it, unreduced."""

    kinds: tuple[AttentionKind, ...] = KINDS
    layers: tuple[int, ...] | None = None
    """From 0, in this order; None: all."""
    heads: tuple[int, ...] | None = None
    reduce: Literal["none", "mean"] = "none"
    """mean: over the chosen layers and heads, one matrix of each kind; L and H are 1 then."""
    layout: Literal["nested", "bertviz"] = "nested"
    encoding: Literal["json", "float16-base64"] = "json"

    def counts(self, stacks: Mapping[AttentionKind, tuple[int, int]]) -> dict[AttentionKind, int]:
        """How many matrices of each kind are chosen from stacks of (L, H).

        Raises:
            InvalidFieldError: a layer or head does not exist.
        """
        chosen: dict[AttentionKind, int] = {}
        for kind in self.kinds:
            numbers = []
            for name, wanted, size in zip(("layers", "heads"), (self.layers, self.heads), stacks[kind], strict=True):
                missing = [index for index in wanted or () if not 0 <= index < size]
                if missing:
                    has = f"{name} 0 to {size - 1}" if size else f"no {name}"
                    raise InvalidFieldError(
                        f"attention.{name}: {missing[0]} does not exist, {kind} attention of this model has {has}"
                    )
                numbers.append(size if wanted is None else len(wanted))
            count = numbers[0] * numbers[1]
            chosen[kind] = min(count, 1) if self.reduce == "mean" else count
        return chosen


def attention_stacks(manifest: Manifest) -> dict[AttentionKind, tuple[int, int]]:
    """(L, H) of each kind of attention that a bundle's scorer gives."""
    shapes = {output.name: output.shape for output in manifest.graphs["scorer"].outputs}
    return {kind: (int(shapes[f"{kind}_attention"][1]), int(shapes[f"{kind}_attention"][2])) for kind in KINDS}


def select(attention: Mapping[AttentionKind, Array], selection: AttentionSelection) -> dict[AttentionKind, Array]:
    """The chosen layers and heads of arrays [L, H, rows, columns], reduced as wanted; still four dimensions."""
    chosen: dict[AttentionKind, Array] = {}
    for kind in selection.kinds:
        weights = attention[kind]
        if selection.layers is not None:
            weights = weights[list(selection.layers)]
        if selection.heads is not None:
            weights = weights[:, list(selection.heads)]
        if selection.reduce == "mean" and weights.size:  # a recurrent network looks at its own side with no layer
            weights = weights.mean(axis=(0, 1), keepdims=True)
        chosen[kind] = weights
    return chosen


def to_json(
    attention: Mapping[AttentionKind, Array],
    source_tokens: Sequence[str],
    target_tokens: Sequence[str],
    selection: AttentionSelection,
) -> dict[str, Any]:
    """Selected arrays as JSON-ready values.

    nested: `{kind: [L][H][rows][columns]}`.
    bertviz: the keyword arguments of bertviz's `head_view` and `model_view`, a list of layers [1][H][rows][columns]
    each. Its `decoder_tokens` name both axes of decoder attention, so they are what the decoder has read.
    """
    if selection.layout == "nested":
        return {kind: _encoded(weights, selection.encoding) for kind, weights in attention.items()}
    layers = {
        f"{kind}_attention": [_encoded(layer[None], selection.encoding) for layer in weights]
        for kind, weights in attention.items()
    }
    return {**layers, "encoder_tokens": list(source_tokens), "decoder_tokens": ["<s>", *target_tokens[:-1]]}


def _encoded(weights: Array, encoding: str) -> Any:
    """Nested lists of 6 decimals, or the bytes of an array of 16-bit floats in C order, little-endian."""
    if encoding == "json":
        # One matrix after the other: each call holds the interpreter until it is done.
        return [[np.round(matrix.astype(np.float64), _DECIMALS).tolist() for matrix in layer] for layer in weights]
    data = np.ascontiguousarray(weights, dtype="<f2").tobytes()
    return {"shape": list(weights.shape), "dtype": "float16", "data": base64.b64encode(data).decode("ascii")}
