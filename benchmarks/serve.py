"""The service against the servers people use, on the same weights, in one run, interleaved (`make bench-serve`).

    python -m benchmarks.serve [--quick] [--libretranslate FOLDER] [--png FILE]

Closed loops of 1, 8 and 64 clients, then open loops of 50, 80 and 120 % of what each server did with 64 clients; one
sentence a request and a document of 40 lines a request; greedy and beam 4. Servers and client are processes of their
own on this machine; the client's share of the processor is reported. Each peer runs at the better of some thread
settings, one chosen with one client and one with 64; ours at its defaults. LibreTranslate takes part if
`--libretranslate` names a virtual environment that has it (README.md says how). The last line of stdout is one JSON
object.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import dataclasses
import itertools
import json
import multiprocessing
import os
import platform
import random
import statistics
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.load import Load, Window, closed_loop, everyday_sentences, open_loop, post
from benchmarks.processes import Server, started
from benchmarks.serve_models import Models, write_models
from benchmarks.serve_picture import WITHOUT_ENGINE, draw

ROOT = Path(__file__).parents[1]
OURS, INSTANT, LIBRETRANSLATE = "Attend", WITHOUT_ENGINE, "LibreTranslate"
PEERS = ("CTranslate2, thread pool", "CTranslate2, batches", "ONNX Runtime, thread pool")
CLIENTS = (1, 8, 64)
LOADS = (0.5, 0.8, 1.2)
BEAMS = (1, 4)
DOCUMENT_LINES = 40
MOST_CLIENTS_OF_SLOW_DOCUMENTS = 8
"""A server that needs seconds for a document is not asked for 64 at once: its answers would take minutes."""
WARM_UP = 0.5


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """How long it takes: rounds over all cases, seconds of each loop, and of each try of a thread setting."""

    rounds: int
    seconds: float
    tuning_seconds: float


FULL = Plan(rounds=2, seconds=3.0, tuning_seconds=1.5)
QUICK = Plan(rounds=1, seconds=2.0, tuning_seconds=1.0)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Setting:
    """A way to start a server."""

    system: str
    label: str
    command: Callable[[int], Sequence[str]]
    """By port."""
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    health: str = "/health"
    beam_size: int | None = None
    """The only one it has; None: requests say."""


@dataclasses.dataclass(frozen=True, slots=True)
class Case:
    """What is asked, and how."""

    texts: str
    beam_size: int
    clients: int | None = None
    load: float | None = None
    """Share of the capacity, instead of `clients`."""

    @property
    def name(self) -> str:
        how = f"{self.clients} clients" if self.clients else f"{round(100 * (self.load or 0))} % load"
        return f"{self.texts}, {'greedy' if self.beam_size == 1 else f'beam {self.beam_size}'}, {how}"


def main() -> int:
    """Measure, print, draw."""
    options = _options()
    plan = QUICK if options.quick else FULL
    with contextlib.ExitStack() as stack:
        folder = options.models or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        # A client of its own process, started anew and not copied: it should hold nothing of ours.
        context = multiprocessing.get_context("spawn")
        client = stack.enter_context(concurrent.futures.ProcessPoolExecutor(1, mp_context=context))
        bench = Bench(client, plan)
        models = write_models(ROOT / "model" / "pretrained", folder)
        settings = [one for one in all_settings(models, options.libretranslate) if one.system in options.system]
        servers = {one: stack.enter_context(started(one.command, one.environment, one.health)) for one in settings}
        result: dict[str, Any] = {"machine": _machine(), "plan": dataclasses.asdict(plan)}
        result["agreement"] = bench.agreement(servers)
        chosen = bench.choose(servers)
        result["settings"] = {
            f"{system}, {what}, beam {beam}": one.label for (system, what, beam), one in chosen.items()
        }
        result["start_seconds"] = {one.label: round(server.start_seconds, 2) for one, server in servers.items()}
        print(json.dumps(result), file=sys.stderr, flush=True)
        rows = bench.measure(cases(options.texts, options.beam), servers, chosen)
        result["resident_mib"] = {one.label: round(server.resident_bytes() / 2**20) for one, server in servers.items()}
    result["rows"] = rows
    result["against_best"] = against_best(rows)
    for line in result["against_best"]:
        print(line, file=sys.stderr)
    if options.png:
        draw(rows, options.png)
    print(json.dumps(result))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one round of shorter loops, under ten minutes")
    parser.add_argument("--libretranslate", type=Path, help="virtual environment with LibreTranslate")
    parser.add_argument("--models", type=Path, help="where the peers' models are, or will be written; default: nowhere")
    systems = (OURS, INSTANT, *PEERS, LIBRETRANSLATE)
    parser.add_argument("--system", nargs="+", choices=systems, default=systems, help="only these")
    parser.add_argument("--texts", nargs="+", choices=("sentence", "document"), default=("sentence", "document"))
    parser.add_argument("--beam", nargs="+", type=int, choices=BEAMS, default=BEAMS)
    parser.add_argument("--png", type=Path, help="curves to draw")
    return parser.parse_args()


def cases(texts: Sequence[str], beams: Sequence[int]) -> list[Case]:
    """Closed loops first: the open ones are shares of what 64 clients got."""
    kinds = list(itertools.product(texts, beams))
    closed = [Case(text, beam, clients=clients) for text, beam in kinds for clients in CLIENTS]
    return closed + [Case(text, beam, load=load) for text, beam in kinds for load in LOADS]


class Bench:
    """One client, and what it measures."""

    def __init__(self, client: concurrent.futures.Executor, plan: Plan) -> None:
        self._client = client
        self._plan = plan
        self._lines = everyday_sentences()
        random.Random(1).shuffle(self._lines)

    def agreement(self, servers: Mapping[Setting, Server]) -> dict[str, float]:
        """Which share of 40 sentences each server translates as the first does: whether it is the same work."""
        texts = self._lines[:40]
        found: dict[int, dict[Setting, list[str]]] = {beam: {} for beam in BEAMS}
        for beam, one in itertools.product(BEAMS, servers):
            if one.beam_size in (None, beam) and one.system != INSTANT:
                found[beam][one] = [_translation(servers[one].port, text, beam) for text in texts]
        return {
            f"{one.label}, beam {beam}": round(statistics.mean(map(str.__eq__, texts, next(iter(some.values())))), 3)
            for beam, some in found.items()
            for one, texts in some.items()
        }

    def choose(self, servers: Mapping[Setting, Server]) -> dict[tuple[str, str, int], Setting]:
        """The best setting of each system and beam size: for "latency" with one client, for "throughput" with 64."""
        chosen = {}
        for beam in BEAMS:
            for system, group in itertools.groupby(servers, key=lambda one: one.system):
                able = [one for one in group if one.beam_size in (None, beam)]
                for what, clients in (("latency", 1), ("throughput", 64)):
                    rates = {one: self._try(servers[one], beam, clients) for one in able} if len(able) > 1 else {}
                    if able:
                        chosen[system, what, beam] = max(rates, key=lambda one: rates[one]) if rates else able[0]
        return chosen

    def _try(self, server: Server, beam: int, clients: int) -> float:
        requests = self._requests("sentence", beam)
        return self._run(closed_loop, server.port, requests, clients, Window(self._plan.tuning_seconds, WARM_UP)).rate

    def measure(
        self,
        cases: Sequence[Case],
        servers: Mapping[Setting, Server],
        chosen: Mapping[tuple[str, str, int], Setting],
    ) -> list[dict[str, Any]]:
        """Every case on every system, turn by turn; a row each, medians over the rounds."""
        found: dict[tuple[Case, str], list[dict[str, float]]] = {}
        systems = list(dict.fromkeys(one.system for one in servers))
        for turn in range(self._plan.rounds):
            for case in cases:
                # The others' order changes: whoever comes first after a pause may have it easier.
                for system in systems[turn % len(systems) :] + systems[: turn % len(systems)]:
                    what = "latency" if case.clients == 1 else "throughput"
                    setting = chosen.get((system, what, case.beam_size))
                    if setting is None or _is_too_slow(case, system):
                        continue
                    capacity = _capacity(found, case, system)
                    row = self._one(case, servers[setting], capacity)
                    found.setdefault((case, system), []).append(row)
                    print(f"{case.name}: {system} {row}", file=sys.stderr, flush=True)
        return [
            {"case": case.name, **dataclasses.asdict(case), "system": system, **_medians(rows)}
            for (case, system), rows in found.items()
        ]

    def _one(self, case: Case, server: Server, capacity: float) -> dict[str, float]:
        requests = self._requests(case.texts, case.beam_size)
        sentences = 1 if case.texts == "sentence" else DOCUMENT_LINES
        before = server.cpu_seconds()
        whole = case.texts == "document" and case.clients is not None
        window = Window(self._plan.seconds, 0.0 if whole else WARM_UP, whole)
        if case.clients:
            load = self._run(closed_loop, server.port, requests, case.clients, window)
        else:
            load = self._run(open_loop, server.port, requests, (case.load or 0.0) * capacity, window)
        cpu = server.cpu_seconds() - before
        if not load.answered:
            raise RuntimeError(f"a server answered nothing: {case.name}")
        answered = load.answered * sentences
        return {
            "requests": len(load.latencies),
            "sentences_per_second": round(load.rate * sentences, 1),
            **{f"p{share}_ms": _quantile(load.latencies, share / 100) for share in (50, 95, 99)},
            "cpu_ms_a_sentence": round(1000 * cpu / answered, 3),
            "client_cpu_ms_a_request": round(1000 * load.client_cpu_seconds / load.answered, 3),
            "refused": load.refused,
            "failed": load.failed,
        }

    def _run(self, loop: Callable[..., Load], *arguments: Any) -> Load:
        return self._client.submit(loop, *arguments).result()

    def _requests(self, texts: str, beam: int) -> list[bytes]:
        lines = self._lines
        if texts == "document":
            starts = range(0, len(lines) - DOCUMENT_LINES + 1, DOCUMENT_LINES)
            lines = ["\n".join(lines[start : start + DOCUMENT_LINES]) for start in starts]
        return [_request(text, beam) for text in lines]


def _request(text: str, beam: int) -> bytes:
    return post({"q": text, "source": "fr", "target": "en", "beam_size": beam})


def _translation(port: int, text: str, beam: int) -> str:
    body = json.dumps({"q": text, "source": "fr", "target": "en", "beam_size": beam}).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/translate", body, {"Content-Type": "application/json"}
    )  # fmt: skip
    with urllib.request.urlopen(request, timeout=60) as reply:
        return str(json.load(reply)["translatedText"])


def _is_too_slow(case: Case, system: str) -> bool:
    many = case.load is not None or (case.clients or 0) > MOST_CLIENTS_OF_SLOW_DOCUMENTS
    return system == LIBRETRANSLATE and case.texts == "document" and many


def _capacity(found: Mapping[tuple[Case, str], Sequence[Mapping[str, float]]], case: Case, system: str) -> float:
    """Requests a second with 64 clients."""
    if case.load is None:
        return 0.0
    rows = found[dataclasses.replace(case, load=None, clients=CLIENTS[-1]), system]
    sentences = 1 if case.texts == "sentence" else DOCUMENT_LINES
    return statistics.median(row["sentences_per_second"] for row in rows) / sentences


def _quantile(values: Sequence[float], share: float) -> float:
    """In milliseconds."""
    return round(1000 * sorted(values)[min(len(values) - 1, int(share * len(values)))], 2) if values else float("nan")


def _medians(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: round(statistics.median(row[name] for row in rows), 3) for name in rows[0]}


def against_best(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """For each case ours against the best peer: sentences a second, latencies."""
    lines = []
    for case in dict.fromkeys(row["case"] for row in rows):
        ours = next((row for row in rows if row["case"] == case and row["system"] == OURS), None)
        peers = [row for row in rows if row["case"] == case and row["system"] not in (OURS, INSTANT)]
        if ours is None or not peers:
            continue
        fastest = max(peers, key=lambda row: float(row["sentences_per_second"]))
        quickest = min(peers, key=lambda row: float(row["p50_ms"]))
        lines.append(
            f"{case}: {ours['sentences_per_second'] / fastest['sentences_per_second']:.2f} x the sentences/s of "
            f"{fastest['system']}, p99 {ours['p99_ms'] / fastest['p99_ms']:.2f} x its; "
            f"p50 {ours['p50_ms'] / quickest['p50_ms']:.2f} x that of {quickest['system']}"
        )
    return lines


def all_settings(models: Models, libretranslate: Path | None) -> Iterator[Setting]:
    """Ours, and every way to start each peer."""
    yield Setting(OURS, OURS, lambda port: (sys.executable, "-m", "service"), {}, "/health/ready")
    instant = (sys.executable, "-m", "benchmarks.instant_service")
    yield Setting(INSTANT, INSTANT, lambda port: instant, {}, "/health/ready", beam_size=1)
    for kind, system, model, choices in (
        ("threads", PEERS[0], models.ctranslate2, ((2, 1), (1, 2))),
        ("batching", PEERS[1], models.ctranslate2, ((2, 1), (1, 2))),
        ("onnx", PEERS[2], models.whole_vocabulary_bundle, ((0, 1), (0, 2))),
    ):
        for workers, threads in choices:
            yield Setting(
                system, f"{system}, {workers} x {threads}", _peer(kind, model, models.vocabulary, workers, threads)
            )
    if libretranslate is not None:
        yield from _libretranslate(libretranslate, models.argos_packages)


def _peer(kind: str, model: Path, vocabulary: Path, workers: int, threads: int) -> Callable[[int], Sequence[str]]:
    def command(port: int) -> Sequence[str]:
        options = {"model": model, "vocabulary": vocabulary, "port": port, "workers": workers, "threads": threads}
        arguments = (part for name, value in options.items() for part in (f"--{name}", str(value)))
        return (sys.executable, "-m", "benchmarks.peer_servers", kind, *arguments)

    return command


def _libretranslate(environment: Path, packages: Path) -> Iterator[Setting]:
    """Its beam size is a setting of the server."""
    script = str(ROOT / "benchmarks" / "libretranslate_server.py")
    for beam, (workers, threads) in itertools.product(BEAMS, ((1, 0), (2, 1))):
        variables = {
            "ARGOS_PACKAGES_DIR": packages, "ARGOS_BEAM_SIZE": beam, "ARGOS_COMPUTE_TYPE": "int8",
            "ARGOS_INTER_THREADS": workers, "ARGOS_INTRA_THREADS": threads,
            # What it writes beside the packages it reads.
            "XDG_DATA_HOME": packages.parent, "XDG_CONFIG_HOME": packages.parent, "XDG_CACHE_HOME": packages.parent,
        }  # fmt: skip
        yield Setting(
            LIBRETRANSLATE,
            f"{LIBRETRANSLATE}, beam {beam}, {workers} x {threads}",
            lambda port: (str(environment / "bin" / "python"), script, "--port", str(port)),
            {name: str(value) for name, value in variables.items()},
            beam_size=beam,
        )


def _machine() -> dict[str, Any]:
    cpu = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.processor(),
    )
    packages = {name: version(name) for name in ("onnxruntime", "ctranslate2", "fastapi", "uvicorn")}
    load = round(os.getloadavg()[0], 1)
    cores = len(os.sched_getaffinity(0))
    return {"cpu": cpu, "cores": cores, "load_before": load, "python": platform.python_version(), **packages}


if __name__ == "__main__":
    sys.exit(main())
