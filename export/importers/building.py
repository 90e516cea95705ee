"""From a config and tensors to a network, or a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from model.config import ModelConfig
from model.errors import CheckpointError
from model.transformer import Transformer


def built(config: ModelConfig, weights: Mapping[str, Tensor], directory: Path) -> Transformer:
    """The network that holds these tensors.

    Raises:
        CheckpointError: they are not those of the config; the message names the first that is missing or differs.
    """
    try:
        return Transformer.from_weights(config, weights)
    except RuntimeError as error:
        complaint = " ".join(str(error).splitlines()[1:2]).strip() or str(error)
        raise CheckpointError(f"{directory}: weights and config do not belong together: {complaint[:200]}") from None
