"""What a sentence costs: against its length, the rows beside it and the beams; and how near that is to the machine.

    python -m benchmarks.cost bundles/attend-zh-fr-en-int8 --png docs/images/cost.png

One session with one thread, so that a figure is work and not waiting. The roofline divides the products' multiply-adds
by the time and by the best rate one large int8 product reaches in the same run. The last part is what an interactive
sentence waits while a document of a thousand is translated, with the service's default sessions. The last line of
stdout is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from model.bundle import Manifest
from model.vocabulary import EOS_ID, Vocabulary
from service.engine.bundle import Bundle
from service.engine.decoder.opening import OnnxDecoder
from service.engine.decoder.runtime import load_runtime
from service.engine.loading import SILENT, load_engine
from service.engine.search import BeamGroup
from service.engine.types import EngineConfig, Job, SearchOptions

ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
LENGTHS = (8, 16, 32, 64, 128, 256)
BEAMS = (1, 2, 4, 8)
REPEATS = 15
TARGET_TOKENS = 12
DOCUMENT = 1000


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--png", type=Path, default=None, help="curves to draw")
    options = parser.parse_args(arguments)
    bench = _Bench(options.bundle)
    best = best_int8_rate()
    result: dict[str, Any] = {"best_int8_gmacs": round(best / 1e9, 1)}
    result["step_ms_by_rows"] = {rows: bench.step_ms(rows, 1, 16) for rows in ROWS}
    result["step_ms_by_beams_64_rows"] = {beams: bench.step_ms(64 // beams, beams, 16) for beams in BEAMS}
    result["step_ms_by_length_64_rows"] = {length: bench.step_ms(64, 1, length) for length in LENGTHS}
    result["encode_ms_by_length"] = {length: bench.encode_ms(1, length) for length in LENGTHS}
    result["encode_ms_by_sentences"] = {count: bench.encode_ms(count, 16) for count in (1, 4, 16, 32, 64)}
    result["roofline"] = {
        "encoder, 32 x 16 tokens": bench.encoder_macs(32, 16) / bench.encode_ms(32, 16) * 1e3 / best,
        "decoder, 64 rows": bench.decoder_macs(64) / bench.step_ms(64, 1, 16) * 1e3 / best,
    }
    result["roofline"] = {name: round(value, 3) for name, value in result["roofline"].items()}
    result["interactive"] = interactive(options.bundle)
    for name, values in result.items():
        print(f"{name}: {values}", file=sys.stderr)
    if options.png:
        draw(result, options.png)
    print(json.dumps(result))
    return 0


class _Bench:
    """One decoder with one thread, and sources of any length."""

    def __init__(self, directory: Path) -> None:
        runtime = load_runtime(directory, device="cpu", threads=1)
        vocabulary = Vocabulary.load(directory / "vocabulary.spm")
        self._decoder = OnnxDecoder(runtime, Bundle.read(directory).shortlist())
        self._manifest: Manifest = runtime.manifest
        self._tag = vocabulary.tag_id(vocabulary.languages[0])
        self._rng = np.random.default_rng(0)
        # Common pieces: rare ones would make every shortlist the whole vocabulary.
        self._pieces = range(270, 2000)

    def _sources(self, count: int, length: int) -> list[tuple[int, ...]]:
        return [
            (self._tag, *self._rng.choice(self._pieces, length - 2).tolist(), EOS_ID) for _ in range(count)
        ]  # fmt: skip

    def encode_ms(self, count: int, length: int) -> float:
        """Median time to encode so many sentences, in as many runs as the engine makes; shortlists included."""
        sources = self._sources(count, length)
        return median_ms(lambda: self._encode(sources))

    def _encode(self, sources: Sequence[tuple[int, ...]]) -> list[Mapping[str, npt.NDArray[Any]]]:
        """Memory of each run."""
        runs = self._decoder.runs([len(source) for source in sources])
        return [self._decoder.encode([sources[index] for index in run]) for run in runs]

    def step_ms(self, sentences: int, beams: int, length: int) -> float:
        """Median time of one step, search included, outputs being at their `TARGET_TOKENS` first tokens."""
        times = []
        memories = self._encode(self._sources(sentences, length))
        group: BeamGroup[int] = BeamGroup(self._decoder.open_slots(beams), beams)
        options = SearchOptions(
            beam_size=beams, min_output_tokens=TARGET_TOKENS, max_output_tokens=TARGET_TOKENS, length_penalty=1.0
        )
        for turn in range(3):
            for memory in memories:
                count = len(memory["source_mask"])
                group.join([0] * count, [options] * count, memory)
            while group.rows:
                began = time.perf_counter()
                group.step()
                if turn:
                    times.append(time.perf_counter() - began)
        return round(statistics.median(times) * 1e3, 3)

    def encoder_macs(self, sentences: int, length: int) -> float:
        """Multiply-adds of the encoder's products, keys and values for the decoder included."""
        a = self._manifest.architecture
        d, inner = a["d_model"], a["d_ff"]
        layer = 4 * d * d + 2 * d * inner
        return float(sentences * length * (a["encoder_layers"] * layer + a["decoder_layers"] * 2 * d * d))

    def decoder_macs(self, rows: int) -> float:
        """Multiply-adds of a step's products; of the output projection only the columns that were computed."""
        a = self._manifest.architecture
        d, inner = a["d_model"], a["d_ff"]
        group = self._decoder.open_slots(1)
        for memory in self._encode(self._sources(rows, 16)):
            group.join(memory)
        offered = group.max_candidates
        columns = offered if group.columns is None else group.columns.num_columns
        return float(rows * (a["decoder_layers"] * (6 * d * d + 2 * d * inner) + d * columns))


