"""Draws what `serve.py` measured: latency against load."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def draw(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """A panel for each kind of text and beam size: sentences a second to the right, latency upwards.

    A system's line goes through its closed loops (1, 8, 64 clients), p50 with p99 above it as a thin line; crosses are
    the p50 of its open loops.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    panels = list(dict.fromkeys((row["texts"], row["beam_size"]) for row in rows))
    systems = list(dict.fromkeys(row["system"] for row in rows))
    figure, axes = pyplot.subplots(
        1, len(panels), figsize=(5.2 * len(panels), 4.6), layout="constrained", squeeze=False
    )
    for axis, (texts, beam) in zip(axes[0], panels, strict=True):
        for number, system in enumerate(systems):
            own = [row for row in rows if (row["texts"], row["beam_size"], row["system"]) == (texts, beam, system)]
            _curve(axis, [row for row in own if row["requests"]], f"C{number}", system)
        how = "greedy" if beam == 1 else f"beam {beam}"
        axis.set(title=f"one {texts} a request, {how}", xlabel="sentences/s", ylabel="latency, ms")
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.grid(alpha=0.3, which="both")
    axes[0][0].legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def _curve(axis: Any, rows: Sequence[Mapping[str, Any]], colour: str, label: str) -> None:
    closed = [row for row in rows if row["clients"]]
    rates = [row["sentences_per_second"] for row in closed]
    axis.plot(rates, [row["p50_ms"] for row in closed], marker="o", color=colour, label=label)
    axis.plot(rates, [row["p99_ms"] for row in closed], linewidth=0.8, linestyle=":", color=colour)
    opened = [row for row in rows if not row["clients"]]
    axis.plot(
        [row["sentences_per_second"] for row in opened], [row["p50_ms"] for row in opened],
        linestyle="none", marker="x", color=colour,
    )  # fmt: skip
