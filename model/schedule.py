"""The learning rate over time."""

from __future__ import annotations


def learning_rate(
    step: int, *, d_model: int, warmup_steps: int, factor: float, max_steps: int, cooldown_steps: int
) -> float:
    """Equation (3) of Vaswani et al. 2017 times `factor`, then linearly to 0 over the last `cooldown_steps`.

    d_model^-0.5 * min(step^-0.5, step * warmup_steps^-1.5); `step` counts from 1. The cool-down is ours (0 turns it
    off): a short budget gains from ending at a small rate. It depends on `max_steps` only near the end, so a run may be
    prolonged.
    """
    paper = d_model**-0.5 * min(step**-0.5, step * warmup_steps**-1.5)
    remaining = max(0, max_steps - step + 1)
    cooldown = min(1.0, remaining / (cooldown_steps + 1)) if cooldown_steps else 1.0
    return factor * paper * cooldown
