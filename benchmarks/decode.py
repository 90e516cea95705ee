"""Our engine against CTranslate2 on the same weights, in one run, interleaved (`make bench`).

    python -m benchmarks.decode --checkpoint model/pretrained --source TEXT.fr --direction fr-en [--quick | --base]

Everything counts: encoder, projection, choice of beams, reordering. Cases: 1 sentence at a time (latency), 64 and 512
sentences at once; greedy and beam 4; the given model on real sentences to their natural end, and the paper's base size
(6+6 layers, 512 wide, 2048, 32,000 pieces) with random weights and forced length. Every peer setting has its row,
ratios are against the best of them. Beside the times: how many texts are the same at fp32, and how long the outputs
are. The last line of stdout is one JSON object.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import os
import platform
import random
import statistics
import string
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from benchmarks.static_search import StaticDecoder, TorchDecoder, UnboundOnnxDecoder
from benchmarks.static_search import decode as decode_statically
from export.write import write_bundle
from model.bundle import Limits, Precision
from model.checkpoint import VOCABULARY_FILE, load_checkpoint, save_checkpoint
from model.config import ModelConfig
from model.corpus import read_lines
from model.shortlist import SHORTLIST_FILE
from model.transformer import Transformer
from model.vocabulary import Vocabulary, train_vocabulary
from service.engine.loading import BlockingEngine
from service.engine.types import EngineConfig, Job, SearchOptions

Source = tuple[int, ...]
Decode = Callable[[Sequence[Source], int], list[tuple[int, ...]]]
"""(sources, beam size) -> best target ids of each, in order."""

CASES = ((1, 1), (1, 4), (64, 1), (64, 4), (512, 1), (512, 4))
"""(sentences at once, beam size)."""
THREADS = ((1, 2), (2, 1), (1, 1))
"""(batches at once, threads each) of the peer."""
FORCED_TOKENS = 32
MAX_ROWS = 512


@dataclasses.dataclass(frozen=True, slots=True)
class System:
    """One competitor."""

    name: str
    decode: Decode
    close: Callable[[], None]
    is_ours: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Workload:
    """A model and what it decodes."""

    model: str
    checkpoint: Path
    sources: Sequence[Source]
    forced: bool


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--source", type=Path, required=True, help="source sentences, one a line, plain or .gz")
    parser.add_argument("--direction", required=True)
    parser.add_argument("--rounds", type=int, default=7, help="interleaved repetitions; medians are reported")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="cuda: fp16, and larger cases")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--quick", action="store_true", help="three rounds, the given model only")
    which.add_argument("--base", action="store_true", help="the base size only; say --rounds 1: a round takes minutes")
    options = parser.parse_args(arguments)
    rounds = 3 if options.quick else options.rounds
    if options.device == "cuda":
        from benchmarks.gpu_systems import main_cuda

        return main_cuda(options, rounds)
    with tempfile.TemporaryDirectory() as scratch:
        real = real_workload(options.checkpoint, options.source, options.direction)
        workloads = [] if options.base else [real]
        if not options.quick:
            workloads.append(base_workload(Path(scratch) / "base", real.sources))
        agreement = {} if options.base else _agreement(real, Path(scratch) / "agreement")
        print(json.dumps({"agreement": agreement}), flush=True)
        rows = [row for workload in workloads for row in _measure(workload, Path(scratch) / workload.model, rounds)]
    print(json.dumps({"rows": rows, "agreement": agreement, "machine": _machine(), "rounds": rounds}))
    return 0


def real_workload(checkpoint: Path, source: Path, direction: str) -> Workload:
    vocabulary = Vocabulary.load(checkpoint / VOCABULARY_FILE)
    target = direction.partition("-")[2]
    sources = [tuple(vocabulary.encode_source(line, target)) for line in read_lines(source)]
    return Workload("shipped", checkpoint, [s for s in sources if len(s) <= 128], forced=False)


def base_workload(directory: Path, like: Sequence[Source]) -> Workload:
    """The paper's base size with weights of a fixed seed; sources of 25 random tokens."""
    torch.manual_seed(1)
    chance = random.Random(1)
    words = ["".join(chance.choices(string.ascii_lowercase, k=5)) for _ in range(36_000)]
    sentences = [" ".join(words[start : start + 3]) for start in range(len(words))]
    vocabulary = directory.with_suffix(".spm")
    train_vocabulary(sentences, vocabulary, size=32_000, languages=["en"])
    config = ModelConfig(vocabulary_size=len(Vocabulary.load(vocabulary)))
    save_checkpoint(
        directory, config, Transformer(config).state_dict(), vocabulary, name="base", directions=["en-en"], training={}
    )
    ids = torch.randint(300, config.vocabulary_size, (len(like[:512]), 24)).tolist()
    return Workload("base", directory, [(*row, 3) for row in ids], forced=True)


