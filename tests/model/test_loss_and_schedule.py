"""Label smoothing and the learning rate against their formulas."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model.loss import label_smoothed_loss
from model.schedule import learning_rate
from model.vocabulary import PAD_ID
from tests.oracles import smoothed_loss


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_loss_equals_the_closed_form(smoothing: float) -> None:
    logits = torch.randn(2, 4, 9, generator=torch.Generator().manual_seed(2)) * 3
    labels = torch.tensor([[4, 8, 3, PAD_ID], [5, 3, PAD_ID, PAD_ID]])
    ours = float(label_smoothed_loss(logits, labels, smoothing))
    assert ours == pytest.approx(smoothed_loss(logits, labels, smoothing), rel=1e-5)


def test_padding_counts_nothing() -> None:
    logits = torch.randn(1, 3, 9)
    labels = torch.tensor([[4, 5, PAD_ID]])
    changed = logits.clone()
    changed[0, 2] = 100.0
    assert label_smoothed_loss(logits, labels, 0.1) == label_smoothed_loss(changed, labels, 0.1)


def test_smoothing_punishes_certainty() -> None:
    labels = torch.tensor([[4]])
    certain = torch.full((1, 1, 9), -50.0)
    certain[0, 0, 4] = 50.0
    assert float(label_smoothed_loss(certain, labels, 0.0)) == pytest.approx(0, abs=1e-6)
    assert float(label_smoothed_loss(certain, labels, 0.1)) > 5


def rate(step: int, **changes: float) -> float:
    values = {"d_model": 512, "warmup_steps": 4000, "factor": 1.0, "max_steps": 100_000, "cooldown_steps": 0}
    return learning_rate(step, **{**values, **changes})


@given(st.integers(1, 100_000))
def test_schedule_is_equation_3(step: int) -> None:
    assert rate(step) == pytest.approx(512**-0.5 * min(1 / math.sqrt(step), step * 4000**-1.5), rel=1e-12)


def test_peak_is_at_the_end_of_the_warm_up() -> None:
    rates = [rate(step, warmup_steps=50) for step in range(1, 400)]
    assert max(rates) == rates[49] == pytest.approx((512 * 50) ** -0.5)
    assert rates[:50] == sorted(rates[:50])
    assert rates[49:] == sorted(rates[49:], reverse=True)


def test_cool_down_ends_near_zero_and_leaves_the_rest_alone() -> None:
    cooled = [rate(step, max_steps=1000, cooldown_steps=200, warmup_steps=100) for step in range(1, 1001)]
    plain = [rate(step, max_steps=1000, warmup_steps=100) for step in range(1, 1001)]
    assert cooled[:800] == plain[:800]
    assert cooled[800:] == sorted(cooled[800:], reverse=True)
    assert 0 < cooled[-1] < plain[-1] / 100
    assert rate(1200, max_steps=1000, cooldown_steps=200) == 0


def test_factor_scales() -> None:
    assert rate(10, factor=2.5) == pytest.approx(2.5 * rate(10))
