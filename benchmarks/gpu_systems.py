"""Who is measured on a GPU, in fp16: our engine, and PyTorch, Hugging Face and CTranslate2 where they are installed.

On a CPU the same code runs in fp32, which is how it is tested without a GPU.
Shapes: N sentences, K beams, R = N K rows, S source tokens, P places, V vocabulary.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.decode import (
    CASES,
    FORCED_TOKENS,
    Source,
    System,
    Workload,
    ctranslate2_system,
    measure_case,
    output_limit,
    real_workload,
    static_system,
)
from benchmarks.static_search import Floats, Ids
from export.write import write_bundle
from model.batches import pad
from model.bundle import Limits, read_manifest
from model.checkpoint import VOCABULARY_FILE, load_checkpoint, save_checkpoint
from model.config import ModelConfig
from model.transformer import Transformer
from model.vocabulary import EOS_ID, PAD_ID
from service.engine.core import Engine
from service.engine.decoder.opening import OnnxDecoder, capacity_for
from service.engine.decoder.runtime import Runtime
from service.engine.loading import run_here
from service.engine.types import Job, SearchOptions

GPU_CASES = (*CASES, (2048, 1), (2048, 4))
BASE_VOCABULARY = 32_000
LIMITS = Limits(source_tokens=128, target_tokens=256)
"""CUDA graphs reserve memory for the longest texts in every row: no longer than the sentences measured need."""
MAX_ROWS = 2048
PEER_BATCH = 512
"""Sentences a peer takes at once: with four beams as many rows as ours has."""


def main_cuda(options: argparse.Namespace, rounds: int) -> int:
    """`python -m benchmarks.decode --device cuda`."""
    with tempfile.TemporaryDirectory() as scratch:
        workloads = [real_workload(options.checkpoint, options.source, options.direction)]
        if not options.quick:
            workloads.append(base_workload(options.checkpoint, Path(scratch) / "base"))
        rows = []
        for workload in workloads:
            bundle = Path(scratch) / f"{workload.model}-bundle"
            export_for("cuda", workload.checkpoint, bundle)
            rows += list(measure(workload, bundle, Path(scratch) / workload.model, "cuda", GPU_CASES, rounds))
    print(json.dumps({"rows": rows, "device": torch.cuda.get_device_name(), "rounds": rounds}))
    return 0


def export_for(device: str, checkpoint: Path, bundle: Path) -> dict[str, Any]:
    """A bundle that keeps its state on this device; returns how far it agrees with PyTorch."""
    agreement = write_bundle(
        checkpoint,
        bundle,
        "fp16" if device == "cuda" else "fp32",
        bundle_version="bench",
        limits=LIMITS,
        shortlist=False,
    )
    return agreement.to_dict()


def write_base_checkpoint(vocabulary_of: Path, directory: Path) -> None:
    """The paper's base size, 32,000 words, weights of a fixed seed. Its vocabulary file is another's: only ids are
    decoded."""
    torch.manual_seed(1)
    config = ModelConfig(vocabulary_size=BASE_VOCABULARY)
    weights = Transformer(config).state_dict()
    save_checkpoint(
        directory, config, weights, vocabulary_of / VOCABULARY_FILE, name="base", directions=["fr-en"], training={}
    )


def base_workload(vocabulary_of: Path, directory: Path) -> Workload:
    """The base size on sources of 25 random tokens, with outputs of forced length."""
    if not directory.is_dir():
        write_base_checkpoint(vocabulary_of, directory)
    ids = torch.randint(300, BASE_VOCABULARY, (512, 24), generator=torch.Generator().manual_seed(1)).tolist()
    return Workload("base", directory, [(*row, EOS_ID) for row in ids], forced=True)


def measure(
    workload: Workload,
    bundle: Path,
    scratch: Path,
    device: str,
    cases: Sequence[tuple[int, int]],
    rounds: int,
    note: Callable[[str, str], None] = lambda name, reason: print(f"skipped {name}: {reason}", file=sys.stderr),
) -> Iterator[dict[str, Any]]:
    """Rows of every case as they come, interleaved between the systems that run here."""
    fitting = [source for source in workload.sources if len(source) <= LIMITS.source_tokens]
    workload = Workload(workload.model, workload.checkpoint, fitting, workload.forced)
    systems = []
    for name, build in _builders(workload, bundle, scratch, device):
        try:
            system = build()
            system.decode(workload.sources[:2], 1)
        except Exception as error:  # a peer that does not run here is said, and is no reason to measure nothing
            note(name, f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
        else:
            systems.append(system)
    try:
        for case in cases:
            yield from measure_case(workload, systems, case, rounds)
    finally:
        for system in systems:
            system.close()


def _builders(workload: Workload, bundle: Path, scratch: Path, device: str) -> list[tuple[str, Callable[[], System]]]:
    """Ours first."""
    model = load_checkpoint(workload.checkpoint).model
    dtype = torch.float16 if device == "cuda" else torch.float32
    places = FORCED_TOKENS if workload.forced else LIMITS.target_tokens

    def sdpa(*, compiled: bool) -> System:
        name = f"PyTorch {'compiled ' if compiled else ''}SDPA"
        decoder = SdpaDecoder(model, device, dtype, places, compiled=compiled)
        return static_system(name, decoder, forced=workload.forced, batch_size=PEER_BATCH)

    found: list[tuple[str, Callable[[], System]]] = [("ours", lambda: our_system(workload, bundle, device))]
    if device == "cuda":
        found.append(("ours, CUDA graphs", lambda: our_system(workload, bundle, device, cuda_graphs=True)))
    found.append(("PyTorch SDPA", lambda: sdpa(compiled=False)))
    if device == "cuda":
        found += [
            ("PyTorch compiled SDPA", lambda: sdpa(compiled=True)),
            ("CTranslate2 float16", lambda: _ctranslate2_float16(workload, scratch)),
        ]
    if workload.forced:
        found.append(("Hugging Face generate", lambda: _hugging_face(model.config, device, dtype)))
    return found


def open_engine(
    bundle: Path, device: str, *, cuda_graphs: bool = False, max_rows: int = MAX_ROWS
) -> tuple[Engine, OnnxDecoder]:
    """An engine whose state is on the device, the CPU too."""
    decoder = open_decoder(bundle, device, cuda_graphs=cuda_graphs, max_rows=max_rows)
    return Engine(decoder, capacity_for(max_rows, encode_tokens=8192)), decoder


def open_decoder(
    bundle: Path, device: str, *, cuda_graphs: bool = False, max_rows: int = MAX_ROWS, on_device: bool = True
) -> OnnxDecoder:
    """What an engine decodes with. `on_device` False on the CPU leaves the state in the host's memory."""
    runtime = Runtime(
        bundle,
        read_manifest(bundle),
        device="cuda" if device == "cuda" else "cpu",
        threads=0,
        cuda_graphs=cuda_graphs,
        state_on_device=on_device,
    )
    return OnnxDecoder(runtime, None, max_rows)


