"""Where the processor time of a sentence goes: the HTTP process, an engine's Python, its encoder and its decoder.

    python -m benchmarks.parts [--against FOLDER] [--clients 64] [--beam 1] [--texts 1] [--rounds 3] [--seconds 5]

A closed loop of clients asks the service for everyday sentences. The times of the HTTP process and of its engines are
the system's; those of encoder and decoder are what their sessions took inside of the engines, measured by a
`sitecustomize` that the product knows nothing of. With `--against` another working tree of this repository is asked in
turn, in the same run. The last line of stdout is one JSON object; figures are medians of the rounds.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.load import Window, closed_loop, everyday_sentences, post
from benchmarks.processes import ROOT, started

WARM_UP = 1.5
Row = dict[str, float]

HOOK = '''
import importlib.abc, importlib.machinery, json, os, sys, time

class Finder(importlib.abc.MetaPathFinder):
    """Counts what sessions take as soon as there are any."""

    def find_spec(self, name, path=None, target=None):
        if name != "onnxruntime":
            return None
        sys.meta_path.remove(self)
        import onnxruntime
        watch(onnxruntime.InferenceSession)
        return importlib.machinery.PathFinder.find_spec(name, path)

def watch(session):
    spent, said = {}, [time.monotonic()]
    init = session.__init__

    def named(self, path, *rest, **more):
        init(self, path, *rest, **more)
        self.part = os.path.basename(str(path)).split(".")[0]

    def counted(run):
        def call(self, *rest, **more):
            began = time.process_time()
            try:
                return run(self, *rest, **more)
            finally:
                now = time.monotonic()
                spent[self.part] = spent.get(self.part, 0.0) + time.process_time() - began
                if now - said[0] > 0.05:
                    said[0] = now
                    path = os.path.join(os.environ["PARTS_FOLDER"], f"{os.getpid()}.json")
                    with open(path + ".new", "w") as file:
                        json.dump(spent, file)
                    os.replace(path + ".new", path)
        return call

    session.__init__ = named
    session.run, session.run_with_iobinding = counted(session.run), counted(session.run_with_iobinding)

sys.meta_path.insert(0, Finder())
'''


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure in turn, print medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path, help="another working tree, asked in turn")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--beam", type=int, default=1)
    parser.add_argument("--texts", type=int, default=1, help="sentences of one request")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args(arguments)
    trees = {"here": ROOT} | ({"there": options.against.absolute()} if options.against else {})
    found: dict[str, list[Row]] = {name: [] for name in trees}
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as client:
        for _ in range(options.rounds):
            for name, folder in trees.items():
                found[name].append(measure(client, folder, options))
                print(f"{name}: {found[name][-1]}", file=sys.stderr, flush=True)
    medians = {
        name: {key: statistics.median(row[key] for row in rows) for key in rows[0]} for name, rows in found.items()
    }
    asked = {key: getattr(options, key) for key in ("clients", "beam", "texts", "rounds", "seconds")}
    print(json.dumps({**asked, **{name: _rounded(row) for name, row in medians.items()}}))
    return 0


def _rounded(row: Row) -> Row:
    return {key: round(value, 3) for key, value in row.items()}


def measure(client: concurrent.futures.Executor, folder: Path, options: Any) -> Row:
    """One round with the service of one working tree: milliseconds of processor time a sentence, and how fast it is."""
    lines = everyday_sentences()
    texts = [lines[start : start + options.texts] for start in range(0, len(lines) - options.texts, options.texts)]
    body = {"source": "fr", "target": "en", "beam_size": options.beam}
    requests = [post({"q": some if options.texts > 1 else some[0], **body}) for some in texts]
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / "sitecustomize.py").write_text(HOOK, encoding="utf-8")
        environment = {"PYTHONPATH": scratch, "PARTS_FOLDER": scratch}
        command = (sys.executable, "-m", "service")
        with started(lambda port: command, environment, "/health/ready", folder) as server:
            client.submit(closed_loop, server.port, requests, options.clients, Window(WARM_UP)).result()
            before = _spent(Path(scratch)), server.own_cpu_seconds(), server.child_cpu_seconds()
            window = Window(options.seconds)
            load = client.submit(closed_loop, server.port, requests, options.clients, window).result()
            time.sleep(0.2)
            after = _spent(Path(scratch)), server.own_cpu_seconds(), server.child_cpu_seconds()
    sentences = load.answered * options.texts
    encoder, decoder = (after[0][part] - before[0][part] for part in ("encoder", "decoder"))
    engines = after[2] - before[2]
    each = {"http": after[1] - before[1], "engine_python": engines - encoder - decoder, "encoder": encoder,
            "decoder": decoder}  # fmt: skip
    parts = {f"{name}_ms": 1000 * seconds / sentences for name, seconds in each.items()}
    latencies = sorted(load.latencies)
    return {
        **parts,
        "python_ms": parts["http_ms"] + parts["engine_python_ms"],
        "sentences_per_second": load.rate * options.texts,
        "p50_ms": 1000 * statistics.median(latencies),
        "p95_ms": 1000 * latencies[int(0.95 * (len(latencies) - 1))],
        "failed": float(load.failed),
    }


def _spent(folder: Path) -> dict[str, float]:
    """Processor seconds of encoder and decoder in all engines so far."""
    total = {"encoder": 0.0, "decoder": 0.0}
    for file in folder.glob("*.json"):
        for part, seconds in json.loads(file.read_text()).items():
            # The columns of the output projection belong to the decoder.
            total["encoder" if part == "encoder" else "decoder"] += seconds
    return total


if __name__ == "__main__":
    sys.exit(main())
