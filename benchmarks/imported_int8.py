"""What int8 costs a trained network that was imported, in BLEU, with and without channels that stand out.

    python -m benchmarks.imported_int8 --checkpoint model/pretrained --folder DIR --test fr-en TEXT.fr TEXT.en \\
        [--test en-fr TEXT.en TEXT.fr] [--limit 1000] [--planted 60] [--calibrate TEXT.fr]

A checkpoint of ours, trained for days, is written as a CTranslate2 model whose target tags are those of a multilingual
OPUS-MT network, imported in fp32 and in int8, and translates the tests with beam 4. `--planted` makes a few channels of
the inputs of every product so many times larger, and the matrices that read them as much smaller: in exact arithmetic
the network stays the same. The last line of stdout is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.ctranslate2_model import write_ctranslate2
from export.__main__ import main as export
from model.bundle import read_manifest
from model.checkpoint import VOCABULARY_FILE, Checkpoint, load_checkpoint
from model.corpus import read_aligned
from model.evaluation import score
from service.engine.bundle import Bundle
from service.engine.loading import BlockingEngine
from service.engine.types import EngineConfig, Job, SearchOptions

PRECISIONS = ("fp32", "int8")
_LANGUAGES = {"en": "eng", "fr": "fra", "zh": "zho", "de": "deu", "es": "spa"}
_PLANTED = (3, 17, 40)
"""Channels that are made larger."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True, help="a checkpoint of ours")
    parser.add_argument("--folder", type=Path, required=True, help="a folder for the networks")
    parser.add_argument("--test", nargs=3, action="append", required=True, metavar=("PAIR", "SOURCE", "REFERENCE"))
    parser.add_argument("--limit", type=int, default=1000, help="lines of each test")
    parser.add_argument("--planted", type=float, default=1.0, help="how many times larger some channels are made")
    parser.add_argument("--calibrate", type=Path, help="as `python -m export import` has it")
    options = parser.parse_args(arguments)
    folder = options.folder / f"planted-{options.planted:g}"
    languages = tuple(dict.fromkeys(language for pair, _, _ in options.test for language in pair.split("-")))
    bundles = {precision: folder.with_name(f"{folder.name}-{precision}") for precision in PRECISIONS}
    if not all(bundle.is_dir() for bundle in bundles.values()):
        write_foreign(
            load_checkpoint(options.checkpoint), options.checkpoint / VOCABULARY_FILE, folder, options.planted
        )
        for precision, bundle in bundles.items():
            _import(folder, bundle, precision, languages, options.calibrate)
    tests = {pair: read_aligned(Path(a), Path(b))[: options.limit] for pair, a, b in options.test}
    found = {precision: _scores(bundle, tests) for precision, bundle in bundles.items()}
    calibration = read_manifest(bundles["int8"]).provenance["calibration"]
    told: dict[str, Any] = {"planted": options.planted, "products": calibration["products"], "bleu": {}}
    for pair in tests:
        fp32, int8 = (found[precision][pair] for precision in PRECISIONS)
        told["bleu"][pair] = {"fp32": round(fp32, 2), "int8": round(int8, 2), "lost": round(fp32 - int8, 2)}
    print(json.dumps(told))
    return 0


def write_foreign(checkpoint: Checkpoint, vocabulary: Path, folder: Path, planted: float) -> None:
    """The checkpoint as a CTranslate2 model with its tokeniser, some channels so many times larger."""
    plant(checkpoint.model, planted)
    pieces = checkpoint.vocabulary.pieces(range(len(checkpoint.vocabulary)))
    for language in checkpoint.vocabulary.languages:
        pieces[checkpoint.vocabulary.tag_id(language)] = f">>{_LANGUAGES[language]}<<"
    write_ctranslate2(checkpoint, folder, None, pieces)
    (folder / "sentencepiece.model").write_bytes(vocabulary.read_bytes())


@torch.no_grad()
def plant(model: Any, times: float) -> None:
    """Let channels of every product's input stand out, but the output projection's, whose matrix the embedding is."""
    for layer in (*model.encoder, *model.decoder):
        inner = layer.feed_forward.inner
        _enlarge((layer.self_attention.value,), (layer.self_attention.output,), times)
        _enlarge((inner,), (layer.feed_forward.outer,), times)
        readers = [[layer.self_attention.query, layer.self_attention.key, layer.self_attention.value], [inner]]
        if hasattr(layer, "cross_attention"):
            _enlarge((layer.cross_attention.value,), (layer.cross_attention.output,), times)
            readers.insert(1, [layer.cross_attention.query])
        for residual, its_readers in zip(layer.residuals, readers, strict=True):
            _enlarge((residual.norm,), its_readers, times)
    cross = [part for layer in model.decoder for part in (layer.cross_attention.key, layer.cross_attention.value)]
    _enlarge((model.encoder_norm,), cross, times)


def _enlarge(writers: Iterable[nn.Module], readers: Iterable[nn.Module], times: float) -> None:
    for channel in _PLANTED:
        for writer in writers:
            writer.weight[channel] *= times
            writer.bias[channel] *= times
        for reader in readers:
            reader.weight[:, channel] /= times


def _import(folder: Path, bundle: Path, precision: str, languages: Sequence[str], calibrate: Path | None) -> None:
    sides = ["--source", *languages, "--target", *languages]
    more = ["--calibrate", str(calibrate)] if calibrate else []
    if export(["import", str(folder), str(bundle), "--precision", precision, *sides, *more]):
        raise SystemExit(f"{folder} cannot be imported")


def _scores(directory: Path, tests: dict[str, list[tuple[str, str]]]) -> dict[str, float]:
    """BLEU of each test's translations."""
    vocabulary = Bundle.read(directory).vocabulary
    engine = BlockingEngine(EngineConfig(directory=directory, device="cpu", max_rows=512))
    found = {}
    try:
        for pair, lines in tests.items():
            source, target = pair.split("-")
            before, behind = vocabulary.source_frame(source, target)
            sources = [(*before, *vocabulary.encode(line)[:250], *behind) for line, _ in lines]
            jobs = [
                Job(each, SearchOptions(beam_size=4, max_output_tokens=min(2 * len(each) + 10, 512)))
                for each in sources
            ]
            texts = [vocabulary.decode(hypotheses[0].target_ids) for hypotheses in engine.run(jobs)]
            found[pair] = score(texts, [reference for _, reference in lines], target).bleu
            print(directory.name, pair, round(found[pair], 2), file=sys.stderr, flush=True)
    finally:
        engine.close()
    return found


if __name__ == "__main__":
    sys.exit(main())
