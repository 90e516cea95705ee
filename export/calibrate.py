"""What the inputs of each product are like: what int8 needs to know before the first sentence.

The network is run on outputs of its own, for text if there is any, else for made-up sources. Nothing in a sentence's
result then depends on the others of its batch.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from export.scaling import Array, Choice, Scaling, choose
from model.config import ModelConfig
from model.network import EncoderDecoder
from model.reference_search import greedy_search

PROJECTION = "projection"
"""The output projection: it may share its matrix with the embedding, so it has no module of its own."""

_BATCHES, _SENTENCES, _WRITTEN = 24, 16, 16
_MADE_UP_BESIDE_TEXT = 4
"""Batches of made-up sources that help out where there is little text."""
_FIRST_PIECE = 4
"""Ids below are padding, unknown, start and end."""
_SMALL = 40_000_000
"""Parameters up to which all batches are run; larger networks get fewer, for they take longer and vary less."""
_ROWS_A_RUN, _ROWS = 48, 768
"""Rows of a product's input that are kept, of each run and in all."""


@dataclasses.dataclass(frozen=True, slots=True)
class Calibration:
    """How each product's input is quantised, and what decided it."""

    scalings: Mapping[str, Scaling]
    choices: Mapping[str, Choice]
    """Empty where all have one fixed scale without a trial."""


def made_up_calibration(model: EncoderDecoder) -> Calibration:
    """A fixed scale for each product, from random pieces: an export needs no text."""
    inputs = _recorded(model, made_up_batches(model))
    return Calibration({name: Scaling(float(each.peaks.max())) for name, each in inputs.items()}, {})


def text_calibration(model: EncoderDecoder, sources: Sequence[Sequence[int]], prefix: Sequence[int]) -> Calibration:
    """The best scaling for each product, by what it does to these sources and their translations.

    `prefix`: what an output begins with. With few sources made-up ones take part.
    """
    batches = _text_batches(model, sources, prefix)
    if len(sources) < 2 * _SENTENCES:
        batches = (*batches, *made_up_batches(model, min(_MADE_UP_BESIDE_TEXT, _most_batches(model))))
    inputs = _recorded(model, batches)
    matrices = {name: module.weight for name, module in _linear_maps(model)} | {PROJECTION: model.output_weight}
    choices = {
        name: choose(each.sample(), each.peaks, matrices[name].detach().float().numpy().T)
        for name, each in inputs.items()
    }
    return Calibration({name: choice.scaling for name, choice in choices.items()}, choices)


class _Inputs:
    """What was seen of one product's input."""

    def __init__(self, width: int) -> None:
        self.peaks: Array = np.zeros(width, np.float32)
        self._rows: list[Array] = []

    def note(self, values: Tensor) -> None:
        rows = values.detach().float().flatten(0, -2)
        self.peaks = np.maximum(self.peaks, rows.abs().amax(0).numpy())
        if sum(map(len, self._rows)) < _ROWS:
            step = max(1, len(rows) // _ROWS_A_RUN)
            self._rows.append(rows[::step].numpy().copy())

    def sample(self) -> Array:
        """Rows [n, D] from all over the runs."""
        return np.concatenate(self._rows)


Batch = tuple[Tensor, Tensor, Tensor]
"""Sources [B, S], their mask, and prefixes [B, T] of outputs."""


def made_up_batches(model: EncoderDecoder, count: int | None = None) -> Iterator[Batch]:
    """Random pieces, then the end token; what the model writes to that, and random pieces after it."""
    for seed in range(_most_batches(model) if count is None else count):
        generator = torch.Generator().manual_seed(seed)
        source = _made_up_sources(model.config, generator)
        mask = torch.ones_like(source, dtype=torch.bool)
        written = greedy_search(model, source, mask, max_output_tokens=_WRITTEN)
        yield source, mask, _prefixes(written, model.config, generator)


def _most_batches(model: EncoderDecoder) -> int:
    return max(2, min(_BATCHES, _BATCHES * _SMALL // max(model.num_parameters(), 1)))


def _text_batches(model: EncoderDecoder, sources: Sequence[Sequence[int]], prefix: Sequence[int]) -> tuple[Batch, ...]:
    padding = min(model.config.pad_id, model.config.vocabulary_size - 1)
    batches = []
    for begin in range(0, min(len(sources), _SENTENCES * _most_batches(model)), _SENTENCES):
        some = sources[begin : begin + _SENTENCES]
        longest = max(map(len, some))
        ids = torch.tensor([[*source, *[padding] * (longest - len(source))] for source in some])
        mask = torch.arange(longest) < torch.tensor([len(source) for source in some])[:, None]
        written = greedy_search(model, ids, mask, max_output_tokens=_WRITTEN, prefix=prefix)
        most = max(map(len, written))
        rows = [[model.config.start_id, *prefix, *ids, *ids[:1] * (most - len(ids))] for ids in written]
        width = min(map(len, rows))
        batches.append((ids, mask, torch.tensor([row[:width] for row in rows])))
    return tuple(batches)


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


def _linear_maps(model: EncoderDecoder) -> list[tuple[str, nn.Linear]]:
    return [(name, module) for name, module in model.named_modules() if isinstance(module, nn.Linear)]


def _recorded(model: EncoderDecoder, batches: Sequence[Batch] | Iterator[Batch]) -> dict[str, _Inputs]:
    """The inputs of each linear map, by its name, and `PROJECTION`'s, over the batches and whatever makes them."""
    inputs: dict[str, _Inputs] = {}
    with torch.inference_mode(), _recording(model, inputs):
        for source, mask, prefixes in batches:
            model(source, mask, prefixes)
    return inputs


@contextlib.contextmanager
def _recording(model: EncoderDecoder, inputs: dict[str, _Inputs]) -> Iterator[None]:
    """Keep what the maps read while the model runs."""

    def note(name: str, values: Tensor) -> None:
        if name not in inputs:
            inputs[name] = _Inputs(values.shape[-1])
        inputs[name].note(values)

    def before(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        return lambda module, arguments: note(name, arguments[0])

    handles = [module.register_forward_pre_hook(before(name)) for name, module in _linear_maps(model)]
    handles.append(model.last_module.register_forward_hook(lambda module, inputs, output: note(PROJECTION, output)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
