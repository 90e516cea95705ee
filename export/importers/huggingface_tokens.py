"""Tokenisers of Hugging Face folders: Marian's, M2M100's, NLLB's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from export.importers.files import read_json, read_optional_json, required
from export.importers.request import Request, chosen, tagged, text_of
from export.importers.tokens import Tokens, by_id, folds_case
from export.languages import bcp47
from model.bundle import TokenizerSpec
from model.errors import BundleError, CheckpointError
from model.tokenizers import load_processor

_PIECES = "sentencepiece.bpe.model"
_M2M100 = (
    "af am ar ast az ba be bg bn br bs ca ceb cs cy da de el en es et fa ff fi fr fy ga gd gl gu ha he "
    "hi hr ht hu hy id ig ilo is it ja jv ka kk km kn ko lb lg ln lo lt lv mg mk ml mn mr ms my ne nl no "
    "ns oc or pa pl ps pt ro ru sd si sk sl so sq sr ss su sv sw ta th tl tn tr uk ur uz vi wo xh yi yo "
    "zh zu "
)
_WMT21 = "en ha is ja cs ru zh de"
M2M100_CODES, WMT21_CODES = _M2M100.split(), _WMT21.split()
"""In the order in which fairseq appended them to its dictionaries."""


def read_tokens(directory: Path, kind: str, request: Request) -> Tokens:
    """The tokeniser of a folder whose network is of this kind.

    Raises:
        CheckpointError, VocabularyError: a file of it is missing or damaged.
        BundleError: the languages asked for are not the network's, or nobody says which it has.
    """
    settings = read_optional_json(directory / "tokenizer_config.json")
    if kind == "marian":
        return _marian(directory, settings, request)
    if (directory / "vocab.json").is_file() and "nllb" not in str(settings.get("tokenizer_class", "")).lower():
        return _m2m100(directory, settings, request)
    return _nllb(directory, settings, request)


def _special(settings: Mapping[str, Any], *names: str) -> dict[str, str]:
    usual = {"eos": "</s>", "unk": "<unk>", "pad": "<pad>", "bos": "<s>", "mask": "<mask>"}
    return {name: text_of(settings.get(f"{name}_token") or usual[name]) for name in names}


def _marian(directory: Path, settings: Mapping[str, Any], request: Request) -> Tokens:
    what = "a SentencePiece model of the tokeniser"
    source_pieces, target_pieces = (required(directory / f"{side}.spm", what) for side in ("source", "target"))
    path = required(directory / "vocab.json", "the list of the tokeniser's tokens")
    source = by_id(read_json(path), path)
    target = None
    if settings.get("separate_vocabs"):
        path = required(directory / "target_vocab.json", "the list of the target's tokens")
        target = by_id(read_json(path), path)
    special = _special(settings, "eos", "unk", "pad")
    tags = tagged((token[2:-2], token) for token in source if re.fullmatch(r">>[\w-]+<<", token))
    said = _said_pair(directory, settings)
    languages = chosen(request, said[0], tuple(tags) or said[1], tags)
    spec = TokenizerSpec(
        kind="listed",
        source_prefix=("{target}",) if tags else (),
        source_suffix=(special["eos"],),
        tags=languages.tags,
        case="folded" if folds_case(source_pieces) else "kept",
    )
    silent = [*special.values(), *tags.values()]
    return Tokens(source_pieces, target_pieces, source, target, special["unk"], silent, spec, languages)


def _said_pair(directory: Path, settings: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Source and target languages, as the tokeniser's config or the folder's name says: `opus-mt-de-en`."""
    config = read_optional_json(directory / "config.json")
    names = (str(config.get("_name_or_path", "")), directory.resolve().name)
    said = [(settings.get("source_lang"), settings.get("target_lang"))]
    said += [(match[1], match[2]) for match in map(_NAME.search, names) if match]
    for pair in said:
        codes = tuple(_codes(code) for code in pair)
        if any(codes):
            return codes[0], codes[1]
    return (), ()


_NAME = re.compile(r"opus-mt-(?:tc-(?:base|big)-)?([A-Za-z_]+)-([A-Za-z_]+)$")