def _agreement(workload: Workload, scratch: Path) -> dict[str, Any]:
    """Whether the same work is measured: texts at fp32 equal CTranslate2's, and outputs at int8 are as long."""
    from benchmarks.ctranslate2_model import write_ctranslate2

    checkpoint = load_checkpoint(workload.checkpoint)
    ours = _ours(workload, scratch / "fp32", "fp32", shortlist=False)
    quick = _ours(workload, scratch / "int8", "int8")
    write_ctranslate2(checkpoint, scratch / "ctranslate2", None)
    pieces = checkpoint.vocabulary.pieces(range(len(checkpoint.vocabulary)))
    peer = ctranslate2_system(scratch / "ctranslate2", "float32", 1, 2, pieces, forced=False)
    found: dict[str, Any] = {"sentences": len(workload.sources)}
    for name, beam_size in (("greedy", 1), ("beam4", 4)):
        mine, theirs = ours.decode(workload.sources, beam_size), peer.decode(workload.sources, beam_size)
        int8 = quick.decode(workload.sources, beam_size)
        found[name] = {
            "fp32 same text": round(sum(map(tuple.__eq__, mine, theirs)) / len(mine), 4),
            "int8 length": round(sum(map(len, int8)) / sum(map(len, theirs)), 4),
        }
    for system in (ours, quick, peer):
        system.close()
    return found


def _measure(workload: Workload, scratch: Path, rounds: int) -> list[dict[str, Any]]:
    systems = _systems(workload, scratch)
    try:
        return [row for case in CASES for row in measure_case(workload, systems, case, rounds)]
    finally:
        for system in systems:
            system.close()


def measure_case(
    workload: Workload, systems: Sequence[System], case: tuple[int, int], rounds: int
) -> list[dict[str, Any]]:
    count, beam_size = case
    batches = _batches(workload, count)
    seconds: dict[str, list[float]] = {system.name: [] for system in systems}
    tokens: dict[str, int] = {}
    for turn in range(rounds + 1):
        for system in systems:
            began = time.perf_counter()
            outputs = [output for batch in batches for output in system.decode(batch, beam_size)]
            if turn:  # the first round warms up
                seconds[system.name].append(time.perf_counter() - began)
                tokens[system.name] = sum(len(output) + 1 for output in outputs)
    rows = _rows(workload.model, case, len(batches), seconds, tokens)
    _mark_best(rows, {system.name for system in systems if not system.is_ours})
    return rows


def _batches(workload: Workload, count: int) -> list[Sequence[Source]]:
    """24 single sentences, 4 batches of 64 (1 if their length is forced: all take the same time), or one of 512; the
    same for everyone."""
    groups = {1: 24, 64: 1 if workload.forced else 4}.get(count, 1)
    rows = list(itertools.islice(itertools.cycle(workload.sources), groups * count))
    return [rows[start * count : (start + 1) * count] for start in range(groups)]


def _rows(
    model: str, case: tuple[int, int], batches: int, seconds: dict[str, list[float]], tokens: dict[str, int]
) -> list[dict[str, Any]]:
    """A row a peer; the ratio is the median over the rounds, pair by pair."""
    count, beam_size = case
    name = f"{count} {'greedy' if beam_size == 1 else f'beam{beam_size}'}"
    unit = "ms a sentence" if count == 1 else "tokens/s"

    def figure(system: str) -> float:
        median = statistics.median(seconds[system])
        return 1000 * median / batches if count == 1 else tokens[system] / median

    rows = []
    ours, *peers = seconds
    for peer in peers:
        # Work done by each differs a little where int8 rounds differently: compare time a token.
        ratios = [
            (theirs / tokens[peer]) / (mine / tokens[ours])
            for theirs, mine in zip(seconds[peer], seconds[ours], strict=True)
        ]
        row = {
            "case": name, "model": model, "ours": round(figure(ours), 3), "peer": round(figure(peer), 3),
            "peer_name": peer, "unit": unit, "ratio": round(statistics.median(ratios), 3),
        }  # fmt: skip
        rows.append(row)
        print(json.dumps(row), flush=True)
    return rows


def _mark_best(rows: Sequence[dict[str, Any]], peers: set[str]) -> None:
    if not any(row["peer_name"] in peers for row in rows):
        return
    best = min((row for row in rows if row["peer_name"] in peers), key=lambda row: float(row["ratio"]))
    best["best_peer"] = True
    print(f"{best['model']} {best['case']}: {best['ratio']} x {best['peer_name']}", file=sys.stderr, flush=True)


