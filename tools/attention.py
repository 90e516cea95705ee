"""attend attention: where the model looks as it translates a sentence, as a picture."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties

from model.arguments import positive
from model.errors import DataError
from service.engine.loading import BlockingEngine
from service.engine.scores import KINDS
from service.engine.types import EngineConfig, Job, SearchOptions
from service.explain.attention import AttentionSelection, select
from service.explain.details import UNMEASURED, DetailOptions, Side, inspect
from service.shipped import shipped_bundle
from service.text.reading import reader_for

if TYPE_CHECKING:
    from service.arrays import Array
    from service.engine.scores import AttentionKind
    from service.engine.types import Hypothesis
    from service.explain.details import Inspection
    from service.text.reading import Reader

_INCHES_A_CELL, _INCHES_A_SMALL_CELL = 0.3, 0.15
_MAPS_A_ROW = 4
_DOTS_AN_INCH = 100
_CAPTIONS = {
    "cross": "encoder-decoder attention",
    "encoder": "self-attention of the encoder",
    "decoder": "masked self-attention of the decoder",
    "erasure": "erasure: nats lost without a source word",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Map:
    """What each row takes from each column."""

    title: str
    values: Array
    """[rows, columns], from 0."""
    rows: Sequence[str]
    columns: Sequence[str]


def add_command(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The command's arguments."""
    parser = subparsers.add_parser("attention", help="draw where the model looks as it translates a sentence")
    parser.add_argument("text", help="one sentence")
    parser.add_argument("--source", required=True, help="its language, e.g. fr")
    parser.add_argument("--target", required=True, help="language to translate into, e.g. en")
    parser.add_argument("--png", type=Path, required=True, help="picture to write")
    parser.add_argument("--bundle", type=Path, default=shipped_bundle())
    parser.add_argument(
        "--kind",
        choices=(*KINDS, "erasure"),
        default="cross",
        help="erasure: not attention, but how much less likely a word is when the model does not see a source word",
    )
    parser.add_argument("--layer", type=int, default=-1, help="from 0; default: the last")
    parser.add_argument("--heads", choices=("mean", "all"), default="mean", help="all: a small map for each head")
    parser.add_argument("--beam", type=positive, default=4, help="beam size (default 4)")
    parser.add_argument("--font", type=Path, help="font file for the labels; default: one that has every character")
    parser.set_defaults(run_command=_attention)


def _attention(options: argparse.Namespace) -> None:
    with BlockingEngine(EngineConfig(directory=options.bundle, sessions=1, max_rows=8)) as engine:
        loaded = engine.loaded
        reader = reader_for(f"{options.source}-{options.target}", loaded.manifest.pairs(), loaded.vocabulary)
        inspection = _inspect(options, engine, reader)
        inspection = dataclasses.replace(inspection, scores=tuple(engine.score(inspection.jobs)))
    maps = _erasure_maps(inspection) if options.kind == "erasure" else _attention_maps(inspection, options)
    print(inspection.target.text)
    sentences = f"{inspection.source.text}\n{inspection.target.text}"
    font = font_for(sentences, options.font)
    if font is None:
        print("no font here has all these characters; they are drawn as numbers: see --font", file=sys.stderr)
    figure = draw(maps, _CAPTIONS[options.kind], sentences, font)
    figure.savefig(options.png, dpi=_DOTS_AN_INCH, bbox_inches="tight")


def _inspect(options: argparse.Namespace, engine: BlockingEngine, reader: Reader) -> Inspection:
    """Translate the sentence, and make the jobs that show how."""
    pair = reader.pair(options.target)
    source = Side.of_source(options.text, 0, reader)
    loaded = engine.loaded
    hypothesis = _translate(source.framed(reader.frame(options.target)), options, engine)
    erasure = options.kind == "erasure"
    selection = None if erasure else AttentionSelection(kinds=(options.kind,))
    return inspect(
        source,
        Side.of_target(hypothesis.target_ids, 0, loaded.vocabulary),
        hypothesis,
        pair=pair,
        wanted=DetailOptions(alignment=erasure, attention=selection),
        manifest=loaded.manifest.model_copy(update={"alignment": {"-".join(pair): UNMEASURED}}),
        vocabulary=loaded.vocabulary,
    )


def _translate(source: Side, options: argparse.Namespace, engine: BlockingEngine) -> Hypothesis:
    loaded = engine.loaded
    limits = loaded.manifest.limits
    ids, silent = source.all_ids, loaded.vocabulary.target_prefix(options.target)
    if not source.ids or len(ids) > limits.source_tokens:
        raise DataError(f"the sentence has {len(ids)} tokens; from 3 to {limits.source_tokens} can be drawn")
    most = min(limits.output_tokens(len(ids)) + len(silent), limits.target_tokens)
    search = SearchOptions(beam_size=options.beam, max_output_tokens=most, silent_prefix=silent)
    hypotheses: list[tuple[Hypothesis, ...]] = engine.run([Job(ids, search)])
    return hypotheses[0][0]


