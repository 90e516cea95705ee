"""What can be measured of a network without training it: cost, gradients, order, positions.

Times are processor time, and of memory the numbers are counted that the operations make.
Shapes: n positions, d width.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from model.architectures import new_network
from model.attention import MultiHeadAttention
from model.config import ModelConfig
from model.network import EncoderDecoder
from model.positions import sinusoidal_positions

_VOCABULARY = 64


class _Numbers(TorchDispatchMode):
    """How many numbers all operations together make."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            self.count += result.numel()
        return result


def cost_of_length(lengths: Sequence[int], width: int, window: int) -> dict[str, Any]:
    """Processor seconds and numbers made of full and of restricted self-attention, and the fitted exponents."""
    found: dict[str, Any] = {"lengths": list(lengths), "width": width, "reach": window}
    for name, size in (("full", None), ("window", window)):
        torch.manual_seed(1)
        attention = MultiHeadAttention(width, 4, window=size).train()
        seconds, numbers = [], []
        for length in lengths:
            x, mask = torch.randn(1, length, width), torch.ones(1, 1, length, dtype=torch.bool)
            with torch.no_grad(), _Numbers() as made:
                attention(x, x, mask)
            numbers.append(made.count)
            seconds.append(_best_time(functools.partial(attention, x, x, mask)))
        found[name] = {
            "seconds": seconds, "numbers": numbers, "seconds_exponent": exponent(lengths, seconds),
            "numbers_exponent": exponent(lengths, numbers),
        }  # fmt: skip
    return found


@torch.no_grad()
def _best_time(call: Callable[[], object], times: int = 5) -> float:
    seconds = []
    for _ in range(times):
        began = time.process_time()
        call()
        seconds.append(time.process_time() - began)
    return min(seconds)


def exponent(lengths: Sequence[int], values: Sequence[float]) -> float:
    """The power of the length that the longer half grows with: the slope between logarithms."""
    half = len(lengths) // 2
    slope, _ = np.polyfit(np.log(lengths[half:]), np.log(np.maximum(values[half:], 1e-9)), 1)
    return round(float(slope), 2)


def softmax_gradients(widths: Sequence[int], keys: int = 32, queries: int = 400) -> list[dict[str, float]]:
    """What dividing by sqrt(d) does: the variance of products of random vectors, the largest weight, and the size of
    the softmax's gradient, the Frobenius norm of diag(p) - p p^T."""
    torch.manual_seed(2)
    rows = []
    for width in widths:
        products = torch.randn(queries, width) @ torch.randn(keys, width).T
        row = {"width": float(width), "variance": float(products.var())}
        for name, scores in (("plain", products), ("scaled", products / math.sqrt(width))):
            weights = scores.softmax(-1)
            jacobian = torch.diag_embed(weights) - weights[:, :, None] * weights[:, None, :]
            row[f"{name}_weight"] = float(weights.amax(-1).mean())
            row[f"{name}_gradient"] = float(jacobian.flatten(1).norm(dim=1).median())
        rows.append(row)
    return rows


def influence(distances: Sequence[int], length: int) -> dict[str, list[float]]:
    """How much the encoder's last state depends on the token so far before it: norms of gradients as shares of that of
    the token itself, in untrained networks of one layer."""
    found = {}
    for name, changes in (("lstm", {"architecture": "lstm"}), ("transformer", {"num_heads": 4, "d_ff": 128})):
        network = _network(1, **changes)
        ids = torch.randint(4, _VOCABULARY, (8, length), generator=torch.Generator().manual_seed(3))
        states, embedded = _encoded(network, ids)
        # Of an LSTM the half that reads forwards: the other has read nothing but the last token.
        half = states.shape[-1] // 2 if name == "lstm" else states.shape[-1]
        (gradient,) = torch.autograd.grad(states[:, -1, :half].sum(), embedded)
        norms = gradient.norm(dim=-1).mean(0)
        found[name] = [float(norms[length - 1 - distance] / norms[-1]) for distance in distances]
    return found


def _encoded(network: EncoderDecoder, ids: Tensor) -> tuple[Tensor, Tensor]:
    """The encoder's states, and the embeddings they were made of."""
    seen: list[Tensor] = []

    def keep(module: torch.nn.Module, inputs: object, output: Tensor) -> None:
        output.requires_grad_(True)
        seen.append(output)

    network.embedding.requires_grad_(False)
    handle = network.embedding.register_forward_hook(keep)
    memory = network.encode(ids, torch.ones_like(ids, dtype=torch.bool))
    handle.remove()
    return (memory if isinstance(memory, Tensor) else memory.states), seen[0]


def _network(layers: int, **changes: Any) -> EncoderDecoder:
    torch.manual_seed(4)
    sizes = {"d_model": 64, "encoder_layers": layers, "decoder_layers": layers, "dropout": 0.0}
    return new_network(ModelConfig(vocabulary_size=_VOCABULARY, **sizes, **changes)).eval()


@torch.no_grad()
def order_of_words(sentences: Mapping[str, Sequence[int]]) -> dict[str, float]:
    """The largest difference of logits between two sentences of the same words in another order, in random networks:
    a Transformer with positions and without, and an LSTM."""
    one, other = (torch.tensor([list(ids)]) for ids in sentences.values())
    mask, target = torch.ones_like(one, dtype=torch.bool), torch.tensor([[2, 9, 10]])
    kinds: dict[str, dict[str, Any]] = {
        "transformer": {}, "no positions": {"positions": "none"}, "lstm": {"architecture": "lstm"},
    }  # fmt: skip
    networks = {name: _network(2, **changes) for name, changes in kinds.items()}
    return {
        name: float((network(one, mask, target) - network(other, mask, target)).abs().max())
        for name, network in networks.items()
    }


def shifted_positions(width: int, length: int, shifts: Sequence[int]) -> float:
    """The largest error of taking position p + k for a rotation of position p, each pair of dimensions by its own
    angle."""
    table = sinusoidal_positions(length + max(shifts), width).double()
    frequency = 10000.0 ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    worst = 0.0
    for shift in shifts:
        sine, cosine = (shift * frequency).sin(), (shift * frequency).cos()
        even, odd = table[:length, 0::2], table[:length, 1::2]
        turned = torch.stack((even * cosine + odd * sine, odd * cosine - even * sine), -1).flatten(1)
        worst = max(worst, float((turned - table[shift : shift + length]).abs().max()))
    return worst


def base_parameters() -> dict[str, int]:
    """Of the paper's base model, six and six layers, with a vocabulary of 37,000."""
    with torch.device("meta"):
        network = new_network(ModelConfig(vocabulary_size=37_000))
    return {"six and six": network.num_parameters()}


def measure(*, quick: bool) -> dict[str, Any]:
    """All of them."""
    lengths = [64, 128, 256] if quick else [128, 256, 512, 1024, 2048]
    distances = [0, 1, 5, 10] if quick else [0, 1, 2, 5, 10, 20, 40]
    return {
        "cost": cost_of_length(lengths, 64, 32),
        "softmax": softmax_gradients([64, 512]),
        "influence": {"distances": distances, **influence(distances, max(distances) + 8)},
        "order": order_of_words({"我爱你": (5, 6, 7), "你爱我": (7, 6, 5)}),
        "rotation": shifted_positions(128, 200, [1, 7, 50]),
        **base_parameters(),
    }
