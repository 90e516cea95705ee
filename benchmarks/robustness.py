"""How a bundle behaves on text it was not made for: test sets of other domains, noise, and hard inputs.

    python -m benchmarks.robustness BUNDLE --root DATA [--before OTHER.json] [--json FILE] [--texts FILE]
                                    [--lines 300] [--fields '{"beam_size": 4}'] [--kinds WORD ...]

Starts the real service on 127.0.0.1 and sends it everything over HTTP, with the options it has by default and --fields.
Prints progress to stderr, one Markdown table to stdout, and a cell as `now (before)` with the figures of another run.
--texts writes every text that was counted as a failure, one JSON object a line. DATA is laid out as
model/recipes/README.md says. What is counted is described in docs/quality.md. The exit status is 1 if a request failed.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import dataclasses
import itertools
import json
import random
import re
import statistics
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.model_card import sets_by_direction
from benchmarks.noise import Input, Kind, hard_kinds, noisy_kinds
from benchmarks.raw_http import exchange, post
from benchmarks.stressed import started
from model.bundle import read_manifest
from model.corpus import Pair
from model.evaluation import Scores, score
from model.recipe import split_direction

BASE = "tatoeba-test"
"""Where noise is made of, and what lengths are compared with."""
TEST_SETS = (BASE, "flores200-devtest", "newstest2014", "newstest2019")
TEXTS_OF_A_REQUEST = 250
REQUESTS_AT_ONCE = 3
REQUEST_SECONDS = 110.0
MOST_RATIO = 3.0
"""Times as long, or as short, as is usual."""
FEWEST_CHARACTERS = 8
"""Of a source whose length is compared: what is shorter may well have a translation three times as long."""
FEWEST_WORDS = 3
"""Of a source that may count as copied or untranslated: "Tom!" may well stay what it is."""
FAILURES = ("error", "loop", "loop removed", "copy", "untranslated", "length", "cut", "empty", "lost")

_WORD = re.compile("[\u3400-\u9fff]|[^\\W\\d_\u3400-\u9fff]{3,}")


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What the service made of one text."""

    text: str | None
    """None: an error."""
    warnings: frozenset[str]


@dataclasses.dataclass(frozen=True, slots=True)
class Result:
    """All that is counted of one kind of input."""

    texts: int
    failures: Mapping[str, int]
    """By name, those of `FAILURES`."""
    kept: float | None
    """Share of the texts in which all stayed that must; None where nothing must."""
    bleu: float | None
    chrf: float | None


def failures(item: Input, answer: Answer, usual_ratio: float | None) -> set[str]:
    """Everything that is wrong with an answer.

    Args:
        usual_ratio: characters of a translation by those of its source; None: unknown.
    """
    if answer.text is None:
        return {"error"}
    source, target = item.text, answer.text
    found = set()
    if "repetition" in answer.warnings:
        found.add("loop")
    if "repetition_removed" in answer.warnings:
        found.add("loop removed")
    if "truncated" in answer.warnings:
        found.add("cut")
    if source.strip() and not target.strip():
        found.add("empty")
    if is_copy(source, target):
        found.add("copy")
    # What must be kept is the same, and as long, in every language.
    sentence, translated = _without(source, item.kept), _without(target, item.kept)
    if untranslated_share(sentence, translated, item.reference or "") > 0.5:
        found.add("untranslated")
    if usual_ratio is not None and is_odd_length(sentence, translated, usual_ratio):
        found.add("length")
    if not all(part in target for part in item.kept):
        found.add("lost")
    return found


def is_copy(source: str, target: str) -> bool:
    """Whether a translation is its source, apart from case, punctuation and spaces."""
    return len(words(source)) >= FEWEST_WORDS and bare(source) == bare(target)


def untranslated_share(source: str, target: str, reference: str) -> float:
    """Share of the source's words that stand in the translation too; those that the reference keeps do not count."""
    kept, there = set(words(reference)), set(words(target))
    meant = [word for word in words(source) if word not in kept]
    return sum(word in there for word in meant) / len(meant) if len(meant) >= FEWEST_WORDS else 0.0