def median_ms(run: Callable[[], object]) -> float:
    """Median of `REPEATS` runs, in milliseconds."""
    times = []
    for turn in range(REPEATS + 2):
        began = time.perf_counter()
        run()
        if turn >= 2:
            times.append(time.perf_counter() - began)
    return round(statistics.median(times) * 1e3, 3)


def best_int8_rate() -> float:
    """Multiply-adds a second of the best of some large unsigned-by-signed products, one thread."""
    rates = []
    for rows, inner, columns in ((512, 512, 2048), (512, 1024, 256), (1024, 1024, 1024)):
        rng = np.random.default_rng(0)
        graph = helper.make_graph(
            [helper.make_node("MatMulInteger", ["x", "w", "zero"], ["y"])],
            "product",
            [helper.make_tensor_value_info("x", TensorProto.UINT8, [rows, inner])],
            [helper.make_tensor_value_info("y", TensorProto.INT32, [rows, columns])],
            [
                numpy_helper.from_array(rng.integers(-127, 127, (inner, columns)).astype(np.int8), "w"),
                numpy_helper.from_array(np.uint8(128), "zero"),
            ],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
        rates.append(rows * inner * columns / _product_ms(model, rng.integers(0, 255, (rows, inner))) * 1e3)
    return max(rates)


def _product_ms(model: onnx.ModelProto, x: np.ndarray) -> float:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    feed = {"x": x.astype(np.uint8)}
    return median_ms(lambda: session.run(None, feed))


def interactive(directory: Path) -> dict[str, float]:
    """One sentence alone, and again and again while a document is translated: medians in milliseconds."""
    return asyncio.run(_interactive(directory))


async def _interactive(directory: Path) -> dict[str, float]:
    loaded = await load_engine(EngineConfig(directory=directory, device="cpu"), SILENT)
    text = "Il fait très beau aujourd'hui et nous allons nous promener dans le parc."
    source = tuple(loaded.vocabulary.encode_source(text, "en"))
    options = SearchOptions(max_output_tokens=2 * len(source) + 10)

    async def ask() -> float:
        began = time.perf_counter()
        await loaded.pool.run([Job(source, options)])
        return time.perf_counter() - began

    try:
        alone = statistics.median([await ask() for _ in range(20)])
        document = asyncio.create_task(loaded.pool.run([Job(source, options)] * DOCUMENT))
        beside = []
        while not document.done():
            beside.append(await ask())
            await asyncio.sleep(0.02)
        await document
    finally:
        await loaded.close()
    during = statistics.median(beside)
    return {
        "alone_ms": round(alone * 1e3, 2), "beside_document_ms": round(during * 1e3, 2),
        "asked": len(beside), "ratio": round(during / alone, 2),
    }  # fmt: skip


def draw(result: dict[str, Any], path: Path) -> None:
    """Four curves as a PNG."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 4, figsize=(15, 3.4), layout="constrained")
    panels = (
        ("step_ms_by_rows", "a step, by rows (greedy)", "rows"),
        ("step_ms_by_beams_64_rows", "a step of 64 rows, by beam size", "beams"),
        ("step_ms_by_length_64_rows", "a step of 64 rows, by source length", "source tokens"),
        ("encode_ms_by_length", "encoding one sentence", "source tokens"),
    )
    for axis, (key, title, label) in zip(axes, panels, strict=True):
        axis.plot(list(result[key]), list(result[key].values()), marker="o")
        axis.set(title=title, xlabel=label, ylabel="milliseconds")
        axis.set_xscale("log", base=2)
        axis.set_xticks(list(result[key]), [str(x) for x in result[key]])
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    sys.exit(main())
