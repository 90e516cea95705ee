"""What an imported network can have besides its weights, learned from sentence pairs at its import: a shortlist and
lexical tables."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from export.network import Network
from model.bundle import AlignmentMethod
from model.errors import BundleError
from model.lexical import LEXICAL_FILE, LexicalTable, learn_table, save_tables
from model.shortlist import SHORTLIST_FILE, Lexicon, Pair, build_lexicon, save_lexicons

MOST_PAIRS = 150_000
"""Of a pair of languages: more text changes little and takes memory."""
_MOST_PIECES = 128
_TRANSLATIONS, _FREQUENT = 128, 400
_FEWEST_PAIRS = 500

Texts = Mapping[tuple[str, str], Sequence[tuple[str, str]]]
"""Sentence pairs by the languages of their sides."""


def with_text_learned(network: Network, texts: Texts, report: Callable[[str], None]) -> Network:
    """The network with a shortlist for each target language and a lexical table for each pair of `texts`.

    There is no shortlist where nothing in a source says which of several languages is wanted.

    Raises:
        BundleError: a pair is none of the network's, or has too little text.
    """
    pairs = {languages: _pieces(network, languages, lines) for languages, lines in texts.items()}
    for languages, some in pairs.items():
        report(f"learning from {len(some)} sentence pairs {'-'.join(languages)}")
    into = _by_target(network, pairs)
    if not _can_tell_targets(network):
        report("no shortlist: nothing in a source says which of the languages is wanted; name one with --target")
        into = {}
    size = max(network.tokenizer.source_size, len(network.tokenizer))
    sizes = {"most": _TRANSLATIONS, "frequent": _FREQUENT, "end": network.model.config.eos_id}
    lexicons = {target: build_lexicon(some, size, **sizes) for target, some in into.items()}
    tables = {"_".join(languages): learn_table(some, size) for languages, some in pairs.items()}
    both = [direction for source, target in pairs for direction in ((source, target), (target, source))]
    methods = {"-".join(direction): AlignmentMethod(evidence="hmm") for direction in both if _has(network, direction)}
    files = {**network.files, **_files(lexicons, tables)}
    return dataclasses.replace(network, files=files, alignment={**network.alignment, **methods})


def _has(network: Network, direction: tuple[str, str]) -> bool:
    source, target = direction
    return any(source in group.sources and target in group.targets for group in network.languages)


def _can_tell_targets(network: Network) -> bool:
    targets = {target for group in network.languages for target in group.targets}
    return len(targets) == 1 or all(network.tokenizer.wanted_by(target) is not None for target in targets)


def _pieces(network: Network, languages: tuple[str, str], lines: Sequence[tuple[str, str]]) -> list[Pair]:
    if not _has(network, languages):
        raise BundleError(f"--text {'-'.join(languages)}: not a pair of languages of this network")
    read, write = network.tokenizer.encode, network.tokenizer.encode_target
    pairs = [(read(source), write(target)) for source, target in lines[:MOST_PAIRS]]
    kept = [pair for pair in pairs if min(map(len, pair)) > 0 and max(map(len, pair)) <= _MOST_PIECES]
    if len(kept) < _FEWEST_PAIRS:
        raise BundleError(f"--text {'-'.join(languages)}: {len(kept)} sentence pairs, {_FEWEST_PAIRS} are needed")
    return kept


def _by_target(network: Network, pairs: Mapping[tuple[str, str], Sequence[Pair]]) -> dict[str, list[Pair]]:
    """Pairs by the language that is written: those of a pair serve the other direction too, if both sides have one
    vocabulary."""
    is_shared = list(network.tokenizer.copies) == list(range(network.tokenizer.source_size))
    found: dict[str, list[Pair]] = {}
    for (source, target), some in pairs.items():
        found.setdefault(target, []).extend(some)
        if is_shared and _has(network, (target, source)) and (target, source) not in pairs:
            found.setdefault(source, []).extend((written, read) for read, written in some)
    return found


def _files(lexicons: Mapping[str, Lexicon], tables: Mapping[str, LexicalTable]) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as scratch:
        paths = {name: Path(scratch) / name for name in (SHORTLIST_FILE, LEXICAL_FILE)}
        if lexicons:
            save_lexicons(paths[SHORTLIST_FILE], lexicons)
        save_tables(paths[LEXICAL_FILE], tables)
        return {name: path.read_bytes() for name, path in paths.items() if path.is_file()}
