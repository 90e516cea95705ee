"""What the service loses where HTTP, text and engines share one interpreter (Python's lock).

    python -m benchmarks.interpreter [--clients 64] [--rounds 3] [--seconds 4]

So many clients with one everyday sentence each, in turn: at engines in one process without any HTTP, at a service with
its engines in its own process, at the service as it is, with a process for each engine, and at two services of one
session each that share the clients. The last line of stdout is one JSON object.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import json
import multiprocessing
import queue
import random
import statistics
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.load import Window, closed_loop, everyday_sentences, post
from benchmarks.processes import started
from service.app import create_app
from service.engine.loading import load_engine
from service.engine.types import EngineReport, Job, SearchOptions
from service.logs import configure_logging
from service.server import Server
from service.settings import Settings, load_settings

WARM_UP = 1.0
Row = dict[str, float]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure in turn, print medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.clients < 2:
        parser.error("two services need two clients")
    if options.serve:
        serve_in_one_process()
        return 0
    context = multiprocessing.get_context("spawn")
    measures: dict[str, Callable[[], Row]] = {
        "engines alone": lambda: _in_a_process(context, options.clients, options.seconds),
        "service of one process": lambda: _served(
            context, options.clients, options.seconds, [{}], ("-m", "benchmarks.interpreter", "--serve")
        ),
        "service": lambda: _served(context, options.clients, options.seconds, [{}]),
        "two services of one session": lambda: _served(
            context, options.clients, options.seconds, [{"ATTEND_SESSIONS": "1", "ATTEND_THREADS": "1"}] * 2
        ),
    }
    found: dict[str, list[Row]] = {name: [] for name in measures}
    for _ in range(options.rounds):
        for name, measure in measures.items():
            found[name].append(measure())
            print(f"{name}: {found[name][-1]}", file=sys.stderr, flush=True)
    medians = {
        name: {key: round(statistics.median(row[key] for row in rows), 2) for key in rows[0]}
        for name, rows in found.items()
    }
    print(json.dumps({"clients": options.clients, **medians}))
    return 0


def serve_in_one_process() -> None:
    """The service with its engines in threads."""
    settings = load_settings()
    configure_logging(settings.log_level, settings.log_format)
    app = create_app(settings, load_engine)
    Server(app, app.state.service, settings).run()


def _in_a_process(context: Any, clients: int, seconds: float) -> Row:
    """As fresh as the services are."""
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as process:
        return process.submit(engines_alone, clients, seconds).result()


def engines_alone(clients: int, seconds: float) -> Row:
    """A closed loop of single sentences at the engines themselves, as many as in the service, but in one process."""
    reports: list[EngineReport] = []
    settings = Settings()
    loaded = load_engine(
        settings.bundle,
        device="auto",
        sessions=settings.sessions,
        threads=settings.threads,
        max_rows=settings.max_rows,
        on_report=reports.append,
    )
    sources = [loaded.vocabulary.encode_source(line, "en") for line in everyday_sentences()]
    chance = random.Random(1)
    ended: queue.SimpleQueue[bool] = queue.SimpleQueue()

    def ask() -> None:
        source = tuple(chance.choice(sources))
        job = Job(source, SearchOptions(max_output_tokens=loaded.manifest.limits.output_tokens(len(source))))
        job.future.add_done_callback(lambda _: ended.put(True))
        loaded.engine.submit([job])

    counted = [0]

    def go_on() -> None:
        while ended.get():
            counted[0] += 1
            ask()

    for _ in range(clients):
        ask()
    asking = threading.Thread(target=go_on)
    asking.start()
    time.sleep(WARM_UP)
    reports.clear()
    before, cpu, began = counted[0], time.process_time(), time.monotonic()
    time.sleep(seconds)
    done, cpu, took = counted[0] - before, time.process_time() - cpu, time.monotonic() - began
    ended.put(False)
    asking.join()
    loaded.engine.close()
    encodes = [record for report in reports for record in report.encodes]
    steps = [record for report in reports for record in report.steps]
    return {
        "sentences_per_second": done / took,
        "cpu_ms_a_sentence": 1000 * cpu / done,
        "busy_cores": cpu / took,
        "sentences_an_encoder_run": done / len(encodes),
        "rows_a_step": statistics.mean(record.rows for record in steps),
    }


def _served(
    context: Any,
    clients: int,
    seconds: float,
    environments: Sequence[Mapping[str, str]],
    module: Sequence[str] = ("-m", "service"),
) -> Row:
    requests = [post({"q": line, "source": "fr", "target": "en"}) for line in everyday_sentences()]
    with contextlib.ExitStack() as stack:
        servers = [
            stack.enter_context(started(lambda port: (sys.executable, *module), environment, "/health/ready"))
            for environment in environments
        ]
        count = len(servers)
        pool = stack.enter_context(concurrent.futures.ProcessPoolExecutor(count, mp_context=context))
        list(pool.map(abs, range(count)))  # started before the clock is
        cpu, began = sum(server.cpu_seconds() for server in servers), time.monotonic()
        window = Window(seconds, WARM_UP)
        futures = [pool.submit(closed_loop, server.port, requests, clients // count, window) for server in servers]
        loads = [future.result() for future in futures]
        cpu, took = sum(server.cpu_seconds() for server in servers) - cpu, time.monotonic() - began
        answered = sum(load.answered for load in loads)
        resident = sum(server.resident_bytes() for server in servers)
        return {
            "sentences_per_second": sum(load.rate for load in loads),
            "cpu_ms_a_sentence": 1000 * cpu / answered,
            "busy_cores": cpu / took,
            "resident_mib": resident / 2**20,
        }


if __name__ == "__main__":
    sys.exit(main())
