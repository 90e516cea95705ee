"""Which parameter has which optimiser, and that both go on from a state."""

from __future__ import annotations

import copy

import pytest
import torch

from model.errors import CheckpointError
from model.optimizers import OptimizerName, Optimizers
from model.transformer import Transformer
from tests.model.tiny import tiny_model


def step(model: Transformer, optimizers: Optimizers, number: int) -> None:
    generator = torch.Generator().manual_seed(number)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    optimizers.step(0.01)


def test_an_update_of_muon_is_orthogonal_and_of_adams_size() -> None:
    model = tiny_model()
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    step(model, Optimizers(model, "muon"), 1)
    for name, value in model.named_parameters():
        change = (value - before[name]).detach() / 0.01
        if value.ndim == 2 and name.startswith(("encoder", "decoder")):
            singular = torch.linalg.svdvals(change) / (0.2 * max(change.shape) ** 0.5)
            assert float(singular.min()) > 0.6, name
            assert float(singular.max()) < 1.3, name
        else:
            assert torch.allclose(change.abs(), torch.ones(()), atol=1e-3), name


@pytest.mark.parametrize("name", ["adam", "muon"])
def test_a_state_is_gone_on_from(name: OptimizerName) -> None:
    model = tiny_model()
    optimizers = Optimizers(model, name)
    step(model, optimizers, 1)
    other = copy.deepcopy(model)
    restored = Optimizers(other, name)
    restored.restore(copy.deepcopy(optimizers.state()))
    for each, its in ((model, optimizers), (other, restored)):
        step(each, its, 2)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


def test_a_state_of_other_optimizers_is_refused() -> None:
    model = tiny_model()
    with pytest.raises(CheckpointError, match=r"the run began with another training\.optimizer"):
        Optimizers(model, "muon").restore(Optimizers(model, "adam").state())
