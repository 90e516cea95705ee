"""The tables of the model card: scores on test sets, and everyday sentences with whether training has seen them.

    python -m benchmarks.model_card scores BUNDLE --root DATA [--beam 1 4] [--sets NAME ...] [--recipe RECIPE]
    python -m benchmarks.model_card sentences BUNDLE --root DATA --recipe model/recipes/first.toml [--file TSV]

With a recipe, lines that stand by themselves in a text that the recipe keeps in spite of the tests (greetings, labels)
are not scored. DATA is laid out as model/recipes/README.md says; a test set counts for the directions that have it.
Tables go to stdout as Markdown; with --json, scores also go to a file as JSON lines.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from model.corpus import Pair, read_aligned, read_lines
from model.errors import DataError, ModelError
from model.evaluation import score
from model.leaks import trained_held_out_sentences, without_leaks
from model.recipe import load_recipe, read_pairs, split_direction
from service.engine.loading import BlockingEngine
from service.engine.types import EngineConfig, SearchOptions
from service.text.reading import reader_for
from tools.evaluate import translate_lines

TEST_SETS = ("tatoeba-test", "flores200-devtest", "msdynamics-test", "newstest2014", "newstest2019")
ONE_WAY = {"newstest2019": "zh-en"}
"""Sets that were translated in one direction only, for which they are meant."""
SENTENCES = Path(__file__).with_name("sentences.tsv")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for name, command in (("scores", _scores), ("sentences", _sentences)):
        sub = commands.add_parser(name)
        sub.add_argument("bundle", type=Path)
        sub.add_argument("--root", type=Path, required=True, help="folder of the data")
        sub.add_argument("--threads", type=int, default=0)
        sub.set_defaults(run_command=command)
        if name == "scores":
            sub.add_argument("--beam", type=int, nargs="+", default=[1, 4])
            sub.add_argument("--sets", nargs="+", default=list(TEST_SETS))
            sub.add_argument("--json", type=Path, help="append one JSON object a row")
            sub.add_argument("--recipe", type=Path, help="leave out lines of its texts that keep held-out lines")
            sub.add_argument("--limit", type=int, help="first N lines of each set only")
        else:
            sub.add_argument("--recipe", type=Path, required=True)
            sub.add_argument(
                "--file", type=Path, default=SENTENCES, help="direction, tab, sentence (default: the card's)"
            )
            sub.add_argument("--beam", type=int, default=4)
    options = parser.parse_args(arguments)
    try:
        return _run(options)
    except ModelError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _run(options: argparse.Namespace) -> int:
    with BlockingEngine(EngineConfig(directory=options.bundle, threads=options.threads)) as loaded:
        options.run_command(options, loaded)
    return 0


def _scores(options: argparse.Namespace, loaded: BlockingEngine) -> None:
    trained: frozenset[str] = frozenset()
    if options.recipe:
        trained = trained_held_out_sentences(load_recipe(options.recipe), options.root)
    sets = [
        (direction, name, without_leaks(pairs, split_direction(direction), trained)[: options.limit])
        for direction, names in sets_by_direction(loaded.manifest.directions, options.sets, options.root).items()
        for name, pairs in names.items()
    ]
    print("| direction | test set | precision | beam | BLEU | chrF | digits kept % | cut | sources cut |")
    print("| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for direction, name, pairs in sets:
        for beam in options.beam:
            row = {"direction": direction, "set": name, **_score(loaded, direction, pairs, beam)}
            print(
                f"| {direction} | {name} | {row['precision']} | {beam} | {row['bleu']:.2f} | {row['chrf']:.2f} "
                f"| {_percent(row['digits_kept'])} | {row['cut']} | {row['sources_cut']} |",
                flush=True,
            )
            if options.json:
                with options.json.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")


def sets_by_direction(directions: Iterable[str], names: Sequence[str], root: Path) -> dict[str, dict[str, list[Pair]]]:
    """The pairs of each test set, by direction and name; a direction has those that are there for it.

    Raises:
        DataError: no direction has a set, or a file of it cannot be used.
    """
    found = {direction: {name: test_pairs(direction, name, root) for name in names} for direction in directions}
    for name in names:
        if all(sets[name] is None for sets in found.values()):
            raise DataError(f"{root}: no direction of {', '.join(found)} has the test set {name}")
    return {
        direction: {name: pairs for name, pairs in sets.items() if pairs is not None}
        for direction, sets in found.items()
    }


def test_pairs(direction: str, name: str, root: Path) -> list[Pair] | None:
    """(source, reference) of a test set; None if it is not there for this direction.

    Raises:
        DataError: a file of it cannot be used, or there is only one of the two.
    """
    if direction != ONE_WAY.get(name, direction):
        return None
    source, target = split_direction(direction)
    foreign = source if target == "en" else target
    folder = root / f"{foreign}-en" / "test"
    files = [folder / f"{name}.{language}.gz" for language in (source, target)]
    return read_aligned(*files) if any(file.is_file() for file in files) else None


def _score(loaded: BlockingEngine, direction: str, pairs: Sequence[Pair], beam: int) -> dict[str, Any]:
    target = split_direction(direction)[1]
    sources = [source for source, _ in pairs]
    reader = reader_for(direction, loaded.manifest.directions, loaded.vocabulary)
    hypotheses = translate_lines(loaded, sources, reader, target, SearchOptions(beam_size=beam))
    texts = [loaded.vocabulary.decode(hypothesis.target_ids) for hypothesis in hypotheses]
    most = loaded.manifest.limits.source_tokens
    return {
        "precision": loaded.manifest.precision,
        "beam": beam,
        **score(texts, [reference for _, reference in pairs], target).to_dict(),
        "digits_kept": digits_kept(pairs, texts),
        "cut": sum(hypothesis.finish_reason == "length" for hypothesis in hypotheses),
        # translate_lines takes the end off these.
        "sources_cut": sum(len(reader.encode_source(source, target)) > most for source in sources),
    }


def digits_kept(pairs: Sequence[Pair], translations: Sequence[str]) -> float | None:
    """Share of the groups of digits of the sources that stand in the translations, as often; None if there are none.

    Only groups that the reference keeps too count: months and small numbers may become words.
    """
    wanted = found = 0
    for (source, reference), translation in zip(pairs, translations, strict=True):
        kept = _digits(source) & _digits(reference)
        wanted += kept.total()
        found += (kept & _digits(translation)).total()
    return found / wanted if wanted else None


def _digits(text: str) -> Counter[str]:
    return Counter(re.findall("[0-9]+", text))


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}"


def _sentences(options: argparse.Namespace, loaded: BlockingEngine) -> None:
    recipe = load_recipe(options.recipe)
    rows = [line.split("\t") for line in read_lines(options.file)]
    seen = {
        direction: _bare_sources(
            pair[0] for files in recipe.data if direction in files.directions
            for pair in read_pairs(files, direction, options.root)
        )
        for direction in {row[0] for row in rows}
    }  # fmt: skip
    print(f"| direction | source | translation (beam {options.beam}) | in training? |\n| --- | --- | --- | --- |")
    for (direction, text), translation in zip(rows, _translate(loaded, rows, options.beam), strict=True):
        known = "yes" if _bare(text) in seen[direction] else "no"
        print(f"| {direction} | {text} | {translation} | {known} |")


def _translate(loaded: BlockingEngine, rows: Sequence[Sequence[str]], beam: int) -> Iterator[str]:
    for direction, text in rows:
        search = SearchOptions(beam_size=beam)
        reader = reader_for(direction, loaded.manifest.directions, loaded.vocabulary)
        (hypothesis,) = translate_lines(loaded, [text], reader, split_direction(direction)[1], search)
        yield loaded.vocabulary.decode(hypothesis.target_ids)


def _bare_sources(texts: Iterable[str]) -> set[str]:
    return {_bare(text) for text in texts}


def _bare(text: str) -> str:
    """Letters and digits only: a sentence counts as seen whatever its punctuation and case."""
    return "".join(c for c in text.casefold() if unicodedata.category(c)[0] in "LN")


if __name__ == "__main__":
    sys.exit(main())
