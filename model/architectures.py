"""The networks by the name that a config gives them."""

from __future__ import annotations

from collections.abc import Mapping

from model.config import Architecture, ModelConfig
from model.lstm import LstmEncoderDecoder
from model.network import EncoderDecoder
from model.transformer import Transformer

_ARCHITECTURES: Mapping[Architecture, type[EncoderDecoder]] = {
    "transformer": Transformer,
    "lstm": LstmEncoderDecoder,
}


def new_network(config: ModelConfig) -> EncoderDecoder:
    """A network with random weights."""
    return _ARCHITECTURES[config.architecture](config)
