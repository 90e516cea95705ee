"""Chinese in Traditional characters: how well it is translated, and which Simplified lines would be taken for it.

    python -m benchmarks.traditional scores BUNDLE --root DATA [--beam 1 4]
    python -m benchmarks.traditional lines --root DATA [--show]

DATA is laid out as model/recipes/README.md says. `scores` writes a Simplified test set in other scripts (OpenCC's s2t,
s2tw and s2hk, and every other character of s2tw), and has each read as it is written, as `zh`, and as `zt`. `lines`
counts the lines of every file that the service would convert if they came as `zh`.
"""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from opencc import OpenCC

from model.corpus import read_aligned, read_lines, read_tsv
from model.evaluation import Scores, score
from service.engine.loading import BlockingEngine
from service.engine.types import EngineConfig, SearchOptions
from service.text.chinese import simplifier
from service.text.reading import Reader, reader_for
from tools.evaluate import translate_lines

SOURCE, TARGET = "zh", "en"
SCRIPTS = ("s2t", "s2tw", "s2hk", "mixed")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    scores = commands.add_parser("scores")
    scores.add_argument("bundle", type=Path)
    scores.add_argument("--beam", type=int, nargs="+", default=[1, 4])
    scores.add_argument("--set", default="tatoeba-test")
    scores.set_defaults(run_command=_scores)
    lines = commands.add_parser("lines")
    lines.add_argument("--show", action="store_true", help="print the lines that change")
    lines.set_defaults(run_command=_lines)
    for command in (scores, lines):
        command.add_argument("--root", type=Path, required=True, help="folder of the data")
    options = parser.parse_args(arguments)
    options.run_command(options)
    return 0


def _scores(options: argparse.Namespace) -> None:
    folder = options.root / f"{SOURCE}-{TARGET}" / "test"
    pairs = read_aligned(folder / f"{options.set}.{SOURCE}.gz", folder / f"{options.set}.{TARGET}.gz")
    texts, references = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    loaded = BlockingEngine(EngineConfig(directory=options.bundle))
    readers = {"as written": Reader(SOURCE, loaded.vocabulary)} | {
        f"as {code}": reader_for(f"{code}-{TARGET}", loaded.manifest.directions, loaded.vocabulary)
        for code in ("zh", "zt")
    }
    known: dict[tuple[tuple[str, ...], int], Scores] = {}
    print("| source | lines changed | read | other than Simplified | beam | BLEU | chrF |")
    print("| --- | ---: | --- | ---: | ---: | ---: | ---: |")
    for script, written in [("Simplified", texts), *((script, written_in(script, texts)) for script in SCRIPTS)]:
        for name, reader in readers.items():
            read = tuple(map(reader.in_its_script, written))
            for beam in options.beam:
                if (read, beam) not in known:
                    known[read, beam] = _score(loaded, read, references, beam)
                found = known[read, beam]
                print(
                    f"| {script} | {_differ(written, texts)} | {name} | {_differ(read, texts)} | {beam} "
                    f"| {found.bleu:.2f} | {found.chrf:.2f} |",
                    flush=True,
                )
    loaded.close()


def written_in(script: str, texts: Sequence[str]) -> list[str]:
    """Simplified texts in another script."""
    if script == "mixed":
        lines = zip(texts, written_in("s2tw", texts), strict=True)
        return ["".join(pair[place % 2] for place, pair in enumerate(zip(*line, strict=True))) for line in lines]
    converter = OpenCC(script)
    return [converter.convert(text) for text in texts]


def _score(loaded: BlockingEngine, texts: Sequence[str], references: Sequence[str], beam: int) -> Scores:
    reader = Reader(SOURCE, loaded.vocabulary)
    found = translate_lines(loaded, texts, reader, TARGET, SearchOptions(beam_size=beam))
    return score([loaded.vocabulary.decode(each.target_ids) for each in found], references, TARGET)


def _differ(some: Sequence[str], others: Sequence[str]) -> int:
    return sum(a != b for a, b in zip(some, others, strict=True))


def _lines(options: argparse.Namespace) -> None:
    convert = functools.partial(map, simplifier().simplified_if_traditional)
    print("| file | lines | converted |\n| --- | ---: | ---: |")
    for name, lines in _chinese(options.root / f"{SOURCE}-{TARGET}"):
        converted = list(convert(lines))
        print(f"| {name} | {len(lines)} | {_differ(lines, converted)} |")
        for pair in zip(lines, converted, strict=True) if options.show else ():
            if pair[0] != pair[1]:
                print("".join(a if a == b else f"[{a}>{b}]" for a, b in zip(*pair, strict=True)))


def _chinese(folder: Path) -> Iterator[tuple[str, list[str]]]:
    for path in sorted(folder.glob(f"*/*.{SOURCE}.gz")):
        yield f"{path.parent.name}/{path.name}", read_lines(path)
    for path in sorted(folder.glob("*/*.tsv.gz")):
        yield f"{path.parent.name}/{path.name}", [pair[0] for pair in read_tsv(path, 1, 0)]


if __name__ == "__main__":
    sys.exit(main())
