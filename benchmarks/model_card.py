"""The tables of the model card: scores on test sets, and everyday sentences with whether training has seen them.

    python -m benchmarks.model_card scores BUNDLE --root DATA [--beam 1 4]
    python -m benchmarks.model_card sentences BUNDLE --root DATA --recipe model/recipes/first.toml

DATA is laid out as model/recipes/README.md says. Tables go to stdout as Markdown; with --json, scores also go to a
file as JSON lines.
"""

from __future__ import annotations

import argparse
import json
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from model.corpus import read_aligned
from model.evaluation import score
from model.preparation import read_pairs
from model.recipe import load_recipe, split_direction
from service.engine.jobs import SearchOptions
from service.engine.loading import LoadedEngine, load_engine
from service.evaluate import translate_lines
from service.text.reading import reader_for

TEST_SETS = ("tatoeba-test", "flores200-devtest", "msdynamics-test")
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
        else:
            sub.add_argument("--recipe", type=Path, required=True)
            sub.add_argument("--beam", type=int, default=4)
    options = parser.parse_args(arguments)
    loaded = load_engine(
        options.bundle, device="auto", sessions=0, threads=options.threads, max_rows=256, on_report=lambda record: None
    )
    options.run_command(options, loaded)
    loaded.engine.close()
    return 0


def _scores(options: argparse.Namespace, loaded: LoadedEngine) -> None:
    print("| direction | test set | precision | beam | BLEU | chrF | cut |")
    print("| --- | --- | --- | ---: | ---: | ---: | ---: |")
    for direction in loaded.manifest.directions:
        for name in options.sets:
            for beam in options.beam:
                row = _score(loaded, options.root, direction, name, beam)
                print(
                    f"| {direction} | {name} | {row['precision']} | {beam} | {row['bleu']:.2f} | {row['chrf']:.2f} "
                    f"| {row['cut']} |",
                    flush=True,
                )
                if options.json:
                    with options.json.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(row) + "\n")


def _score(loaded: LoadedEngine, root: Path, direction: str, name: str, beam: int) -> dict[str, Any]:
    source, target = split_direction(direction)
    foreign = source if target == "en" else target
    folder = root / f"{foreign}-en" / "test"
    pairs = read_aligned(folder / f"{name}.{source}.gz", folder / f"{name}.{target}.gz")
    sources, reader = [pair[0] for pair in pairs], reader_for(direction, loaded.manifest.directions, loaded.vocabulary)
    hypotheses = translate_lines(loaded, sources, reader, target, SearchOptions(beam_size=beam))
    texts = [loaded.vocabulary.decode(hypothesis.target_ids) for hypothesis in hypotheses]
    return {
        "direction": direction,
        "set": name,
        "precision": loaded.manifest.precision,
        "beam": beam,
        **score(texts, [pair[1] for pair in pairs], target).to_dict(),
        "cut": sum(hypothesis.finish_reason == "length" for hypothesis in hypotheses),
    }


def _sentences(options: argparse.Namespace, loaded: LoadedEngine) -> None:
    recipe = load_recipe(options.recipe)
    rows = [line.split("\t") for line in SENTENCES.read_text(encoding="utf-8").splitlines()]
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


def _translate(loaded: LoadedEngine, rows: Sequence[Sequence[str]], beam: int) -> Iterator[str]:
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
