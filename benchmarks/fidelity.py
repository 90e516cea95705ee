"""What of a text comes back whole: spans inserted into real sentences, numbers, tags; and what checking costs.

    python -m benchmarks.fidelity BUNDLE --root DATA [--lines 300] [--only PART ...] [--json FILE] [--before OTHER.json]

Prints progress to stderr and one Markdown table to stdout, a cell as `now (before)` with the figures of another run.
The parts, all of them unless --only names some:

spans     starts the real service on 127.0.0.1 and sends it sentences of tatoeba-test with something inserted, of each
          kind as many: the share in which it stands in the answer as it should.
human     what the checks say of human translations, without a service (`text_checks.py`): how many right ones are
          called wrong because of their numbers, and incomplete; --doubts writes those that are called wrong to a file.
glossary  what a glossary term costs the rest of its sentence (`glossary_cost.py`).
scores    BLEU and chrF of sentences with nothing to copy, by the service and by the model alone, with the same beam.
cost      processor time of a plain sentence on its way through the text's code, without the model.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.glossary_cost import glossary_cost
from benchmarks.html_tags import Tags
from benchmarks.model_card import sets_by_direction
from benchmarks.robustness import BASE, Answer, ask
from benchmarks.stressed import started
from benchmarks.text_checks import human_ends, human_numbers, microseconds, without_spans
from model.bundle import read_manifest
from model.corpus import Pair
from model.evaluation import score
from model.recipe import split_direction
from model.tokenizers import load_tokenizer
from service.engine.loading import BlockingEngine
from service.engine.types import EngineConfig, Job, SearchOptions
from service.text.numbers import numbers_differ

KINDS: Mapping[str, tuple[str, ...]] = {
    "placeholders": ("{{order.id}}", "%1$s", "%(file)s", "{0}", "${name}", "%d", "{count, plural, other {#}}"),
    "addresses": ("https://example.org/a?b=1", "anna@example.org", "www.example.org/x", "example.com"),
    "files, ids, keys": ("notes.txt", "/etc/hosts", "#music", "@anna", "foo_bar", "Ctrl+Alt+K", "MP3", "v2.3.1"),
    "other scripts": ("Спасибо", "Доброе утро", "안녕하세요", "שלום"),
    "emoji": ("❤️", "👩‍👩‍👧", "👍🏽", "🇫🇷"),
    "tags, entities, code": ("<br/>", "&amp;", "`npm start`", "[3]"),
    "versions, telephones": ("10.20.30.40", "+33 1 23 45 67 89", "010-62345678", "2.3.1"),
}
PARTS = ("spans", "human", "glossary", "scores", "cost")
ASKING = frozenset({"spans", "glossary", "scores"})
"""Parts for which a service is started."""
BEAM = 4
NUMBERS = ("19.95", "318,640", "2031-04-09", "19:45", "12.5%", "1999", "42", "7", "3,000.50")


def inserted(pairs: Sequence[Pair], parts: Sequence[str], chance: random.Random) -> list[tuple[str, str]]:
    """Each source with one part between two of its words, and the part."""
    made = []
    for text, _ in pairs:
        part = chance.choice(parts)
        places = [match.end() for match in re.finditer(r"\s|[，。]|^", text)]
        place = chance.choice(places)
        made.append((f"{text[:place]}{part} {text[place:]}".strip(), part))
    return made


def tagged(pairs: Sequence[Pair], chance: random.Random) -> list[str]:
    """Each source as a paragraph, with a link around some of its words and one of them bold."""
    made = []
    for text, _ in pairs:
        words = [word.replace("&", "&amp;").replace("<", "&lt;") for word in text.split(" ")]
        first = chance.randrange(len(words))
        last = chance.randrange(first, len(words))
        middle = chance.randrange(first, last + 1)
        words[middle] = f"<b>{words[middle]}</b>"
        words[first] = f'<a href="/x">{words[first]}'
        words[last] += "</a>"
        made.append(f"<p>{' '.join(words)}</p>")
    return made


Rows = dict[str, dict[str, Any]]
"""By direction, what is told of it by name."""


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Shares and figures by direction."""
    manifest = read_manifest(options.bundle)
    sets = {
        direction: sets[BASE]
        for direction, sets in sets_by_direction(manifest.directions, (BASE,), options.root).items()
    }
    results: Rows = {direction: {} for direction in manifest.directions}
    if ASKING & set(options.only):
        asyncio.run(_asked(options, sets, results))
    vocabulary = load_tokenizer(options.bundle, manifest)
    doubts = []
    for direction, row in results.items():
        if "human" in options.only:
            numbers, wrong = human_numbers(direction, options.root, options.lines)
            doubts += [f"{direction}\t" + "\t".join(doubt) + "\n" for doubt in wrong]
            row |= numbers | human_ends(direction, options.root, options.bundle, manifest, vocabulary)
        if "cost" in options.only:
            row |= microseconds(sets[direction], direction, manifest, vocabulary)
    if "scores" in options.only:
        _score_alone(options, sets, results)
    if options.doubts:
        options.doubts.write_text("".join(doubts), encoding="utf-8")
    return {"bundle": manifest.name, "version": manifest.version, "lines": options.lines, "directions": results}