def _attention_maps(inspection: Inspection, options: argparse.Namespace) -> list[Map]:
    """One map, the mean of the layer's heads, or one for each of its heads."""
    kind: AttentionKind = options.kind
    weights = inspection.scores[0].attention[kind]
    layers, heads = weights.shape[:2]
    if not -layers <= options.layer < layers:
        raise DataError(f"--layer {options.layer}: {kind} attention of this model has layers 0 to {layers - 1}")
    layer = options.layer % layers
    chosen = select({kind: weights}, AttentionSelection(kinds=(kind,), layers=(layer,)))[kind][0]
    read = ("<s>", *inspection.target_tokens[:-1])
    rows = inspection.source_tokens if kind == "encoder" else inspection.target_tokens
    columns = read if kind == "decoder" else inspection.source_tokens
    if options.heads == "all":
        return [Map(f"layer {layer}, head {head}", chosen[head], rows, columns) for head in range(heads)]
    return [Map(f"layer {layer}, mean of {heads} heads", chosen.mean(axis=0), rows, columns)]


def _erasure_maps(inspection: Inspection) -> list[Map]:
    """By how many nats each target word is less likely without each source word."""
    words = inspection.words()
    rows = [inspection.target.text[start:end] for start, end in words.targets]
    columns = [inspection.source.text[start:end] for start, end in words.sources]
    return [Map("", words.evidence, rows, columns)]


def font_for(text: str, file: Path | None) -> FontProperties | None:
    """The font in `file`, or the first one installed that has every character of `text`; None if there is none.

    Raises:
        DataError: there is no such file, or it is no font.
    """
    needed = {ord(character) for character in text if not character.isspace()}
    if file is not None:
        try:
            font_manager.get_font(file)
        except (OSError, RuntimeError) as error:
            raise DataError(f"{file}: not a font: {error}") from None
        return FontProperties(fname=file)
    installed = [entry.fname for entry in font_manager.fontManager.ttflist if not entry.name.startswith("Last Resort")]
    for path in (font_manager.findfont("DejaVu Sans"), *installed):
        if needed <= font_manager.get_font(path).get_charmap().keys():
            return FontProperties(fname=path)
    return None


def draw(maps: Sequence[Map], caption: str, sentences: str, font: FontProperties | None) -> Figure:
    """The maps as one figure: a single large one, or small ones in rows that share their labels.

    Without a font the sentences are left out, and labels outside Latin scripts are code points.
    """
    across = min(len(maps), _MAPS_A_ROW)
    down = -(-len(maps) // across)
    cell = _INCHES_A_CELL if len(maps) == 1 else _INCHES_A_SMALL_CELL
    rows, columns = maps[0].values.shape
    size = (across * (columns * cell + 0.3) + 1.8, down * (rows * cell + 0.4) + 1.8)
    figure = Figure(figsize=size, layout="constrained")
    title = f"{sentences}\n{caption}".replace("$", r"\$") if font else caption
    figure.suptitle(title, font=font, fontsize=10)
    grid = figure.subplots(down, across, squeeze=False)
    largest = max(float(each.values.max()) for each in maps)
    for index, (axes, each) in enumerate(zip(grid.flat, maps, strict=False)):
        image = _draw_map(axes, each, largest, font, left=index % across == 0, top=index < across)
    for axes in grid.flat[len(maps) :]:
        axes.set_axis_off()
    figure.colorbar(image, ax=grid, fraction=0.03, aspect=30)
    return figure


def _draw_map(axes: Axes, each: Map, largest: float, font: FontProperties | None, *, left: bool, top: bool) -> Any:
    image = axes.imshow(each.values, cmap="Blues", vmin=0, vmax=largest)
    axes.set_title(each.title, fontsize=8)
    axes.xaxis.tick_top()
    axes.set_xticks(range(len(each.columns)), _shown(each.columns, font) if top else [], rotation=90)
    axes.set_yticks(range(len(each.rows)), _shown(each.rows, font) if left else [])
    for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        label.set_fontproperties(font)
        label.set_fontsize(8)
    axes.tick_params(length=0)
    return image


def _shown(labels: Sequence[str], font: FontProperties | None) -> list[str]:
    """As they are drawn: `$` begins no formula, and where no font has them characters outside Latin scripts are
    numbers."""
    if font is None:
        labels = ["".join(c if ord(c) < 0x250 or c == "▁" else f"U+{ord(c):04X} " for c in label) for label in labels]
    return [label.replace("$", r"\$") for label in labels]
