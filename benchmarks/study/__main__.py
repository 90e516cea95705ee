"""Train the architectures of the literature alike, measure them, and write docs/study.md.

    python -m benchmarks.study [--recipe model/recipes/demo.toml] [--root .] [--out runs/study] [--steps 3000]
                               [--only NAME ...] [--quick] [--document docs/study.md]

`--recipe` gives text, vocabulary and seed; every network gets the same batches in the same order. What is in --out is
not done again, and an interrupted training goes on where it stopped. --only trains these alone, and none with no name:
the document then says what is missing. --quick is a miniature of a minute, to try the command itself.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.study.maps import draw_maps
from benchmarks.study.measures import measure
from benchmarks.study.report import write_report
from benchmarks.study.training import Plan, result_of, run
from benchmarks.study.variants import VARIANTS, Sizes
from model.errors import ModelError
from model.recipe import load_recipe, split_direction

_QUICK = Sizes(width=16, inner=24, heads=4, layers=1, window=2)
_MEASURES_FILE = "measures.json"
_SENTENCE = {"fr": "Je suis étudiant.", "zh": "我爱你。", "en": "I love you."}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the study; 2 if the input is to blame."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(1)
    try:
        study(options)
    except ModelError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    names = [variant.name for variant in VARIANTS]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.study", description=__doc__.partition("\n")[0])
    parser.add_argument("--recipe", type=Path, default=Path("model/recipes/demo.toml"))
    parser.add_argument("--root", type=Path, default=Path())
    parser.add_argument("--out", type=Path, default=Path("runs/study"))
    parser.add_argument("--document", type=Path, default=Path("docs/study.md"))
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--taught-pairs", type=int, default=None, help="pairs the teacher translates (default: all)")
    parser.add_argument("--only", nargs="*", choices=names, default=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--quick", action="store_true")
    return parser


def study(options: argparse.Namespace) -> None:
    """Train, measure, write."""
    plan = plan_of(options)
    measures = _measured(plan, quick=options.quick)
    for name in options.only:
        print(f"study: {name}", file=sys.stderr, flush=True)
        run(plan, next(variant for variant in VARIANTS if variant.name == name))
    results: dict[str, Any] = {"measures": measures}
    found = ((variant.name, result_of(plan, variant)) for variant in VARIANTS)
    results |= {name: result for name, result in found if result is not None}
    write_report(options.document, results, _setting(options, plan), _pictures(plan, results, options.document))
    print(options.document)


def plan_of(options: argparse.Namespace) -> Plan:
    """What the options say."""
    recipe = load_recipe(options.recipe)
    if options.quick:
        training = recipe.training.model_copy(
            update={"batch_tokens": 256, "longest": 64, "checkpoint_every": 2, "log_every": 2, "compile_loss": False}
        )
        held_out = tuple(files.model_copy(update={"limit": 6}) for files in recipe.validation)
        recipe = recipe.model_copy(update={"training": training, "validation": held_out})
        recipe = recipe.model_copy(update={"vocabulary": recipe.vocabulary.model_copy(update={"size": 400})})
        return Plan(recipe, options.root, options.out, _QUICK, min(options.steps, 4), 6)
    return Plan(recipe, options.root, options.out, Sizes(), options.steps, options.taught_pairs)


def _measured(plan: Plan, *, quick: bool) -> dict[str, Any]:
    path = plan.out / _MEASURES_FILE
    if not path.exists():
        print("study: measures", file=sys.stderr, flush=True)
        plan.out.mkdir(parents=True, exist_ok=True)
        scratch = path.with_suffix(".partial")
        scratch.write_text(json.dumps(measure(quick=quick), indent=1) + "\n", encoding="utf-8")
        scratch.replace(path)
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _setting(options: argparse.Namespace, plan: Plan) -> str:
    sizes = ", ".join(f"{name} {value}" for name, value in dataclasses.asdict(plan.sizes).items())
    miniature = " This is the miniature: nothing in it is of any worth." if options.quick else ""
    return f"Every network: text of `{plan.recipe.name}`, {plan.steps:,} steps, {sizes}.{miniature}"


def _pictures(plan: Plan, results: dict[str, Any], document: Path) -> list[tuple[str, str]]:
    names = [name for name in results if name != "measures"]
    direction = plan.recipe.validation[0].directions[0]
    source, target = split_direction(direction)
    picture = document.parent / "images" / "study-maps.png"
    if source not in _SENTENCE or not draw_maps(plan, names, _SENTENCE[source], target, picture):
        return []
    return [("Where each of them looks", os.path.relpath(picture, document.parent))]


if __name__ == "__main__":
    sys.exit(main())