async def _asked(options: argparse.Namespace, sets: Mapping[str, Sequence[Pair]], results: Rows) -> None:
    """All that a running service is asked."""
    async with started("service", settings={"ATTEND_BUNDLE": str(options.bundle.resolve())}) as service:
        for direction, pairs in sets.items():
            few = random.Random(1).sample(list(pairs), min(options.lines, len(pairs)))
            languages, row = split_direction(direction), results[direction]

            async def send(texts: Sequence[str], direction: str = direction, **fields: Any) -> list[Answer]:
                return await ask(service.port, list(texts), direction, fields)

            if "spans" in options.only:
                row |= await _kept(few, languages, send)
            if "glossary" in options.only:
                row |= await glossary_cost(pairs, languages, send, options.lines)
            if "scores" in options.only:
                plain = without_spans(few, languages[0])
                answers = await send([text for text, _ in plain], beam_size=BEAM)
                row |= _scored([answer.text or "" for answer in answers], plain, languages[1], "service")
            print(direction, row, file=sys.stderr, flush=True)


def _score_alone(options: argparse.Namespace, sets: Mapping[str, Sequence[Pair]], results: Rows) -> None:
    """The same sentences given to the model as they are, without any of the text's code."""
    with BlockingEngine(EngineConfig(directory=options.bundle, max_rows=128)) as engine:
        vocabulary, limits = engine.vocabulary, engine.manifest.limits
        for direction, pairs in sets.items():
            source, target = split_direction(direction)
            plain = without_spans(random.Random(1).sample(list(pairs), min(options.lines, len(pairs))), source)
            before, behind = vocabulary.source_frame(source, target)
            sources = [(*before, *vocabulary.encode(text), *behind) for text, _ in plain]
            jobs = [
                Job(ids, SearchOptions(beam_size=BEAM, max_output_tokens=limits.output_tokens(len(ids)),
                                       silent_prefix=vocabulary.target_prefix(target)))
                for ids in sources
            ]  # fmt: skip
            texts = [vocabulary.decode(hypotheses[0].target_ids).strip() for hypotheses in engine.run(jobs)]
            results[direction] |= _scored(texts, plain, target, "model alone")


def _scored(texts: Sequence[str], pairs: Sequence[Pair], target: str, who: str) -> dict[str, float]:
    scores = score(texts, [reference for _, reference in pairs], target)
    return {f"BLEU, {who}": round(scores.bleu, 2), f"chrF, {who}": round(scores.chrf, 2)}


async def _kept(few: Sequence[Pair], languages: tuple[str, str], send: Callable[..., Any]) -> dict[str, Any]:
    chance = random.Random(2)
    row: dict[str, Any] = {}
    for kind, parts in KINDS.items():
        made = inserted(few, parts, chance)
        answers = await send([text for text, _ in made])
        kept = [
            (answer.text or "").count(part) == text.count(part)
            for (text, part), answer in zip(made, answers, strict=True)
        ]
        row[kind] = round(100 * sum(kept) / len(kept), 1)
    texts = [text for text, _ in inserted(few, NUMBERS, chance)]
    answers = await send(texts)
    wrong = [numbers_differ(text, answer.text or "", languages) for text, answer in zip(texts, answers, strict=True)]
    silent = [is_so and "numbers_differ" not in answer.warnings for is_so, answer in zip(wrong, answers, strict=True)]
    row["numbers"] = round(100 - 100 * sum(wrong) / len(wrong), 1)
    row["numbers wrong in silence"] = sum(silent)
    html = tagged(few, chance)
    answers = await send(html, format="html")
    whole = [
        (now := Tags(answer.text or "")).is_balanced and now.found == Tags(text).found
        for text, answer in zip(html, answers, strict=True)
    ]
    row["tags"] = round(100 * sum(whole) / len(whole), 1)
    return row


def table(now: Mapping[str, Any], before: Mapping[str, Any] | None) -> str:
    """Markdown; a cell that was different before has that in brackets."""
    directions = list(now["directions"])
    lines = [f"| | {' | '.join(directions)} |", f"| --- |{' ---: |' * len(directions)}"]
    for name in dict.fromkeys(name for row in now["directions"].values() for name in row):
        cells = []
        for direction in directions:
            cell = now["directions"][direction].get(name, "")
            earlier = before["directions"].get(direction, {}).get(name) if before else None
            cells.append(str(cell) if earlier in (None, cell) else f"{cell} ({earlier})")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--root", type=Path, required=True, help="folder of the data")
    parser.add_argument("--lines", type=int, default=300, help="sentences of each kind")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="parts that are measured")
    parser.add_argument("--doubts", type=Path, help="write the human translations that are called wrong to this file")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--before", type=Path, help="JSON file of another run, to compare with")
    options = parser.parse_args(arguments)
    before = json.loads(options.before.read_text(encoding="utf-8")) if options.before else None
    now = measure(options)
    if options.json:
        options.json.write_text(json.dumps(now, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(table(now, before))
    return 0


if __name__ == "__main__":
    sys.exit(main())
