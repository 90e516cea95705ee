"""Architectures that take milliseconds."""

from __future__ import annotations

import torch

from model.architectures import new_network
from model.config import ModelConfig
from model.lstm import LstmEncoderDecoder
from model.network import EncoderDecoder
from model.transformer import Transformer


def tiny_config(**changes: object) -> ModelConfig:
    """2+2 layers of width 16."""
    sizes = {"d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "dropout": 0.0}
    if changes.get("architecture") != "lstm":
        sizes |= {"num_heads": 4, "d_ff": 24}
    return ModelConfig(**{"vocabulary_size": 30, "max_positions": 64, **sizes, **changes})


def tiny_model(seed: int = 0, **changes: object) -> Transformer:
    """A random Transformer in evaluation mode, every parameter random: fresh norms and biases would hide mistakes."""
    model = tiny_network(seed, **changes)
    assert isinstance(model, Transformer)
    return model


def tiny_lstm(seed: int = 0, **changes: object) -> LstmEncoderDecoder:
    """The same of an LSTM."""
    model = tiny_network(seed, architecture="lstm", **changes)
    assert isinstance(model, LstmEncoderDecoder)
    return model


def tiny_network(seed: int = 0, **changes: object) -> EncoderDecoder:
    """The same of the architecture that the changes name."""
    torch.manual_seed(seed)
    model = new_network(tiny_config(**changes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model
