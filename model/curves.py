"""The log of a run as a picture."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.axes import Axes

from model.errors import DataError


def draw_curves(log: Path, picture: Path) -> None:
    """Loss, learning rate, BLEU and chrF over training tokens, from a JSON-lines log, as a PNG.

    Raises:
        DataError: there is no log yet.
    """
    if not log.is_file():
        raise DataError(f"{log}: no such log; has the run begun?")
    rows = _read_rows(log)
    figure, ((loss, rate), (bleu, chrf)) = pyplot.subplots(2, 2, figsize=(11, 7), layout="constrained")
    train = [row for row in rows if row["kind"] == "train"]
    millions = [row["target_tokens"] / 1e6 for row in train]
    loss.plot(millions, [row["loss"] for row in train], color="0.6", linewidth=0.8, label="training (smoothed labels)")
    rate.plot(millions, [row["learning_rate"] for row in train], color="0.4")
    _draw_validation(rows, {"loss": loss, "bleu": bleu, "chrf": chrf})
    for axes, title in (
        (loss, "loss, nats a token"),
        (rate, "learning rate"),
        (bleu, "BLEU (greedy)"),
        (chrf, "chrF2"),
    ):
        axes.set_title(title)
        axes.set_xlabel("million target tokens")
        axes.grid(alpha=0.3)
    for axes in (loss, bleu):
        if axes.lines:
            axes.legend(fontsize=7)
    figure.savefig(picture, dpi=110)
    pyplot.close(figure)


def _read_rows(log: Path) -> list[dict[str, Any]]:
    rows = []
    for number, line in enumerate(log.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True), start=1):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError as error:
            if not line.endswith("\n"):
                break  # the run is writing this line, or was killed while it did
            raise DataError(f"{log}:{number}: not JSON: {error}; drop the line") from error
    return rows


def _draw_validation(rows: list[dict[str, Any]], axes: dict[str, Axes]) -> None:
    by_set: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        if row["kind"] == "validation":
            by_set[f"{row['direction']} {row['set']}"].append(row)
    for name, points in by_set.items():
        for field, place in axes.items():
            x = [row["target_tokens"] / 1e6 for row in points]
            place.plot(x, [row[field] for row in points], marker=".", linewidth=1, label=name)
