"""The promise: a text gets the same translation and the same scores, to the last bit, whoever else is being served.

2,000 real sentences with mixed search options are decoded one at a time, then all together in random order, joining a
running batch wherever it happens to be.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import onnx
import pytest

from export import quantize as quantization
from export.write import write_bundle
from model.bundle import Limits
from model.corpus import read_tsv
from service.engine.jobs import Hypothesis, Job, SearchOptions
from service.engine.loading import LoadedEngine, load_engine
from service.engine.records import EngineReport
from tests.bundles import PRETRAINED, ROOT, SHIPPED_BUNDLE

SAMPLE = ROOT / "model" / "recipes" / "demo-data" / "tatoeba.tsv.gz"
CHINESE = (
    "我爱你",
    "今天天气很好。",
    "他说她没来。",
    "你能告诉我去车站的路吗？",
    "我今天早上在公园看到了一只非常可爱的小猫。",
)
COUNT = 2000
MEAN_ROWS = 16

Request = tuple[tuple[int, ...], SearchOptions]


def requests(loaded: LoadedEngine, count: int) -> list[Request]:
    """Sentences of every direction, from one word to several sentences in a row, with options of every kind."""
    rng = random.Random(7)
    pairs = read_tsv(SAMPLE, 1, 0)
    found = []
    for _ in range(count):
        french, english = zip(*rng.sample(pairs, rng.choice((1, 1, 1, 2, 4))), strict=True)
        text, target = rng.choice([(" ".join(french), "en"), (" ".join(english), "fr"), (rng.choice(CHINESE), "en")])
        source = tuple(loaded.vocabulary.encode_source(text, target))
        beam_size = rng.choice((1, 1, 1, 2, 3, 4, 5, 8))
        options = SearchOptions(
            beam_size=beam_size,
            num_hypotheses=rng.randint(1, beam_size),
            length_penalty=rng.choice((0.0, 0.6, 1.0, 1.5)),
            max_output_tokens=rng.choice((3, 12, 24, 2 * len(source) + 10)),
        )
        found.append((source, options))
    return found


def open_engine(bundle: Path, reports: list[EngineReport]) -> LoadedEngine:
    return load_engine(bundle, device="cpu", sessions=2, threads=1, max_rows=256, on_report=reports.append)


def alone(loaded: LoadedEngine, wanted: Sequence[Request]) -> list[tuple[Hypothesis, ...]]:
    results = []
    for source, options in wanted:
        job = Job(source, options)
        loaded.engine.submit([job])
        results.append(job.future.result(60))
    return results


def together(loaded: LoadedEngine, wanted: Sequence[Request], seed: int) -> list[tuple[Hypothesis, ...]]:
    """All of them in random order, as requests of one or of many sentences."""
    rng = random.Random(seed)
    jobs = [Job(source, options) for source, options in wanted]
    order = rng.sample(jobs, len(jobs))
    while order:
        size = rng.choice((1, 1, 2, 5, 40))
        some, order = order[:size], order[size:]
        loaded.engine.submit(some)
    return [job.future.result(300) for job in jobs]


def different(first: Sequence[tuple[Hypothesis, ...]], second: Sequence[tuple[Hypothesis, ...]]) -> int:
    return sum(a != b for a, b in zip(first, second, strict=True))


@pytest.fixture(params=["int8", "fp32"])
def bundle(request: pytest.FixtureRequest, shipped_fp32_bundle: Path) -> Path:
    return SHIPPED_BUNDLE if request.param == "int8" else shipped_fp32_bundle


def test_neighbours_change_nothing(bundle: Path) -> None:
    reports: list[EngineReport] = []
    loaded = open_engine(bundle, reports)
    try:
        wanted = requests(loaded, COUNT)
        expected = alone(loaded, wanted)
        reports.clear()
        found = together(loaded, wanted, seed=1)
    finally:
        loaded.engine.close()
    assert different(expected, found) == 0
    rows = [step.rows for report in reports for step in report.steps]
    assert sum(rows) / len(rows) >= MEAN_ROWS
    assert len({options.beam_size for _, options in wanted}) >= 5
    assert len({len(source) for source, _ in wanted}) >= 30


def test_one_scale_for_the_whole_batch_would_be_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With ONNX Runtime's fused operator, which has one activation scale for a batch, the test above fails."""
    monkeypatch.setattr(quantization._Rewriter, "_matmul", _fused_matmul)
    write_bundle(
        PRETRAINED, tmp_path / "fused", "int8", bundle_version="1", limits=Limits(source_tokens=256, target_tokens=512)
    )
    loaded = open_engine(tmp_path / "fused", [])
    try:
        wanted = requests(loaded, 150)
        expected, found = alone(loaded, wanted), together(loaded, wanted, seed=1)
    finally:
        loaded.engine.close()
    assert different(expected, found) > 0


def _fused_matmul(self: quantization._Rewriter, node: onnx.NodeProto, matrix: quantization.Matrix) -> None:
    addition, bias = self.biases.get(node.output[0], (node, ""))
    output = addition.output[0]
    weights, scale = quantization.quantize_columns(matrix)
    inputs = [
        node.input[0],
        self._constant(f"{output}.weight", weights.copy()),
        self._constant(f"{output}.weight_scale", scale),
        *(("", bias) if bias else ()),
    ]
    self._add("DynamicQuantizeMatMul", inputs, output, domain=quantization.CONTRIB)
