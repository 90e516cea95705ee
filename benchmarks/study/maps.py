"""Where each network looked: the encoder-decoder attention of one sentence in all of them, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import torch
from matplotlib import pyplot

from benchmarks.study.training import Plan
from benchmarks.study.variants import VARIANTS
from model.checkpoint import load_checkpoint
from model.reference_search import greedy_search
from model.training import RESULT_DIR

_COLUMNS = 4


def draw_maps(plan: Plan, names: Sequence[str], text: str, target_language: str, picture: Path) -> int:
    """Draw the last layer, the mean of its heads, of every trained network that looks at the source; how many do."""
    maps = [found for name in names if (found := _map_of(plan, name, text, target_language)) is not None]
    if not maps:
        return 0
    rows = -(-len(maps) // _COLUMNS)
    figure, axes = pyplot.subplots(
        rows, _COLUMNS, figsize=(4 * _COLUMNS, 3.6 * rows), layout="constrained", squeeze=False
    )
    for place in axes.flat[len(maps) :]:
        place.axis("off")
    for place, (title, sources, targets, weights) in zip(axes.flat, maps, strict=False):
        place.imshow(weights, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        place.set_title(title, fontsize=9)
        place.set_xticks(range(len(sources)), sources, rotation=60, fontsize=7)
        place.set_yticks(range(len(targets)), targets, fontsize=7)
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=90)
    pyplot.close(figure)
    return len(maps)


@torch.inference_mode()
def _map_of(
    plan: Plan, name: str, text: str, target_language: str
) -> tuple[str, list[str], list[str], list[list[float]]] | None:
    checkpoint = load_checkpoint(plan.out / name / RESULT_DIR)
    model, vocabulary = checkpoint.model, checkpoint.vocabulary
    source = vocabulary.encode_source(text, target_language)
    ids, mask = torch.tensor([source]), torch.ones(1, len(source), dtype=torch.bool)
    (written,) = greedy_search(model, ids, mask, 2 * len(source))
    _, attention = model.with_attention(ids, mask, torch.tensor([[model.config.start_id, *written]]))
    if not attention.cross:
        return None
    weights = attention.cross[-1][0].mean(0)
    title = next(variant.title for variant in VARIANTS if variant.name == name)
    targets = vocabulary.pieces([*written, model.config.eos_id])
    return title, vocabulary.pieces(source), targets, weights.tolist()
