"""The steps of `benchmarks/gpu.py`: each a function that yields what it finds, run in a process of its own.

python -m benchmarks.gpu_steps STEP JSON
"""

from __future__ import annotations

import collections
import dataclasses
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import numpy as np
import onnxruntime
import torch

from benchmarks import gpu_systems
from benchmarks.decode import Workload, real_workload
from benchmarks.gpu_systems import open_decoder, open_engine, seconds_of
from benchmarks.independence import alone, different, requests, together
from benchmarks.static_search import UnboundOnnxDecoder
from benchmarks.static_search import decode as decode_statically
from model.bundle import VOCABULARY_FILE, check_files, read_manifest
from model.vocabulary import EOS_ID, Vocabulary
from service.engine.decoder import providers
from service.engine.decoder.opening import OnnxDecoder
from service.engine.loading import BlockingEngine, run_here
from service.engine.search import BeamGroup
from service.engine.types import EngineConfig, Job, SearchOptions

Found = Iterator[dict[str, Any]]
ROWS = (1, 8, 64, 256, 512, 2048)
QUICK_ROWS = (1, 8)
STEP_TOKENS, STEP_SOURCE = 24, 32


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """What `benchmarks/gpu.py` was asked."""

    out: Path
    device: str
    checkpoint: Path
    source: Path
    direction: str
    bundle: Path
    base_bundle: Path
    quick: bool

    @classmethod
    def of(cls, text: str) -> Request:
        """From its JSON; bundles that are not given are those the export steps write."""
        given = json.loads(text)
        out = Path(given["out"])
        given["bundle"] = given["bundle"] or out / "bundle"
        given["base_bundle"] = given["base_bundle"] or out / "base-bundle"
        paths = {field.name for field in dataclasses.fields(cls) if field.type == "Path"}
        return cls(**{name: Path(value) if name in paths else value for name, value in given.items()})

    @property
    def on_cuda(self) -> bool:
        """Whether it is about a GPU."""
        return self.device == "cuda"


