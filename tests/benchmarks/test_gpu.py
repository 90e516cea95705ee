"""What runs on a GPU machine runs on a CPU too, every step of it; and a step that fails stops nothing but itself."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import gpu, gpu_steps
from benchmarks.gpu_steps import STEPS, step_work
from benchmarks.gpu_systems import SdpaDecoder
from benchmarks.static_search import decode
from model.checkpoint import load_checkpoint
from model.reference_search import beam_search
from tests.bundles import PRETRAINED

TEXTS = ("Je suis étudiant.", "Où est la gare ?", "Elle n'a jamais dit à personne ce qui s'était passé.")


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    status = gpu.main(["--device", "cpu", "--quick", *arguments])
    return status, json.loads(capsys.readouterr().out.splitlines()[-1])


def run_here(step: str, options: argparse.Namespace, limit: float) -> str:
    assert limit > 1
    return "ok" if gpu_steps.main([step, gpu.request_of(options)]) == 0 else "failed"


def test_every_step_runs_without_a_gpu(
    tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "_run", run_here)  # a process each would load PyTorch eleven times
    status, results = run(capsys, "--out", str(tmp_path), "--checkpoint", str(tiny_checkpoint))
    assert status == 0
    assert set(results) == {step for step in STEPS if "base" not in step}
    print({step: result["seconds"] for step, result in results.items()})
    found = {step: result["found"] for step, result in results.items()}
    assert all(found.values())
    assert {company["one size of step"]["same bits"] for company in found["independence"][:-1]} == {True}
    assert found["independence"][-1]["other bits alone"] == 0
    assert {row["way"] for row in found["binding"]} == {"state on the device", "state on the host", "nothing bound"}
    assert {row["peer_name"] for row in found["decode_shipped"]} == {"PyTorch SDPA"}
    assert json.loads((tmp_path / "summary.json").read_text()) == results


def test_a_step_that_fails_or_has_no_time_is_said_and_the_others_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, results = run(capsys, "--out", str(tmp_path), "--steps", "nodes,providers")
    assert status == 1
    assert results["nodes"]["status"].startswith("exit status 1: ")
    assert results["nodes"]["found"] == []
    assert results["providers"]["status"] == "ok"
    status, results = run(capsys, "--out", str(tmp_path), "--steps", "providers", "--seconds", "0")
    assert (status, results["providers"]["status"]) == (1, "no time left")


def test_steps_of_the_script_and_their_limits_belong_together() -> None:
    assert set(gpu.STEPS) == set(STEPS)
    assert gpu.TOTAL_SECONDS < 600


@pytest.mark.parametrize("beams", [1, 4])
def test_pytorch_with_fixed_buffers_translates_alike(beams: int) -> None:
    checkpoint = load_checkpoint(PRETRAINED)
    sources = [checkpoint.vocabulary.encode_source(text, "en") for text in TEXTS]
    decoder = SdpaDecoder(checkpoint.model, "cpu", torch.float32, places=30)
    expected = [
        beam_search(checkpoint.model, torch.tensor(source), beam_size=beams, max_output_tokens=30)[0].target_ids
        for source in sources
    ]
    assert decode(decoder, sources, beams, [30] * len(sources)) == expected


def test_the_least_work_of_a_step_counts_every_weight_once_and_every_row() -> None:
    sizes = {"d_model": 4, "d_ff": 8, "decoder_layers": 1, "vocabulary_size": 10}
    weights = 6 * 16 + 2 * 32 + 40
    one = step_work(sizes, 1, beams=1, source=3, places=5, size=2)
    two = step_work(sizes, 2, beams=1, source=3, places=5, size=2)
    assert one == {"bytes": (weights + 2 * 4 * 8) * 2 + 10 * 14, "operations": 2 * weights + 4 * 4 * 8}
    assert two["operations"] == 2 * one["operations"]
    assert two["bytes"] - one["bytes"] == 2 * 4 * 8 * 2 + 10 * 14
