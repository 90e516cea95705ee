"""Label smoothing and the learning rate against their formulas."""

from __future__ import annotations

import math
import shutil

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from model.loss import compiled_loss, label_smoothed_loss, sample_words
from model.schedule import constant_rate, cooldown, paper_rate
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


@pytest.mark.skipif(not any(map(shutil.which, ("g++", "clang++"))), reason="no C++ compiler")
def test_the_compiled_loss_is_the_loss() -> None:
    compiled = compiled_loss(torch.device("cpu"), torch.bfloat16)
    assert compiled is not label_smoothed_loss
    for tokens in (1, 7, 33):
        logits = torch.randn(tokens, 300, generator=torch.Generator().manual_seed(tokens)).bfloat16()
        labels = torch.arange(tokens) % 300
        ours, plain = (leaf.requires_grad_() for leaf in (logits.clone(), logits.clone()))
        values = compiled(ours, labels, 0.1), label_smoothed_loss(plain, labels, 0.1)
        for value in values:
            value.backward()
        assert ours.grad is not None
        assert plain.grad is not None
        torch.testing.assert_close(*values, rtol=1e-4, atol=1e-3)
        torch.testing.assert_close(ours.grad, plain.grad, rtol=1e-2, atol=1e-3)


def test_without_a_compiler_the_loss_is_plain(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object, **__: object) -> object:
        def fail(*_: object) -> None:
            raise RuntimeError("no C++ compiler")

        return fail

    monkeypatch.setattr(torch, "compile", refuse)
    assert compiled_loss(torch.device("cpu")) is label_smoothed_loss
    assert "no C++ compiler" in caplog.text


def sampled(states: Tensor, table: Tensor, labels: Tensor, others: int) -> Tensor:
    words, weights, places = sample_words(labels, len(table), others)
    return label_smoothed_loss(functional.linear(states, table[words], weights), places, 0.1)


def test_with_every_word_drawn_nothing_changes() -> None:
    generator = torch.Generator().manual_seed(1)
    states, table = torch.randn(9, 4, generator=generator), torch.randn(50, 4, generator=generator)
    labels = torch.randint(1, 50, (9,), generator=generator)
    whole = label_smoothed_loss(states @ table.T, labels, 0.1)
    assert float(sampled(states, table, labels, 50)) == pytest.approx(float(whole), rel=1e-5)


def test_the_words_drawn_stand_for_all_others() -> None:
    generator = torch.Generator().manual_seed(2)
    states, table = torch.randn(40, 8, generator=generator) * 0.5, torch.randn(2000, 8, generator=generator)
    labels = torch.randint(1, 2000, (40,), generator=generator)
    torch.manual_seed(3)
    sums = []
    for _ in range(200):
        words, weights, places = sample_words(labels, 2000, 300)
        assert len(words.unique()) == len(words) == 301 + len(labels.unique())
        assert torch.equal(words[places], labels)
        sums.append(functional.linear(states, table[words], weights).exp().sum(1))
    whole = (states @ table.T).exp().sum(1)
    torch.testing.assert_close(torch.stack(sums).mean(0), whole, rtol=0.05, atol=0.0)


def rate(step: int, **changes: float) -> float:
    values = {"d_model": 512, "warmup_steps": 4000, "factor": 1.0, **changes}
    return paper_rate(**values)(step)


@given(st.integers(1, 100_000))
def test_schedule_is_equation_3(step: int) -> None:
    assert rate(step) == pytest.approx(512**-0.5 * min(1 / math.sqrt(step), step * 4000**-1.5), rel=1e-12)


def test_peak_is_at_the_end_of_the_warm_up() -> None:
    rates = [rate(step, warmup_steps=50) for step in range(1, 400)]
    assert max(rates) == rates[49] == pytest.approx((512 * 50) ** -0.5)
    assert rates[:50] == sorted(rates[:50])
    assert rates[49:] == sorted(rates[49:], reverse=True)


def test_the_constant_rate_warms_up_and_stays() -> None:
    rates = [constant_rate(0.004, 10)(step) for step in range(1, 100)]
    assert rates[:10] == pytest.approx([0.0004 * step for step in range(1, 11)])
    assert set(rates[9:]) == {0.004}


def test_cool_down_ends_near_zero_and_leaves_the_rest_alone() -> None:
    factors = [cooldown(step, 1000, 200) for step in range(1, 1001)]
    assert factors[:800] == [1.0] * 800
    assert factors[800:] == sorted(factors[800:], reverse=True)
    assert 0 < factors[-1] < 1 / 100
    assert cooldown(1200, 1000, 200) == 0
    assert cooldown(1000, 1000, 0) == 1.0


def test_factor_scales() -> None:
    assert rate(10, factor=2.5) == pytest.approx(2.5 * rate(10))
