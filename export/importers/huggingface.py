"""Folders of Hugging Face `transformers`: MarianMT (OPUS-MT, tc-big), M2M100 and NLLB."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from export.importers.building import built
from export.importers.card import card_for
from export.importers.files import read_json, read_optional_json, weight_files
from export.importers.huggingface_tokens import read_tokens
from export.importers.kinds import CONFIG_FILE, check_supported
from export.importers.origin import stated_licence, stated_origin
from export.importers.request import Request
from export.importers.tensors import read_tensors
from export.network import CARD_FILE, Network
from model.bundle import sha256
from model.config import Activation, ModelConfig
from model.errors import CheckpointError
from model.positions import sinusoids

MOST_POSITIONS = 16_384
"""A table of positions is made from this number alone, so it is not believed without end."""
_ACTIVATIONS: Mapping[str, Activation] = {
    "relu": "relu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "quick_gelu": "gelu_sigmoid",
    "swish": "swish",
    "silu": "swish",
}


def read_network(directory: Path, request: Request) -> Network:
    """The network in a folder.

    Raises:
        CheckpointError: something is missing, damaged, or of a kind this project cannot run.
        BundleError: the languages asked for are not the network's, or nobody says which it has.
    """
    path = directory / CONFIG_FILE
    values = read_json(path)
    kind = check_supported(values, path)
    generation = {**values, **read_optional_json(directory / "generation_config.json")}
    tokens = read_tokens(directory, kind, request)
    files = weight_files(directory)
    tensors = read_tensors(files)
    config, weights = _config_and_weights(values, generation, tensors, path, unk_id=tokens.unk_id)
    tokenizer = tokens.tokenizer(config.vocabulary_size, config.output_size)
    name = request.name or directory.resolve().name
    origin, licence = stated_origin(directory, values), stated_licence(directory)
    network = Network(
        name=name,
        model=built(config, weights, directory),
        tokenizer=tokenizer,
        tokenizer_spec=tokens.spec,
        languages=tokens.languages.groups,
        language_names=tokens.languages.names,
        files={**tokens.files(config.vocabulary_size, config.output_size), CARD_FILE: b""},
        provenance={
            "format": f"transformers {kind}",
            "files": {file.name: sha256(file) for file in files},
            "generation": {key: generation[key] for key in _GENERATION if generation.get(key) is not None},
        },
        licence=licence,
        origin=origin,
    )
    return card_for(network)


_GENERATION = ("num_beams", "max_length", "length_penalty", "no_repeat_ngram_size", "repetition_penalty")
"""Defaults for a search: a caller of the service chooses, so they are only kept."""


def _config_and_weights(
    values: Mapping[str, Any],
    generation: Mapping[str, Any],
    tensors: dict[str, Tensor],
    path: Path,
    *,
    unk_id: int,
) -> tuple[ModelConfig, dict[str, Tensor]]:
    weights = _Embeddings(tensors, path, is_tied=bool(values.get("tie_word_embeddings", True)))
    marian = values["model_type"] == "marian"
    padding = _id(generation, "pad_token_id", path)
    suppressed = _suppressed(generation, path)
    renormalised = bool(generation.get("renormalize_logits"))
    learned = weights.learned_positions(_number(values, "max_position_embeddings", path, most=MOST_POSITIONS))
    config = ModelConfig(
        vocabulary_size=len(weights.source),
        target_vocabulary_size=None if weights.is_shared else len(weights.target),
        d_model=_number(values, "d_model", path),
        num_heads=_number(values, "encoder_attention_heads", path),
        decoder_num_heads=_number(values, "decoder_attention_heads", path),
        d_ff=_number(values, "encoder_ffn_dim", path),
        decoder_d_ff=_number(values, "decoder_ffn_dim", path),
        encoder_layers=_layers(values, "encoder", tensors, path),
        decoder_layers=_layers(values, "decoder", tensors, path),
        norm="post" if marian else "pre",
        activation=_activation(values.get("activation_function", "gelu" if marian else "relu"), path),
        positions="sinusoidal" if learned is None else "learned",
        position_layout="halves" if marian else "tensor2tensor",
        position_offset=0 if marian else padding + 1,
        max_positions=_number(values, "max_position_embeddings", path, most=MOST_POSITIONS),
        scale_embedding=bool(values.get("scale_embedding", not marian)),
        shared_embedding=weights.is_shared,
        tied_output=weights.output is None,
        output_bias=weights.bias is not None,
        pad_id=padding,
        unk_id=unk_id,
        start_id=_id(generation, "decoder_start_token_id", path),
        eos_id=_id(generation, "eos_token_id", path),
        excluded_ids=suppressed if renormalised else (),
        suppressed_ids=() if renormalised else suppressed,
    )
    ours = {_our_name(name, path): tensor for name, tensor in tensors.items()}
    return config, {name: tensor.float() for name, tensor in {**ours, **weights.ours(learned)}.items()}


class _Embeddings:
    """The tensors around the layers; each is taken out of the file's."""

    def __init__(self, tensors: dict[str, Tensor], path: Path, *, is_tied: bool) -> None:
        self._path = path
        shared = tensors.pop("model.shared.weight", None)
        source, target = (tensors.pop(f"model.{side}.embed_tokens.weight", shared) for side in ("encoder", "decoder"))
        head = tensors.pop("lm_head.weight", None)
        if source is None or (target is None and head is None):
            raise CheckpointError(f"{path.parent}: the weights hold no embedding of source or target tokens")
        self.source: Tensor = source
        self.target: Tensor = head if target is None else target
        self.is_shared = _equal(self.source, self.target)
        self.output = None if head is None or _equal(head, self.target) else head
        if self.output is not None and is_tied:
            raise CheckpointError(f"{path}: ties lm_head.weight to the embedding, but the weights differ")
        bias = tensors.pop("final_logits_bias", None)
        self.bias = None if bias is None or not bias.any() else bias.reshape(-1)
        self._positions = [
            tensors.pop(f"model.{side}.embed_positions.{name}")
            for side in ("encoder", "decoder")
            for name in ("weight", "weights")
            if f"model.{side}.embed_positions.{name}" in tensors
        ]

    def learned_positions(self, length: int) -> Tensor | None:
        """A table of positions [P, D] that the file holds, unless it holds sines and cosines."""
        if not self._positions:
            return None
        width = self._positions[0].shape[1]
        expected = [sinusoids(layout, length + 2, width) for layout in ("halves", "tensor2tensor")]
        for each in self._positions:
            if not any(_close(each, table[: len(each)]) for table in expected):
                if not all(_equal(each, other) for other in self._positions):
                    raise CheckpointError(f"{self._path.parent}: encoder and decoder learned different positions")
                return each
        return None

    def ours(self, positions: Tensor | None) -> dict[str, Tensor]:
        """By the names of `model.transformer`."""
        named = {"embedding.tokens.weight": self.source, "output.weight": self.output, "output.bias": self.bias}
        own = None if self.is_shared else self.target
        named["own_target_embedding.tokens.weight"] = own
        named["embedding.positions.embedding.weight"] = positions
        if own is not None:
            named["own_target_embedding.positions.embedding.weight"] = positions
        return {name: tensor for name, tensor in named.items() if tensor is not None}


