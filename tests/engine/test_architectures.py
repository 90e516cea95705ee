"""Every architecture from PyTorch through ONNX to the engine: one result, whoever else is served, wherever it lies."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.independence import alone, different, requests, together
from export.__main__ import main as export_main
from model.architectures import new_network
from model.bundle import read_manifest
from model.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from model.config import ModelConfig
from model.corpus import read_tsv
from model.reference_search import beam_search
from model.vocabulary import Vocabulary, train_vocabulary
from service.engine.core import Engine
from service.engine.decoder.opening import OnnxDecoder, capacity_for, open_engine, open_scoring_engine
from service.engine.decoder.runtime import Runtime
from service.engine.loading import run_here
from service.engine.scores import KINDS, Score, ScoringJob
from service.engine.types import EngineConfig, Job, SearchOptions
from tests.bundles import ROOT

TRANSFORMER = {"d_model": 32, "num_heads": 4, "d_ff": 48, "encoder_layers": 1, "decoder_layers": 2, "norm": "pre"}
LSTM = {"architecture": "lstm", "d_model": 32, "encoder_layers": 1, "decoder_layers": 2, "output_bias": True}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "lstm": {**LSTM, "similarity": "additive"},
    "window of cosines": {**TRANSFORMER, "window": 3, "similarity": "cosine", "positions": "learned"},
    "additive": {**TRANSFORMER, "similarity": "additive", "norm": "none", "positions": "none"},
}
PRECISIONS = [("lstm", "fp32"), ("lstm", "int8"), ("window of cosines", "fp32"), ("additive", "fp32")]
"""int8 has other encoders, and no graphs that move state; every export is held against PyTorch besides."""


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny tensors gain nothing from threads, which wait for each other on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def vocabulary_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("vocabulary") / "vocabulary.spm"
    pairs = read_tsv(ROOT / "model" / "recipes" / "demo-data" / "tatoeba.tsv.gz", 1, 0)[:500]
    train_vocabulary([text for pair in pairs for text in pair], path, size=400, languages=["en", "fr"])
    return path


@pytest.fixture(scope="module", params=PRECISIONS, ids=" ".join)
def exported(
    request: pytest.FixtureRequest, vocabulary_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Checkpoint]:
    """A bundle of random weights, and the checkpoint it was made of."""
    name, precision = request.param
    torch.manual_seed(11)
    config = ModelConfig(vocabulary_size=len(Vocabulary.load(vocabulary_path)), **ARCHITECTURES[name])
    network = new_network(config)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    folder = tmp_path_factory.mktemp("exported")
    described = {"name": "tiny", "directions": ["fr-en", "en-fr"], "training": {"recipe": "none"}}
    save_checkpoint(folder / "checkpoint", config, network.state_dict(), vocabulary_path, **described)
    # The export compares every graph with PyTorch and writes nothing that differs.
    limits = ["--source-tokens", "128", "--target-tokens", "40"]
    assert export_main([str(folder / "checkpoint"), str(folder / "bundle"), "--precision", precision, *limits]) == 0
    return folder / "bundle", load_checkpoint(folder / "checkpoint")


def config_of(bundle: Path) -> EngineConfig:
    return EngineConfig(directory=bundle, device="cpu", threads=1, max_rows=64)


def jobs_of(checkpoint: Checkpoint, beam_size: int) -> list[Job]:
    texts = (
        "Merci !",
        "Je suis étudiant.",
        "Où est la gare ?",
        "Il fait très beau aujourd'hui et nous allons au parc.",
    )
    options = SearchOptions(beam_size=beam_size, num_hypotheses=beam_size, max_output_tokens=12)
    return [Job(tuple(checkpoint.vocabulary.encode_source(text, "en")), options) for text in texts]


def test_the_manifest_says_what_it_is(exported: tuple[Path, Checkpoint]) -> None:
    bundle, checkpoint = exported
    manifest, config = read_manifest(bundle), checkpoint.model.config
    is_lstm = config.architecture == "lstm"
    assert manifest.decoder.architecture == manifest.architecture["kind"] == config.architecture
    assert manifest.decoder.state_kinds == ("per_source", "replaced" if is_lstm else "growing")
    assert ModelConfig.from_dict({k: v for k, v in manifest.architecture.items() if k != "kind"}) == config


@pytest.mark.parametrize("beam_size", [1, 3])
def test_the_engine_finds_what_pytorch_finds(exported: tuple[Path, Checkpoint], beam_size: int) -> None:
    bundle, checkpoint = exported
    if read_manifest(bundle).precision == "int8":
        pytest.skip("rounding may choose another token; the export judges int8")
    engine, _ = open_engine(config_of(bundle))
    jobs = jobs_of(checkpoint, beam_size)
    for job, found in zip(jobs, together(engine, jobs, seed=2), strict=True):
        expected = beam_search(
            checkpoint.model, torch.tensor(job.source_ids), beam_size=beam_size, max_output_tokens=12
        )
        assert [each.target_ids for each in found] == [each.target_ids for each in expected]
        for ours, theirs in zip(found, expected, strict=True):
            assert ours.log_prob == pytest.approx(theirs.log_prob, abs=1e-3)


def test_neighbours_change_no_bit(exported: tuple[Path, Checkpoint]) -> None:
    bundle, checkpoint = exported
    engine, _ = open_engine(config_of(bundle))
    wanted = requests(checkpoint.vocabulary, 60)
    wanted = [Job(job.source_ids[:100], SearchOptions(**_shorter(job.options))) for job in wanted]
    assert different(alone(engine, wanted), together(engine, wanted, seed=1)) == 0


def _shorter(options: SearchOptions) -> dict[str, Any]:
    return {
        "beam_size": options.beam_size,
        "num_hypotheses": options.num_hypotheses,
        "length_penalty": options.length_penalty,
        "max_output_tokens": min(options.max_output_tokens, 16),
    }


def test_scores_and_maps_are_those_of_the_network(exported: tuple[Path, Checkpoint]) -> None:
    bundle, checkpoint = exported
    engine, _ = open_engine(config_of(bundle))
    scorer, _ = open_scoring_engine(config_of(bundle))
    model, is_int8 = checkpoint.model, read_manifest(bundle).precision == "int8"
    for job, hidden in itertools.product(jobs_of(checkpoint, 2)[1:], ((), (1,))):
        ((found, *_),) = run_here(engine, [job])
        (score,) = run_here(scorer, [ScoringJob(job.source_ids, found.target_ids, attention=KINDS, hidden=hidden)])
        assert isinstance(score, Score)
        mask = torch.ones(1, len(job.source_ids), dtype=torch.bool)
        mask[0, list(hidden)] = False
        targets = torch.tensor([[model.config.start_id, *found.target_ids]])
        with torch.inference_mode():
            logits, attention = model.with_attention(torch.tensor([job.source_ids]), mask, targets)
            logits[..., list(model.config.excluded_ids)] = -torch.inf
        labels = torch.tensor([*found.target_ids, model.config.eos_id])
        expected = logits[0].log_softmax(-1)[torch.arange(len(labels)), labels].numpy()
        np.testing.assert_allclose(score.token_log_probs, expected, atol=0.5 if is_int8 else 1e-3)
        if not hidden:
            by_engine = found.token_log_probs
            np.testing.assert_allclose(
                score.token_log_probs[: len(by_engine)], by_engine, atol=0.5 if is_int8 else 1e-3
            )
        for kind in KINDS:
            maps = score.attention[kind]
            assert maps.shape[:2] == model.config.attention_stacks[kind]
            shown = mask[0].numpy() if kind == "encoder" else slice(None)
            for found_map, weights in zip(maps, getattr(attention, kind), strict=True):
                expected_map = weights[0].numpy()
                np.testing.assert_allclose(found_map[:, shown], expected_map[:, shown], atol=0.2 if is_int8 else 1e-4)


def test_state_on_a_device_gives_the_same_bits(exported: tuple[Path, Checkpoint]) -> None:
    bundle, checkpoint = exported
    manifest = read_manifest(bundle)
    if manifest.precision == "int8":
        pytest.skip("int8 runs on the CPU alone")
    runtime = Runtime(bundle, manifest, device="cpu", threads=1, state_on_device=True)
    device = Engine(OnnxDecoder(runtime, None), capacity_for(64, 128), lambda: None, manifest.special_ids)
    host, _ = open_engine(config_of(bundle))
    for beam_size in (1, 3):
        jobs = jobs_of(checkpoint, beam_size) * 4
        assert different(together(device, jobs, seed=3), together(host, jobs, seed=4)) == 0
