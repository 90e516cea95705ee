"""Hold the graph `internals` against PyTorch: every one of its numbers, and those that the scorer gives too."""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np
import torch

from export.internals import Internals
from model.bundle import Precision
from model.transformer import Transformer

_TOLERANCE: dict[Precision, float | None] = {"fp32": 2e-4, "fp16": 5e-2, "int8": None}
"""Largest difference of a number, by the largest of its output (or by 1); int8 must only be what the scorer gives."""
_SCORER_TOLERANCE = 1e-3
"""Between the two graphs in one precision: they differ in the order of sums only."""
_FIRST_PIECE = 4


class Session(Protocol):
    """A graph that ONNX Runtime has opened, see `export.verify`."""

    def run(self, output_names: list[str], input_feed: dict[str, Any]) -> list[Any]:
        """Its outputs of these names."""

    def get_outputs(self) -> Any:
        """What outputs there are."""


def internals_faults(
    internals: Session,
    scorer: Session,
    model: Transformer,
    precision: Precision,
) -> list[str]:
    """What is wrong with the graph on a shape that was not traced; empty if nothing is."""
    config, rng = model.config, np.random.default_rng(11)
    source_ids = rng.integers(_FIRST_PIECE, config.vocabulary_size, (1, 11))
    target_ids = rng.integers(_FIRST_PIECE, config.output_size, (1, 8))
    target_ids[0, 0] = config.start_id
    names = [output.name for output in internals.get_outputs()]
    values = internals.run(names, {"source_ids": source_ids, "target_ids": target_ids})
    found: dict[str, Any] = dict(zip(names, values, strict=True))
    faults = [
        f"internals: {name} is not finite" for name in names if name != "log_probs" and not _is_finite(found[name])
    ]
    tolerance = _TOLERANCE[precision]
    if tolerance is not None:
        with torch.inference_mode():
            expected = Internals(model)(torch.from_numpy(source_ids), torch.from_numpy(target_ids))
        for name, wanted in zip(names, expected, strict=True):
            difference = _difference(found[name], wanted.numpy())
            if not difference <= tolerance:
                faults.append(f"internals: {name} differs by {difference:.2e}")
    for name, wanted in _scored(scorer, source_ids, target_ids, config.output_size).items():
        difference = _difference(found[name], wanted)
        if not difference <= _SCORER_TOLERANCE:
            faults.append(f"internals: {name} differs by {difference:.2e} from the scorer's")
    return faults


def _scored(scorer: Session, source_ids: Any, target_ids: Any, vocabulary_size: int) -> dict[str, Any]:
    """The weights as the scorer gives them, by the names of the other graph."""
    inputs = {
        "source_ids": source_ids,
        "source_mask": np.ones(source_ids.shape, np.bool_),
        "target_ids": target_ids,
        "labels": np.full(target_ids.shape, _FIRST_PIECE),
        "allowed": np.ones((1, vocabulary_size), np.bool_),
    }
    kinds = ("encoder", "decoder", "cross")
    weights = scorer.run([f"{kind}_attention" for kind in kinds], inputs)
    return {f"{kind}_weights": each[0] for kind, each in zip(kinds, weights, strict=True)}


def _is_finite(values: Any) -> bool:
    return bool(np.isfinite(values).all())


def _difference(found: Any, wanted: Any) -> float:
    """The largest one, by the largest number wanted or by 1; infinite if what is infinite in one is not in the other.

    Tokens that can never be chosen have the log-probability -inf in both.
    """
    finite = np.isfinite(wanted)
    if not np.array_equal(finite, np.isfinite(found)):
        return math.inf
    largest = np.abs(wanted[finite]).max(initial=0.0)
    return float(np.abs(found[finite] - wanted[finite]).max(initial=0.0) / max(1.0, largest))
