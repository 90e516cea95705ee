"""`attend translate FILE` against the engine alone and CTranslate2 on the same file, in one run, interleaved.

    python -m benchmarks.corpora --checkpoint model/pretrained --source TEXT.fr.gz --direction fr-en [--lines 3000]

- command: `attend translate`, from its call to its end, and by its own count without the start of its engines.
- engine: the whole file at once, each line one sentence, tokenised before; 256 rows, as the command has, and 512.
- CTranslate2: int8 of the same weights, the whole file at once, tokenised before, at the best of its settings.

Lines a second; processor time is that of all processes. The last line of stdout is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.ctranslate2_model import write_ctranslate2
from benchmarks.decode import ctranslate2_system, output_limit
from model.checkpoint import load_checkpoint
from model.corpus import read_lines
from service.engine.loading import BlockingEngine
from service.engine.types import EngineConfig, Job, SearchOptions
from service.shipped import shipped_bundle

SETTINGS = ((2, 1, 64), (2, 1, 256), (1, 2, 64), (1, 2, 256))
"""Batches at once, threads each, and sentences of a batch, of CTranslate2."""
TRIED_LINES = 600
OWN_COUNT = re.compile(r"lines in ([\d.,]+) s")


class Took(NamedTuple):
    seconds: float
    processor: float


class System(NamedTuple):
    name: str
    run: Callable[[int], Took]
    """Translates the file with a beam of this size."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True, help="the weights of the shipped bundle")
    parser.add_argument("--source", type=Path, required=True, help="source lines, plain or .gz")
    parser.add_argument("--direction", required=True)
    parser.add_argument("--lines", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=3, help="interleaved repetitions; medians are reported")
    parser.add_argument("--beams", type=int, nargs="+", default=[1, 4])
    options = parser.parse_args(arguments)
    lines = read_lines(options.source)[: options.lines]
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "in.txt"
        file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        write_ctranslate2(load_checkpoint(options.checkpoint), Path(scratch) / "ctranslate2", "int8")
        for beam in options.beams:
            rows += measure(file, lines, options, beam, Path(scratch))
    print(json.dumps({"lines": len(lines), "rounds": options.rounds, "rows": rows}))
    return 0


def measure(
    file: Path, lines: Sequence[str], options: argparse.Namespace, beam: int, scratch: Path
) -> list[dict[str, Any]]:
    command, engine = Command(file, options.direction), engine_system
    peer = best_peer(lines, options, beam, scratch)
    systems = [System("command", command.run), engine(lines, options.direction, 256)]
    systems += [engine(lines, options.direction, 512), peer]
    took: dict[str, list[Took]] = {"command, own count": command.counted} | {each.name: [] for each in systems}
    for _ in range(options.rounds):
        for each in systems:
            took[each.name].append(each.run(beam))
    rows = []
    for name, found in took.items():
        seconds = statistics.median(each.seconds for each in found)
        ratios = [theirs.seconds / ours.seconds for ours, theirs in zip(found, took[peer.name], strict=True)]
        row = {
            "beam": beam,
            "system": name,
            "lines_per_second": round(len(lines) / seconds, 1),
            "processor_ms_a_line": round(1000 * statistics.median(each.processor for each in found) / len(lines), 2),
            "times_ctranslate2": round(statistics.median(ratios), 3),
        }
        rows.append(row)
        print(json.dumps(row), flush=True)
    return rows


class Command:
    """`attend translate` in a process of its own; `counted` has what it says of itself."""

    def __init__(self, file: Path, direction: str) -> None:
        self._file, self._direction = file, direction
        self.counted: list[Took] = []

    def run(self, beam: int) -> Took:
        source, _, target = self._direction.partition("-")
        began, before = time.perf_counter(), _children()
        done = subprocess.run(
            [sys.executable, "-m", "attend", "translate", self._file, "-o", f"{self._file}.out", "--overwrite",
             "-s", source, "-t", target, "--beam-size", str(beam)],
            stderr=subprocess.PIPE, text=True, check=True,
            env={name: value for name, value in os.environ.items() if not name.startswith("ATTEND_")},
        )  # fmt: skip
        took = Took(time.perf_counter() - began, _children() - before)
        [seconds] = OWN_COUNT.findall(done.stderr)
        self.counted.append(Took(float(seconds.replace(",", "")), took.processor))
        return took


def engine_system(lines: Sequence[str], direction: str, max_rows: int) -> System:
    """The engine alone; it is loaded for each run, for its processor time is known when it has ended."""
    target = direction.partition("-")[2]

    def run(beam: int) -> Took:
        before = _children()
        with BlockingEngine(EngineConfig(directory=shipped_bundle(), device="cpu", max_rows=max_rows)) as engine:
            sources = [tuple(engine.vocabulary.encode_source(line, target)) for line in lines]
            jobs = [
                Job(source, SearchOptions(beam_size=beam, max_output_tokens=output_limit(source, False)))
                for source in sources
            ]
            engine.run(jobs[:64])
            began = time.perf_counter()
            engine.run(jobs)
            seconds = time.perf_counter() - began
        return Took(seconds, _children() - before)

    return System(f"engine, {max_rows} rows", run)


def best_peer(lines: Sequence[str], options: argparse.Namespace, beam: int, scratch: Path) -> System:
    """CTranslate2 at the setting that is fastest with some of the lines."""
    vocabulary = load_checkpoint(options.checkpoint).vocabulary
    pieces = vocabulary.pieces(range(len(vocabulary)))
    target = options.direction.partition("-")[2]
    sources = [tuple(vocabulary.encode_source(line, target)) for line in lines]

    def opened(workers: int, threads: int, batch: int) -> System:
        def run(beam: int, count: int | None = None) -> Took:
            system = ctranslate2_system(
                scratch / "ctranslate2", "int8", workers, threads, pieces, forced=False, batch=batch
            )
            system.decode(sources[:64], beam)
            began, before = time.perf_counter(), time.process_time()
            system.decode(sources[:count], beam)
            took = Took(time.perf_counter() - began, time.process_time() - before)
            system.close()
            return took

        return System(f"CTranslate2 int8 {workers}x{threads} batch {batch}", run)

    trials = [opened(*setting) for setting in SETTINGS]
    return min(trials, key=lambda each: each.run(beam, TRIED_LINES).seconds)  # type: ignore[call-arg]


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    sys.exit(main())