def our_system(workload: Workload, bundle: Path, device: str, *, cuda_graphs: bool = False) -> System:
    """The engine as a competitor."""
    engine, _ = open_engine(bundle, device, cuda_graphs=cuda_graphs)

    def decode(sources: Sequence[Source], beam_size: int) -> list[tuple[int, ...]]:
        jobs = [
            Job(source, SearchOptions(beam_size=beam_size, max_output_tokens=_limit(source, workload.forced)))
            for source in sources
        ]
        return [hypotheses[0].target_ids for hypotheses in run_here(engine, jobs)]

    return System(f"ours{', CUDA graphs' if cuda_graphs else ''}", decode, lambda: None, is_ours=True)


def _limit(source: Source, forced: bool) -> int:
    return min(output_limit(source, forced), LIMITS.target_tokens)


class SdpaDecoder:
    """PyTorch with keys and values in buffers of fixed size, and its fused attention; a `StaticDecoder`."""

    def __init__(
        self, model: Transformer, device: str, dtype: torch.dtype, places: int, *, compiled: bool = False
    ) -> None:
        self.vocabulary_size = model.config.vocabulary_size
        self._model = load_copy(model).to(device, dtype).eval()
        self._device, self._dtype, self._places = device, dtype, places
        self._forward = torch.compile(self._step, dynamic=True) if compiled else self._step

    @torch.inference_mode()
    def start(self, sources: Sequence[Sequence[int]], beams: int) -> None:
        ids = pad(sources).to(self._device)
        mask = ids != PAD_ID
        memory = self._model.encode(ids, mask).repeat_interleave(beams, 0)
        self._mask = mask.repeat_interleave(beams, 0)[:, None, None, :]
        self._memory = [
            (layer.cross_attention.split_heads(layer.cross_attention.key(memory)),
             layer.cross_attention.split_heads(layer.cross_attention.value(memory)))
            for layer in self._model.decoder
        ]  # fmt: skip
        config = self._model.config
        shape = (len(memory), config.num_heads, self._places, config.d_model // config.num_heads)
        self._past = [
            tuple(torch.zeros(shape, device=self._device, dtype=self._dtype) for _ in range(2))
            for _ in self._model.decoder
        ]
        self._length = 0

    @torch.inference_mode()
    def step(self, token_ids: Ids, beam_indices: Ids, log_probs: Floats) -> tuple[Floats, Ids]:
        count, beams = token_ids.shape
        if beams > 1 and self._length:
            rows = torch.from_numpy((np.arange(count)[:, None] * beams + beam_indices).ravel()).to(self._device)
            self._past = [(key[rows], value[rows]) for key, value in self._past]
        ids = torch.from_numpy(token_ids.reshape(-1, 1)).to(self._device)
        place = torch.tensor([self._length], device=self._device)
        logits = self._forward(ids, place)
        self._length += 1
        scores = torch.from_numpy(log_probs).to(self._device)
        totals = logits.float().log_softmax(-1).view(count, beams, -1) + scores[..., None]
        best = totals.flatten(1).topk(2 * beams)
        return best.values.cpu().numpy(), best.indices.cpu().numpy()

    def _step(self, ids: Tensor, place: Tensor) -> Tensor:
        """ids [R, 1], place [1] -> logits [R, V]."""
        model = self._model
        x = model.embedding(ids, place[None, :])
        seen = (torch.arange(self._places, device=ids.device) <= place)[None, None, None, :]
        for layer, (past_key, past_value), memory in zip(model.decoder, self._past, self._memory, strict=True):

            def self_attention(
                y: Tensor, layer: Any = layer, key: Tensor = past_key, value: Tensor = past_value
            ) -> Tensor:
                attention = layer.self_attention
                key.index_copy_(2, place, attention.split_heads(attention.key(y)))
                value.index_copy_(2, place, attention.split_heads(attention.value(y)))
                return _attend(attention, y, key, value, seen)

            def cross_attention(y: Tensor, layer: Any = layer, memory: tuple[Tensor, Tensor] = memory) -> Tensor:
                return _attend(layer.cross_attention, y, *memory, self._mask)

            x = layer.residuals[0](x, self_attention)
            x = layer.residuals[1](x, cross_attention)
            x = layer.residuals[2](x, layer.feed_forward)
        logits: Tensor = model.project(model.decoder_norm(x))[:, -1]
        logits[:, list(model.config.excluded_ids)] = -torch.inf
        return logits


def _attend(attention: Any, y: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    context = functional.scaled_dot_product_attention(
        attention.split_heads(attention.query(y)), key, value, attn_mask=mask
    )
    output: Tensor = attention.output(attention.merge_heads(context))
    return output


def load_copy(model: Transformer) -> Transformer:
    """Another model with the same weights: changing its type leaves the first alone."""
    copy = Transformer(model.config)
    copy.load_state_dict(model.state_dict())
    return copy


def _ctranslate2_float16(workload: Workload, scratch: Path) -> System:
    from benchmarks.ctranslate2_model import write_ctranslate2

    checkpoint = load_checkpoint(workload.checkpoint)
    tokens = ["<pad>", "<unk>", "<s>", "</s>"] + [f"t{i}" for i in range(4, checkpoint.model.config.vocabulary_size)]
    directory = scratch / "ctranslate2"
    write_ctranslate2(checkpoint, directory, "float16", tokens)
    return ctranslate2_system(
        directory, "float16", 1, 1, tokens, forced=workload.forced, device="cuda", batch=PEER_BATCH
    )


def _hugging_face(config: ModelConfig, device: str, dtype: torch.dtype) -> System:
    """Marian of the same size with random weights of its own: every output has the forced length, whatever it says."""
    if importlib.util.find_spec("transformers") is None:
        raise ModuleNotFoundError("transformers is not installed")
    from transformers import MarianConfig, MarianMTModel

    theirs = MarianConfig(
        vocab_size=config.vocabulary_size, d_model=config.d_model, max_position_embeddings=config.max_positions,
        encoder_layers=config.encoder_layers, decoder_layers=config.decoder_layers,
        encoder_attention_heads=config.num_heads, decoder_attention_heads=config.num_heads,
        encoder_ffn_dim=config.d_ff, decoder_ffn_dim=config.d_ff, activation_function="relu",
        pad_token_id=PAD_ID, eos_token_id=EOS_ID, decoder_start_token_id=2, forced_eos_token_id=None,
    )  # fmt: skip
    model = MarianMTModel(theirs).to(device, dtype).eval()

    @torch.inference_mode()
    def decode(sources: Sequence[Source], beam_size: int) -> list[tuple[int, ...]]:
        found: list[tuple[int, ...]] = []
        for start in range(0, len(sources), PEER_BATCH):
            ids = pad(sources[start : start + PEER_BATCH]).to(device)
            outputs = model.generate(
                input_ids=ids, attention_mask=(ids != PAD_ID).long(), num_beams=beam_size, do_sample=False,
                early_stopping=beam_size > 1, min_new_tokens=FORCED_TOKENS, max_new_tokens=FORCED_TOKENS,
            )  # fmt: skip
            found += [tuple(row[1:]) for row in outputs.tolist()]
        return found

    return System("Hugging Face generate", decode, lambda: None)


def seconds_of(run: Callable[[], object], repeats: int) -> list[float]:
    """Wall time of each run, after two that warm up."""
    times = []
    for turn in range(repeats + 2):
        began = time.perf_counter()
        run()
        if turn >= 2:
            times.append(time.perf_counter() - began)
    return times
