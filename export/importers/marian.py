"""Marian's own files, as OPUS-MT and the Tatoeba Challenge release them: `.npz`, `decoder.yml`, `.yml`, `.spm`."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import yaml
from torch import Tensor

from export.importers.building import built
from export.importers.card import card_for
from export.importers.files import left_out, required
from export.importers.kinds import DECODER_FILE
from export.importers.origin import stated_licence
from export.importers.request import Request, chosen, tagged
from export.importers.tokens import Tokens, by_id, folds_case
from export.network import CARD_FILE, Network
from model.bundle import TokenizerSpec, sha256
from model.config import Activation, ModelConfig
from model.errors import CheckpointError, VocabularyError

Array = npt.NDArray[Any]
_OPTIONS = "special:model.yml"
_ACTIVATIONS: Mapping[str, Activation] = {"relu": "relu", "gelu": "gelu_sigmoid", "swish": "swish"}
_POSITIONS = 1024
"""Marian computes its sines for any length; so many are kept."""


def read_network(directory: Path, request: Request) -> Network:
    """The network of an unpacked release.

    Raises:
        CheckpointError: something is missing, damaged, or of a kind this project cannot run.
        BundleError: the languages asked for are not the network's, or nobody says which it has.
    """
    model_path, vocabulary_paths = _named_files(directory)
    arrays, options = _read_npz(model_path)
    check_options(options, model_path)
    source, target = (read_vocabulary(path) for path in (vocabulary_paths[0], vocabulary_paths[-1]))
    target = source if source == target else target
    config, weights = _Conversion(arrays, options, target, model_path).result()
    tokens = _tokens(directory, source, target, request)
    network = Network(
        name=request.name or directory.resolve().name,
        model=built(config, weights, directory),
        tokenizer=tokens.tokenizer(config.vocabulary_size, config.output_size),
        tokenizer_spec=tokens.spec,
        languages=tokens.languages.groups,
        language_names=tokens.languages.names,
        files={**tokens.files(config.vocabulary_size, config.output_size), CARD_FILE: b""},
        provenance={
            "format": f"Marian {options.get('version', '')}".strip(),
            "files": {model_path.name: sha256(model_path)},
        },
        licence=stated_licence(directory),
        notes=left_out(directory),
    )
    return card_for(network)


def _named_files(directory: Path) -> tuple[Path, list[Path]]:
    path = directory / DECODER_FILE
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        models, vocabularies = ([Path(str(name)).name for name in values[key]] for key in ("models", "vocabs"))
    except (yaml.YAMLError, ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f"{path}: does not name models and vocabularies: {error!r}") from None
    if len(models) != 1 or not vocabularies:
        raise CheckpointError(
            f"{path}: {len(models)} models and {len(vocabularies)} vocabularies; one model is imported"
        )
    found = [required(directory / name, f"named by {DECODER_FILE}") for name in (*models, *vocabularies)]
    return found[0], found[1:]


def _read_npz(path: Path) -> tuple[dict[str, Array], dict[str, Any]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        options = yaml.safe_load(arrays.pop(_OPTIONS).tobytes().rstrip(b"\0"))
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile, yaml.YAMLError) as error:
        raise CheckpointError(f"{path}: not a network of Marian's, or damaged: {error}") from None
    if not isinstance(options, dict):
        raise CheckpointError(f"{path}: {_OPTIONS} holds no options")
    return arrays, options


def check_options(options: Mapping[str, Any], path: Path) -> None:
    """Refuse by name what this project cannot run.

    Raises:
        CheckpointError: the message names the option and its value.
    """
    supported: Mapping[str, tuple[object, ...]] = {
        "type": ("transformer",),
        "transformer-decoder-autoreg": ("self-attention",),
        "transformer-no-projection": (False,),
        "transformer-ffn-activation": tuple(_ACTIVATIONS),
        "transformer-postprocess-emb": ("", "d", "n", "nd"),
        "transformer-tied-layers": ([], None),
        "transformer-ffn-depth": (2,),
        "lemma-dim-emb": (0,),
    }
    for name, values in supported.items():
        if name in options and options[name] not in values:
            kind = "an SSRU decoder (a student of Firefox Translations or Bergamot), " if options[name] == "rnn" else ""
            raise CheckpointError(f"{path}: {kind}{name}: {options[name]} cannot be imported")
    ends = ("preprocess", "postprocess", "postprocess-top")
    norms = tuple(str(options.get(f"transformer-{end}", "")) for end in ends)
    if norms not in (("", "dan", ""), ("n", "da", "n")):
        raise CheckpointError(f"{path}: transformer-{', -'.join(ends)} {norms} cannot be imported")


_LINE = re.compile(r"""(?:\? )?(".*"|'.*'|.*?): *(\d+)""")


def read_vocabulary(path: Path) -> list[str]:
    """The tokens of a vocabulary in the order of their ids; `.yml` as Marian writes it, a token a line.

    Raises:
        VocabularyError: a line is none of a token and its number.
    """
    ids: dict[str, int] = {}
    text = path.read_text(encoding="utf-8", errors="replace")
    for number, line in enumerate(re.sub(r"\n: *(\d+)", r": \1", text).split("\n"), 1):
        if line.strip():
            match = _LINE.fullmatch(line.rstrip("\r"))
            if not match:
                raise VocabularyError(f"{path}: line {number} is not a token and its number")
            ids[_unquoted(match[1])] = int(match[2])
    return by_id(ids, path)


def _unquoted(token: str) -> str:
    if token.startswith("'"):
        return token[1:-1].replace("''", "'")
    if not token.startswith('"'):
        return token
    try:
        return str(json.loads(re.sub(r"\\x([0-9a-fA-F]{2})", r"\\u00\1", token)))
    except ValueError:
        return str(yaml.safe_load(token))


def _tokens(directory: Path, source: list[str], target: list[str], request: Request) -> Tokens:
    what = "a SentencePiece model of the tokeniser"
    pieces = tuple(required(directory / f"{side}.spm", what) for side in ("source", "target"))
    tags = tagged((token[2:-2], token) for token in source if re.fullmatch(r">>[\w-]+<<", token))
    languages = chosen(request, (), tuple(tags), tags)
    spec = TokenizerSpec(
        kind="listed",
        source_prefix=("{target}",) if tags else (),
        source_suffix=("</s>",),
        tags=languages.tags,
        case="folded" if folds_case(pieces[0]) else "kept",
    )
    silent = ["</s>", "<s>", *tags.values()]
    both = None if source is target else target
    return Tokens(pieces[0], pieces[1], source, both, "<unk>", silent, spec, languages)


class _Conversion:
    """Marian's arrays under our names; what is read is crossed off, and what is left over is refused."""

    def __init__(
        self, arrays: dict[str, Array], options: Mapping[str, Any], target_tokens: list[str], path: Path
    ) -> None:
        self._left = arrays
        self._options = options
        self._target_tokens = target_tokens
        self._path = path
        self._weights: dict[str, Tensor] = {}

    def result(self) -> tuple[ModelConfig, dict[str, Tensor]]:
        """The config and the weights."""
        shared = self._optional("Wemb")
        sources, targets = (self._optional(f"{side}_Wemb", shared) for side in ("encoder", "decoder"))
        if sources is None or targets is None:
            raise CheckpointError(f"{self._path}: holds no embedding of source or target tokens")
        output, bias = self._output(targets)
        is_shared = sources is targets
        # Marian's decoder begins with a vector of zeros: a token more, which stands for nothing and is never chosen.
        sources = _with_zero(sources) if is_shared else sources
        targets = sources if is_shared else _with_zero(targets)
        config = self._config(len(sources), len(targets), is_shared, output is None, bias is not None)
        self._put_around(sources, targets, is_shared=is_shared)
        if output is not None:
            self._weights["output.weight"] = _with_zero(output)
        if bias is not None:
            self._weights["output.bias"] = _with_zero(bias)
        self._put_layers(config)
        left = sorted(name for name in self._left if not name.startswith("special:") and name != "decoder_c_tt")
        if left:
            raise CheckpointError(f"{self._path}: holds an array this project does not know, {left[0]}")
        return config, self._weights

    def _config(self, sources: int, targets: int, is_shared: bool, is_tied: bool, has_bias: bool) -> ModelConfig:
        options, start = self._options, targets - 1
        learned = self._left.get("Wpos")
        return ModelConfig(
            vocabulary_size=sources,
            target_vocabulary_size=None if is_shared else targets,
            d_model=self._number("dim-emb"),
            num_heads=self._number("transformer-heads"),
            d_ff=self._left["encoder_l1_ffn_W1"].shape[1],
            decoder_d_ff=self._left["decoder_l1_ffn_W1"].shape[1],
            encoder_layers=self._number("enc-depth"),
            decoder_layers=self._number("dec-depth"),
            norm="pre" if "n" in str(options.get("transformer-preprocess", "")) else "post",
            embedding_norm="n" in str(options.get("transformer-postprocess-emb", "")),
            activation=_ACTIVATIONS[str(options.get("transformer-ffn-activation", "swish"))],
            positions="sinusoidal" if learned is None else "learned",
            position_layout="halves",
            max_positions=_POSITIONS if learned is None else len(learned),
            scale_embedding=True,
            shared_embedding=is_shared,
            tied_output=is_tied,
            output_bias=has_bias,
            pad_id=start,
            unk_id=self._id_of("<unk>"),
            start_id=start,
            eos_id=self._id_of("</s>"),
            excluded_ids=(start,),
        )

    def _number(self, name: str) -> int:
        value = self._options.get(name)
        if not isinstance(value, int) or value < 1:
            raise CheckpointError(f"{self._path}: {name} must be a whole number of at least 1, not {value!r}")
        return value

    def _id_of(self, token: str) -> int:
        if token not in self._target_tokens:
            raise CheckpointError(f"{self._path.parent}: the target vocabulary has no token {token}")
        return self._target_tokens.index(token)

    def _output(self, targets: Tensor) -> tuple[Tensor | None, Tensor | None]:
        matrix, transposed = (self._optional(f"decoder_ff_logit_out_W{end}") for end in ("", "t"))
        output = transposed if matrix is None else matrix.T.contiguous()
        bias = self._optional("decoder_ff_logit_out_b")
        is_tied = output is None or (output.shape == targets.shape and torch.equal(output, targets))
        return None if is_tied else output, None if bias is None else bias.reshape(-1)

    def _put_around(self, sources: Tensor, targets: Tensor, *, is_shared: bool) -> None:
        positions = self._optional("Wpos")
        parts = [("embedding", sources, "encoder")]
        parts += [] if is_shared else [("own_target_embedding", targets, "decoder")]
        for ours, tokens, side in parts:
            self._weights[f"{ours}.tokens.weight"] = tokens
            if positions is not None:
                self._weights[f"{ours}.positions.embedding.weight"] = positions
            if f"{side}_emb_ln_scale_pre" in self._left:
                self._put_norm(f"{side}_emb", f"{ours}.norm")
        if is_shared and "decoder_emb_ln_scale_pre" in self._left:
            raise CheckpointError(f"{self._path}: source and target share tokens but not the norm of embeddings")
        for side in ("encoder", "decoder"):
            if f"{side}_top_ln_scale" in self._left:
                self._put_norm(f"{side}_top", f"{side}_norm")

    def _put_layers(self, config: ModelConfig) -> None:
        for side, count, last in (("encoder", config.encoder_layers, 1), ("decoder", config.decoder_layers, 2)):
            for layer in range(count):
                theirs, ours = f"{side}_l{layer + 1}", f"{side}.{layer}"
                self._put_attention(f"{theirs}_self", f"{ours}.self_attention", f"{ours}.residuals.0.norm")
                if side == "decoder":
                    self._put_attention(f"{theirs}_context", f"{ours}.cross_attention", f"{ours}.residuals.1.norm")
                for number, name in ((1, "inner"), (2, "outer")):
                    self._put_linear(f"{theirs}_ffn_", str(number), f"{ours}.feed_forward.{name}")
                self._put_norm(f"{theirs}_ffn_ffn", f"{ours}.residuals.{last}.norm")

    def _put_attention(self, theirs: str, ours: str, norm: str) -> None:
        for letter, name in (("q", "query"), ("k", "key"), ("v", "value"), ("o", "output")):
            self._put_linear(f"{theirs}_", letter, f"{ours}.{name}")
        self._put_norm(f"{theirs}_Wo", norm)

    def _put_linear(self, theirs: str, suffix: str, ours: str) -> None:
        weight = self._tensor(f"{theirs}W{suffix}").T.contiguous()
        bias = self._optional(f"{theirs}b{suffix}")
        self._weights[f"{ours}.weight"] = weight
        self._weights[f"{ours}.bias"] = torch.zeros(len(weight)) if bias is None else bias.reshape(-1)

    def _put_norm(self, theirs: str, ours: str) -> None:
        end = "_pre" if f"{theirs}_ln_scale_pre" in self._left else ""
        self._weights[f"{ours}.weight"] = self._tensor(f"{theirs}_ln_scale{end}").reshape(-1)
        self._weights[f"{ours}.bias"] = self._tensor(f"{theirs}_ln_bias{end}").reshape(-1)

    def _tensor(self, name: str) -> Tensor:
        tensor = self._optional(name)
        if tensor is None:
            raise CheckpointError(f"{self._path}: {name} is missing")
        return tensor

    def _optional(self, name: str, otherwise: Tensor | None = None) -> Tensor | None:
        values = self._left.pop(name, None)
        return otherwise if values is None else torch.from_numpy(np.asarray(values, np.float32))


def _with_zero(values: Tensor) -> Tensor:
    return torch.cat([values, torch.zeros(1, *values.shape[1:])])