def _systems(workload: Workload, scratch: Path) -> list[System]:
    """Ours first."""
    from benchmarks.ctranslate2_model import write_ctranslate2

    checkpoint = load_checkpoint(workload.checkpoint)
    pieces = checkpoint.vocabulary.pieces(range(len(checkpoint.vocabulary)))
    systems = [
        _ours(workload, scratch / "int8", "int8"),
        _ours(workload, scratch / "int8", "int8", sessions=1),
    ]
    if (workload.checkpoint / SHORTLIST_FILE).is_file():
        systems.append(_ours(workload, scratch / "whole", "int8", shortlist=False))
    for quantization, compute_type in (("int8", "int8"), (None, "float32")):
        directory = scratch / f"ctranslate2-{compute_type}"
        write_ctranslate2(checkpoint, directory, quantization)
        # At the base size float32 takes minutes: one setting shows the distance.
        settings = THREADS[1:2] if workload.forced and compute_type == "float32" else THREADS
        for workers, threads in settings:
            systems.append(
                ctranslate2_system(directory, compute_type, workers, threads, pieces, forced=workload.forced)
            )
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    whole = scratch / ("whole" if (scratch / "whole").is_dir() else "int8")
    unbound = UnboundOnnxDecoder(whole, torch.get_num_threads())
    systems.append(static_system("PyTorch fp32 with cache", TorchDecoder(checkpoint.model), forced=workload.forced))
    systems.append(static_system("ONNX Runtime int8 unbound", unbound, forced=workload.forced))
    return systems


def static_system(name: str, decoder: StaticDecoder, *, forced: bool, batch_size: int = 64) -> System:
    def run(sources: Sequence[Source], beam_size: int) -> list[tuple[int, ...]]:
        outputs: dict[int, tuple[int, ...]] = {}
        # Long ones first: batches of similar length, as a user of a library would make them.
        order = sorted(range(len(sources)), key=lambda index: -len(sources[index]))
        for start in range(0, len(order), batch_size):
            some = order[start : start + batch_size]
            batch = [sources[index] for index in some]
            limits = [output_limit(source, forced) for source in batch]
            outputs.update(zip(some, decode_statically(decoder, batch, beam_size, limits), strict=True))
        return [outputs[index] for index in range(len(sources))]

    return System(name, run, lambda: None)


def _ours(
    workload: Workload, directory: Path, precision: Precision, *, sessions: int = 0, shortlist: bool = True
) -> System:
    if not directory.is_dir():
        limits = Limits(source_tokens=256, target_tokens=512)
        write_bundle(
            workload.checkpoint, directory, precision, bundle_version="bench", limits=limits, shortlist=shortlist
        )
    engine = BlockingEngine(EngineConfig(directory=directory, device="cpu", sessions=sessions, max_rows=MAX_ROWS))

    def decode(sources: Sequence[Source], beam_size: int) -> list[tuple[int, ...]]:
        jobs = [
            Job(source, SearchOptions(beam_size=beam_size, max_output_tokens=output_limit(source, workload.forced)))
            for source in sources
        ]
        return [hypotheses[0].target_ids for hypotheses in engine.run(jobs)]

    name = f"ours {precision}{' one session' if sessions else ''}{'' if shortlist else ' whole vocabulary'}"
    return System(name, decode, engine.close, is_ours=True)


def ctranslate2_system(
    directory: Path,
    compute_type: str,
    workers: int,
    threads: int,
    pieces: Sequence[str],
    *,
    forced: bool,
    device: str = "cpu",
    batch: int = 64,
) -> System:
    from benchmarks.ctranslate2_model import open_translator  # a GPU machine may not have it

    translator = open_translator(directory, compute_type=compute_type, workers=workers, threads=threads, device=device)
    ids = {piece: index for index, piece in enumerate(pieces)}

    def decode(sources: Sequence[Source], beam_size: int) -> list[tuple[int, ...]]:
        results = translator.translate_batch(
            [[pieces[i] for i in source] for source in sources],
            beam_size=beam_size,
            length_penalty=1.0,
            return_end_token=True,
            disable_unk=True,
            max_batch_size=max(1, min(batch, -(-len(sources) // workers))),
            max_decoding_length=max(output_limit(source, forced) for source in sources),
            min_decoding_length=FORCED_TOKENS if forced else 1,
        )
        return [tuple(ids[piece] for piece in result.hypotheses[0] if piece != "</s>") for result in results]

    name = f"CTranslate2 {compute_type} {workers}x{threads}"
    return System(f"{name} batch {batch}" if batch != 64 else name, decode, translator.unload_model)


def output_limit(source: Source, forced: bool) -> int:
    return FORCED_TOKENS if forced else Limits(source_tokens=256, target_tokens=512).output_tokens(len(source))


def _machine() -> dict[str, Any]:
    cpu = next(
        (line.split(":")[1].strip() for line in _cpuinfo() if line.startswith("model name")), platform.processor()
    )
    packages = {name: version(name) for name in ("onnxruntime", "ctranslate2", "torch")}
    return {"cpu": cpu, "cores": len(os.sched_getaffinity(0)), "python": platform.python_version(), **packages}


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


if __name__ == "__main__":
    sys.exit(main())
