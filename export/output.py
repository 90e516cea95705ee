"""From a decoder's states to the best next tokens: the last part of every architecture's step.

Shapes: N sentences, K beams a sentence, R = N K rows, D d_model, V vocabulary, L tokens a shortlist, U columns of the
output projection, C candidates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from export.quantize import ACTIVATION_ZERO, activation_scale, quantize_columns
from export.scaling import Scaling
from model.config import ModelConfig
from model.network import EncoderDecoder

_SMALLEST = 1e-12
"""A row of zeros must not divide by zero."""


class WholeVocabulary(nn.Module):
    """From the decoder's states to the best next tokens, all V of them considered."""

    def __init__(self, model: EncoderDecoder) -> None:
        super().__init__()
        bias, config = model.output.bias, model.config
        # One addition, which int8 leaves to the product.
        self.register_buffer("bias", excluded_ids(config) if bias is None else bias.float() + excluded_ids(config))
        self.register_buffer("suppressed", suppressed_ids(config) if config.suppressed_ids else None)

    def forward(
        self, model: EncoderDecoder, states: Tensor, num_candidates: Tensor, shortlist: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """states [N, K, D] -> log-probabilities [R, C] and ids [R, C], best first. `shortlist` is empty."""
        logits = functional.linear(states, model.output_weight) + self.bias
        log_probs = logits.flatten(0, 1).float().log_softmax(dim=-1)
        return _best(log_probs if self.suppressed is None else log_probs + self.suppressed, num_candidates)


class ShortlistOnly(nn.Module):
    """From the decoder's states to the best next tokens of each row's shortlist (`model.shortlist`).

    The rows share one matrix whose U columns are what any of them needs; each row then looks at its own columns, in an
    order of its own, so that the others change nothing, not even the order of a sum.
    """

    def __init__(self, scaling: Scaling | None) -> None:
        """`scaling`: of the states, for int8; None leaves the product in floating point."""
        super().__init__()
        self.is_quantized = scaling is not None
        self.by_rows = scaling is not None and scaling.kind == "rows"
        scale = 1 / 127 if self.by_rows or scaling is None else activation_scale(scaling.peak)
        factors = None if scaling is None or scaling.factors is None else 1 / scaling.factors
        self.register_buffer("scale", torch.tensor(scale))
        self.register_buffer("zero", torch.tensor(ACTIVATION_ZERO, dtype=torch.uint8))
        self.register_buffer("inverse_factors", None if factors is None else torch.from_numpy(factors).float())

    def forward(
        self, model: EncoderDecoder, states: Tensor, num_candidates: Tensor, shortlist: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """As `WholeVocabulary.forward`; the matrix is not the model's but what the shortlist brings.

        `shortlist`: the rows' ids [R, L]; the column of each [R, L]; then for the columns their bias [U], which is -inf
        in a column that stands for no token, their weights [D, U], and in int8 their scales [U].
        """
        ids, columns, bias, *weights = shortlist
        logits = self._project(states.flatten(0, 1), bias, weights)
        own = logits.gather(1, columns)
        log_probs, places = _best(own.float().log_softmax(dim=-1), num_candidates)
        return log_probs, ids.gather(1, places)

    def _project(self, states: Tensor, bias: Tensor, weights: Sequence[Tensor]) -> Tensor:
        if not self.is_quantized:
            return states @ weights[0] + bias
        if self.inverse_factors is not None:
            states = states * self.inverse_factors
        if not self.by_rows:
            return self._product(states, weights, bias)
        largest = states.abs().amax(dim=-1, keepdim=True).clamp_min(_SMALLEST)
        return self._product(states / largest, weights, None) * largest + bias

    def _product(self, states: Tensor, weights: Sequence[Tensor], bias: Tensor | None) -> Tensor:
        values = torch.onnx.ops.symbolic(
            "ai.onnx::QuantizeLinear", [states, self.scale, self.zero], dtype=torch.uint8, shape=states.shape
        )
        logits: Tensor = torch.onnx.ops.symbolic(
            "com.microsoft::MatMulIntegerToFloat",
            [values, weights[0], self.scale, weights[1], self.zero, *([] if bias is None else [None, bias])],
            dtype=torch.float32,
            shape=(states.shape[0], weights[1].shape[0]),
            version=1,
        )
        return logits


class OutputColumns(nn.Module):
    """Columns of the output projection, for `ShortlistOnly`."""

    def __init__(self, model: EncoderDecoder, scaling: Scaling | None) -> None:
        """`scaling`: of the states that the columns are multiplied with, for int8."""
        super().__init__()
        table = model.output_weight.detach()
        self.is_quantized = scaling is not None
        bias = model.output.bias
        self.register_buffer("bias", None if bias is None else bias.detach())
        if scaling is not None:
            matrix = table.T.numpy()
            columns, scale = quantize_columns(matrix if scaling.factors is None else matrix * scaling.factors[:, None])
            self.register_buffer("table", torch.from_numpy(np.ascontiguousarray(columns.T)))
            self.register_buffer("scale", torch.from_numpy(scale))
        else:
            self.register_buffer("table", table)

    def forward(self, ids: Tensor) -> tuple[Tensor, ...]:
        """ids [U] -> weights [D, U], in int8 scales [U], and biases [U] if the network has any."""
        weights = self.table[ids].T.contiguous()
        scales = (self.scale[ids],) if self.is_quantized else ()
        biases = () if self.bias is None else (self.bias[ids],)
        return weights, *scales, *biases


def _best(scores: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """The largest `count` [1] of each row of scores [R, V], and where they stand: torch.topk wants a plain number."""
    rows = (scores.shape[0], 1)
    values, indices = torch.onnx.ops.symbolic_multi_out(
        "ai.onnx::TopK",
        [scores, count],
        {"axis": -1, "largest": 1, "sorted": 1},
        dtypes=[scores.dtype, torch.int64],
        shapes=[rows, rows],
    )
    return values, indices


def excluded_ids(config: ModelConfig) -> Tensor:
    """[V]: -inf at the ids that have no probability, 0 elsewhere."""
    return _minus_infinity_at(config.excluded_ids, config)


def suppressed_ids(config: ModelConfig) -> Tensor:
    """[V]: -inf at the ids that have a probability but are not to be chosen, 0 elsewhere."""
    return _minus_infinity_at(config.suppressed_ids, config)


def _minus_infinity_at(ids: Sequence[int], config: ModelConfig) -> Tensor:
    bias = torch.zeros(config.output_size)
    bias[list(ids)] = -math.inf
    return bias
