"""Dropout from random bytes: how often, how much, and never in evaluation."""

from __future__ import annotations

import pytest
import torch

from model.dropout import Dropout


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.3, 0.5])
def test_rate_and_mean(rate: float) -> None:
    torch.manual_seed(5)
    x = torch.ones(1000, 503)
    y = Dropout(rate)(x)
    dropped = float((y == 0).float().mean())
    assert dropped == pytest.approx(round(rate * 256) / 256, abs=0.003)
    assert float(y.mean()) == pytest.approx(1.0, abs=0.005)
    assert y.unique().numel() == 2, "what stays is scaled by one number"


def test_off_in_evaluation_and_at_rate_zero() -> None:
    x = torch.randn(7, 3)
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0)(x) is x


def test_gradient_flows_where_values_do() -> None:
    x = torch.ones(40, 40, requires_grad=True)
    y = Dropout(0.4)(x)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())


def test_same_seed_same_mask_and_no_mask_twice() -> None:
    dropout, x = Dropout(0.5), torch.ones(11, 13)
    torch.manual_seed(1)
    first, second = dropout(x), dropout(x)
    torch.manual_seed(1)
    assert torch.equal(first, dropout(x))
    assert not torch.equal(first, second)


@pytest.mark.parametrize("shape", [(1,), (9,), (3, 5, 7), (0, 4)])
def test_any_shape(shape: tuple[int, ...]) -> None:
    assert Dropout(0.9)(torch.ones(shape)).shape == shape


def test_a_rate_near_one_is_rounded_down_to_something_that_keeps_the_mean() -> None:
    assert torch.isfinite(Dropout(0.999)(torch.ones(1000))).all()
