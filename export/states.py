"""Decoder state of each architecture: what the encoder makes once, and what each step makes of it.

Every state has four axes: sentences or rows, heads, places, width. State without places has one.
"""

from __future__ import annotations

from model.bundle import StateSpec
from model.config import ModelConfig


def state_specs(config: ModelConfig, float_type: str) -> tuple[StateSpec, ...]:
    """In the order in which the graphs have it; what has places stands before what has none."""
    return _lstm_states(config, float_type) if config.architecture == "lstm" else _attention_states(config, float_type)


def _attention_states(config: ModelConfig, float_type: str) -> tuple[StateSpec, ...]:
    """Of a Transformer: memory made once, keys and values that grow."""
    heads, width = config.heads_of_decoder, config.d_model // config.heads_of_decoder
    names = [f"{part}.{layer}" for part in ("key", "value") for layer in range(config.decoder_layers)]
    memory = [_per_source(f"memory_{name}", float_type, ("N", heads, "S", width)) for name in names]
    growing = [
        StateSpec(
            kind="growing",
            input=f"past_{name}",
            output=f"present_{name}",
            dtype=float_type,
            shape=("R", heads, "P", width),
        )
        for name in names
    ]
    return (*memory, *growing)


def _lstm_states(config: ModelConfig, float_type: str) -> tuple[StateSpec, ...]:
    """Of an LSTM: the encoder's states, if the decoder looks at them, and what it begins with; then what it remembers,
    which each step replaces."""
    looked_at = ["memory_key.0", "memory_value.0"] if config.attention else []
    names = [f"{part}.{layer}" for part in ("hidden", "cell") for layer in range(config.decoder_layers)]
    memory = [_per_source(name, float_type, ("N", 1, "S", config.d_model)) for name in looked_at]
    first = [_per_source(f"first_{name}", float_type, ("N", 1, 1, config.d_model)) for name in names]
    replaced = [
        StateSpec(
            kind="replaced",
            input=f"past_{name}",
            output=f"present_{name}",
            dtype=float_type,
            shape=("R", 1, 1, config.d_model),
        )
        for name in names
    ]
    return (*memory, *first, *replaced)


def _per_source(name: str, float_type: str, shape: tuple[int | str, ...]) -> StateSpec:
    return StateSpec(kind="per_source", input=name, output=name, dtype=float_type, shape=shape)
