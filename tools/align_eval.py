"""attend align-eval: how far a bundle's alignments are from those people made, and which way is best.

The way is chosen on the first half of the sentences and reported on the second.
Shapes: L decoder layers, H heads, I source words, J target words.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from model.arguments import not_negative
from model.bundle import AlignmentMethod, check_files
from model.errors import DataError
from service.engine.bundle import Bundle
from service.engine.decoder.opening import open_scoring_engine
from service.engine.hmm import hmm_evidence
from service.engine.loading import run_here, share_of
from service.engine.scores import ScoringJob
from service.engine.types import EngineConfig
from service.explain.alignment import (
    GoldAlignment,
    alignment_error_rate,
    attention_evidence,
    by_words,
    erasure_evidence,
    link,
    membership,
    near_diagonal,
    shares,
)
from service.explain.attention import attention_stacks
from service.explain.details import Side
from service.text.languages import separates_sentences_with_spaces
from service.text.reading import Reader

if TYPE_CHECKING:
    from service.arrays import Array
    from service.engine.scores import Score
    from service.text.edits import Span

Row = Literal["predicts", "consumes"]
Symmetrisation = Literal["target", "source", "intersection", "union", "grow-diag"]

ROWS: tuple[Row, ...] = ("predicts", "consumes")
SYMMETRISATIONS: tuple[Symmetrisation, ...] = ("target", "source", "intersection", "union", "grow-diag")
DIAGONALS = (0.0, 2.0, 4.0)
MOST_HEADS = 4
"""Sets of up to so many of the best heads are tried."""

# The tokenisation of the gold sentences, undone.
_TREEBANK = {"-LRB-": "(", "-RRB-": ")", "``": '"', "''": '"'}
_FULL_WIDTH = str.maketrans(",()?!:;", "，（）？！：；")
_JOINS_LEFT = {
    "en": re.compile(r"[.,;:?!%)\]…]|'(?:s|re|ve|ll|d|m)?|n't", re.IGNORECASE),
    "fr": re.compile(r"[.,)\]…]"),
}
_JOINS_RIGHT = {"en": re.compile(r"[(\[]"), "fr": re.compile(r"[(\[]|.*['’]")}


@dataclasses.dataclass(frozen=True, slots=True)
class GoldSet:
    """Sentences of one direction with the links between their words."""

    name: str
    direction: str
    pairs: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]
    """Source and target words."""
    gold: tuple[GoldAlignment, ...]

    @property
    def half(self) -> int:
        """How many sentences the choice is made on."""
        return (len(self.pairs) + 1) // 2

    def reversed(self) -> GoldSet:
        """The same sentences, translated the other way."""
        source, _, target = self.direction.partition("-")
        gold = (GoldAlignment(_turned(each.sure), _turned(each.possible)) for each in self.gold)
        return GoldSet(self.name, f"{target}-{source}", tuple((y, x) for x, y in self.pairs), tuple(gold))


def _turned(links: frozenset[tuple[int, int]]) -> frozenset[tuple[int, int]]:
    return frozenset((j, i) for i, j in links)


def read_gold(file: Path) -> GoldSet:
    """The set of `xx-yy.NAME.xx-yy.talp`, whose sentences are in `xx-yy.NAME.xx` and `xx-yy.NAME.yy` beside it.

    A line of links has `i-j` for a sure and `ipj` for a possible one, `i` and `j` counting words of xx and yy from 0.

    Raises:
        DataError: a file is missing, or the files do not belong together.
    """
    stem, pair, _ = file.name.rsplit(".", 2)
    sides = [file.with_name(f"{stem}.{language}") for language in pair.split("-")]
    try:
        links, *words = [path.read_text(encoding="utf-8").splitlines() for path in (file, *sides)]
    except FileNotFoundError as error:
        raise DataError(f"{error.filename}: no such file, but {file} needs it") from None
    if not len(links) == len(words[0]) == len(words[1]):
        raise DataError(f"{file}: {len(links)} lines of links for {len(words[0])} and {len(words[1])} sentences")
    pairs = tuple((tuple(x.split()), tuple(y.split())) for x, y in zip(*words, strict=True))
    return GoldSet(
        stem, pair, pairs, tuple(_read_links(file, line, pair) for line, pair in zip(links, pairs, strict=True))
    )


def _read_links(file: Path, line: str, pair: tuple[tuple[str, ...], tuple[str, ...]]) -> GoldAlignment:
    found: dict[str, set[tuple[int, int]]] = {"-": set(), "p": set()}
    for entry in line.split():
        match = re.fullmatch(r"(\d+)([-p])(\d+)", entry)
        if not match or int(match[1]) >= len(pair[0]) or int(match[3]) >= len(pair[1]):
            raise DataError(f"{file}: {entry!r} is no link of a sentence with {len(pair[0])} and {len(pair[1])} words")
        found[match[2]].add((int(match[1]), int(match[3])))
    return GoldAlignment(frozenset(found["-"]), frozenset(found["-"] | found["p"]))


def joined(words: Sequence[str], language: str) -> tuple[str, list[Span]]:
    """Tokenised words as the text they were, and the span of each word in it."""
    text, spans, previous = "", [], ""
    for word in words:
        word = _TREEBANK.get(word, word)
        if not separates_sentences_with_spaces(language):
            word = word.translate(_FULL_WIDTH) if len(word) == 1 else word
        elif text and not _are_joined(previous, word, language):
            text += " "
        spans.append((len(text), len(text) + len(word)))
        text, previous = text + word, word
    return text, spans


def _are_joined(left: str, right: str, language: str) -> bool:
    before, after = _JOINS_LEFT.get(language), _JOINS_RIGHT.get(language)
    return bool((before and before.fullmatch(right)) or (after and after.fullmatch(left)))


@dataclasses.dataclass(frozen=True, slots=True)
class Evidence:
    """What links one sentence's words, both ways of getting it."""

    heads: dict[Row, Array]
    """[L, H, J, I]."""
    erasure: Array
    """[J, I]."""
    hmm: Array | None
    """[J, I]; None without lexical translation probabilities of this direction."""

    def by(self, method: AlignmentMethod) -> Array:
        """[J, I]."""
        if method.evidence == "erasure":
            return self.erasure
        if method.evidence == "hmm":
            assert self.hmm is not None
            return self.hmm
        heads = self.heads[method.row]
        return np.asarray(np.mean([heads[layer, head] for layer, head in method.heads], axis=0))


