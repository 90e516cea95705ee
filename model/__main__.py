"""Commands: python -m model vocabulary | leaks | train | branch | average | distill | words | shortlist | lexical |
evaluate | translate | curves."""

from __future__ import annotations

import argparse
import functools
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from model.arguments import number, positive

if TYPE_CHECKING:
    from model.checkpoint import Checkpoint
    from model.recipe import Recipe
    from model.shortlist import Pair
    from model.vocabulary import Vocabulary

Learned = TypeVar("Learned")

# Large tensors come and go at every step: without these glibc returns each to the kernel, and page faults cost a
# quarter of the training time on a CPU. The settings are read when a process starts.
_ALLOCATOR = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 36), "MALLOC_TOP_PAD_": str(1 << 28)}


def main(arguments: Sequence[str] | None = None, prog: str = "python -m model") -> int:
    """Run one command; errors a person can mend are one line on stderr and exit status 2. `prog` is what its help calls
    it."""
    from model.errors import ModelError

    options = parser_for(prog).parse_args(arguments)
    try:
        options.run_command(options)
    except ModelError as error:
        print("error:", " ".join(line.strip() for line in str(error).splitlines()), file=sys.stderr)
        return 2
    return 0


def parser_for(prog: str) -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(prog=prog, description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    vocabulary = commands.add_parser("vocabulary", help="train the SentencePiece vocabulary of a recipe")
    _add_recipe(vocabulary)
    vocabulary.add_argument("--out", type=Path, required=True, help="file to write, e.g. runs/one/vocabulary.spm")
    vocabulary.add_argument("--extend", type=Path, help="earlier vocabulary that only gets the pieces it lacks")
    vocabulary.set_defaults(run_command=_vocabulary)

    train = commands.add_parser("train", help="train a recipe's model, or resume it")
    _add_recipe(train)
    train.add_argument("--vocabulary", type=Path, required=True, help="file that the vocabulary command wrote")
    train.add_argument("--out", type=Path, required=True, help="folder of the run; an interrupted run there is resumed")
    train.add_argument("--earlier", type=Path, default=None, help="checkpoint whose weights a new run begins with")
    train.add_argument("--device", default=None, help="cpu or cuda (default: cuda if there is one)")
    train.add_argument(
        "--threads", type=positive, default=None, help="CPU threads (default: as many as there are cores)"
    )
    train.add_argument(
        "--processes", type=positive, default=1, help="processes that share each batch, one thread each (1)"
    )
    train.add_argument("--rank", type=int, default=0, help=argparse.SUPPRESS)
    train.set_defaults(run_command=_train)

    leaks = commands.add_parser("leaks", help="find lines of a recipe's test sets in its training texts")
    _add_recipe(leaks)
    leaks.set_defaults(run_command=_leaks)

    branch = commands.add_parser("branch", help="copy a run, to cool the rate down in the copy")
    branch.add_argument("run", type=Path, help="folder of the run, which may go on meanwhile")
    branch.add_argument("--steps", type=positive, required=True, help="further steps, over which the rate falls to 0")
    branch.add_argument("--out", type=Path, required=True, help="folder of the branch, for train --out")
    branch.set_defaults(run_command=_branch)

    average = commands.add_parser("average", help="average a run's last saved weights into a checkpoint")
    average.add_argument("run", type=Path, help="folder of the run")
    average.add_argument("--vocabulary", type=Path, required=True)
    average.add_argument("--last", type=positive, default=5, help="how many (default 5)")
    average.add_argument("--half", action="store_true", help="store fp16, half the size")
    average.add_argument("--out", type=Path, required=True, help="checkpoint folder to write")
    average.set_defaults(run_command=_average)

    distill = commands.add_parser("distill", help="let a checkpoint translate a recipe's texts, for a smaller one")
    _add_recipe(distill)
    distill.add_argument("--teacher", type=Path, required=True, help="checkpoint folder of the network to learn from")
    distill.add_argument("--out", type=Path, required=True, help="folder to write; an interrupted call is gone on with")
    distill.add_argument("--beam", type=int, default=5, help="beam size (5)")
    distill.add_argument("--length-penalty", type=float, default=1.0)
    distill.add_argument("--limit", type=int, default=None, help="first N pairs of each text only")
    distill.set_defaults(run_command=_distill)

    words = commands.add_parser("words", help="mine words from a recipe's texts, and write numbers out")
    _add_recipe(words)
    words.add_argument("--out", type=Path, required=True, help="folder for one file a pair of languages")
    words.add_argument("--pairs", type=positive, default=200_000, help="sentence pairs a pair of languages (200,000)")
    words.add_argument("--dictionary", type=Path, default=None, help="TSV whose first column is Chinese words")
    words.set_defaults(run_command=_words)

    shortlist = commands.add_parser("shortlist", help="learn which target pieces a sentence may need")
    _add_recipe(shortlist)
    shortlist.add_argument("checkpoint", type=Path, help="checkpoint folder to add it to")
    shortlist.add_argument("--pairs", type=positive, default=250_000, help="sentence pairs a target language (250,000)")
    shortlist.add_argument("--most", type=positive, default=256, help="translations kept of a piece (256)")
    shortlist.add_argument("--frequent", type=positive, default=200, help="pieces every sentence may use (200)")
    shortlist.set_defaults(run_command=_shortlist)

    lexical = commands.add_parser("lexical", help="learn how likely pieces translate each other, for word alignments")
    _add_recipe(lexical)
    lexical.add_argument("checkpoint", type=Path, help="checkpoint folder to add it to")
    lexical.add_argument("--pairs", type=positive, default=150_000, help="sentence pairs a pair of languages (150,000)")
    lexical.set_defaults(run_command=_lexical)

    evaluate = commands.add_parser("evaluate", help="score a checkpoint on line-aligned files")
    evaluate.add_argument("checkpoint", type=Path)
    evaluate.add_argument("--source", type=Path, required=True, help="source lines, plain or .gz")
    evaluate.add_argument("--reference", type=Path, required=True, help="reference lines, plain or .gz")
    _add_search(evaluate)
    evaluate.add_argument("--limit", type=positive, default=None, help="first N lines only")
    evaluate.add_argument("--output", type=Path, default=None, help="write the translations, one a line")
    evaluate.set_defaults(run_command=_evaluate)

    translate = commands.add_parser("translate", help="translate sentences with a checkpoint")
    translate.add_argument("checkpoint", type=Path)
    _add_search(translate)
    translate.add_argument("--text", nargs="+", help="sentences (default: the lines of standard input)")
    translate.set_defaults(run_command=_translate)

    curves = commands.add_parser("curves", help="draw a run's log as a PNG")
    curves.add_argument("run", type=Path, help="folder of the run")
    curves.add_argument("--png", type=Path, default=None, help="file to write (default: curves.png in the run)")
    curves.set_defaults(run_command=_curves)
    return parser


def _add_recipe(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", type=Path, help="TOML file, see model/recipes/")
    parser.add_argument("--root", type=Path, default=Path(), help="folder that the recipe's paths start from")


def _add_search(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--direction", required=True, help="e.g. zh-en")
    parser.add_argument("--beam", type=positive, default=1, help="beam size (default 1, greedy)")
    parser.add_argument("--length-penalty", type=number, default=1.0)


def _vocabulary(options: argparse.Namespace) -> None:
    from model.extension import extend_vocabulary
    from model.preparation import build_vocabulary, tagged_languages
    from model.recipe import load_recipe

    recipe = load_recipe(options.recipe)
    if options.extend:
        vocabulary = extend_vocabulary(options.extend, options.out, tagged_languages(recipe))
    else:
        vocabulary = build_vocabulary(recipe, options.root, options.out)
    print(f"{options.out}: {len(vocabulary)} pieces, tags for {', '.join(vocabulary.languages)}")


def _train(options: argparse.Namespace) -> None:
    import torch

    from model.batches import Mixture
    from model.branch import as_branched
    from model.curves import draw_curves
    from model.preparation import load_vocabulary, read_texts, read_validation
    from model.recipe import load_recipe
    from model.team import Team, start_others
    from model.training import LOG_FILE, MEETING_POINT, Trainer

    if options.threads or options.processes > 1:
        torch.set_num_threads(options.threads or 1)
    if options.processes > 1 and not options.rank:
        start_others(options.processes, options.out / MEETING_POINT)
    team = Team(options.rank, options.processes, options.out / MEETING_POINT)
    recipe = as_branched(load_recipe(options.recipe), options.out)
    vocabulary = load_vocabulary(recipe, options.vocabulary)
    config = recipe.config_for(len(vocabulary))
    device = torch.device(options.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    settings = recipe.training
    mixture = Mixture(
        read_texts(recipe, options.root),
        vocabulary,
        batch_tokens=settings.batch_tokens,
        longest=settings.longest,
        seed=recipe.seed,
    )
    validation = read_validation(recipe, options.root, vocabulary)
    trainer = Trainer(
        recipe, config, mixture, validation, options.out, options.vocabulary, device, team, options.earlier
    )
    if team.leads:
        print(f"{trainer.model.num_parameters():,} parameters on {device}", file=sys.stderr)
    result = trainer.train()
    if not team.leads:
        return
    draw_curves(options.out / LOG_FILE, options.out / "curves.png")
    print(f"{result}: average of the last weights; curves in {options.out / 'curves.png'}")


def _leaks(options: argparse.Namespace) -> None:
    from model.leaks import find_leaks
    from model.recipe import load_recipe

    recipe = load_recipe(options.recipe)
    found = 0
    for leak in find_leaks(recipe, options.root):
        found += 1
        print(f"{leak.test}: {len(leak.lines)} lines in {leak.text}: {', '.join(map(str, leak.lines[:20]))}")
    print(f"{len(recipe.test)} test sets, {found} of their pairings with a training text share lines")


def _branch(options: argparse.Namespace) -> None:
    from model.branch import branch

    last = branch(options.run, options.out, options.steps)
    print(f"{options.out}: to step {last}; go on with: python -m model train RECIPE --out {options.out}")


def _average(options: argparse.Namespace) -> None:
    import torch

    from model.checkpoint import save_checkpoint
    from model.training import newest_average

    average = newest_average(options.run, options.vocabulary, options.last)
    save_checkpoint(options.out, **average, dtype=torch.float16 if options.half else torch.float32)
    print(f"{options.out}: average of {len(average['training']['averaged_steps'])} saved weights")


def _distill(options: argparse.Namespace) -> None:
    from model.checkpoint import load_checkpoint
    from model.distillation import distil
    from model.recipe import load_recipe

    recipe, teacher = load_recipe(options.recipe), load_checkpoint(options.teacher)
    search = {"beam_size": options.beam, "length_penalty": options.length_penalty}
    student = distil(recipe, options.root, teacher, options.out, **search, limit=options.limit)
    print(f"{student}: learn from it with: python -m model train {student} --root {options.root}")


def _shortlist(options: argparse.Namespace) -> None:
    from model.preparation import sample_pairs
    from model.shortlist import SHORTLIST_FILE, build_lexicon, save_lexicons

    learn = functools.partial(build_lexicon, most=options.most, frequent=options.frequent)
    lexicons = _learned(options, lambda recipe: recipe.target_languages, sample_pairs, learn)
    save_lexicons(options.checkpoint / SHORTLIST_FILE, lexicons)
    print(options.checkpoint / SHORTLIST_FILE)


def _lexical(options: argparse.Namespace) -> None:
    from model.lexical import LEXICAL_FILE, learn_table, save_tables
    from model.preparation import sample_texts

    tables = _learned(options, lambda recipe: recipe.language_pairs, sample_texts, learn_table)
    save_tables(options.checkpoint / LEXICAL_FILE, tables)
    print(options.checkpoint / LEXICAL_FILE)


def _words(options: argparse.Namespace) -> None:
    from model.corpus import read_tsv
    from model.preparation import sample_as_read
    from model.recipe import load_recipe, split_direction
    from model.words import Words, mine_words, number_words, with_capitals, write_words

    recipe = load_recipe(options.recipe)
    dictionary = [word for word, _ in read_tsv(options.dictionary, 0, 0)] if options.dictionary else []
    for direction in recipe.language_pairs:
        source, target = split_direction(direction)
        sentences = sample_as_read(recipe, options.root, direction, options.pairs)
        mined = mine_words(sentences, Words(source, dictionary), Words(target, dictionary))
        pairs = list(with_capitals([*number_words(source, target), *mined]))
        path = options.out / f"{direction}.tsv.gz"
        write_words(path, pairs)
        print(f"{path}: {len(pairs):,} pairs of words")


def _learned(
    options: argparse.Namespace,
    names_of: Callable[[Recipe], Sequence[str]],
    sample: Callable[[Recipe, Path, Vocabulary, str, int], Sequence[Pair]],
    learn: Callable[[Sequence[Pair], int], Learned],
) -> dict[str, Learned]:
    """What `learn` makes of the training pairs that `sample` gives for each of the recipe's names."""
    from model.checkpoint import VOCABULARY_FILE
    from model.preparation import load_vocabulary
    from model.recipe import load_recipe

    recipe = load_recipe(options.recipe)
    vocabulary = load_vocabulary(recipe, options.checkpoint / VOCABULARY_FILE)
    learned = {}
    for name in names_of(recipe):
        pairs = sample(recipe, options.root, vocabulary, name, options.pairs)
        print(f"{name}: {len(pairs):,} pairs", file=sys.stderr)
        learned[name] = learn(pairs, len(vocabulary))
    return learned


def _evaluate(options: argparse.Namespace) -> None:
    from model.checkpoint import load_checkpoint
    from model.corpus import read_aligned
    from model.evaluation import score
    from model.recipe import split_direction

    checkpoint = load_checkpoint(options.checkpoint)
    target_language = split_direction(options.direction)[1]
    pairs = read_aligned(options.source, options.reference)[: options.limit]
    sources = [source for source, _ in pairs]
    hypotheses = _translations(checkpoint, sources, target_language, options)
    if options.output:
        options.output.write_text("".join(line + "\n" for line in hypotheses), encoding="utf-8")
    print(json.dumps(score(hypotheses, [target for _, target in pairs], target_language).to_dict()))


def _translate(options: argparse.Namespace) -> None:
    from model.checkpoint import load_checkpoint
    from model.recipe import split_direction

    target_language = split_direction(options.direction)[1]
    checkpoint = load_checkpoint(options.checkpoint)
    sources = options.text or [line.rstrip("\r\n") for line in sys.stdin]
    for line in _translations(checkpoint, sources, target_language, options):
        print(line)


def _translations(
    checkpoint: Checkpoint, sources: Sequence[str], target_language: str, options: argparse.Namespace
) -> list[str]:
    from model.translation import translate_greedily, translate_with_beam

    model, vocabulary = checkpoint.model, checkpoint.vocabulary
    if options.beam == 1:
        return translate_greedily(model, vocabulary, sources, target_language)
    search = {"beam_size": options.beam, "length_penalty": options.length_penalty}
    return [translate_with_beam(model, vocabulary, source, target_language, **search) for source in sources]


def _curves(options: argparse.Namespace) -> None:
    from model.curves import draw_curves
    from model.training import LOG_FILE

    picture = options.png or options.run / "curves.png"
    draw_curves(options.run / LOG_FILE, picture)
    print(picture)


def _with_allocator_settings() -> None:
    """Start this process again with `_ALLOCATOR` where that has not been done."""
    if sys.platform == "linux" and not _ALLOCATOR.keys() & os.environ.keys():
        os.execve(sys.executable, [sys.executable, "-m", "model", *sys.argv[1:]], {**os.environ, **_ALLOCATOR})


if __name__ == "__main__":
    _with_allocator_settings()
    sys.exit(main())
