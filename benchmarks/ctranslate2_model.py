"""Our weights in CTranslate2's format, so that both decode the very same model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np
from ctranslate2.specs import common_spec, transformer_spec
from torch import Tensor, nn

from model.attention import MultiHeadAttention
from model.checkpoint import Checkpoint
from model.transformer import FeedForward, Transformer


def write_ctranslate2(
    checkpoint: Checkpoint, directory: Path, quantization: str | None, tokens: Sequence[str] | None = None
) -> None:
    """Convert a checkpoint; `quantization` is None (float32), "int8" or "float16"; `tokens` stand in for its pieces."""
    model = checkpoint.model
    spec = _spec(model)
    tokens = tokens or checkpoint.vocabulary.pieces(range(len(checkpoint.vocabulary)))
    spec.register_source_vocabulary(tokens)
    spec.register_target_vocabulary(tokens)
    spec.config.add_source_bos = False
    spec.config.add_source_eos = False  # our sources carry it already
    spec.config.unk_token = "<unk>"
    spec.config.bos_token = "<s>"
    spec.config.eos_token = "</s>"
    spec.config.decoder_start_token = "<s>"
    spec.config.layer_norm_epsilon = model.config.norm_epsilon
    spec.validate()
    spec.optimize(quantization=quantization)
    directory.mkdir(parents=True, exist_ok=True)
    spec.save(str(directory))


def _spec(model: Transformer) -> transformer_spec.TransformerSpec:
    config = model.config
    spec = transformer_spec.TransformerSpec.from_config(
        (config.encoder_layers, config.decoder_layers),
        config.num_heads,
        pre_norm=config.norm == "pre",
        activation=common_spec.Activation.RELU,
        rms_norm=config.norm_kind == "rms",
    )
    _set_embeddings(spec.encoder.embeddings[0], model)
    _set_embeddings(spec.decoder.embeddings, model)
    for part in (spec.encoder, spec.decoder):
        part.position_encodings.encodings = _array(model.embedding.positions.table)
    spec.decoder.projection.weight = _array(model.embedding.tokens.weight)
    spec.decoder.projection.bias = np.zeros(config.vocabulary_size, np.float32)
    for target, layer in zip(spec.encoder.layer, model.encoder, strict=True):
        _set_attention(target.self_attention, layer.self_attention, layer.residuals[0].norm, self_attention=True)
        _set_feed_forward(target.ffn, layer.feed_forward, layer.residuals[1].norm)
    for target, layer in zip(spec.decoder.layer, model.decoder, strict=True):
        _set_attention(target.self_attention, layer.self_attention, layer.residuals[0].norm, self_attention=True)
        _set_attention(target.attention, layer.cross_attention, layer.residuals[1].norm, self_attention=False)
        _set_feed_forward(target.ffn, layer.feed_forward, layer.residuals[2].norm)
    if config.norm == "pre":
        _set_norm(spec.encoder.layer_norm, model.encoder_norm)
        _set_norm(spec.decoder.layer_norm, model.decoder_norm)
    return spec


def _set_embeddings(target: Any, model: Transformer) -> None:
    target.weight = _array(model.embedding.tokens.weight)


def _set_attention(target: Any, attention: MultiHeadAttention, norm: nn.LayerNorm, *, self_attention: bool) -> None:
    """CTranslate2 joins the projections that read the same input."""
    groups = [[attention.query, attention.key, attention.value]] if self_attention else [
        [attention.query], [attention.key, attention.value],
    ]  # fmt: skip
    for linear, group in zip(target.linear, [*groups, [attention.output]], strict=True):
        linear.weight = np.concatenate([_array(part.weight) for part in group])
        linear.bias = np.concatenate([_array(part.bias) for part in group])
    _set_norm(target.layer_norm, norm)


def _set_feed_forward(target: Any, feed_forward: FeedForward, norm: nn.LayerNorm) -> None:
    for linear, part in ((target.linear_0, feed_forward.inner), (target.linear_1, feed_forward.outer)):
        linear.weight, linear.bias = _array(part.weight), _array(part.bias)
    _set_norm(target.layer_norm, norm)


def _set_norm(target: Any, norm: nn.LayerNorm | nn.RMSNorm) -> None:
    target.gamma = _array(norm.weight)
    if isinstance(norm, nn.LayerNorm):
        target.beta = _array(norm.bias)


def _array(tensor: Tensor) -> np.ndarray[Any, np.dtype[np.float32]]:
    return tensor.detach().float().contiguous().numpy()


def open_translator(
    directory: Path, *, compute_type: str, workers: int, threads: int, device: str = "cpu"
) -> ctranslate2.Translator:
    """A translator with `workers` batches at once of `threads` threads each."""
    return ctranslate2.Translator(
        str(directory), device=device, compute_type=compute_type, inter_threads=workers, intra_threads=threads
    )