class Aligner:
    """Gold sentences through the scorer of one bundle."""

    def __init__(self, bundle: Path, threads: int) -> None:
        read = Bundle.read(bundle)
        self.manifest = read.manifest
        check_files(bundle, self.manifest)
        self._vocabulary = read.vocabulary
        self._lexical = read.lexical_tables()
        self._engine, _ = open_scoring_engine(share_of(EngineConfig(directory=bundle, threads=threads), 1))
        layers, heads = attention_stacks(self.manifest)["cross"]
        self.heads = tuple(itertools.product(range(layers), range(heads)))
        self._known: dict[tuple[str, str], list[Evidence]] = {}

    def evidence(self, gold: GoldSet) -> list[Evidence]:
        """Of every sentence, in order; kept, for the other direction asks too."""
        key = gold.name, gold.direction
        if key not in self._known:
            plans = [self._plan(pair, *gold.direction.split("-")) for pair in gold.pairs]
            results = iter(run_here(self._engine, [job for jobs, _ in plans for job in jobs]))
            self._known[key] = [finish(list(itertools.islice(results, len(jobs)))) for jobs, finish in plans]
        return self._known[key]

    def _plan(
        self, pair: tuple[Sequence[str], Sequence[str]], source_language: str, target_language: str
    ) -> tuple[list[ScoringJob], Callable[[Sequence[Score]], Evidence]]:
        (source_text, source_words), (target_text, target_words) = (
            joined(words, language) for words, language in zip(pair, (source_language, target_language), strict=True)
        )
        source, target = (
            Side.of_source(text, 0, Reader(language, self._vocabulary))
            for text, language in ((source_text, source_language), (target_text, target_language))
        )
        source = source.framed(self._vocabulary.source_frame(source_language, target_language))
        target = target.framed(((), (self.manifest.special_ids.eos,)))
        silent = self._vocabulary.target_prefix(target_language)
        hidden = [source.places_of(word) for word in source_words]
        jobs = [
            ScoringJob(source.all_ids, target.ids, attention=("cross",), silent_prefix=silent),
            *(ScoringJob(source.all_ids, target.ids, some, silent_prefix=silent) for some in hidden),
        ]
        of_source = membership(source.all_spans, source_words)
        of_target = membership(target.all_spans, target_words)

        table = self._lexical.get(f"{source_language}-{target_language}")

        def finish(scores: Sequence[Score]) -> Evidence:
            cross = scores[0].attention["cross"]
            by_row = {row: self._every_head(cross, of_source, of_target, row) for row in ROWS}
            erasure = erasure_evidence(np.stack([score.token_log_probs for score in scores]), of_target)
            if table is None:
                return Evidence(by_row, erasure, None)
            pieces = hmm_evidence(source.ids, target.ids, table)
            return Evidence(by_row, erasure, by_words(pieces, of_source[1:-1], of_target[:-1]))

        return jobs, finish

    def _every_head(self, cross: Array, source: Array, target: Array, row: Row) -> Array:
        each = [attention_evidence(cross, source, target, by_attention([head], row)) for head in self.heads]
        return np.stack(each).reshape(*cross.shape[:2], target.shape[1], source.shape[1])


