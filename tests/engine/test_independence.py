"""The promise: a text gets the same translation and the same scores, to the last bit, whoever else is being served.

2,000 real sentences with mixed search options are decoded one at a time, then all together in random order, joining a
running batch wherever it happens to be.
"""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest

from benchmarks.independence import alone, different, requests, together
from export import quantize as quantization
from export.network import own_network
from export.write import write_network
from model.bundle import Limits
from service.engine import core
from service.engine.bundle import Bundle
from service.engine.core import Engine
from service.engine.decoder.opening import open_engine as open_one
from service.engine.decoder.runtime import load_runtime
from service.engine.types import EngineConfig
from tests.bundles import PRETRAINED, SHIPPED_BUNDLE

COUNT = 2000
MEAN_ROWS = 16


def open_engine(bundle: Path) -> Engine:
    return open_one(EngineConfig(directory=bundle, device="cpu", threads=1, max_rows=256))[0]


@pytest.fixture(params=["int8", "fp32"])
def bundle(request: pytest.FixtureRequest, shipped_fp32_bundle: Path) -> Path:
    return SHIPPED_BUNDLE if request.param == "int8" else shipped_fp32_bundle


@pytest.fixture
def steady_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """How lanes share the time follows what steps take: here each look at the clock takes a millisecond."""
    ticks = itertools.count()
    monkeypatch.setattr(core, "time", SimpleNamespace(monotonic=lambda: next(ticks) / 1000))


@pytest.mark.usefixtures("steady_clock")
def test_neighbours_change_nothing(bundle: Path) -> None:
    engine = open_engine(bundle)
    wanted = requests(Bundle.read(bundle).vocabulary, COUNT)
    expected = alone(engine, wanted)
    engine.report()
    found = together(engine, wanted, seed=1)
    assert different(expected, found) == 0
    rows = [step.rows for step in engine.report().steps]
    assert sum(rows) / len(rows) >= MEAN_ROWS
    assert len({job.options.beam_size for job in wanted}) >= 5
    assert len({len(job.source_ids) for job in wanted}) >= 30


def test_a_sentence_has_the_same_memory_wherever_it_lies_in_a_pack() -> None:
    """Also where it is longer than a vector register, and shares its run with one that is not."""
    runtime = load_runtime(SHIPPED_BUNDLE, device="cpu", threads=1)
    chance = np.random.default_rng(3)
    sources = [chance.integers(4, 9000, length).tolist() for length in (*range(1, 64), 100, 129, 256)]
    alone = [runtime.encode([source]) for source in sources]
    for _ in range(100):
        some = chance.choice(len(sources), chance.integers(2, 9))
        memory = runtime.encode([sources[index] for index in some])
        assert memory["source_mask"].sum(axis=1).tolist() == [len(sources[index]) for index in some]
        for row, index in enumerate(some):
            for name in set(memory) - {"source_mask"}:
                assert np.array_equal(memory[name][row, :, : len(sources[index])], alone[index][name][0])


def test_one_scale_for_the_whole_batch_would_be_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With ONNX Runtime's fused operator, which has one activation scale for a batch, the test above fails."""
    monkeypatch.setattr(quantization._Rewriter, "_matmul", _fused_matmul)
    network = dataclasses.replace(own_network(PRETRAINED), with_internals=False)
    limits = Limits(source_tokens=256, target_tokens=512)
    write_network(network, tmp_path / "fused", "int8", bundle_version="1", limits=limits)
    engine = open_engine(tmp_path / "fused")
    wanted = requests(Bundle.read(tmp_path / "fused").vocabulary, 150)
    expected, found = alone(engine, wanted), together(engine, wanted, seed=1)
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
