"""Every check and benchmark of a GPU machine in one go, within ten minutes (`make bench-gpu`).

    PYTHONPATH=... LD_LIBRARY_PATH=... python -m benchmarks.gpu --out results

Needs torch, numpy, pydantic, sentencepiece, safetensors, onnx, onnxscript and onnxruntime-gpu; no web framework, no
pytest, no network. Each step (`gpu_steps.py`) is a process of its own with a time limit: one that fails, crashes or
hangs does not stop the others. What it finds is written to `OUT/STEP.jsonl` as it comes, what it prints to
`OUT/STEP.log`. The last line of stdout is one JSON object with everything. `--device cpu --quick` runs the same steps
on a CPU in fp32, to see that they run; its figures say nothing about a GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
STEPS = {
    "providers": 30, "export": 150, "nodes": 45, "engine": 60, "independence": 90, "binding": 60, "kernels": 45,
    "roofline": 30, "decode_shipped": 120, "export_base": 150, "decode_base": 150, "memory": 60,
}  # fmt: skip
"""Seconds each step may take. Later ones get what is left of `TOTAL_SECONDS`."""
TOTAL_SECONDS = 585


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the steps; 0 if all of them ended well."""
    options = _parse(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    ends = time.monotonic() + options.seconds
    results: dict[str, Any] = {}
    for step in options.steps:
        began = time.monotonic()
        limit = min(STEPS[step], ends - began)
        status = _run(step, options, limit) if limit > 1 else "no time left"
        seconds = round(time.monotonic() - began, 1)
        results[step] = {"status": status, "seconds": seconds, "found": _read(options.out / f"{step}.jsonl")}
        print(f"{step}: {status} after {seconds} s", flush=True)
        _write(options.out / "summary.json", results)
    print(json.dumps(results), flush=True)
    return int(any(result["status"] != "ok" for result in results.values()))


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for results and for the bundles it exports")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--checkpoint", type=Path, default=ROOT / "model" / "pretrained")
    parser.add_argument("--source", type=Path, default=ROOT / "benchmarks" / "everyday.fr.gz")
    parser.add_argument("--direction", default="fr-en")
    parser.add_argument("--bundle", type=Path, help="a bundle of the checkpoint, where it cannot be exported here")
    parser.add_argument("--base-bundle", type=Path, help="the same of `gpu_systems.write_base_checkpoint`")
    parser.add_argument("--quick", action="store_true", help="few rounds, small cases, no base size")
    parser.add_argument("--seconds", type=float, default=TOTAL_SECONDS, help="for all steps together")
    parser.add_argument("--steps", type=lambda names: names.split(","), help=f"some of {','.join(STEPS)}")
    options = parser.parse_args(arguments)
    if options.steps is None:
        options.steps = [step for step in STEPS if not (options.quick and "base" in step)]
    if unknown := set(options.steps) - set(STEPS):
        parser.error(f"no such steps: {sorted(unknown)}")
    return options


def request_of(options: argparse.Namespace) -> str:
    """What a step is told, as JSON."""
    given = {name: value for name, value in vars(options).items() if name not in ("steps", "seconds")}
    return json.dumps({name: str(value) if isinstance(value, Path) else value for name, value in given.items()})


def _run(step: str, options: argparse.Namespace, limit: float) -> str:
    """Run one step; returns "ok", or what went wrong."""
    command = [sys.executable, "-m", "benchmarks.gpu_steps", step, request_of(options)]
    # A library that finds no network must not wait for one.
    environment = {**os.environ, "ORT_DISABLE_TELEMETRY": "1", "HF_HUB_OFFLINE": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    log = options.out / f"{step}.log"
    with log.open("wb") as output:
        try:
            done = subprocess.run(
                command, stdout=output, stderr=subprocess.STDOUT, timeout=limit, check=False, env=environment
            )
        except subprocess.TimeoutExpired:
            return f"stopped at its limit of {limit:.0f} s"
    if done.returncode == 0:
        return "ok"
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return f"exit status {done.returncode}: {lines[-1] if lines else ''}"


def _read(path: Path) -> list[Any]:
    if not path.is_file():
        return []
    # A step that was killed may have left half a line.
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    return [json.loads(line) for line in lines]


def _write(path: Path, results: dict[str, Any]) -> None:
    path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
