"""The optimisers of a run: Adam for all, or Muon for the matrices of the layers and Adam for the rest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch.nn import Parameter

from model.errors import CheckpointError
from model.muon import Muon
from model.network import EncoderDecoder
from model.team import Team

OptimizerName = Literal["adam", "muon"]


class Optimizers:
    """One optimiser or two that step together at one rate.

    Muon makes the update of a matrix orthogonal; scaled to Adam's size it takes Adam's rate. Embeddings, biases and
    norms are no maps from states to states, and stay with Adam.

    Args:
        dtype: what Muon computes its updates in.
        team: processes that share this work.
    """

    def __init__(
        self, model: EncoderDecoder, name: OptimizerName, dtype: torch.dtype = torch.float32, team: Team | None = None
    ) -> None:
        matrices, rest = _split(model) if name == "muon" else ([], list(model.parameters()))
        self._parts: list[torch.optim.Optimizer] = [
            torch.optim.Adam(rest, lr=0.0, betas=(0.9, 0.98), eps=1e-9, fused=True)
        ]
        if matrices:
            team = team or Team()
            self._parts.append(Muon(matrices, dtype, team.rank, team.size, team.add_up))

    def step(self, rate: float) -> None:
        """Update the parameters from their gradients."""
        for part in self._parts:
            for group in part.param_groups:
                group["lr"] = rate
            part.step()

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for part in self._parts:
            part.zero_grad(set_to_none=True)

    def state(self) -> list[dict[str, Any]]:
        """What `restore` takes."""
        return [part.state_dict() for part in self._parts]

    def restore(self, states: Sequence[dict[str, Any]]) -> None:
        """Go on from a state.

        Raises:
            CheckpointError: the state is of other optimisers.
        """
        if len(states) != len(self._parts):
            raise CheckpointError("the run began with another training.optimizer; choose another --out")
        for part, state in zip(self._parts, states, strict=True):
            part.load_state_dict(state)


def _split(model: EncoderDecoder) -> tuple[list[Parameter], list[Parameter]]:
    """The matrices of the layers, and every other parameter."""
    layers = {id(each) for each in (*model.encoder.parameters(), *model.decoder.parameters()) if each.ndim == 2}
    parameters = list(model.parameters())
    return [each for each in parameters if id(each) in layers], [each for each in parameters if id(each) not in layers]
