"""How the input of a product becomes int8: one scale for all, channels made alike first, or one scale a row.

Trained networks have a few channels whose values are tens of times larger than the others': one scale that holds them
leaves the others a handful of steps. Dividing each channel by a factor of its own, and multiplying the matrix's row by
it, costs one multiplication (SmoothQuant, Xiao et al. 2022); a scale for each row costs a pass over the values at every
step. The cheapest that is accurate enough is taken, by what it does to the product on real inputs.

Shapes: n sampled rows, D input channels, V columns of the matrix.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
Kind = Literal["static", "channels", "rows"]
KINDS: tuple[Kind, ...] = ("static", "channels", "rows")
"""From the cheapest on."""
_GOOD_ENOUGH = 0.02
"""Relative error of a product that a scale for each row would hardly better; Gaussian inputs have 0.01."""
_WORTH_IT = 1.25
"""How many times the error of the best kind a cheaper one may have."""
HEADROOM = 1.1
"""Real text may exceed the peaks that were measured; beyond this it is clipped."""
_SMALLEST = 1e-12
_SAMPLED_COLUMNS = 256
_EXPONENTS = (1.0, 0.5)
"""How much of a channel's excess its factor takes: what the input is spared, the matrix has to bear."""


@dataclasses.dataclass(frozen=True, slots=True)
class Scaling:
    """How one product's input is quantised."""

    peak: float
    """Largest magnitude expected, after the division by `factors` if there are any."""
    kind: Kind = "static"
    factors: Array | None = None
    """[D], each at least 1, for `channels`."""


@dataclasses.dataclass(frozen=True, slots=True)
class Choice:
    """A scaling, and the relative error of the product under each kind."""

    scaling: Scaling
    errors: Mapping[Kind, float]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, without the factors."""
        return {"kind": self.scaling.kind, "errors": {kind: round(error, 4) for kind, error in self.errors.items()}}


def choose(rows: Array, channel_peaks: Array, matrix: Array) -> Choice:
    """The cheapest kind that is accurate enough for inputs like rows [n, D], of which `channel_peaks` [D] are the
    largest magnitudes ever seen, and matrix [D, V]."""
    columns = matrix[:, :: max(1, matrix.shape[1] // _SAMPLED_COLUMNS)]
    balanced = [_by_channel(channel_peaks, exponent) for exponent in _EXPONENTS]
    scalings: dict[Kind, Scaling] = {
        "static": Scaling(float(channel_peaks.max(initial=0.0))),
        "channels": min(balanced, key=lambda scaling: product_error(rows, columns, scaling)),
        "rows": Scaling(0.0, "rows"),
    }
    errors = {kind: product_error(rows, columns, scalings[kind]) for kind in KINDS}
    most = max(_GOOD_ENOUGH, _WORTH_IT * min(errors.values()))
    return Choice(scalings[next(kind for kind in KINDS if errors[kind] <= most)], errors)


def _by_channel(channel_peaks: Array, exponent: float) -> Scaling:
    factors = balancing_factors(channel_peaks) ** np.float32(exponent)
    return Scaling(float((channel_peaks / factors).max(initial=0.0)), "channels", factors)


def balancing_factors(channel_peaks: Array) -> Array:
    """[D]: how much larger a channel is than the median one; 1 for those that are not."""
    usual = max(float(np.median(channel_peaks)), _SMALLEST)
    return np.maximum(channel_peaks / usual, 1.0).astype(np.float32)


def product_error(rows: Array, matrix: Array, scaling: Scaling) -> float:
    """Mean over the rows of the relative error of row @ matrix with both quantised so: quiet rows count like loud."""
    exact = rows @ matrix
    factors = np.ones(rows.shape[1], np.float32) if scaling.factors is None else scaling.factors
    divided, weights = rows / factors, matrix * factors[:, None]
    peaks = np.abs(divided).max(axis=1, keepdims=True) if scaling.kind == "rows" else scaling.peak * HEADROOM
    step = np.maximum(peaks, _SMALLEST) / 127
    scale = np.maximum(np.abs(weights).max(axis=0) / 127, _SMALLEST)
    values = np.clip(np.rint(divided / step), -128, 127) * step
    found = values @ (np.rint(weights / scale) * scale)
    sizes = np.linalg.norm(exact, axis=1)
    return float((np.linalg.norm(found - exact, axis=1) / np.maximum(sizes, _SMALLEST))[sizes > 0].mean())
