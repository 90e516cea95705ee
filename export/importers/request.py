"""What a person asks an importer for, and what it answers about a folder before it reads weights."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from export.languages import Detail, bcp47, language_names
from model.bundle import LanguageGroup
from model.errors import BundleError


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """Which of a network's languages are wanted, as BCP-47 tags or as the network calls them; empty: all it has."""

    sources: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    """On both sides."""
    name: str | None = None
    """What the bundle is called; None: as the folder is."""


@dataclasses.dataclass(frozen=True, slots=True)
class Languages:
    """What a network reads and writes, and the tokens that stand for its languages."""

    groups: tuple[LanguageGroup, ...]
    names: Mapping[str, str]
    tags: Mapping[str, str]


def tagged(codes: Iterable[tuple[str, str]]) -> dict[str, str]:
    """BCP-47 tags of a network's (code, token), as short as its languages can be told apart by.

    Codes that are no language's, such as `mul`, are left out.
    """
    known = [(code, token) for code, token in codes if _is_language(code)]
    details: tuple[Detail, ...] = ("language", "script", "everything")
    counts = [collections.Counter(bcp47(code, detail) for code, _ in known) for detail in details]
    found: dict[str, str] = {}
    for code, token in known:
        tags = [bcp47(code, detail) for detail in details]
        unique = (tag for tag, count in zip(tags, counts, strict=True) if count[tag] == 1)
        found.setdefault(next(unique, tags[-1]), token)
    return found


def _is_language(code: str) -> bool:
    try:
        return bool(bcp47(code))
    except BundleError:
        return False


def chosen(request: Request, sources: Sequence[str], targets: Sequence[str], tags: Mapping[str, str]) -> Languages:
    """What is asked for of what there is; an empty list of `sources` or `targets` means that the network does not say.

    Raises:
        BundleError: something else is asked for, or nothing is known and nothing asked for.
    """
    wanted_sources = _chosen("source", request.sources or request.languages, sources, tags)
    wanted_targets = _chosen("target", request.targets or request.languages, targets, tags)
    if set(wanted_sources) | set(wanted_targets) == set(wanted_sources) & set(wanted_targets) == {wanted_sources[0]}:
        raise BundleError(f"source and target are both {wanted_sources[0]}; name two languages")
    codes = dict.fromkeys((*wanted_sources, *wanted_targets))
    kept = {code: tags[code] for code in codes if code in tags}
    group = LanguageGroup(sources=wanted_sources, targets=wanted_targets)
    return Languages((group,), language_names(codes), kept)


def _chosen(side: str, wanted: Sequence[str], known: Sequence[str], tags: Mapping[str, str]) -> tuple[str, ...]:
    if not wanted:
        if not known:
            raise BundleError(f"the checkpoint does not say its {side} language; name it with --{side}")
        return tuple(known)
    own_names = {token.strip("_<>"): code for code, token in tags.items()}
    found = tuple(dict.fromkeys(own_names.get(code) or bcp47(code) for code in wanted))
    unknown = [code for code in found if known and code not in known]
    if unknown:
        some = ", ".join(sorted(known)[:20]) + (", ..." if len(known) > 20 else "")
        raise BundleError(f"{unknown[0]} is no {side} language of this network; it has {some}")
    return found


def text_of(token: Any) -> str:
    """A special token as tokenizer_config.json writes it: a string, or an object that holds one."""
    return str(token["content"] if isinstance(token, dict) else token)
