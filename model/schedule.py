"""The learning rate over time."""

from __future__ import annotations

from collections.abc import Callable


def paper_rate(d_model: int, warmup_steps: int, factor: float) -> Callable[[int], float]:
    """Equation (3) of Vaswani et al. 2017 times `factor`: d_model^-0.5 * min(step^-0.5, step * warmup_steps^-1.5).

    `step` counts from 1.
    """
    return lambda step: factor * d_model**-0.5 * min(step**-0.5, step * warmup_steps**-1.5)


def constant_rate(rate: float, warmup_steps: int) -> Callable[[int], float]:
    """Up to `rate` over the first `warmup_steps`, and no further: a run may go on for as long as there is time."""
    return lambda step: rate * min(1.0, step / warmup_steps)


def cooldown(step: int, max_steps: int, cooldown_steps: int) -> float:
    """What the rate is multiplied by: 1, then linearly to 0 over the last `cooldown_steps` of `max_steps`.

    Ours for the paper's schedule, that of Zhai et al. 2022 for the constant rate: a run gains much from ending at a
    small rate. It depends on `max_steps` only near the end, so a run may be prolonged.
    """
    remaining = max(0, max_steps - step + 1)
    return min(1.0, remaining / (cooldown_steps + 1)) if cooldown_steps else 1.0
