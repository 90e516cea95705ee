"""What an imported network can have besides its weights, learned from text at its import: a shortlist and lexical
tables from sentence pairs, and without these the attention head that tells best which words belong together."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from export.network import Network
from model.bundle import ANY_PAIR, AlignmentMethod
from model.errors import BundleError
from model.lexical import LEXICAL_FILE, LexicalTable, learn_table, save_tables
from model.reference_search import greedy_search
from model.shortlist import SHORTLIST_FILE, Lexicon, Pair, build_lexicon, save_lexicons

MOST_PAIRS = 150_000
"""Of a pair of languages: more text changes little and takes memory."""
_MOST_PIECES = 128
_TRANSLATIONS, _FREQUENT = 128, 400
_FEWEST_PAIRS = 500
_SENTENCES, _WRITTEN = 32, 48
_SMALLEST = 1e-9

Texts = Mapping[tuple[str, str], Sequence[tuple[str, str]]]
"""Sentence pairs by the languages of their sides."""


def with_text_learned(network: Network, texts: Texts, report: Callable[[str], None]) -> Network:
    """The network with a shortlist for each target language and a lexical table for each pair of `texts`.

    Raises:
        BundleError: a pair is none of the network's, or has too little text; or there would have to be shortlists of
            several languages though nothing in a source says which is wanted.
    """
    pairs = {languages: _pieces(network, languages, lines) for languages, lines in texts.items()}
    for languages, some in pairs.items():
        report(f"learning from {len(some)} sentence pairs {'-'.join(languages)}")
    into = _by_target(network, pairs)
    if len(into) > 1 and any(network.tokenizer.wanted_by(target) is None for target in into):
        raise BundleError(
            f"this network's sources do not say which language is wanted, so it can have a shortlist for one: "
            f"name one with --target, not {', '.join(into)}"
        )
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
        save_lexicons(paths[SHORTLIST_FILE], lexicons)
        save_tables(paths[LEXICAL_FILE], tables)
        return {name: path.read_bytes() for name, path in paths.items()}


def with_head_chosen(network: Network, sentences: Sequence[str]) -> Network:
    """The network with one attention head that aligns every pair which nothing else aligns.

    It is the head that tells most about where a word comes from: what it looks at is sharp for each target token (its
    entropy is low) and different for different ones (the entropy of the mean is high). A head that rests on the end of
    the sentence is sharp too, and tells nothing.
    """
    first = network.pairs()[0]
    telling = sum(_information(network, text, first) for text in sentences[:_SENTENCES])
    if not isinstance(telling, Tensor):
        return network
    layer, head = divmod(int(telling.argmax()), telling.shape[1])
    method = AlignmentMethod(evidence="attention", heads=((layer, head),))
    return dataclasses.replace(network, alignment={ANY_PAIR: method, **network.alignment})


@torch.inference_mode()
def _information(network: Network, text: str, pair: tuple[str, str]) -> Tensor:
    """[L, H]: entropy of the mean row less the mean entropy of the rows, over the tokens of the text."""
    model, config, tokenizer = network.model, network.model.config, network.tokenizer
    before, behind = tokenizer.source_frame(*pair)
    pieces = tokenizer.encode(text)[: config.max_positions - len(before) - len(behind)]
    source = torch.tensor([[*before, *pieces, *behind]])
    mask = torch.ones_like(source, dtype=torch.bool)
    prefix = tokenizer.target_prefix(pair[1])
    [written] = greedy_search(model, source, mask, max_output_tokens=_WRITTEN, prefix=prefix)
    target = torch.tensor([[config.start_id, *prefix, *written]])
    _, attention = model.states_with_attention(source, mask, target)
    cross = torch.stack(attention.cross)[:, 0]  # [L, H, T, S]
    rows = cross[:, :, len(prefix) :, len(before) : len(before) + len(pieces)]
    shares = rows / rows.sum(-1, keepdim=True).clamp_min(_SMALLEST)
    return (_entropy(shares.mean(2)) - _entropy(shares).mean(2)) * rows.sum(-1).mean(2)


def _entropy(shares: Tensor) -> Tensor:
    return -(shares * shares.clamp_min(_SMALLEST).log()).sum(-1)
