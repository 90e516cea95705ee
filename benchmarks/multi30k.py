"""A known table reproduced: BLEU on Multi30k's test_2016_flickr, trained on nothing but Multi30k.

    python -m benchmarks.multi30k prepare --root DATA --out FOLDER
    python -m benchmarks.multi30k score CHECKPOINT --data FOLDER --direction en-de [--beam 5] [--length-penalty 1]

The table's text is lower-cased, its punctuation normalised and its words split, in that order, as the data set's own
`scripts/task1-tokenize.sh` does with Moses; here with sacremoses, the same rules in Python. `prepare` writes it so, and
`score` compares translations with it as they are (`tok:none`). The recipes lie in model/recipes/multi30k.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from sacrebleu.metrics.bleu import BLEU
from sacremoses import MosesPunctNormalizer, MosesTokenizer
from tqdm import tqdm

from model.checkpoint import load_checkpoint
from model.corpus import read_aligned, read_tsv
from model.recipe import split_direction
from model.translation import translate_with_beam

FOREIGN = ("de", "fr")
HELD_OUT = {"val": "dev/multi30k-val", "test_2016_flickr": "test/multi30k-test_2016_flickr"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the texts, or print one score."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    prepare_command = commands.add_parser("prepare")
    prepare_command.add_argument("--root", type=Path, required=True, help="folder with de-en/ and fr-en/")
    prepare_command.add_argument("--out", type=Path, required=True)
    prepare_command.set_defaults(run_command=lambda options: prepare(options.root, options.out))
    score_command = commands.add_parser("score")
    score_command.add_argument("checkpoint", type=Path)
    score_command.add_argument("--data", type=Path, required=True, help="what `prepare` wrote")
    score_command.add_argument("--direction", required=True, choices=[f"en-{language}" for language in FOREIGN])
    score_command.add_argument("--set", default="test_2016_flickr", choices=list(HELD_OUT))
    score_command.add_argument("--beam", type=int, default=5)
    score_command.add_argument("--length-penalty", type=float, default=1.0)
    score_command.set_defaults(run_command=_score)
    options = parser.parse_args(arguments)
    options.run_command(options)
    return 0


def prepare(root: Path, out: Path) -> None:
    """Training and held-out texts of both pairs, lower-cased and split into words, one file a language."""
    for foreign in FOREIGN:
        english_text, foreign_text = moses_pipeline("en"), moses_pipeline(foreign)
        texts = {"train": read_tsv(root / f"{foreign}-en/train/multi30k.tsv.gz", 0, 1)}
        for name, stem in HELD_OUT.items():
            path = root / f"{foreign}-en" / stem
            texts[name] = read_aligned(
                path.with_name(f"{path.name}.en.gz"), path.with_name(f"{path.name}.{foreign}.gz")
            )
        for name, pairs in texts.items():
            _write(out / f"en-{foreign}" / f"{name}.en.gz", (english_text(english) for english, _ in pairs))
            _write(out / f"en-{foreign}" / f"{name}.{foreign}.gz", (foreign_text(text) for _, text in pairs))
            print(f"en-{foreign} {name}: {len(pairs):,} pairs", file=sys.stderr)


def moses_pipeline(language: str) -> Callable[[str], str]:
    """Lower case, normalised punctuation, words apart: in the order of `task1-tokenize.sh`."""
    normalizer, tokenizer = MosesPunctNormalizer(language), MosesTokenizer(language)
    # Not escaped: `&apos;` and `'` are one token either way, and only the latter can be read.
    return lambda text: tokenizer.tokenize(normalizer.normalize(text.lower()), return_str=True, escape=False)


def _write(path: Path, lines: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress("".join(line + "\n" for line in lines).encode(), mtime=0))


def _score(options: argparse.Namespace) -> None:
    source, target = split_direction(options.direction)
    folder = options.data / options.direction
    pairs = read_aligned(folder / f"{options.set}.{source}.gz", folder / f"{options.set}.{target}.gz")
    checkpoint = load_checkpoint(options.checkpoint)
    search = {"beam_size": options.beam, "length_penalty": options.length_penalty}
    hypotheses = [
        translate_with_beam(checkpoint.model, checkpoint.vocabulary, text, target, **search)
        for text, _ in tqdm(pairs, unit="sentence", mininterval=0.1 if sys.stderr.isatty() else 20)
    ]
    bleu = BLEU(tokenize="none", force=True)
    result = bleu.corpus_score(hypotheses, [[reference for _, reference in pairs]])
    row = {"direction": options.direction, "set": options.set, "bleu": round(result.score, 2)}
    print(json.dumps({**row, **search, "signature": str(bleu.get_signature()), "detail": str(result)}))


if __name__ == "__main__":
    sys.exit(main())