def is_odd_length(source: str, target: str, usual_ratio: float) -> bool:
    """Whether a translation is more than `MOST_RATIO` times as long, or as short, as its source lets expect."""
    if len(source.strip()) < FEWEST_CHARACTERS:
        return False
    relative = len(target.strip()) / (len(source.strip()) * usual_ratio)
    return not 1 / MOST_RATIO <= relative <= MOST_RATIO


def _without(text: str, parts: Iterable[str]) -> str:
    for part in parts:
        text = text.replace(part, "", 1)
    return text


def words(text: str) -> list[str]:
    """Chinese characters, and words of three letters or more, without case."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def bare(text: str) -> str:
    """Letters and digits, without case."""
    return "".join(c for c in unicodedata.normalize("NFKC", text).casefold() if c.isalnum())


def usual_ratio(pairs: Iterable[Pair]) -> float:
    """The median of characters of the reference by those of the source."""
    return statistics.median(len(target) / len(source) for source, target in pairs)


def counted(kind: Kind, answers: Sequence[Answer], found: Sequence[set[str]], target: str) -> Result:
    """The figures of one kind."""
    totals = collections.Counter(itertools.chain.from_iterable(found))
    must_keep = sum(bool(item.kept) for item in kind.inputs)
    scores = _scores(kind, answers, target) if kind.scored else None
    return Result(
        texts=len(kind.inputs),
        failures={name: totals[name] for name in FAILURES},
        kept=1 - totals["lost"] / must_keep if must_keep else None,
        bleu=round(scores.bleu, 2) if scores else None,
        chrf=round(scores.chrf, 2) if scores else None,
    )


def _scores(kind: Kind, answers: Sequence[Answer], target: str) -> Scores:
    texts = [answer.text or "" for answer in answers]
    references = [item.reference or "" for item in kind.inputs]
    if not kind.cased:
        texts, references = ([text.casefold() for text in side] for side in (texts, references))
    return score(texts, references, target)


async def ask(port: int, texts: Sequence[str], direction: str, fields: Mapping[str, Any]) -> list[Answer]:
    """The answers to the texts, sent as arrays, a few of them at once."""
    gate = asyncio.Semaphore(REQUESTS_AT_ONCE)
    source, target = split_direction(direction)

    async def one(some: Sequence[str]) -> list[Answer]:
        body = {"q": some, "source": source, "target": target, "on_error": "item", **fields}
        async with gate:
            reply = await exchange(port, post(body), REQUEST_SECONDS)
        if reply.status != 200:
            print(f"{direction}: status {reply.status}: {reply.body[:200]!r}", file=sys.stderr, flush=True)
            return [Answer(None, frozenset())] * len(some)
        return answers_of(reply.json())

    batches = [texts[start : start + TEXTS_OF_A_REQUEST] for start in range(0, len(texts), TEXTS_OF_A_REQUEST)]
    return [answer for answers in await asyncio.gather(*map(one, batches)) for answer in answers]


def answers_of(reply: Mapping[str, Any]) -> list[Answer]:
    """The answers in one reply to an array."""
    warnings = collections.defaultdict(set)
    for warning in reply.get("warnings", ()):
        warnings[warning["index"]].add(warning["warning"])
    return [Answer(text, frozenset(warnings[index])) for index, text in enumerate(reply["translatedText"])]


def kinds_of(direction: str, sets: Mapping[str, Mapping[str, list[Pair]]], lines: int) -> Iterator[Kind]:
    """Every kind of input of one direction: the test sets, then what is made of one of them."""
    source, target = split_direction(direction)
    for name, pairs in sets[direction].items():
        yield Kind(name, tuple(Input(*pair) for pair in pairs), scored=True)
    pairs = sets[direction][BASE]
    few = random.Random(1).sample(pairs, min(lines, len(pairs)))
    yield from noisy_kinds(few, source, _foreign(direction, sets, lines))
    yield from hard_kinds(pairs, source, target)


def _foreign(direction: str, sets: Mapping[str, Mapping[str, list[Pair]]], lines: int) -> list[str]:
    """Sentences in every other language of the bundle."""
    source = split_direction(direction)[0]
    texts: dict[str, list[str]] = {}
    for other, found in sets.items():
        for language, side in zip(split_direction(other), (0, 1), strict=True):
            texts.setdefault(language, [pair[side] for pair in found[BASE][:lines]])
    return [text for language, some in texts.items() if language != source for text in some]


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Everything about the bundle, as it goes into the JSON file."""
    manifest = read_manifest(options.bundle)
    sets = sets_by_direction(manifest.directions, TEST_SETS, options.root)
    results: dict[str, dict[str, Any]] = {}
    wrong: list[dict[str, Any]] = []
    async with started("service", settings={"ATTEND_BUNDLE": str(options.bundle.resolve())}) as service:
        for direction in manifest.directions:
            usual = usual_ratio(sets[direction][BASE])
            rows = results.setdefault(direction, {})
            for kind in kinds_of(direction, sets, options.lines):
                if options.kinds and not any(word in kind.name for word in options.kinds):
                    continue
                answers = await ask(service.port, [item.text for item in kind.inputs], direction, options.fields)
                found = [
                    failures(*pair, usual if kind.usual_length else None)
                    for pair in zip(kind.inputs, answers, strict=True)
                ]
                result = counted(kind, answers, found, split_direction(direction)[1])
                rows[kind.name] = dataclasses.asdict(result)
                wrong += _wrong(direction, kind, answers, found)
                print(_row(direction, kind.name, rows[kind.name], None), file=sys.stderr, flush=True)
    _write_texts(options.texts, wrong)
    return {
        "bundle": manifest.name,
        "version": manifest.version,
        "precision": manifest.precision,
        "lines": options.lines,
        "fields": options.fields,
        "directions": results,
    }


