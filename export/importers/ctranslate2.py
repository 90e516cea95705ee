"""CTranslate2 models, and Argos packages that hold one, as LibreTranslate installs them.

Nothing of CTranslate2 is needed to read them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from export.importers.building import built
from export.importers.card import card_for
from export.importers.ctranslate2_file import Array, read_variables
from export.importers.ctranslate2_weights import Translation
from export.importers.files import left_out, read_json, read_optional_json, required
from export.importers.kinds import METADATA_FILE, MODEL_FILE, is_argos_folder
from export.importers.origin import stated_licence
from export.importers.request import Languages, Request, chosen, tagged
from export.importers.tokens import Tokens, folds_case
from export.network import CARD_FILE, Network
from model.bundle import TokenizerSpec, sha256
from model.errors import CheckpointError, VocabularyError


@contextlib.contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """The folder of a package; that of a file is gone after the context.

    Raises:
        CheckpointError: the file holds no package, or names that lead out of its folder.
    """
    if path.is_dir():
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="attend-import-") as scratch:
        try:
            with zipfile.ZipFile(path) as archive:
                archive.extractall(scratch)  # leaves out `..` and absolute names
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
            raise CheckpointError(f"{path}: damaged package: {error}") from error
        folders = [each.parent for each in Path(scratch).glob(f"*/{METADATA_FILE}")]
        if len(folders) != 1 or not is_argos_folder(folders[0]):
            raise CheckpointError(f"{path}: holds no Argos package with a CTranslate2 model")
        yield folders[0]


def read_package(directory: Path, request: Request) -> Network:
    """The network of an unpacked Argos package.

    Raises:
        CheckpointError: something is missing, damaged, or of a kind this project cannot run.
    """
    metadata = read_json(directory / METADATA_FILE)
    if (directory / "bpe.model").is_file() and not (directory / "sentencepiece.model").is_file():
        raise CheckpointError(f"{directory}: bpe.model, a tokeniser of subword-nmt, cannot be imported")
    codes = tuple(str(metadata.get(f"{side}_code", "")) for side in ("from", "to"))
    said = Request(request.sources or codes[:1], request.targets or codes[1:], name=request.name or "-".join(codes))
    pieces = required(directory / "sentencepiece.model", "the SentencePiece model of the tokeniser")
    prefix = str(metadata.get("target_prefix") or "")
    network = _read(directory / "model", said, (pieces, None), (prefix,) if prefix else ())
    version = metadata.get("package_version")
    origin = f"Argos package {'-'.join(codes)}" + (f" {version}" if version else "")
    return card_for(dataclasses.replace(network, origin=origin, licence=stated_licence(directory)))


def read_network(directory: Path, request: Request) -> Network:
    """The network of a folder that a converter of CTranslate2 wrote, with the tokeniser's files copied into it.

    Raises:
        CheckpointError: something is missing, damaged, or of a kind this project cannot run.
        BundleError: the languages asked for are not the network's, or nobody says which it has.
    """
    return card_for(_read(directory, request, _pieces(directory), ()))


def _pieces(directory: Path) -> tuple[Path, Path | None]:
    if (directory / "source.spm").is_file() and (directory / "target.spm").is_file():
        return directory / "source.spm", directory / "target.spm"
    for name in ("sentencepiece.bpe.model", "sentencepiece.model", "spm.model"):
        if (directory / name).is_file():
            return directory / name, None
    raise CheckpointError(
        f"{directory}: no SentencePiece model; copy source.spm and target.spm, or sentencepiece.model, into it"
    )


def _read(directory: Path, request: Request, pieces: tuple[Path, Path | None], prefix: tuple[str, ...]) -> Network:
    path = directory / MODEL_FILE
    variables = read_variables(path)
    settings = {**_usual_settings(variables), **read_optional_json(directory / "config.json")}
    source, target = _vocabularies(directory)
    config, weights = Translation(variables, settings, target, path).result()
    tokens = _tokens(pieces, (source, target), settings, request, prefix)
    return Network(
        name=request.name or directory.resolve().name,
        model=built(config, weights, directory),
        tokenizer=tokens.tokenizer(config.vocabulary_size, config.output_size),
        tokenizer_spec=tokens.spec,
        languages=tokens.languages.groups,
        language_names=tokens.languages.names,
        files={**tokens.files(config.vocabulary_size, config.output_size), CARD_FILE: b""},
        provenance={"format": "CTranslate2", "files": {MODEL_FILE: sha256(path)}},
        licence=stated_licence(directory),
        notes=left_out(directory),
    )


def _usual_settings(variables: Mapping[str, Array]) -> dict[str, Any]:
    """What config.json says; older models have it among their variables, or have the usual."""
    flags = {f"add_source_{side}": bool(variables.get(f"with_source_{side}", False)) for side in ("bos", "eos")}
    return {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "decoder_start_token": "<s>", **flags}


def _vocabularies(directory: Path) -> tuple[list[str], list[str]]:
    shared = _vocabulary(directory, "shared")
    if shared is not None:
        return shared, shared
    source, target = (_vocabulary(directory, side) for side in ("source", "target"))
    if source is None or target is None:
        raise CheckpointError(f"{directory}: no vocabulary: neither shared_vocabulary.json nor one of each side")
    return source, source if source == target else target


def _vocabulary(directory: Path, side: str) -> list[str] | None:
    path = directory / f"{side}_vocabulary.json"
    try:
        if path.is_file():
            tokens = json.loads(path.read_text(encoding="utf-8"))
        elif path.with_suffix(".txt").is_file():
            tokens = path.with_suffix(".txt").read_text(encoding="utf-8").rstrip("\n").split("\n")
        else:
            return None
    except ValueError as error:
        raise VocabularyError(f"{path}: not a list of tokens: {error}") from error
    if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
        raise VocabularyError(f"{path}: not a list of tokens")
    return tokens


def _tokens(
    pieces: tuple[Path, Path | None],
    vocabularies: tuple[list[str], list[str]],
    settings: Mapping[str, Any],
    request: Request,
    prefix: tuple[str, ...],
) -> Tokens:
    source, target = vocabularies
    special = [str(settings[f"{name}_token"]) for name in ("unk", "bos", "eos")]
    before = (special[1],) if settings["add_source_bos"] else ()
    behind = (special[2],) if settings["add_source_eos"] else ()
    languages, named = _languages(source, request)
    if named == "tags":
        before = (*before, "{target}")
        behind = behind or (special[2],)
    elif named == "codes":
        before, behind, prefix = ("{source}",), (special[2],), ("{target}",)
    elif special[2] in source and not behind and settings["decoder_start_token"] == special[2]:
        behind = (special[2],)  # Marian's networks, whose converter leaves the end token to the caller
    spec = TokenizerSpec(
        kind="listed",
        source_prefix=before,
        source_suffix=behind,
        target_prefix=prefix,
        tags=languages.tags,
        case="folded" if folds_case(pieces[0]) else "kept",
    )
    silent = [*special, *languages.tags.values(), *prefix]
    return Tokens(*pieces, source, None if source is target else target, special[0], silent, spec, languages)


def _languages(tokens: Sequence[str], request: Request) -> tuple[Languages, str]:
    """The languages, and whether their tokens are `tags` of targets, `codes` of both sides, or there are none."""
    by_tag = tagged((token[2:-2], token) for token in tokens if token.startswith(">>") and token.endswith("<<"))
    if by_tag:
        return chosen(request, (), tuple(by_tag), by_tag), "tags"
    by_code = tagged(
        (token.strip("_"), token)
        for token in tokens
        if (token.startswith("__") and token.endswith("__")) or (len(token) == 8 and token[3] == "_")
    )
    if by_code:
        return chosen(request, tuple(by_code), tuple(by_code), by_code), "codes"
    return chosen(request, (), (), {}), "none"
