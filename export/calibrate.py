"""How large the inputs of each product become: what int8 needs to know before the first sentence.

One scale for each product, fixed at export: no pass over the activations to find it, and nothing in a sentence's
result depends on the others of its batch. The model is run on outputs of its own for made-up sources: an export needs
no text.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor, nn

from model.config import ModelConfig
from model.reference_search import greedy_search
from model.transformer import Transformer

PROJECTION = "projection"
"""The output projection: it shares its matrix with the embedding, so it has no module of its own."""

_BATCHES, _SENTENCES = 24, 16
_FIRST_PIECE = 4
"""Ids below are padding, unknown, start and end."""


def input_peaks(model: Transformer) -> Mapping[str, float]:
    """Largest magnitude of the input of each linear map, by the map's name, and of `PROJECTION`'s."""
    peaks: dict[str, float] = {}
    with torch.inference_mode(), _recording(model, peaks):
        for seed in range(_BATCHES):
            generator = torch.Generator().manual_seed(seed)
            source = _made_up_sources(model.config, generator)
            mask = torch.ones_like(source, dtype=torch.bool)
            written = greedy_search(model, source, mask, max_output_tokens=16)
            model(source, mask, _prefixes(written, model.config, generator))
    return peaks


def _made_up_sources(config: ModelConfig, generator: torch.Generator) -> Tensor:
    """[B, S] random pieces, then the end token."""
    length = int(torch.randint(3, 40, (1,), generator=generator))
    ids = torch.randint(_FIRST_PIECE, config.vocabulary_size, (_SENTENCES, length), generator=generator)
    return torch.cat([ids, torch.full((_SENTENCES, 1), config.eos_id)], dim=1)


def _prefixes(written: list[list[int]], config: ModelConfig, generator: torch.Generator) -> Tensor:
    """[B, T] the start, what the model wrote, and random pieces after it."""
    length = max(map(len, written)) + 4
    prefixes = torch.randint(_FIRST_PIECE, config.output_size, (len(written), length + 1), generator=generator)
    prefixes[:, 0] = config.start_id
    for row, ids in zip(prefixes, written, strict=True):
        row[1 : len(ids) + 1] = torch.tensor(ids)
    return prefixes


@contextlib.contextmanager
def _recording(model: Transformer, peaks: dict[str, float]) -> Iterator[None]:
    """Keep the peaks while the model runs."""

    def note(name: str, values: Tensor) -> None:
        peaks[name] = max(peaks.get(name, 0.0), float(values.abs().max()))

    def before(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        return lambda module, inputs: note(name, inputs[0])

    handles = [
        module.register_forward_pre_hook(before(name))
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
    ]
    handles.append(model.decoder_norm.register_forward_hook(lambda module, inputs, output: note(PROJECTION, output)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