def _codes(said: object) -> tuple[str, ...]:
    """Languages in `de` or `de+nl`; none if one of them is a family such as `gem` or `ROMANCE`."""
    try:
        return tuple(bcp47(code) for code in str(said or "").split("+") if said)
    except BundleError:
        return ()


def _m2m100(directory: Path, settings: Mapping[str, Any], request: Request) -> Tokens:
    pieces = required(directory / _PIECES, "the SentencePiece model of the tokeniser")
    path = directory / "vocab.json"
    named = by_id(read_json(path), path)
    codes = WMT21_CODES if settings.get("language_codes") == "wmt21" else M2M100_CODES
    tokens = [*named, *(f"__{code}__" for code in codes)]
    special = _special(settings, "eos", "unk", "pad", "bos")
    return _fairseq(pieces, tokens, special, {code: f"__{code}__" for code in codes}, request)


def _nllb(directory: Path, settings: Mapping[str, Any], request: Request) -> Tokens:
    pieces = required(directory / _PIECES, "the SentencePiece model of the tokeniser")
    codes = _nllb_codes(directory, settings)
    special = _special(settings, "eos", "unk", "pad", "bos", "mask")
    processor = load_processor(pieces)
    head = [special[name] for name in ("bos", "pad", "eos", "unk")]
    body = [str(processor.IdToPiece(place)) for place in range(3, processor.GetPieceSize())]
    known = read_optional_json(directory / "tokenizer.json")
    tokens = _listed([*head, *body], known, directory) if known else [*head, *body, *codes, special["mask"]]
    is_legacy = bool(settings.get("legacy_behaviour", False))
    return _fairseq(pieces, tokens, special, {code: code for code in codes}, request, is_legacy=is_legacy)


def _nllb_codes(directory: Path, settings: Mapping[str, Any]) -> list[str]:
    """Language codes in the order of their ids, from whichever file lists them."""
    sources = (settings, read_optional_json(directory / "special_tokens_map.json"))
    for values in sources:
        for key in ("additional_special_tokens", "extra_special_tokens"):
            listed = values.get(key)
            codes = [text_of(token) for token in listed] if isinstance(listed, list) else []
            if found := [code for code in codes if _NLLB_CODE.fullmatch(code)]:
                return found
    added = read_optional_json(directory / "tokenizer.json").get("added_tokens", [])
    by_place = sorted((int(token["id"]), str(token["content"])) for token in added)
    if found := [code for _, code in by_place if _NLLB_CODE.fullmatch(code)]:
        return found
    raise CheckpointError(f"{directory}: no file of the tokeniser lists the codes of the languages")


_NLLB_CODE = re.compile(r"[a-z]{3}_[A-Z][a-z]{3}")


def _listed(tokens: list[str], known: Mapping[str, Any], directory: Path) -> list[str]:
    """All tokens of a tokenizer.json, which knows those that were added too; it has to begin with these."""
    ids = dict(known.get("model", {}).get("vocab", {}))
    ids |= {str(added["content"]): int(added["id"]) for added in known.get("added_tokens", [])}
    listed = by_id(ids, directory / "tokenizer.json")
    if listed[: len(tokens)] != tokens:
        raise CheckpointError(f"{directory}: {_PIECES} and tokenizer.json do not belong together")
    return listed


def _fairseq(
    pieces: Path,
    tokens: list[str],
    special: Mapping[str, str],
    tokens_by_code: Mapping[str, str],
    request: Request,
    *,
    is_legacy: bool = False,
) -> Tokens:
    """Source: language, pieces, end; in the older manner pieces, end, language. Output: language, pieces, end."""
    tags = tagged(tokens_by_code.items())
    languages = chosen(request, tuple(tags), tuple(tags), tags)
    spec = TokenizerSpec(
        kind="listed",
        source_prefix=() if is_legacy else ("{source}",),
        source_suffix=(special["eos"], "{source}") if is_legacy else (special["eos"],),
        target_prefix=("{target}",),
        tags=languages.tags,
    )
    silent = [*special.values(), *tokens_by_code.values()]
    return Tokens(pieces, None, tokens, None, special["unk"], silent, spec, languages)
