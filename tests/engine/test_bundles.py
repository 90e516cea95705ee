"""The engine on real bundles: equal to the reference search, honest about devices and damage, free of torch."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnxruntime
import pytest
import torch

from benchmarks.independence import requests
from model.bundle import (
    MANIFEST_FILE,
    VOCABULARY_FILE,
    WEIGHTS_FILE,
    Manifest,
    check_files,
    read_manifest,
    sha256,
    write_manifest,
)
from model.checkpoint import Checkpoint, load_checkpoint
from model.errors import BundleError
from model.reference_search import beam_search
from model.vocabulary import BOS_ID, EOS_ID, Vocabulary
from service.app import create_app
from service.engine.bundle import Bundle
from service.engine.core import Engine
from service.engine.decoder import opening
from service.engine.decoder.opening import open_engine
from service.engine.decoder.providers import DeviceError
from service.engine.decoder.runtime import load_runtime
from service.engine.loading import BlockingEngine, run_here
from service.engine.types import Device, EngineConfig, Hypothesis, Job, Ready, SearchOptions
from service.settings import Settings
from tests.bundles import PRETRAINED, ROOT, SHIPPED_BUNDLE
from tests.service.fakes import running

VOCABULARY = Vocabulary.load(SHIPPED_BUNDLE / VOCABULARY_FILE)
CUDA_BUILD = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
SENTENCES = (
    ("我爱你。", "en"),
    ("今天天气很好。", "en"),
    ("你能告诉我去车站的路吗？", "en"),
    ("我今天早上在公园看到了一只非常可爱的小猫。", "en"),
    ("Je suis étudiant.", "en"),
    ("Est-ce que tu veux venir avec nous au cinéma ce soir ?", "en"),
    ("Il a dit qu'elle n'était pas venue, mais personne ne l'a cru.", "en"),
    ("Où est la gare ?", "en"),
    ("I would like a cup of coffee, please.", "fr"),
    ("She never told anyone what happened that night.", "fr"),
    ("Select the Save button, and then close the page.", "fr"),
    ("好", "en"),
)


def load(directory: Path, device: Device = "cpu") -> tuple[Engine, Ready]:
    return open_engine(EngineConfig(directory=directory, device=device, threads=1, max_rows=64))


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return load_checkpoint(PRETRAINED)


@pytest.fixture(scope="module")
def fp32(shipped_fp32_bundle: Path) -> Engine:
    return load(shipped_fp32_bundle)[0]


def translate(engine: Engine, options: SearchOptions) -> list[tuple[Hypothesis, ...]]:
    jobs = [Job(tuple(VOCABULARY.encode_source(text, target)), options) for text, target in SENTENCES]
    return run_here(engine, jobs)


@pytest.mark.parametrize(("beam_size", "length_penalty"), [(1, 1.0), (4, 1.0), (3, 0.0), (8, 1.6)])
def test_fp32_equals_the_reference_search(
    fp32: Engine, checkpoint: Checkpoint, beam_size: int, length_penalty: float
) -> None:
    options = SearchOptions(
        beam_size=beam_size, num_hypotheses=beam_size, length_penalty=length_penalty, max_output_tokens=40
    )
    for (text, target), found in zip(SENTENCES, translate(fp32, options), strict=True):
        expected = beam_search(
            checkpoint.model,
            torch.tensor(checkpoint.vocabulary.encode_source(text, target)),
            beam_size=beam_size, max_output_tokens=40, length_penalty=length_penalty,
        )  # fmt: skip
        assert [h.target_ids for h in found] == [h.target_ids for h in expected], text
        assert [h.score for h in found] == pytest.approx([h.score for h in expected], abs=1e-4)
        assert [h.finish_reason == "eos" for h in found] == [h.finished for h in expected]


def test_log_prob_equals_forced_decoding(fp32: Engine, checkpoint: Checkpoint) -> None:
    for (text, target), (hypothesis,) in zip(SENTENCES, translate(fp32, SearchOptions()), strict=True):
        source = torch.tensor([checkpoint.vocabulary.encode_source(text, target)])
        labels = torch.tensor([[*hypothesis.target_ids, EOS_ID]])
        inputs = torch.tensor([[BOS_ID, *hypothesis.target_ids]])
        with torch.inference_mode():
            logits = checkpoint.model(source, torch.ones_like(source, dtype=torch.bool), inputs).clone()
            logits[..., [0, 1, 2]] = -torch.inf
        forced = logits.log_softmax(-1).gather(-1, labels[..., None]).sum().item()
        assert hypothesis.log_prob == pytest.approx(forced, abs=1e-3), text


def test_the_shipped_bundle_comes_from_the_shipped_checkpoint(checkpoint: Checkpoint) -> None:
    manifest = read_manifest(SHIPPED_BUNDLE)
    assert manifest.precision == "int8"
    assert manifest.name == checkpoint.name
    assert sorted(manifest.directions) == sorted(checkpoint.directions)
    assert (SHIPPED_BUNDLE / "vocabulary.spm").read_bytes() == (PRETRAINED / "vocabulary.spm").read_bytes()


def test_the_shipped_int8_bundle_translates_like_fp32(fp32: Engine) -> None:
    engine, ready = load(SHIPPED_BUNDLE)
    pairs = list(zip(translate(engine, SearchOptions()), translate(fp32, SearchOptions()), strict=True))
    assert ready.provider == "CPUExecutionProvider"
    assert sum(a[0].target_ids == b[0].target_ids for a, b in pairs) >= 0.6 * len(pairs)
    for a, b in pairs:
        assert a[0].log_prob / (len(a[0].target_ids) + 1) == pytest.approx(
            b[0].log_prob / (len(b[0].target_ids) + 1), abs=0.5
        )


@pytest.mark.parametrize("beam_size", [1, 4])
def test_the_shipped_int8_bundle_gives_forced_tokens_the_very_log_probs_they_were_found_with(beam_size: int) -> None:
    engine, _ = load(SHIPPED_BUNDLE)
    free = SearchOptions(beam_size=beam_size, num_hypotheses=beam_size, max_output_tokens=80)
    asked = [Job(job.source_ids, free) for job in requests(VOCABULARY, 64)]
    found = list(zip(asked, run_here(engine, asked), strict=True))
    ended = [(job.source_ids, each) for job, all_of in found for each in all_of if each.finish_reason == "eos"]
    again = [Job(source, dataclasses.replace(free, target_prefix=each.target_ids)) for source, each in ended]
    forced = run_here(engine, again)
    assert len({len(source) for source, _ in ended}) >= 15
    for (_, hypothesis), others in zip(ended, forced, strict=True):
        (same,) = (each for each in others if each.target_ids == hypothesis.target_ids)
        assert same.token_log_probs == hypothesis.token_log_probs
        assert len(hypothesis.token_log_probs) == len(hypothesis.target_ids) + 1
        assert sum(hypothesis.token_log_probs) == pytest.approx(hypothesis.log_prob, abs=1e-4)


def copied(directory: Path, target: Path) -> Path:
    target.mkdir()
    for path in directory.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target


def test_a_damaged_bundle_is_refused_by_name(tmp_path: Path) -> None:
    directory = copied(SHIPPED_BUNDLE, tmp_path / "bundle")
    data = bytearray((directory / WEIGHTS_FILE).read_bytes())
    data[len(data) // 2] ^= 1
    (directory / WEIGHTS_FILE).write_bytes(data)
    with pytest.raises(BundleError, match=r"weights\.bin: damaged"):
        load_runtime(directory, device="cpu", threads=1)


def test_a_bundle_holds_sentences_to_try_in_every_direction(shipped_fp32_bundle: Path) -> None:
    manifest = read_manifest(shipped_fp32_bundle)
    vocabulary = Vocabulary.load(shipped_fp32_bundle / VOCABULARY_FILE)
    tags = [test.source_ids[0] for test in manifest.self_tests]
    assert all(tags.count(vocabulary.tag_id(language)) >= 2 for language in ("en", "fr", "zh"))
    assert {vocabulary.decode(test.target_ids) for test in manifest.self_tests} >= {"I love you.", "汤姆在这里。"}


def rewritten(directory: Path, change: Callable[[Manifest], dict[str, Any]]) -> None:
    manifest = read_manifest(directory)
    write_manifest(directory, manifest.model_copy(update=change(manifest)))


@pytest.fixture
def wrong_bundle(shipped_fp32_bundle: Path, tmp_path: Path) -> Path:
    """Other weights, and the hashes of those: only a translation can show it."""
    directory = copied(shipped_fp32_bundle, tmp_path / "bundle")
    weights = np.fromfile(directory / WEIGHTS_FILE, np.float32)
    np.roll(weights, len(weights) // 2).tofile(directory / WEIGHTS_FILE)
    hashed = {WEIGHTS_FILE: sha256(directory / WEIGHTS_FILE)}
    rewritten(directory, lambda manifest: {"files": {**manifest.files, **hashed}})
    check_files(directory, read_manifest(directory))
    return directory


def test_weights_that_are_wrong_though_their_hash_is_right_are_refused(wrong_bundle: Path) -> None:
    with pytest.raises(BundleError, match=r"self-test of this bundle fails, it gives .* instead of tokens \[\d+, "):
        load(wrong_bundle)


def test_a_probability_that_is_wrong_though_the_tokens_are_right_is_refused(
    shipped_fp32_bundle: Path, tmp_path: Path
) -> None:
    directory = copied(shipped_fp32_bundle, tmp_path / "bundle")

    def less_sure(manifest: Manifest) -> dict[str, Any]:
        first, *others = manifest.self_tests
        return {"self_tests": (first.model_copy(update={"log_prob": first.log_prob - 0.6}), *others)}

    rewritten(directory, less_sure)
    with pytest.raises(BundleError, match="self-test"):
        load(directory)


def test_every_engine_is_tested(monkeypatch: pytest.MonkeyPatch) -> None:
    tested: list[object] = []
    monkeypatch.setattr(opening, "check_self_tests", lambda decoder, manifest: tested.append(decoder))
    load(SHIPPED_BUNDLE)
    assert len(tested) == 1


def test_a_bundle_that_fails_its_self_test_never_becomes_ready_and_says_why(wrong_bundle: Path) -> None:
    stopped = threading.Event()
    app = create_app(Settings(bundle=wrong_bundle, sessions=1, threads=1), on_failure=stopped.set)

    async def scenario() -> list[httpx.Response]:
        async with running(app, until_ready=False) as client:
            seen = [await client.get("/health/ready")]
            while not stopped.is_set():
                seen.append(await client.get("/health/ready"))
                await asyncio.sleep(0.01)
            return [*seen, await client.get("/health/ready"), await client.get("/health/live")]

    replies = asyncio.run(scenario())
    assert {reply.status_code for reply in replies} == {503}
    assert all("the self-test of this bundle fails" in reply.json()["error"] for reply in replies[-2:])


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such file"), ("{", "not a manifest"), ("{}", "not a manifest")],
)
def test_a_bad_manifest_is_one_clear_error(tmp_path: Path, content: str | None, message: str) -> None:
    directory = copied(SHIPPED_BUNDLE, tmp_path / "bundle")
    (directory / MANIFEST_FILE).unlink()
    if content is not None:
        (directory / MANIFEST_FILE).write_text(content)
    with pytest.raises(BundleError, match=message):
        load_runtime(directory, device="cpu", threads=1)


def test_another_format_is_refused(tmp_path: Path) -> None:
    directory = copied(SHIPPED_BUNDLE, tmp_path / "bundle")
    manifest = json.loads((directory / MANIFEST_FILE).read_text())
    (directory / MANIFEST_FILE).write_text(json.dumps({**manifest, "format": 99}))
    with pytest.raises(BundleError, match="format 99"):
        load_runtime(directory, device="cpu", threads=1)


def test_fp16_translates_like_fp32_and_says_why_it_does_so_on_the_cpu(
    fp32: Engine, shipped_fp16_bundle: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine, ready = load(shipped_fp16_bundle)
    assert ready.fallback is None  # nobody wanted CUDA
    pairs = list(zip(translate(engine, SearchOptions()), translate(fp32, SearchOptions()), strict=True))
    assert sum(a[0].target_ids == b[0].target_ids for a, b in pairs) >= 0.9 * len(pairs)
    for a, b in pairs:
        assert a[0].log_prob / (len(a[0].target_ids) + 1) == pytest.approx(
            b[0].log_prob / (len(b[0].target_ids) + 1), abs=0.02
        )
    if not CUDA_BUILD:
        with BlockingEngine(EngineConfig(directory=shipped_fp16_bundle, sessions=1, threads=1)) as blocking:
            ready = blocking.loaded.ready
        assert ready.provider == "CPUExecutionProvider"
        assert "CPU build" in str(ready.fallback)
        assert "running on the CPU, which is slow" in caplog.text


@pytest.mark.parametrize("bundle", ["int8", "fp32"])
def test_cuda_is_refused_for_other_precisions(bundle: str, shipped_fp32_bundle: Path) -> None:
    with pytest.raises(DeviceError, match=f"an {bundle} bundle runs on the CPU only; export with --precision fp16"):
        load_runtime(SHIPPED_BUNDLE if bundle == "int8" else shipped_fp32_bundle, device="cuda", threads=1)


@pytest.mark.skipif(CUDA_BUILD, reason="this ONNX Runtime is the CUDA build")
def test_cuda_is_refused_where_the_runtime_has_none(shipped_fp16_bundle: Path) -> None:
    with pytest.raises(DeviceError, match="CUDA was asked for but cannot be used: this ONNX Runtime is the CPU build"):
        load_runtime(shipped_fp16_bundle, device="cuda", threads=1)


def test_auto_says_what_it_really_runs_on(fp32: Engine, shipped_fp32_bundle: Path) -> None:
    runtime = load_runtime(shipped_fp32_bundle, device="auto", threads=1)
    assert runtime.provider == "CPUExecutionProvider"


def test_the_service_never_imports_torch_and_reports_nothing_home(tmp_path: Path) -> None:
    program = f"""
import sys, threading
from pathlib import Path
import service.app
from service.engine.decoder import opening
from service.engine.decoder.opening import open_engine
from service.engine.types import EngineConfig
open_engine(EngineConfig(directory=Path({str(SHIPPED_BUNDLE)!r}), threads=1, max_rows=8))
print(sorted(name for name in ("torch", "export", "onnx") if name in sys.modules))
print([thread.name for thread in threading.enumerate()])
"""
    environment = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache"), "PATH": "/usr/bin:/bin"}
    result = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert result.stdout.splitlines() == ["[]", "['MainThread']"]
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_of_format_2_is_served_as_before() -> None:
    old = ROOT / "tests" / "data" / "bundle-format-2"
    assert json.loads((old / MANIFEST_FILE).read_text())["format"] == 2
    bundle = Bundle.read(old)
    assert len(bundle.manifest.self_tests) == 8
    engine, _ = load(old)  # tries its eight sentences
    job = Job(tuple(bundle.vocabulary.encode_source("Je suis fatigué.", "en")), SearchOptions(beam_size=4))
    (hypotheses,) = run_here(engine, [job])
    assert bundle.vocabulary.decode(hypotheses[0].target_ids) == "I am happy."
