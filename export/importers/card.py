"""A model card for a network that was imported."""

from __future__ import annotations

import dataclasses

from export.network import CARD_FILE, Network


def card_for(network: Network) -> Network:
    """The network with a model card that says what it is."""
    config = network.model.config
    shown = {
        "From": sorted({code for group in network.languages for code in group.sources}),
        "To": sorted({code for group in network.languages for code in group.targets}),
    }
    origin = network.origin or "a folder that does not say where it is from"
    lines = [
        f"# {network.name}",
        "",
        f"An encoder-decoder Transformer imported from {origin}.",
        "",
        *(f"- {side} {len(codes)}: {', '.join(codes)}" for side, codes in shown.items()),
        f"- Licence of the weights: {network.licence or 'not stated by the checkpoint'}",
        f"- {config.encoder_layers} + {config.decoder_layers} layers of {config.d_model}, "
        f"{config.vocabulary_size:,} source and {config.output_size:,} target tokens",
        f"- Read as {network.provenance.get('format', 'a checkpoint')}",
        "",
        "Its quality was not measured here: `python -m service evaluate` does that for a test set of yours.",
        "",
    ]
    card = "\n".join(lines).encode()
    return dataclasses.replace(network, files={**network.files, CARD_FILE: card})
