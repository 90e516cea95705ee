"""Positions: the closed form, and that a shift by k is one rotation whatever the position."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model.positions import LearnedPositions, SinusoidalPositions, sinusoidal_positions

D_MODEL = 32
TABLE = sinusoidal_positions(1200, D_MODEL)


def rotation(k: int) -> torch.Tensor:
    """The matrix that turns PE(p) into PE(p + k): made from k alone."""
    blocks = []
    for i in range(D_MODEL // 2):
        angle = k / 10000 ** (2 * i / D_MODEL)
        blocks.append(torch.tensor([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]]))
    return torch.block_diag(*blocks)


@pytest.mark.parametrize("k", [0, 1, 2, 17, 300])
def test_position_p_plus_k_is_one_linear_function_of_position_p(k: int) -> None:
    torch.testing.assert_close(TABLE[:800] @ rotation(k).T, TABLE[k : 800 + k], rtol=0, atol=1e-4)


def test_the_linear_function_is_a_rotation() -> None:
    torch.testing.assert_close(rotation(5) @ rotation(5).T, torch.eye(D_MODEL))
    assert not torch.allclose(rotation(5), rotation(6))


@given(st.integers(0, 1199), st.integers(0, D_MODEL // 2 - 1))
def test_closed_form(position: int, i: int) -> None:
    angle = position / 10000 ** (2 * i / D_MODEL)
    assert TABLE[position, 2 * i] == pytest.approx(math.sin(angle), abs=1e-6)
    assert TABLE[position, 2 * i + 1] == pytest.approx(math.cos(angle), abs=1e-6)


def test_no_two_positions_are_alike() -> None:
    distances = torch.cdist(TABLE, TABLE) + torch.eye(len(TABLE)) * 10
    assert distances.min() > 0.1


def test_sinusoids_are_neither_trained_nor_stored() -> None:
    positions = SinusoidalPositions(10, 8)
    assert not list(positions.parameters())
    assert not positions.state_dict()
    assert torch.equal(positions(torch.tensor([[3, 1]]))[0, 0], positions.table[3])


def test_learned_positions_are_trained_and_stored() -> None:
    positions = LearnedPositions(10, 8)
    assert [p.shape for p in positions.parameters()] == [(10, 8)]
    assert positions(torch.arange(4)[None]).shape == (1, 4, 8)
