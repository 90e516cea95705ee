"""Which processors add 8-bit products exactly, and what is done on the others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model.bundle import VOCABULARY_FILE
from model.vocabulary import Vocabulary
from service.engine.decoder import runtime
from service.engine.decoder.columns import ShortlistColumns
from service.engine.decoder.cpu import int8_saturates
from service.engine.decoder.opening import open_engine
from service.engine.loading import run_here
from service.engine.types import EngineConfig, Job, SearchOptions
from tests.bundles import SHIPPED_BUNDLE


@pytest.mark.parametrize(
    ("machine", "flags", "expected"),
    [
        ("x86_64", "fpu sse4_2 avx2 avx512f avx512bw", True),
        ("x86_64", "fpu avx2 avx512f avx512_vnni", False),
        ("x86_64", "fpu avx2 avx_vnni", False),
        ("AMD64", "fpu avx2 amx_int8", False),
        ("aarch64", "fp asimd", False),
    ],
)
def test_saturation_is_told_from_the_flags(tmp_path: Path, machine: str, flags: str, expected: bool) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: {flags}\n\nprocessor\t: 1\nflags\t\t: {flags}\n")
    assert int8_saturates(machine, tmp_path / "cpuinfo") is expected


def test_a_silent_x86_is_not_trusted(tmp_path: Path) -> None:
    assert int8_saturates("x86_64", tmp_path / "none")


def test_where_sums_saturate_the_shortlists_columns_have_seven_bits(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    columns = []
    for saturates in (False, True):
        monkeypatch.setattr(runtime, "int8_saturates", lambda saturates=saturates: saturates)
        loaded = runtime.load_runtime(SHIPPED_BUNDLE, device="cpu", threads=1)
        opened = ShortlistColumns(loaded._columns_of, loaded.spec.vocabulary_size, beam_size=1)
        opened.join(np.arange(300, 340)[None])
        opened.settle()
        inputs = opened.inputs(1)
        assert np.abs(inputs["output_weights"].astype(int)).max() <= (64 if saturates else 127)
        columns.append(inputs["output_weights"] * inputs["output_scales"])
    assert np.abs(columns[0] - columns[1]).max() <= np.abs(columns[0]).max() / 126
    assert "VNNI" in caplog.text


def test_half_of_every_number_is_rounded_to_the_nearest_even_one() -> None:
    every = np.arange(-128, 128).astype(np.int8)
    assert np.array_equal(runtime.halved(every), np.rint(every.astype(float) / 2))
    assert runtime.halved(every).dtype == np.int8


def test_seven_bits_translate_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "int8_saturates", lambda: True)
    engine, _ = open_engine(EngineConfig(directory=SHIPPED_BUNDLE, device="cpu", threads=1, max_rows=8))
    vocabulary = Vocabulary.load(SHIPPED_BUNDLE / VOCABULARY_FILE)
    job = Job(tuple(vocabulary.encode_source("我爱你", "en")), SearchOptions(max_output_tokens=20))
    (hypotheses,) = run_here(engine, [job])
    assert vocabulary.decode(hypotheses[0].target_ids).startswith("I love you")
