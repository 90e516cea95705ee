"""Architectures that take milliseconds."""

from __future__ import annotations

import torch

from model.config import ModelConfig
from model.transformer import Transformer


def tiny_config(**changes: object) -> ModelConfig:
    """2+2 layers of width 16."""
    sizes = {"d_model": 16, "num_heads": 4, "d_ff": 24, "encoder_layers": 2, "decoder_layers": 2, "dropout": 0.0}
    return ModelConfig(**{"vocabulary_size": 30, "max_positions": 64, **sizes, **changes})


def tiny_model(seed: int = 0, **changes: object) -> Transformer:
    """A random model in evaluation mode, every parameter random: fresh norms and biases would hide mistakes."""
    torch.manual_seed(seed)
    model = Transformer(tiny_config(**changes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model
