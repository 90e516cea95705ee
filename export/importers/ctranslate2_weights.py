"""CTranslate2's variables as a config and tensors of ours."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from export.importers.ctranslate2_file import Array
from model.config import Activation, ModelConfig, NormKind
from model.errors import CheckpointError
from model.positions import sinusoids

_MOST_POSITIONS = 16_384
_EPSILONS: Mapping[NormKind, float] = {"layer": 1e-5, "rms": 1e-6}
"""What CTranslate2 takes where its config.json names none."""
_ACTIVATIONS: tuple[Activation, ...] = ("relu", "gelu_tanh", "swish", "gelu", "gelu_sigmoid")
"""In the order of `ctranslate2.specs.common_spec.Activation`."""


class Translation:
    """CTranslate2's variables under our names; what is read is crossed off, and what is left over is refused."""

    def __init__(
        self,
        variables: Mapping[str, Array],
        settings: Mapping[str, Any],
        target_tokens: list[str],
        path: Path,
    ) -> None:
        """`settings` as config.json has them; `path` is named by errors."""
        self._left = dict(variables)
        self._settings = settings
        self._target_tokens = target_tokens
        self._path = path
        self._weights: dict[str, Tensor] = {}

    def result(self) -> tuple[ModelConfig, dict[str, Tensor]]:
        """The config and the weights."""
        layers = tuple(self._layers(side) for side in ("encoder", "decoder"))
        self._norm_kind = self._kind_of_norms()
        sources, targets = self._embedding("encoder"), self._embedding("decoder")
        output = self._tensor("decoder/projection/weight")
        bias = self._optional("decoder/projection/bias")
        is_shared = sources.shape == targets.shape and torch.equal(sources, targets)
        output = None if output.shape == targets.shape and torch.equal(output, targets) else output
        start = self._start(targets)
        if start == len(targets):  # a token more, which stands for nothing: its vector is zero
            sources, targets = (_with_zero(each) for each in (sources, targets))
            output, bias = (None if each is None else _with_zero(each) for each in (output, bias))
        self._put_around(sources, targets, output, bias, is_shared=is_shared)
        config = self._config(layers, (len(sources), len(targets)), start, is_shared=is_shared)
        self._put_layers(config)
        self._refuse_what_is_left()
        return config, self._weights

    def _config(self, layers: tuple[int, ...], sizes: tuple[int, int], start: int, *, is_shared: bool) -> ModelConfig:
        table = self._weights["embedding.positions.embedding.weight"]
        ids = {name: self._id_of(str(self._settings[f"{name}_token"])) for name in ("unk", "eos")}
        is_pre, positions = self._flag("pre_norm", default=True), len(table)
        return ModelConfig(
            vocabulary_size=sizes[0],
            target_vocabulary_size=None if is_shared else sizes[1],
            d_model=table.shape[1],
            num_heads=self._attribute("encoder/num_heads", 8),
            decoder_num_heads=self._attribute("decoder/num_heads", self._attribute("encoder/num_heads", 8, keep=True)),
            d_ff=len(self._left["encoder/layer_0/ffn/linear_0/weight"]),
            decoder_d_ff=len(self._left["decoder/layer_0/ffn/linear_0/weight"]),
            encoder_layers=layers[0],
            decoder_layers=layers[1],
            norm="pre" if is_pre else "post",
            norm_kind=self._norm_kind,
            norm_epsilon=float(self._settings.get("layer_norm_epsilon") or _EPSILONS[self._norm_kind]),
            embedding_norm="embedding.norm.weight" in self._weights,
            activation=self._activation(),
            positions="learned",
            max_positions=positions,
            scale_embedding=self._flag("scale_embeddings", default=True),
            shared_embedding=is_shared,
            tied_output="output.weight" not in self._weights,
            output_bias="output.bias" in self._weights,
            pad_id=0,
            unk_id=ids["unk"],
            start_id=start,
            eos_id=ids["eos"],
            excluded_ids=(start,) if start == len(self._target_tokens) else (),
        )

    def _start(self, targets: Tensor) -> int:
        if self._attribute("decoder/start_from_zero_embedding", 0):
            return len(targets)
        token = self._settings.get("decoder_start_token")
        if token is None:
            raise CheckpointError(
                f"{self._path.parent}: config.json has no decoder_start_token to begin an output with"
            )
        return self._id_of(str(token))

    def _id_of(self, token: str) -> int:
        if token not in self._target_tokens:
            raise CheckpointError(f"{self._path.parent}: the target vocabulary has no token {token!r}")
        return self._target_tokens.index(token)

    def _put_around(
        self, sources: Tensor, targets: Tensor, output: Tensor | None, bias: Tensor | None, *, is_shared: bool
    ) -> None:
        tables = [self._positions(side, sources.shape[1]) for side in ("encoder", "decoder")]
        norms = [self._norm(f"{side}/layernorm_embedding") for side in ("encoder", "decoder")]
        if is_shared and not _alike(tables[0], tables[1]):
            raise CheckpointError(f"{self._path}: source and target share tokens but not positions")
        is_shared_norm = norms[0].keys() == norms[1].keys() and all(_alike(norms[0][k], norms[1][k]) for k in norms[0])
        if is_shared and not is_shared_norm:
            raise CheckpointError(f"{self._path}: source and target share tokens but not the norm of embeddings")
        named: dict[str, Tensor | None] = {"output.weight": output, "output.bias": bias}
        parts = [("embedding", sources, 0)] + ([] if is_shared else [("own_target_embedding", targets, 1)])
        for name, tokens, side in parts:
            named[f"{name}.tokens.weight"] = tokens
            named[f"{name}.positions.embedding.weight"] = tables[side]
            named |= {f"{name}.norm.{part}": tensor for part, tensor in norms[side].items()}
        for side in ("encoder", "decoder"):
            named |= {f"{side}_norm.{part}": tensor for part, tensor in self._norm(f"{side}/layer_norm").items()}
        self._weights |= {name: tensor for name, tensor in named.items() if tensor is not None}

    def _positions(self, side: str, width: int) -> Tensor:
        table = self._optional(f"{side}/position_encodings/encodings")
        table = _opennmt_positions(1024, width) if table is None else table
        if len(table) > _MOST_POSITIONS:
            table = table[:_MOST_POSITIONS]
        return table

    def _embedding(self, side: str) -> Tensor:
        scope = f"{side}/embeddings" + ("_0" if f"{side}/embeddings_0/weight" in self._left else "")
        scaled = self._left.pop(f"{scope}/multiply_by_sqrt_depth", None)
        if scaled is not None:
            self._left.setdefault(f"{side}/scale_embeddings", scaled)
        return self._tensor(f"{scope}/weight")

    def _put_layers(self, config: ModelConfig) -> None:
        for side, count, last in (("encoder", config.encoder_layers, 1), ("decoder", config.decoder_layers, 2)):
            for layer in range(count):
                theirs, ours = f"{side}/layer_{layer}", f"{side}.{layer}"
                self._put_attention(f"{theirs}/self_attention", f"{ours}.self_attention", joined=(3,))
                self._put_norm(f"{theirs}/self_attention/layer_norm", f"{ours}.residuals.0.norm")
                if side == "decoder":
                    self._put_attention(f"{theirs}/attention", f"{ours}.cross_attention", joined=(1, 2))
                    self._put_norm(f"{theirs}/attention/layer_norm", f"{ours}.residuals.1.norm")
                for number, name in enumerate(("inner", "outer")):
                    self._put_linear(f"{theirs}/ffn/linear_{number}", f"{ours}.feed_forward.{name}")
                self._put_norm(f"{theirs}/ffn/layer_norm", f"{ours}.residuals.{last}.norm")

    def _put_attention(self, theirs: str, ours: str, *, joined: tuple[int, ...]) -> None:
        """Projections that read the same input are one matrix there, `joined` says how many."""
        names = iter(("query", "key", "value"))
        for number, parts in enumerate(joined):
            weight, bias = self._linear(f"{theirs}/linear_{number}")
            if len(weight) != parts * weight.shape[1]:
                raise CheckpointError(f"{self._path}: {theirs} has fewer heads for keys than for queries")
            for part, its_bias in zip(weight.chunk(parts), bias.chunk(parts), strict=True):
                projection = next(names)
                self._weights[f"{ours}.{projection}.weight"] = part.contiguous()
                self._weights[f"{ours}.{projection}.bias"] = its_bias.contiguous()
        self._put_linear(f"{theirs}/linear_{len(joined)}", f"{ours}.output")

    def _put_linear(self, theirs: str, ours: str) -> None:
        self._weights[f"{ours}.weight"], self._weights[f"{ours}.bias"] = self._linear(theirs)

    def _linear(self, scope: str) -> tuple[Tensor, Tensor]:
        weight = self._tensor(f"{scope}/weight")
        bias = self._optional(f"{scope}/bias")
        return weight, torch.zeros(len(weight)) if bias is None else bias

    def _put_norm(self, theirs: str, ours: str) -> None:
        self._weights |= {f"{ours}.{part}": tensor for part, tensor in self._norm(theirs).items()}

    def _kind_of_norms(self) -> NormKind:
        """A layer norm has a beta, an RMS norm has none."""
        norms = [name.removesuffix("/gamma") for name in self._left if name.endswith("/gamma")]
        without = [name for name in norms if f"{name}/beta" not in self._left]
        if without and len(without) < len(norms):
            raise CheckpointError(
                f"{self._path}: {without[0]} is an RMS norm and others are layer norms; they must be one"
            )
        return "rms" if without else "layer"

    def _norm(self, scope: str) -> dict[str, Tensor]:
        parts = {"weight": self._optional(f"{scope}/gamma"), "bias": self._optional(f"{scope}/beta")}
        return {name: tensor for name, tensor in parts.items() if tensor is not None}

    def _tensor(self, name: str) -> Tensor:
        tensor = self._optional(name)
        if tensor is None:
            raise CheckpointError(f"{self._path}: {name} is missing")
        return tensor

    def _optional(self, name: str) -> Tensor | None:
        """In fp32; a quantised value is divided by its scale, one a row or one for all."""
        values = self._left.pop(name, None)
        if values is None:
            return None
        scale = self._left.pop(f"{name}_scale", None)
        numbers = values.astype(np.float32)
        if scale is not None:
            numbers /= scale.astype(np.float32)[:, None] if scale.ndim else scale.astype(np.float32)
        return torch.from_numpy(numbers)

    def _attribute(self, name: str, usual: int, *, keep: bool = False) -> int:
        value = self._left.get(name) if keep else self._left.pop(name, None)
        return usual if value is None else int(value)

    def _flag(self, name: str, *, default: bool) -> bool:
        found = {bool(self._attribute(f"{side}/{name}", int(default))) for side in ("encoder", "decoder")}
        if len(found) > 1:
            raise CheckpointError(f"{self._path}: encoder and decoder differ in {name}")
        return found.pop()

    def _activation(self) -> Activation:
        found = {self._attribute(f"{side}/activation", 0) for side in ("encoder", "decoder")}
        number = found.pop()
        if found or number >= len(_ACTIVATIONS):
            raise CheckpointError(f"{self._path}: activation {number} cannot be imported")
        return _ACTIVATIONS[number]

    def _layers(self, side: str) -> int:
        found = {
            int(name.split("/")[1][6:])
            for name in self._left
            if name.startswith(f"{side}/layer_") and name[len(side) + 7].isdigit()
        }
        if found != set(range(len(found))) or not found:
            raise CheckpointError(f"{self._path}: the layers of the {side} are not complete")
        return len(found)

    def _refuse_what_is_left(self) -> None:
        """Numbers that are zero or say the usual change nothing; anything else is an option that is not known here."""
        usual = {"encoder/embeddings_merge", "decoder/alignment_layer", "decoder/alignment_heads"}
        usual |= {f"with_source_{side}" for side in ("bos", "eos")} | {"with_target_bos"}
        unknown = sorted(name for name, value in self._left.items() if name not in usual and np.any(value))
        if unknown:
            raise CheckpointError(f"{self._path}: {unknown[0]} is an option of CTranslate2 that cannot be imported")


def _with_zero(values: Tensor) -> Tensor:
    return torch.cat([values, torch.zeros(1, *values.shape[1:])])


def _alike(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.equal(one, other)


def _opennmt_positions(length: int, width: int) -> Tensor:
    """What CTranslate2 computes where a model stores none: tensor2tensor's, counted from 1 as OpenNMT-tf does."""
    return sinusoids("tensor2tensor", length + 1, width)[1:]
