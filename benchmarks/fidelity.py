"""What of a text comes back whole: spans inserted into real sentences, numbers, tags; and what checking costs.

    python -m benchmarks.fidelity BUNDLE --root DATA [--lines 300] [--json FILE] [--before OTHER.json]

Starts the real service on 127.0.0.1 and sends it sentences of tatoeba-test with something inserted, of each kind as
many. Prints progress to stderr and one Markdown table to stdout, a cell as `now (before)` with the figures of another
run. *right ones called wrong*: of as many human translations of sentences with numbers, those that the check of numbers
would have had translated again. *BLEU, chrF*: of the sentences as they are. *microseconds*: a plain sentence's way
through the text's code, without the model.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from benchmarks.model_card import sets_by_direction
from benchmarks.robustness import BASE, Answer, ask
from benchmarks.stressed import started
from model.bundle import read_manifest
from model.corpus import Pair
from model.evaluation import score
from model.recipe import split_direction
from model.tokenizers import load_tokenizer
from service.text.document import Document
from service.text.languages import Directions
from service.text.numbers import numbers_differ
from service.text.prepared import finished, prepared
from service.text.reading import readers_of

KINDS: Mapping[str, tuple[str, ...]] = {
    "placeholders": ("{{order.id}}", "%1$s", "%(file)s", "{0}", "${name}", "%d", "{count, plural, other {#}}"),
    "addresses": ("https://example.org/a?b=1", "anna@example.org", "www.example.org/x", "example.com"),
    "files, ids, keys": ("notes.txt", "/etc/hosts", "#music", "@anna", "foo_bar", "Ctrl+Alt+K", "MP3", "v2.3.1"),
    "other scripts": ("Спасибо", "Доброе утро", "안녕하세요", "שלום"),
    "emoji": ("❤️", "👩‍👩‍👧", "👍🏽", "🇫🇷"),
    "tags, entities, code": ("<br/>", "&amp;", "`npm start`", "[3]"),
    "versions, telephones": ("10.20.30.40", "+33 1 23 45 67 89", "010-62345678", "2.3.1"),
}
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


class _Tags(HTMLParser):
    """The tags of a text, and whether they are balanced."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()
        self.open: list[str] = []
        self.is_balanced = True
        self.feed(text)
        self.close()
        self.is_balanced &= not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found[self.get_starttag_text() or ""] += 1
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        self.found[f"</{tag}>"] += 1
        self.is_balanced &= bool(self.open) and self.open.pop() == tag


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


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Shares and figures by direction."""
    manifest = read_manifest(options.bundle)
    sets = sets_by_direction(manifest.directions, (BASE,), options.root)
    results: dict[str, dict[str, Any]] = {}
    async with started("service", settings={"ATTEND_BUNDLE": str(options.bundle.resolve())}) as service:
        for direction in manifest.directions:
            pairs = sets[direction][BASE]
            few = random.Random(1).sample(pairs, min(options.lines, len(pairs)))

            async def send(texts: Sequence[str], direction: str = direction, **fields: Any) -> list[Answer]:
                return await ask(service.port, list(texts), direction, fields)

            results[direction] = await _of_direction(few, pairs, split_direction(direction), send)
            print(direction, results[direction], file=sys.stderr, flush=True)
    for direction, figure in costs(options.bundle, sets).items():
        results[direction]["microseconds a sentence"] = figure
    return {"bundle": manifest.name, "version": manifest.version, "lines": options.lines, "directions": results}


async def _of_direction(
    few: Sequence[Pair], pairs: Sequence[Pair], languages: tuple[str, str], send: Callable[..., Any]
) -> dict[str, Any]:
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
        (now := _Tags(answer.text or "")).is_balanced and now.found == _Tags(text).found
        for text, answer in zip(html, answers, strict=True)
    ]
    row["tags"] = round(100 * sum(whole) / len(whole), 1)
    with_numbers = [pair for pair in pairs if re.search(r"\d", "".join(pair))][: len(few)]
    called = sum(numbers_differ(*pair, languages) for pair in with_numbers)
    row["right ones called wrong"] = round(100 * called / max(len(with_numbers), 1), 1)
    plain = await send([text for text, _ in few])
    scores = score([answer.text or "" for answer in plain], [reference for _, reference in few], languages[1])
    row |= {"BLEU": round(scores.bleu, 1), "chrF": round(scores.chrf, 1)}
    return row


def costs(bundle: Path, sets: Mapping[str, Mapping[str, list[Pair]]]) -> dict[str, float]:
    """Microseconds of a sentence of each direction, split, read, put together and checked; without its pieces."""
    manifest = read_manifest(bundle)
    vocabulary = load_tokenizer(bundle, manifest)
    readers = readers_of(Directions.parse(manifest.directions), vocabulary, manifest.tokenizer)
    found = {}
    for direction, by_name in sets.items():
        source, target = split_direction(direction)
        pairs = by_name[BASE][:1000]
        reader = readers[source]
        began = time.perf_counter()
        for text, reference in pairs:
            for sentence in Document.parse(text, source, lambda sentence: 1, 250).sentences:
                finished(prepared(sentence, reader, target), reference)
        spent = time.perf_counter() - began
        began = time.perf_counter()
        for text, _ in pairs:
            vocabulary.encode(text)
        found[direction] = round((spent - (time.perf_counter() - began)) / len(pairs) * 1e6, 1)
    return found


def table(now: Mapping[str, Any], before: Mapping[str, Any] | None) -> str:
    """Markdown; a cell that was different before has that in brackets."""
    directions = list(now["directions"])
    lines = [f"| | {' | '.join(directions)} |", f"| --- |{' ---: |' * len(directions)}"]
    for name in next(iter(now["directions"].values())):
        cells = []
        for direction in directions:
            cell = now["directions"][direction][name]
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
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--before", type=Path, help="JSON file of another run, to compare with")
    options = parser.parse_args(arguments)
    before = json.loads(options.before.read_text(encoding="utf-8")) if options.before else None
    now = asyncio.run(measure(options))
    if options.json:
        options.json.write_text(json.dumps(now, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(table(now, before))
    return 0


if __name__ == "__main__":
    sys.exit(main())
