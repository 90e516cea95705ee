"""The usual way to decode, for comparison: a batch that starts together and runs until its last sentence ends.

Two decoders under one search: PyTorch with a key-value cache, and ONNX Runtime as generation libraries call it (past
goes in and present comes out of every call as arrays, nothing is bound).

Shapes: N sentences, K beams, R = N K rows, S source tokens, T tokens so far, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from torch import Tensor

from export.verify import encode
from model.attention import MultiHeadAttention, attend
from model.batches import pad
from model.bundle import read_manifest
from model.transformer import DecoderLayer, Transformer
from model.vocabulary import BOS_ID, EOS_ID, PAD_ID

Ids = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


class StaticDecoder(Protocol):
    """One batch at a time."""

    def start(self, sources: Sequence[Sequence[int]], beams: int) -> None:
        """Encode a batch."""

    def step(self, token_ids: Ids, beam_indices: Ids, log_probs: Floats) -> tuple[Floats, Ids]:
        """Follow the beams [N, K], add a token; candidates [N, 2K] and their indices beam * V + token."""

    vocabulary_size: int


def decode(
    decoder: StaticDecoder, sources: Sequence[Sequence[int]], beams: int, limits: Sequence[int]
) -> list[tuple[int, ...]]:
    """The best output of each source; sentences that are done ride along to the end."""
    count = len(sources)
    decoder.start(sources, beams)
    token_ids, origins = np.full((count, beams), BOS_ID), np.zeros((count, beams), np.int64)
    log_probs = np.full((count, beams), -np.inf, np.float32)
    log_probs[:, 0] = 0.0
    written = np.zeros((count, beams, 0), np.int64)
    ended: list[list[tuple[float, tuple[int, ...]]]] = [[] for _ in sources]
    open_sentences = set(range(count))
    for length in range(1, max(limits) + 1):
        scores, indices = decoder.step(token_ids, origins, log_probs)
        origin, token = np.divmod(indices, decoder.vocabulary_size)
        ends = token == EOS_ID
        for row, rank in np.argwhere(ends[:, :beams]).tolist():
            if row in open_sentences and length > 1:  # an output has at least one token
                ended[row].append((scores[row, rank] / length, tuple(written[row, origin[row, rank]].tolist())))
        going_on = np.argsort(ends, axis=1, kind="stable")[:, :beams]
        token_ids, origins = np.take_along_axis(token, going_on, 1), np.take_along_axis(origin, going_on, 1)
        log_probs = np.take_along_axis(scores, going_on, 1)
        written = np.concatenate([np.take_along_axis(written, origins[..., None], 1), token_ids[..., None]], axis=2)
        for row in list(open_sentences):
            if len(ended[row]) < beams and length >= limits[row]:
                ended[row] += [(log_probs[row, k] / length, tuple(written[row, k].tolist())) for k in range(beams)]
            if len(ended[row]) >= beams:
                open_sentences.discard(row)
        if not open_sentences:
            break
    return [max(found)[1] for found in ended]


class TorchDecoder:
    """PyTorch in fp32 with a key-value cache."""

    def __init__(self, model: Transformer) -> None:
        self.model = model.eval()
        self.vocabulary_size = model.config.vocabulary_size

    @torch.inference_mode()
    def start(self, sources: Sequence[Sequence[int]], beams: int) -> None:
        ids = pad(sources)
        self._mask = (ids != PAD_ID).repeat_interleave(beams, 0)[:, None, None, :]
        memory = self.model.encode(ids, ids != PAD_ID).repeat_interleave(beams, 0)
        self._memory = [_heads(layer.cross_attention, memory) for layer in self.model.decoder]
        self._past: list[tuple[Tensor, Tensor]] = []
        self._length = 0

    @torch.inference_mode()
    def step(self, token_ids: Ids, beam_indices: Ids, log_probs: Floats) -> tuple[Floats, Ids]:
        count, beams = token_ids.shape
        rows = torch.from_numpy((np.arange(count)[:, None] * beams + beam_indices).ravel())
        ids = torch.from_numpy(token_ids.reshape(-1, 1))
        x = self.model.embedding(ids, torch.tensor([[self._length]]))
        present = []
        for index, layer in enumerate(self.model.decoder):
            past = tuple(part[rows] for part in self._past[index]) if self._past else ()
            x, cache = self._layer(layer, x, past, self._memory[index])
            present.append(cache)
        self._past, self._length = present, self._length + 1
        logits = self.model.project(self.model.decoder_norm(x))[:, -1]
        logits[:, list(self.model.config.excluded_ids)] = -torch.inf
        totals = logits.log_softmax(-1).view(count, beams, -1) + torch.from_numpy(log_probs)[..., None]
        best = totals.flatten(1).topk(2 * beams)
        return best.values.numpy(), best.indices.numpy()

    def _layer(
        self, layer: DecoderLayer, x: Tensor, past: tuple[Tensor, ...], memory: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        cache: list[tuple[Tensor, Tensor]] = []

        def self_attention(y: Tensor) -> Tensor:
            attention = layer.self_attention
            key, value = _heads(attention, y)
            if past:
                key, value = torch.cat([past[0], key], 2), torch.cat([past[1], value], 2)
            cache.append((key, value))
            return _attend(attention, y, key, value, None)

        x = layer.residuals[0](x, self_attention)
        x = layer.residuals[1](x, lambda y: _attend(layer.cross_attention, y, *memory, self._mask))
        return layer.residuals[2](x, layer.feed_forward), cache[0]


def _heads(attention: MultiHeadAttention, x: Tensor) -> tuple[Tensor, Tensor]:
    return attention.split_heads(attention.key(x)), attention.split_heads(attention.value(x))


def _attend(attention: MultiHeadAttention, y: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    context, _ = attend(attention.split_heads(attention.query(y)), key, value, mask)
    output: Tensor = attention.output(attention.merge_heads(context))
    return output


class UnboundOnnxDecoder:
    """The graphs of a bundle with every state passed in and out as arrays."""

    def __init__(self, bundle: Path, threads: int, providers: Sequence[str] = ("CPUExecutionProvider",)) -> None:
        manifest = read_manifest(bundle)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self._encoder = onnxruntime.InferenceSession(bundle / manifest.graphs["encoder"].file, options, list(providers))
        self._decoder = onnxruntime.InferenceSession(bundle / manifest.graphs["decoder"].file, options, list(providers))
        self._states = [state for state in manifest.states if state.kind == "growing"]
        self.vocabulary_size = manifest.vocabulary_size

    def start(self, sources: Sequence[Sequence[int]], beams: int) -> None:
        ids = pad(sources).numpy()
        values = encode(self._encoder, ids, ids != PAD_ID)
        names = [output.name for output in self._encoder.get_outputs()]
        self._mask = ids != PAD_ID
        self._memory = dict(zip(names, values, strict=True))
        heads, width = values[0].shape[1], values[0].shape[3]
        empty = np.zeros((len(sources) * beams, heads, 0, width), values[0].dtype)
        self._past = {state.input: empty for state in self._states}
        self._length = 0

    def step(self, token_ids: Ids, beam_indices: Ids, log_probs: Floats) -> tuple[Floats, Ids]:
        count, beams = token_ids.shape
        rows = (np.arange(count)[:, None] * beams + beam_indices).ravel()
        # The graph appends in place; without binding the room for the new entry has to be made here.
        past = {name: np.pad(value[rows], ((0, 0), (0, 0), (0, 1), (0, 0))) for name, value in self._past.items()}
        inputs = {
            "token_ids": token_ids,
            "lengths": np.full(count * beams, self._length, np.int32),
            "longest": np.array(self._length + 1, np.int32),
            "num_candidates": np.array([beams + 1]),
            "source_mask": self._mask,
            **self._memory,
            **past,
        }
        values = self._decoder.run(None, inputs)
        names = [output.name for output in self._decoder.get_outputs()]
        outputs = dict(zip(names, values, strict=True))
        self._past = {state.input: outputs[state.output] for state in self._states}
        self._length += 1
        totals = (outputs["candidate_log_probs"].reshape(count, beams, -1) + log_probs[..., None]).reshape(count, -1)
        order = np.argsort(-totals, axis=1, kind="stable")[:, : 2 * beams]
        tokens = np.take_along_axis(outputs["candidate_ids"].reshape(count, -1), order, 1)
        indices = order // (beams + 1) * self.vocabulary_size + tokens
        return np.take_along_axis(totals, order, 1), indices