def by_attention(heads: Sequence[tuple[int, int]], row: Row) -> AlignmentMethod:
    """Each target word with the source word that these heads look at most."""
    return AlignmentMethod(evidence="attention", heads=tuple(heads), row=row, symmetrisation="target")


@dataclasses.dataclass(frozen=True, slots=True)
class Trial:
    """A method, or one with a second direction's evidence, and its AER on both halves."""

    label: str
    method: AlignmentMethod
    chosen_on: float
    reported_on: float


class Trials:
    """Tries methods on the sentences of one direction."""

    def __init__(self, gold: GoldSet, evidence: Sequence[Evidence]) -> None:
        self._gold = gold
        self._evidence = evidence

    @property
    def has_hmm(self) -> bool:
        """Whether there are lexical translation probabilities of this direction."""
        return all(each.hmm is not None for each in self._evidence)

    def run(self, label: str, method: AlignmentMethod, backward: Sequence[Evidence] | None = None) -> Trial:
        """AER of a method; `backward` is the evidence of the model of the other direction."""
        found = []
        for index, evidence in enumerate(self._evidence):
            forward = near_diagonal(evidence.by(method), method.diagonal)
            other = near_diagonal(backward[index].by(method).T, method.diagonal) if backward else None
            found.append(link(forward, method.symmetrisation, other))
        half = self._gold.half
        first = alignment_error_rate(found[:half], self._gold.gold[:half])
        return Trial(label, method, first, alignment_error_rate(found[half:], self._gold.gold[half:]))

    def entropy(self, head: tuple[int, int], row: Row) -> float:
        """Mean entropy, in nats, of what a target word looks at, on the first half; needs no gold links."""
        rows = np.concatenate([_entropies(each.heads[row][head]) for each in self._evidence[: self._gold.half]])
        return float(rows.mean())


def _entropies(evidence: Array) -> Array:
    parts = shares(evidence)
    return np.asarray(-(parts * np.log(np.maximum(parts, 1e-12))).sum(axis=1))


def single_heads(trials: Trials, heads: Sequence[tuple[int, int]]) -> list[Trial]:
    """Every layer and head alone, with either row."""
    return [trials.run(f"layer {head[0]} head {head[1]}", by_attention([head], row)) for row in ROWS for head in heads]


def combinations(trials: Trials, singles: Sequence[Trial], heads: Sequence[tuple[int, int]]) -> Iterator[Trial]:
    """Means of heads, heads chosen by entropy or on the first half, and erasure; each target word's best source."""
    layers = sorted({layer for layer, _ in heads})
    for row in ROWS:
        yield trials.run("all heads", by_attention(heads, row))
        for layer in layers:
            yield trials.run(f"layer {layer}", by_attention([head for head in heads if head[0] == layer], row))
        sharpest = min(heads, key=lambda head: trials.entropy(head, row))
        yield trials.run("head of least entropy", by_attention([sharpest], row))
        ranked = sorted((each for each in singles if each.method.row == row), key=lambda each: each.chosen_on)
        for count in range(1, MOST_HEADS + 1):
            best = [each.method.heads[0] for each in ranked[:count]]
            yield trials.run(f"best {count} on the first half", by_attention(best, row))
    yield trials.run("erasure", AlignmentMethod(evidence="erasure", symmetrisation="target"))
    if trials.has_hmm:
        yield trials.run("hmm", AlignmentMethod(evidence="hmm", symmetrisation="target"))


