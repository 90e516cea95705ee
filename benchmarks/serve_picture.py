"""Draws what `serve.py` measured, in one run or in several: latency against load.

    python -m benchmarks.serve_picture OUTPUT... --png FILE

Each OUTPUT is what a run printed on standard output.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

WITHOUT_ENGINE = "Attend without its engine"
"""Translates nothing: it has no place beside those that do."""


def draw(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """A panel for each kind of text and beam size: sentences a second to the right, latency upwards.

    A system's line goes through its closed loops (1, 8, 64 clients), p50 with p99 above it as a thin line; crosses are
    the p50 of its open loops.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    rows = [row for row in rows if row["system"] != WITHOUT_ENGINE]
    panels = list(dict.fromkeys((row["texts"], row["beam_size"]) for row in rows))
    systems = list(dict.fromkeys(row["system"] for row in rows))
    lines = -(-len(panels) // 2)
    figure, axes = pyplot.subplots(lines, 2, figsize=(11, 4.2 * lines + 0.5), layout="constrained", squeeze=False)
    for axis, (texts, beam) in zip(axes.flat, panels, strict=False):
        for number, system in enumerate(systems):
            own = [row for row in rows if (row["texts"], row["beam_size"], row["system"]) == (texts, beam, system)]
            _curve(axis, [row for row in own if row["requests"]], f"C{number}", system)
        how = "greedy" if beam == 1 else f"beam {beam}"
        axis.set(title=f"one {texts} a request, {how}", xlabel="sentences/s", ylabel="latency, ms", yscale="log")
        axis.set_xlim(left=0)
        axis.yaxis.set_major_formatter("{x:g}")
        axis.grid(alpha=0.3, which="both")
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=len(systems), fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("outputs", type=Path, nargs="+")
    parser.add_argument("--png", type=Path, required=True)
    options = parser.parse_args()
    draw(
        [row for path in options.outputs for row in json.loads(path.read_text().splitlines()[-1])["rows"]], options.png
    )


if __name__ == "__main__":
    main()
