"""A branch of a run: the rate is cooled down in a copy, while the run itself goes on at its constant rate."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch

from model.errors import CheckpointError
from model.recipe import Recipe
from model.training import LOG_FILE, STATE_FILE

BRANCH_FILE = "branch.json"


def branch(run: Path, out: Path, steps: int) -> int:
    """Copy the run's last state to `out`, to be trained there for `steps` more steps; returns the last of them.

    Raises:
        CheckpointError: the run has saved nothing yet, or there is something in `out`.
    """
    state = run / STATE_FILE
    if not state.exists():
        raise CheckpointError(f"{state}: no such file; the run has saved nothing yet")
    if (out / STATE_FILE).exists():
        raise CheckpointError(f"{out}: there is a run already; choose another --out")
    out.mkdir(parents=True, exist_ok=True)
    # Copied before it is read: the run may replace its state at any moment.
    shutil.copyfile(state, out / STATE_FILE)
    if (run / LOG_FILE).exists():
        shutil.copyfile(run / LOG_FILE, out / LOG_FILE)
    step = int(torch.load(out / STATE_FILE, map_location="cpu", weights_only=True)["position"]["step"])
    ends = {"max_steps": step + steps, "cooldown_steps": steps}
    (out / BRANCH_FILE).write_text(json.dumps(ends) + "\n", encoding="utf-8")
    return ends["max_steps"]


def as_branched(recipe: Recipe, run: Path) -> Recipe:
    """The recipe with the end and the cool-down that `branch` wrote in `run`; unchanged where it wrote none."""
    path = run / BRANCH_FILE
    if not path.exists():
        return recipe
    ends = json.loads(path.read_text(encoding="utf-8"))
    return recipe.model_copy(update={"training": recipe.training.model_copy(update=ends)})