def provider_step(request: Request) -> Found:
    """What is installed, and what a session really gets."""
    names = (
        "torch", "numpy", "onnx", "onnxscript", "onnxruntime", "onnxruntime-gpu", "transformers", "ctranslate2"
    )  # fmt: skip
    yield {"python": platform.python_version(), "packages": {name: _version(name) for name in names}}
    yield {"onnxruntime": onnxruntime.__file__, "available": onnxruntime.get_available_providers()}
    providers.check_builds()
    if not request.on_cuda:
        return
    smi = subprocess.run(
        ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    yield {"nvidia-smi": smi.stdout.strip(), "driver fault": providers.driver_fault()}
    yield {"wanted": dataclasses.asdict(providers.wanted_providers("cuda", "fp16"))}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def export_step(request: Request) -> Found:
    """The bundle the other steps use: exported and held against PyTorch, or given."""
    yield _exported(request.bundle, request.checkpoint, request)


def export_base_step(request: Request) -> Found:
    """The same of the paper's base size."""
    checkpoint = request.out / "base"
    if not checkpoint.is_dir():
        gpu_systems.write_base_checkpoint(request.checkpoint, checkpoint)
    yield _exported(request.base_bundle, checkpoint, request)


def _exported(bundle: Path, checkpoint: Path, request: Request) -> dict[str, Any]:
    if bundle.is_dir():
        manifest = read_manifest(bundle)
        check_files(bundle, manifest)
        return {"given": bundle.name, "precision": manifest.precision, "agreement": manifest.agreement}
    return {"exported": bundle.name, "agreement": gpu_systems.export_for(request.device, checkpoint, bundle)}


def node_step(request: Request) -> Found:
    """Which provider runs each node of encoder and decoder step; on a GPU none that computes may be left to the CPU."""
    for graph in ("encoder", "decoder"):
        nodes = _node_providers(request, graph)
        counts = collections.Counter(provider for _, provider in nodes)
        elsewhere = [operator for operator, provider in nodes if provider != providers.CUDA]
        yield {"graph": graph, "nodes": counts, "not on CUDA": collections.Counter(elsewhere)}


def _node_providers(request: Request, graph: str) -> list[tuple[str, str]]:
    """(operator, provider) of every node that ran, from ONNX Runtime's own profile."""
    wanted = providers.wanted_providers("cuda" if request.on_cuda else "cpu", read_manifest(request.bundle).precision)
    options = onnxruntime.SessionOptions()
    options.enable_profiling = True
    options.log_severity_level = 3
    with tempfile.TemporaryDirectory() as scratch:
        options.profile_file_prefix = str(Path(scratch) / "profile")
        spec = read_manifest(request.bundle).graphs[graph]  # type: ignore[index]
        session = onnxruntime.InferenceSession(request.bundle / spec.file, options, list(wanted.providers))
        wanted.confirm(session.get_providers()[0])
        session.run(None, {tensor.name: _example(tensor) for tensor in spec.inputs})
        events = json.loads(Path(session.end_profiling()).read_text())
    ran = {
        event["name"]: (event["args"]["op_name"], event["args"]["provider"])
        for event in events
        if event.get("cat") == "Node" and "provider" in event.get("args", {})
    }
    return list(ran.values())


def _example(tensor: Any) -> np.ndarray:
    """Something of the right shape and type: 4 sentences, one beam."""
    sizes = {"N": 4, "K": 1, "R": 4, "S": 16, "P": 32}
    shape = [sizes[size] if isinstance(size, str) else size for size in tensor.shape]
    fill = {"source_mask": True, "longest": 1, "num_candidates": 2, "token_ids": 7, "source_ids": 7}
    return np.full(shape, fill.get(tensor.name, 0), np.dtype(tensor.dtype))


def engine_step(request: Request) -> Found:
    """The engine as the service opens it (self-tests included), against the same bundle on the CPU."""
    loaded = BlockingEngine(EngineConfig(directory=request.bundle, device="cuda" if request.on_cuda else "cpu"))
    ready = loaded.loaded.ready
    yield {"provider": ready.provider, "fallback": ready.fallback, "self-tests": len(loaded.manifest.self_tests)}
    sources = _sources(request)[: 8 if request.quick else 256]
    reference = open_decoder(request.bundle, "cpu", on_device=False)
    try:
        for beam_size in (1, 4):
            options = SearchOptions(beam_size=beam_size, max_output_tokens=40)
            found = _answers(loaded, sources, options)
            expected = _searched(reference, sources, options)
            same = sum(a[0].target_ids == b[0].target_ids for a, b in zip(found, expected, strict=True))
            gaps = [abs(a[0].score - b[0].score) for a, b in zip(found, expected, strict=True)]
            yield {"beam": beam_size, "same text as on the CPU": same / len(sources), "largest score gap": max(gaps)}
    finally:
        loaded.close()


def _sources(request: Request) -> list[tuple[int, ...]]:
    return list(real_workload(request.checkpoint, request.source, request.direction).sources)


def _answers(loaded: BlockingEngine, sources: Sequence[tuple[int, ...]], options: SearchOptions) -> list[Any]:
    return loaded.run([Job(source, options) for source in sources])


def _searched(decoder: OnnxDecoder, sources: Sequence[tuple[int, ...]], options: SearchOptions) -> list[Any]:
    group: BeamGroup[int] = BeamGroup(decoder.open_slots(options.beam_size), options.beam_size)
    for index, source in enumerate(sources):
        group.join([index], [options], decoder.encode([source]))
    results: dict[int, Any] = {}
    while group.rows:
        results.update(group.step().finished)
    return [results[index] for index in range(len(sources))]


def independence_step(request: Request) -> Found:
    """What of "same bits in any company" holds: in a step of one size whoever else is in it, and over all sizes."""
    decoder = open_decoder(request.bundle, request.device)
    for beam_size in (1, 4):
        yield {"beam": beam_size, "one size of step": _company(request, decoder, beam_size)}
    engine, _ = open_engine(request.bundle, request.device, max_rows=256)
    wanted = requests(Vocabulary.load(request.bundle / VOCABULARY_FILE), 10 if request.quick else 200)
    wanted = [
        Job(job.source_ids, dataclasses.replace(job.options, max_output_tokens=min(64, job.options.max_output_tokens)))
        for job in wanted
        if len(job.source_ids) <= gpu_systems.LIMITS.source_tokens
    ]
    expected, found = alone(engine, wanted), together(engine, wanted, seed=1)
    texts = sum(a[0].target_ids != b[0].target_ids for a, b in zip(expected, found, strict=True))
    yield {"sentences": len(wanted), "other bits alone": different(expected, found), "other text alone": texts}


def _company(request: Request, decoder: OnnxDecoder, beam_size: int) -> dict[str, Any]:
    """One sentence at the first and at the last place of a full step, among others and among yet others."""
    sources = [source for source in _sources(request) if len(source) <= 16][:40]
    mine, others, count = sources[0], sources[1:], 16
    options = SearchOptions(beam_size=beam_size, min_output_tokens=12, max_output_tokens=12)
    seen = []
    for place in (0, count - 1):
        for company in (others[: count - 1], others[-count + 1 :]):
            rows = [*company[:place], mine, *company[place:]]
            group: BeamGroup[int] = BeamGroup(decoder.open_slots(beam_size), beam_size)
            group.join(range(count), [options] * count, decoder.encode(rows))
            seen.append(_first_steps(group, place))
    return {"same bits": all(one == seen[0] for one in seen), "tries": len(seen)}


def _first_steps(group: BeamGroup[int], place: int) -> list[float]:
    """Log-probabilities of one sentence's beams over four steps, in which nobody leaves."""
    values: list[float] = []
    for _ in range(4):
        group.step()
        values += group._log_probs[place].tolist()
    return values


def binding_step(request: Request) -> Found:
    """Milliseconds of a decoder step by rows: state in the host's memory, on the device, and as CUDA graphs."""
    ways: dict[str, Callable[[], OnnxDecoder]] = {
        "state on the device": lambda: open_decoder(request.bundle, request.device)
    }
    if request.on_cuda:
        ways["CUDA graphs"] = lambda: open_decoder(request.bundle, "cuda", cuda_graphs=True)
    else:
        ways["state on the host"] = lambda: open_decoder(request.bundle, "cpu", on_device=False)
    for name, build in ways.items():
        decoder = build()
        for rows in QUICK_ROWS if request.quick else ROWS:
            for beam_size in (1, 4):
                if rows >= beam_size:
                    yield {"way": name, "rows": rows, "beam": beam_size, "step_ms": step_ms(decoder, rows, beam_size)}
    unbound = UnboundOnnxDecoder(request.bundle, 0, providers.wanted_providers(
        "cuda" if request.on_cuda else "cpu", read_manifest(request.bundle).precision).providers)  # fmt: skip
    count = QUICK_ROWS[-1] if request.quick else 64
    sources = _made_up(count)
    times = seconds_of(lambda: decode_statically(unbound, sources, 1, [STEP_TOKENS] * count), 3)
    yield {"way": "nothing bound", "rows": count, "beam": 1, "step_ms": statistics.median(times) / STEP_TOKENS * 1e3}


def _made_up(count: int) -> list[tuple[int, ...]]:
    rng = np.random.default_rng(0)
    return [(*rng.integers(270, 2000, STEP_SOURCE - 1).tolist(), EOS_ID) for _ in range(count)]


def _full_group(decoder: OnnxDecoder, rows: int, beam_size: int) -> BeamGroup[int]:
    """A group that runs for `STEP_TOKENS` steps before anybody leaves."""
    count = max(1, rows // beam_size)
    group: BeamGroup[int] = BeamGroup(decoder.open_slots(beam_size), beam_size)
    options = SearchOptions(
        beam_size=beam_size, min_output_tokens=STEP_TOKENS, max_output_tokens=STEP_TOKENS, length_penalty=1.0
    )
    group.join(range(count), [options] * count, decoder.encode(_made_up(count)))
    return group


def step_ms(decoder: OnnxDecoder, rows: int, beam_size: int) -> float:
    """Median time of one step, search included, of a group that has warmed up once."""
    times = []
    for turn in range(3):
        group = _full_group(decoder, rows, beam_size)
        while group.rows:
            began = time.perf_counter()
            group.step()
            if turn:
                times.append(time.perf_counter() - began)
    return round(statistics.median(times) * 1e3, 4)


def kernel_step(request: Request) -> Found:
    """Share of a step's time in which kernels run on the GPU, and the kernels that take most of it."""
    if not request.on_cuda:
        yield {"skipped": "there are no GPU kernels on a CPU"}
        return
    for cuda_graphs in (False, True):
        decoder = open_decoder(request.bundle, "cuda", cuda_graphs=cuda_graphs)
        for rows, beam_size in ((1, 1), (64, 1), (512, 1), (512, 4)):
            yield {"CUDA graphs": cuda_graphs, "rows": rows, "beam": beam_size, **_kernels(decoder, rows, beam_size)}


def _kernels(decoder: OnnxDecoder, rows: int, beam_size: int) -> dict[str, Any]:
    """CUPTI, which torch's profiler reads, sees the kernels of the whole process."""
    step_ms(decoder, rows, beam_size)
    group = _full_group(decoder, rows, beam_size)
    group.step()
    activities = [torch.profiler.ProfilerActivity.CUDA]
    steps = 0
    with torch.profiler.profile(activities=activities) as profile:
        began = time.perf_counter()
        while group.rows and steps < STEP_TOKENS // 2:
            group.step()
            steps += 1
        seconds = time.perf_counter() - began
    spent: collections.Counter[str] = collections.Counter()
    for event in profile.events():
        if event.device_type == torch.autograd.DeviceType.CUDA:
            spent[event.name] += event.time_range.elapsed_us()
    busy = sum(spent.values()) / 1e6
    top = {name[:60]: round(us / steps, 2) for name, us in spent.most_common(8)}
    return {"step_ms": seconds / steps * 1e3, "share in kernels": busy / seconds, "us a step, largest": top}


def roofline_step(request: Request) -> Found:
    """Least time of a step by bytes and by operations at the rates measured here, beside the time it takes."""
    manifest = read_manifest(request.bundle)
    bandwidth, rate = _bandwidth(request), _product_rate(request)
    yield {"bytes a second": bandwidth, "operations a second": rate}
    decoder = open_decoder(request.bundle, request.device)
    size = 2 if request.on_cuda else 4
    for rows in QUICK_ROWS if request.quick else ROWS:
        work = step_work(manifest.architecture, rows, beams=1, source=STEP_SOURCE, places=STEP_TOKENS, size=size)
        least = max(work["bytes"] / bandwidth, work["operations"] / rate)
        took = step_ms(decoder, rows, 1) / 1e3
        yield {"rows": rows, **work, "least_ms": least * 1e3, "step_ms": took * 1e3, "share": least / took}


def step_work(
    architecture: dict[str, Any], rows: int, *, beams: int, source: int, places: int, size: int
) -> dict[str, int]:
    """Bytes that a step must at least move and operations it must do, numbers being `size` bytes; caches are filled to
    `places`, sources have `source` tokens."""
    d, inner, layers = architecture["d_model"], architecture["d_ff"], architecture["decoder_layers"]
    vocabulary = architecture["vocabulary_size"]
    # Self-attention has four products of d x d, the encoder-decoder attention two: keys and values are made once.
    weights = layers * (6 * d * d + 2 * d * inner) + d * vocabulary
    state = layers * 2 * d * (rows * places + rows // beams * source)
    attention = layers * rows * 4 * d * (places + source)
    # Logits are written, read by the softmax, written and read by the choice of the best, in fp32 but for the first.
    logits = rows * vocabulary * (size + 3 * 4)
    return {"bytes": (weights + state) * size + logits, "operations": 2 * rows * weights + attention}


def _bandwidth(request: Request) -> float:
    """Bytes read and written a second by copying a large array."""
    numbers = (1 if request.quick else 64) * 2**20
    source = torch.ones(numbers, device=request.device)
    target = torch.empty_like(source)
    seconds = min(seconds_of(lambda: (target.copy_(source), _wait(request)), 10))
    return 2 * numbers * 4 / seconds


def _product_rate(request: Request) -> float:
    """Operations a second of a large matrix product in the bundle's type."""
    size = 512 if request.quick else 8192
    a = torch.randn(size, size, device=request.device, dtype=torch.float16 if request.on_cuda else torch.float32)
    seconds = min(seconds_of(lambda: (a @ a, _wait(request)), 10))
    return 2 * size**3 / seconds


def _wait(request: Request) -> None:
    if request.on_cuda:
        torch.cuda.synchronize()


def decode_step(request: Request) -> Found:
    """The shipped model on real sentences against the peers."""
    workload = real_workload(request.checkpoint, request.source, request.direction)
    if request.quick:
        workload = dataclasses.replace(workload, sources=workload.sources[:16])
    yield from _decoded(request, workload, request.bundle)


def decode_base_step(request: Request) -> Found:
    """The base size, outputs of forced length."""
    yield from _decoded(
        request, gpu_systems.base_workload(request.checkpoint, request.out / "base"), request.base_bundle
    )


def _decoded(request: Request, workload: Workload, bundle: Path) -> Found:
    skipped: list[dict[str, str]] = []
    # The saturated cases first: whatever the time allows, these are in it.
    cases = [(16, 1)] if request.quick else sorted(gpu_systems.GPU_CASES, key=lambda case: -case[0])
    rows = gpu_systems.measure(
        workload, bundle, request.out / f"peers-{workload.model}", request.device, cases, 1 if request.quick else 3,
        note=lambda name, reason: skipped.append({"skipped": name, "reason": reason}),
    )  # fmt: skip
    for row in rows:
        while skipped:
            yield skipped.pop()
        yield row


def memory_step(request: Request) -> Found:
    """The most memory in use while 2,048 sentences are decoded with four beams, by the settings that bound it."""
    for cuda_graphs in (False, True) if request.on_cuda else (False,):
        for max_rows in (8,) if request.quick else (64, 256, 2048):
            yield {"CUDA graphs": cuda_graphs, "max_rows": max_rows, **_memory_peak(request, max_rows, cuda_graphs)}


def _memory_peak(request: Request, max_rows: int, cuda_graphs: bool) -> dict[str, int]:
    read: Callable[[], int] = providers.device_memory if request.on_cuda else (lambda: 0)
    before = read()
    engine, _ = open_engine(request.bundle, request.device, cuda_graphs=cuda_graphs, max_rows=max_rows)
    loaded, peak, done = read(), 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.005):
            peak = max(peak, read())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        options = SearchOptions(beam_size=4, max_output_tokens=STEP_TOKENS)
        jobs = [Job(source, options) for source in _made_up(16 if request.quick else 2048)]
        run_here(engine, jobs)
    finally:
        done.set()
        watcher.join()
    return {"before": before, "loaded": loaded, "peak": max(peak, loaded)}


STEPS: dict[str, Callable[[Request], Found]] = {
    "providers": provider_step,
    "export": export_step,
    "nodes": node_step,
    "engine": engine_step,
    "independence": independence_step,
    "binding": binding_step,
    "kernels": kernel_step,
    "roofline": roofline_step,
    "decode_shipped": decode_step,
    "export_base": export_base_step,
    "decode_base": decode_base_step,
    "memory": memory_step,
}


def main(arguments: Sequence[str]) -> int:
    """Run one step and write what it finds, a line at a time."""
    step, text = arguments
    request = Request.of(text)
    with (request.out / f"{step}.jsonl").open("w", encoding="utf-8") as results:
        for found in STEPS[step](request):
            results.write(json.dumps(_finite(found)) + "\n")
            results.flush()
    return 0


def _finite(value: Any) -> Any:
    """JSON has no infinity and no NaN."""
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    return [_finite(part) for part in value] if isinstance(value, list | tuple) else value


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
