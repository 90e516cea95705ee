"""What is trained: one network of each kind, of one width and depth, on the same text for the same number of steps."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from model.recipe import Recipe


@dataclasses.dataclass(frozen=True, slots=True)
class Sizes:
    """Of every network of a study."""

    width: int = 128
    inner: int = 512
    heads: int = 4
    layers: int = 2
    window: int = 4


@dataclasses.dataclass(frozen=True, slots=True)
class Variant:
    """One network of the study."""

    name: str
    title: str
    model: Mapping[str, Any]
    """Settings of the recipe's [model] that differ from those of its architecture here."""
    training: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    teacher: str | None = None
    """Whose translations it learns from instead of people's."""


BASE = "transformer"
_LSTM = {"architecture": "lstm"}
VARIANTS = (
    Variant("lstm-fixed", "LSTM, one fixed vector", {**_LSTM, "attention": False}),
    Variant("lstm-additive", "LSTM, additive attention", {**_LSTM, "similarity": "additive"}),
    Variant("lstm-dot", "LSTM, dot attention", {**_LSTM, "similarity": "dot"}),
    Variant("lstm-scaled-dot", "LSTM, scaled dot attention", {**_LSTM, "similarity": "scaled_dot"}),
    Variant("lstm-bilinear", "LSTM, bilinear attention", {**_LSTM, "similarity": "bilinear"}),
    Variant("lstm-cosine", "LSTM, cosine attention", {**_LSTM, "similarity": "cosine"}),
    Variant(BASE, "Transformer, 4 heads", {}),
    Variant("heads-1", "Transformer, 1 head", {"num_heads": 1}),
    Variant("heads-2", "Transformer, 2 heads", {"num_heads": 2}),
    Variant("heads-8", "Transformer, 8 heads", {"num_heads": 8}),
    Variant("learned-positions", "Transformer, learned positions", {"positions": "learned"}),
    Variant("no-positions", "Transformer without positions", {"positions": "none"}),
    Variant("pre-norm", "Transformer, norm before the sub-layer", {"norm": "pre"}),
    Variant("no-norm", "Transformer without norm", {"norm": "none"}),
    Variant("no-residuals", "Transformer without residuals", {"residuals": False}),
    Variant("unscaled", "Transformer, products not divided", {"similarity": "dot"}),
    Variant("window", "Transformer, restricted self-attention", {"window": 0}),
    Variant("no-smoothing", "Transformer without label smoothing", {}, {"label_smoothing": 0.0}),
    Variant("small", "Transformer of half the width", {"width": 2}),
    Variant("distilled", "the same, taught by the Transformer", {"width": 2}, teacher=BASE),
)


def variant_named(name: str) -> Variant:
    """The variant of this name."""
    return next(variant for variant in VARIANTS if variant.name == name)


def recipe_of(variant: Variant, base: Recipe, sizes: Sizes, steps: int) -> Recipe:
    """The recipe of a variant: text, vocabulary and seed of `base`, and so the same batches for every one."""
    changes = dict(variant.model)
    width = sizes.width // changes.pop("width", 1)
    dropout = base.model.get("dropout", 0.1)
    model: dict[str, Any] = {"d_model": width, "encoder_layers": sizes.layers, "decoder_layers": sizes.layers}
    if changes.get("architecture") != "lstm":
        model |= {"num_heads": sizes.heads, "d_ff": sizes.inner * width // sizes.width}
    if "window" in changes:
        changes["window"] = sizes.window
    share = steps / base.training.max_steps
    lengths = {
        "max_steps": steps,
        "validate_every": steps,
        "warmup_steps": max(1, round(share * base.training.warmup_steps)),
        "cooldown_steps": round(share * base.training.cooldown_steps),
    }
    training = {**base.training.model_dump(), **lengths, **variant.training}
    values = {
        **base.model_dump(),
        "name": f"study-{variant.name}",
        "model": {"dropout": dropout, "max_positions": 256, **model, **changes},
        "training": training,
    }
    return Recipe.model_validate(values)