def refinements(trials: Trials, trial: Trial, backward: Sequence[Evidence] | None) -> Iterator[Trial]:
    """The trial's evidence with every symmetrisation and diagonal, of one direction or of both."""
    sides: list[tuple[str, Sequence[Evidence] | None]] = [("", None), *([(" + reverse", backward)] if backward else [])]
    for (suffix, other), symmetrisation, diagonal in itertools.product(sides, SYMMETRISATIONS, DIAGONALS):
        changes = {"symmetrisation": symmetrisation, "diagonal": diagonal}
        yield trials.run(trial.label + suffix, trial.method.model_copy(update=changes), other)


def add_command(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The command's arguments."""
    parser = subparsers.add_parser("align-eval", help="measure and choose alignments against gold links")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--gold", type=Path, required=True, help="folder of xx-yy.NAME.{xx,yy,xx-yy.talp}")
    parser.add_argument("--direction", action="append", help="only this one, e.g. zh-en; may be repeated")
    parser.add_argument("--threads", type=not_negative, default=0, help="0: one a core")
    parser.add_argument("--out", type=Path, help="write the choice, for `python -m export --alignment`")
    parser.set_defaults(run_command=_align_eval)


def _align_eval(options: argparse.Namespace) -> None:
    aligner = Aligner(options.bundle, options.threads)
    wanted = options.direction or aligner.manifest.directions
    sets = [read_gold(file) for file in sorted(options.gold.glob("*.talp"))]
    sets = [gold for each in sets for gold in (each, each.reversed()) if gold.direction in wanted]
    if not sets:
        raise DataError(f"{options.gold}: no gold links for {', '.join(wanted)}")
    chosen = {}
    for gold in sets:
        chosen[gold.direction] = _measure(aligner, gold)
    text = json.dumps({direction: method.model_dump(mode="json") for direction, method in chosen.items()})
    print(text)
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")


def _measure(aligner: Aligner, gold: GoldSet) -> AlignmentMethod:
    """Print the tables of one direction; returns the method that was best on the first half, by itself."""
    backward = gold.reversed()
    other = aligner.evidence(backward) if backward.direction in aligner.manifest.directions else None
    trials = Trials(gold, aligner.evidence(gold))
    rest = len(gold.pairs) - gold.half
    print(f"{gold.direction}, {gold.name}: AER in % on the first {gold.half} sentences / the other {rest}")
    singles = single_heads(trials, aligner.heads)
    combined = list(combinations(trials, singles, aligner.heads))
    for trial in (*singles, *combined):
        _print(trial)
    best = {
        kind: min((each for each in combined if each.method.evidence == kind), key=lambda each: each.chosen_on)
        for kind in dict.fromkeys(each.method.evidence for each in combined)
    }
    refined = [each for trial in best.values() for each in refinements(trials, trial, other)]
    print("the best of each evidence with every symmetrisation, and diagonal on the first half:")
    for group in _best_of_groups(refined):
        _print(group)
    alone = min((each for each in refined if "reverse" not in each.label), key=lambda each: each.chosen_on)
    print("chosen:")
    _print(alone)
    return alone.method.model_copy(update={"aer": round(alone.reported_on, 4)})


def _best_of_groups(trials: Sequence[Trial]) -> list[Trial]:
    """Of each label and symmetrisation the best diagonal."""
    best: dict[tuple[str, str], Trial] = {}
    for trial in trials:
        key = trial.label, trial.method.symmetrisation
        if key not in best or trial.chosen_on < best[key].chosen_on:
            best[key] = trial
    return list(best.values())


def _print(trial: Trial) -> None:
    method = trial.method
    row = method.row if method.evidence == "attention" else ""
    print(
        f"  {trial.label:30s} {row:9s} {method.symmetrisation:13s} diagonal {method.diagonal:.0f}"
        f"  {100 * trial.chosen_on:5.1f} / {100 * trial.reported_on:5.1f}",
        flush=True,
    )