def _wrong(
    direction: str, kind: Kind, answers: Sequence[Answer], found: Sequence[set[str]]
) -> Iterator[dict[str, Any]]:
    for item, answer, names in zip(kind.inputs, answers, found, strict=True):
        if names:
            yield {
                "direction": direction,
                "kind": kind.name,
                "failures": sorted(names),
                "source": item.text,
                "translation": answer.text,
            }


def _write_texts(path: Path | None, wrong: Iterable[Mapping[str, Any]]) -> None:
    if path is not None:
        path.write_text("".join(json.dumps(text, ensure_ascii=False) + "\n" for text in wrong), encoding="utf-8")


def table(now: Mapping[str, Any], before: Mapping[str, Any] | None) -> str:
    """Markdown; a cell that was different before has that in brackets."""
    names = ("loops", "removed", "copies", "untranslated", "length", "cut", "empty", "errors", "kept %")
    lines = [f"| direction | input | texts | BLEU | chrF | {' | '.join(names)} |", f"| --- | --- |{' ---: |' * 12}"]
    for direction, rows in now["directions"].items():
        old = before["directions"].get(direction, {}) if before else {}
        lines += (_row(direction, name, row, old.get(name)) for name, row in rows.items())
    return "\n".join(lines)


def _row(direction: str, name: str, row: Mapping[str, Any], old: Mapping[str, Any] | None) -> str:
    cells = _cells(row)
    if old is not None:
        cells = [
            cell if cell == earlier else f"{cell} ({earlier})" for cell, earlier in zip(cells, _cells(old), strict=True)
        ]
    return f"| {direction} | {name} | {' | '.join(cells)} |"


def _cells(row: Mapping[str, Any]) -> list[str]:
    count = row["failures"]
    columns = ("loop", "loop removed", "copy", "untranslated", "length", "cut", "empty", "error")
    scores = [f"{row[name]:.1f}" if row[name] is not None else "" for name in ("bleu", "chrf")]
    kept = f"{100 * row['kept']:.0f}" if row["kept"] is not None else ""
    return [str(row["texts"]), *scores, *(str(count[name]) for name in columns), kept]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--root", type=Path, required=True, help="folder of the data")
    parser.add_argument("--before", type=Path, help="JSON file of another run, to compare with")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--texts", type=Path, help="write every failure to this file, as JSON lines")
    parser.add_argument("--lines", type=int, default=300, help="sentences of each kind of noise")
    parser.add_argument("--fields", type=json.loads, default={}, help="JSON object with more fields for the requests")
    parser.add_argument("--kinds", nargs="+", help="only kinds whose names hold one of these words")
    options = parser.parse_args(arguments)
    before = json.loads(options.before.read_text(encoding="utf-8")) if options.before else None
    now = asyncio.run(measure(options))
    if options.json:
        options.json.write_text(json.dumps(now, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(table(now, before))
    failed = sum(row["failures"]["error"] for rows in now["directions"].values() for row in rows.values())
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
