"""Train a variant, translate the held-out lines with it, and keep what was found: done once, whatever happens between.

Times are processor time: what else the machine does makes them no longer.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.study.variants import Sizes, Variant, recipe_of, variant_named
from model.batches import Batch, Mixture
from model.checkpoint import load_checkpoint
from model.distillation import distil
from model.evaluation import score
from model.loss import label_smoothed_loss
from model.network import EncoderDecoder
from model.preparation import build_vocabulary, load_vocabulary, read_texts, read_validation
from model.recipe import Recipe, load_recipe
from model.training import LOG_FILE, RESULT_DIR, Trainer
from model.translation import translate_greedily

RESULT_FILE = "result.json"
_TIMED_BATCHES = 10


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """What all variants have in common."""

    recipe: Recipe
    root: Path
    out: Path
    sizes: Sizes
    steps: int
    taught_pairs: int
    """Pairs that a teacher translates."""

    @property
    def vocabulary(self) -> Path:
        """One vocabulary for all."""
        return self.out / "vocabulary.spm"


def result_of(plan: Plan, variant: Variant) -> dict[str, Any] | None:
    """What was found of a variant; None if it has not been trained yet."""
    path = plan.out / variant.name / RESULT_FILE
    found: dict[str, Any] | None = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
    return found


def run(plan: Plan, variant: Variant) -> dict[str, Any]:
    """Train and measure a variant, unless that is done; an interrupted training goes on where it stopped."""
    found = result_of(plan, variant)
    if found is not None:
        return found
    if not plan.vocabulary.exists():
        plan.out.mkdir(parents=True, exist_ok=True)
        build_vocabulary(plan.recipe, plan.root, plan.vocabulary)
    recipe = recipe_of(variant, _texts_for(plan, variant), plan.sizes, plan.steps)
    folder = plan.out / variant.name
    speed = _train(plan, recipe, folder)
    result = {"train_speed": speed, **_trained(folder), **_translated(plan, folder)}
    scratch = folder / f"{RESULT_FILE}.partial"
    scratch.write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    scratch.replace(folder / RESULT_FILE)
    return result


def _texts_for(plan: Plan, variant: Variant) -> Recipe:
    """The plan's recipe, with the teacher's translations if the variant has a teacher."""
    if variant.teacher is None:
        return plan.recipe
    run(plan, variant_named(variant.teacher))
    teacher = load_checkpoint(plan.out / variant.teacher / RESULT_DIR)
    taught = plan.out / variant.name / "taught"
    return load_recipe(distil(plan.recipe, plan.root, teacher, taught, limit=plan.taught_pairs))


def _train(plan: Plan, recipe: Recipe, folder: Path) -> float:
    """Returns target tokens a processor second, of a few steps after the training."""
    vocabulary = load_vocabulary(recipe, plan.vocabulary)
    settings = recipe.training
    mixture = Mixture(
        read_texts(recipe, plan.root),
        vocabulary,
        batch_tokens=settings.batch_tokens,
        longest=settings.longest,
        seed=recipe.seed,
    )
    config = recipe.config_for(len(vocabulary))
    held_out = read_validation(recipe, plan.root, vocabulary)
    trainer = Trainer(recipe, config, mixture, held_out, folder, plan.vocabulary, torch.device("cpu"))
    trainer.train()
    epoch = mixture.epoch(0)
    return _speed(trainer.model.train(), [epoch.batch(index) for index in range(min(_TIMED_BATCHES, len(epoch)))])


def _speed(model: EncoderDecoder, batches: Sequence[Batch]) -> float:
    """Target tokens a processor second, forwards and backwards."""
    began = time.process_time()
    for batch in batches:
        model.zero_grad(set_to_none=True)
        logits = model(batch.source_ids, batch.source_mask, batch.target_ids)
        label_smoothed_loss(logits, batch.labels, 0.1).backward()  # type: ignore[no-untyped-call]
    return round(sum(batch.num_target_tokens for batch in batches) / (time.process_time() - began), 1)


def _trained(folder: Path) -> dict[str, Any]:
    rows = [json.loads(line) for line in (folder / LOG_FILE).read_text(encoding="utf-8").splitlines()]
    losses = [[row["target_tokens"], row["loss"]] for row in rows if row["kind"] == "train"]
    last = [row for row in rows if row["kind"] == "validation"][-1]
    return {
        "target_tokens": rows[-1]["target_tokens"], "nll": last["nll"], "losses": losses,
    }  # fmt: skip


def _translated(plan: Plan, folder: Path) -> dict[str, Any]:
    """Translations of the first held-out set, one sentence after the other as a reader would ask for them."""
    checkpoint = load_checkpoint(folder / RESULT_DIR)
    held_out = read_validation(plan.recipe, plan.root, checkpoint.vocabulary)[0]
    began = time.process_time()
    hypotheses = translate_greedily(checkpoint.model, checkpoint.vocabulary, held_out.sources, held_out.target_language)
    seconds = time.process_time() - began
    scores = score(hypotheses, held_out.targets, held_out.target_language)
    return {
        "parameters": checkpoint.model.num_parameters(), "translate_seconds": round(seconds, 2), **scores.to_dict(),
        "lengths": [len(checkpoint.vocabulary.encode(source)) for source in held_out.sources],
        "hypotheses": hypotheses, "references": list(held_out.targets), "language": held_out.target_language,
    }  # fmt: skip