def _equal(one: Tensor, other: Tensor) -> bool:
    return one is other or (one.shape == other.shape and torch.equal(one, other))


def _close(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.allclose(one.float(), other, atol=2e-3)


_LAYER = re.compile(r"model\.(encoder|decoder)\.layers\.(\d+)\.(.+)\.(weight|bias)")
_PARTS = {
    **{
        f"{theirs}.{projection}": f"{ours}.{name}"
        for theirs, ours in (("self_attn", "self_attention"), ("encoder_attn", "cross_attention"))
        for projection, name in (("q_proj", "query"), ("k_proj", "key"), ("v_proj", "value"), ("out_proj", "output"))
    },
    "fc1": "feed_forward.inner",
    "fc2": "feed_forward.outer",
    "self_attn_layer_norm": "residuals.0.norm",
    "encoder_attn_layer_norm": "residuals.1.norm",
}
_LAST_RESIDUAL = {"encoder": 1, "decoder": 2}


def _our_name(name: str, path: Path) -> str:
    closing = re.fullmatch(r"model\.(encoder|decoder)\.layer_norm\.(weight|bias)", name)
    if closing:
        return f"{closing[1]}_norm.{closing[2]}"
    match = _LAYER.fullmatch(name)
    part = match and (
        f"residuals.{_LAST_RESIDUAL[match[1]]}.norm" if match[3] == "final_layer_norm" else _PARTS.get(match[3])
    )
    if not match or not part:
        raise CheckpointError(f"{path.parent}: the weights hold a tensor this project does not know, {name}")
    return f"{match[1]}.{match[2]}.{part}.{match[4]}"


def _layers(values: Mapping[str, Any], side: str, tensors: Iterable[str], path: Path) -> int:
    """Layers as config.json says, no more than the file has."""
    wanted = _number(values, f"{side}_layers", path)
    found = {match[2] for match in map(_LAYER.fullmatch, tensors) if match and match[1] == side}
    if wanted != len(found):
        raise CheckpointError(f"{path}: {side}_layers is {wanted}, but the weights hold {len(found)} of them")
    return wanted


def _number(values: Mapping[str, Any], name: str, path: Path, most: int = 2**31) -> int:
    value = values.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= most:
        raise CheckpointError(f"{path}: {name} must be a whole number from 1 to {most}, not {value!r}")
    return value


def _id(values: Mapping[str, Any], name: str, path: Path) -> int:
    value = values.get(name)
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise CheckpointError(f"{path}: {name} must be the id of one token, not {value!r}")
    return value


def _activation(name: object, path: Path) -> Activation:
    if str(name) not in _ACTIVATIONS:
        known = ", ".join(_ACTIVATIONS)
        raise CheckpointError(f"{path}: activation_function {name!r} cannot be imported, only {known}")
    return _ACTIVATIONS[str(name)]


def _suppressed(generation: Mapping[str, Any], path: Path) -> tuple[int, ...]:
    """Ids that generation never chooses."""
    for name in ("begin_suppress_tokens", "forced_decoder_ids", "forced_bos_token_id"):
        if generation.get(name) is not None:
            raise CheckpointError(f"{path.parent}: {name} in the generation config cannot be imported")
    words = generation.get("bad_words_ids") or []
    if not all(isinstance(word, list) and len(word) == 1 and isinstance(word[0], int) for word in words):
        raise CheckpointError(f"{path.parent}: bad_words_ids of more than one token cannot be imported")
    ids = [word[0] for word in words] + list(generation.get("suppress_tokens") or [])
    return tuple(sorted(set(ids)))
