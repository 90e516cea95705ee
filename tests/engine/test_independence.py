"""The promise: a text gets the same translation and the same scores, to the last bit, whoever else is being served.

2,000 real sentences with mixed search options are decoded one at a time, then all together in random order, joining a
running batch wherever it happens to be.
"""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from benchmarks.independence import alone, different, requests, together
from export import quantize as quantization
from export.write import write_bundle
from model.bundle import Limits
from service.engine.loading import LoadedEngine, load_engine
from service.engine.records import EngineReport
from tests.bundles import PRETRAINED, SHIPPED_BUNDLE

COUNT = 2000
MEAN_ROWS = 16


def open_engine(bundle: Path, reports: list[EngineReport]) -> LoadedEngine:
    return load_engine(bundle, device="cpu", sessions=2, threads=1, max_rows=256, on_report=reports.append)


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
