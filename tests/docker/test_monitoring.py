"""A real Prometheus asks the real service, under every kind of load that has a panel or a rule.

No Grafana draws the dashboard here: Prometheus answers each of its expressions, `docker/ci/run.sh` checks its types.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import random
import re
import signal
import subprocess
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, get_args

import httpx

from benchmarks.raw_http import Reply, exchange, hang_up_after, post
from model.corpus import read_lines
from service.engine.types import Outcome, Stage
from service.metrics import Metrics
from tests.docker.support import ROOT, WAIT, free_port, program, ready, running, service, until

PROMETHEUS = ROOT / "docker" / "prometheus"
DASHBOARD = json.loads((ROOT / "docker/grafana/dashboards/attend.json").read_text(encoding="utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
EXPRESSIONS = {f"{panel['title']} {target['refId']}": target["expr"] for panel in PANELS for target in panel["targets"]}
STATES = {name for name in EXPRESSIONS if name.startswith(("Replicas ready", "Models"))}
"""What is there or not; everything else moves with the load."""
FRENCH = {"source": "fr", "target": "en"}
ANSWERS_PER_FAULT = 20
"""Requests that are answered between two steps that fail: on a slow machine too sentences come to their ends."""
SCRAPE_SECONDS = 2
RATE_SECONDS = 20
"""The span of a rate: so many scrapes that a slow machine may miss some."""

Samples = dict[frozenset[tuple[str, str]], float]


def test_every_metric_that_is_asked_for_exists() -> None:
    exposed = set(re.findall(r"^# TYPE (\w+)", Metrics().render().decode(), re.MULTILINE))
    exposed |= {f"{name}_{part}" for name in exposed for part in ("bucket", "sum", "count")}
    asked = " ".join([*EXPRESSIONS.values(), (PROMETHEUS / "rules.yml").read_text(encoding="utf-8")])
    # A recorded name has colons: job:attend_errors:ratio_rate5m.
    names = set(re.findall(r"(?<![:\w])((?:attend|process)_\w+)(?![:\w])", asked))
    assert len(names) > 15
    assert names <= exposed


def test_no_expression_hides_that_there_is_no_data() -> None:
    assert not [name for name, expression in EXPRESSIONS.items() if "vector(" in expression or " or " in expression]


def test_the_rules_do_what_their_tests_say() -> None:
    promtool = program("promtool", "prometheus")
    for command in (["check", "config", "prometheus.yml"], ["test", "rules", "rules_test.yml"]):
        done = subprocess.run([promtool, *command], cwd=PROMETHEUS, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tested_and_described() -> None:
    alerts = re.findall(r"- alert: (\w+)", (PROMETHEUS / "rules.yml").read_text(encoding="utf-8"))
    tests = (PROMETHEUS / "rules_test.yml").read_text(encoding="utf-8")
    manual = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    assert alerts
    for alert in alerts:
        assert f"alertname: {alert}\n        exp_alerts:\n" in tests, alert
        assert f"| `{alert}` |" in manual, alert


class Prometheus:
    """A running Prometheus."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def __call__(self, expression: str) -> Samples:
        """The value of each series; those that are no number are left out."""
        reply = await self._client.get("/query", params={"query": expression})
        assert reply.status_code == 200, reply.text
        samples = ((frozenset(s["metric"].items()), float(s["value"][1])) for s in reply.json()["data"]["result"])
        return {labels: value for labels, value in samples if not math.isnan(value)}

    async def panels(self) -> dict[str, Samples]:
        """Every expression of the dashboard, as Grafana would ask for it."""
        values = {"$__rate_interval": f"{RATE_SECONDS}s", "$instance": ".*"}
        pattern = re.compile("|".join(map(re.escape, values)))
        asked = {name: pattern.sub(lambda found: values[found[0]], text) for name, text in EXPRESSIONS.items()}
        return {name: await self(expression) for name, expression in asked.items()}

    async def api(self, path: str) -> Any:
        """`rules` or `alerts`."""
        return (await self._client.get(f"/{path}")).json()["data"]

    async def answers(self) -> bool:
        with contextlib.suppress(httpx.TransportError):
            return (await self._client.get("/query", params={"query": "1"})).status_code == 200
        return False


@contextlib.asynccontextmanager
async def prometheus(binary: str, folder: Path, target: int) -> AsyncIterator[Prometheus]:
    """One with the project's rules, which asks `target` every `SCRAPE_SECONDS`."""
    port = free_port()
    scrape = {"job_name": "attend", "static_configs": [{"targets": [f"127.0.0.1:{target}"]}]}
    config = {
        "global": {"scrape_interval": f"{SCRAPE_SECONDS}s", "evaluation_interval": f"{SCRAPE_SECONDS}s"},
        "rule_files": [str(PROMETHEUS / "rules.yml")],
        "scrape_configs": [scrape],
    }
    (folder / "prometheus.yml").write_text(json.dumps(config), encoding="utf-8")
    options = {
        "config.file": folder / "prometheus.yml",
        "storage.tsdb.path": folder / "data",
        "web.listen-address": f"127.0.0.1:{port}",
    }
    async with (
        running(binary, *(f"--{name}={value}" for name, value in options.items())),
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}/api/v1", trust_env=False, timeout=WAIT) as client,
    ):
        asking = Prometheus(client)
        await until(asking.answers)
        yield asking


def requests() -> Iterator[tuple[dict[str, Any], float | None]]:
    """Without end: sentences, a document, one that is cut, goes round in circles, is too long, comes too late.

    With each the share of the usual time that it may take, if not any.
    """
    lines = [line for line in read_lines(ROOT / "benchmarks/everyday.fr.gz") if 0 < len(line) < 60]
    chance = random.Random(1)
    special: list[tuple[dict[str, Any], float | None]] = [
        ({"q": chance.sample(lines, 16)}, None),
        ({"q": "Je ne suis pas d'accord avec toi.", "max_output_tokens": 2}, None),
        ({"q": "J'aime le thé.", "target_prefix": "tea " * 7}, None),
        ({"q": "le chat et " * 100, "max_output_tokens": 3}, None),
        # Some end before they are queued, some in the queue or while they run.
        *(({"q": chance.sample(lines, 16)}, share) for share in (0.05, 0.2, 0.4, 0.6, 0.8)),
    ]
    while True:
        for body, share in special:
            yield body | FRENCH, share
            yield from (({"q": chance.sample(lines, 4)} | FRENCH, None) for _ in range(3))


class Load:
    """More clients than may be in at once, some of whom leave; a step fails now and then.

    Nothing here goes by the clock: who is refused waits until another is through, times are shares of what requests
    take, and steps fail after so many answers.
    """

    def __init__(self, port: int, process: Process) -> None:
        self._port, self._process = port, process
        self._asked, self._left = requests(), requests()
        self._chance = random.Random(2)
        self._over = False
        self._through = asyncio.Event()
        """Set when the next request is through, answered or left."""
        self._usual = 0.5
        """Seconds that requests take."""
        self._answers = 0

    @contextlib.asynccontextmanager
    async def going_on(self) -> AsyncIterator[None]:
        clients = [*(self._ask() for _ in range(12)), *(self._leave() for _ in range(4))]
        tasks = [asyncio.create_task(client) for client in clients]
        try:
            yield
        finally:
            self._over = True
            await asyncio.gather(*tasks)

    async def _ask(self) -> None:
        while not self._over:
            reply = await self._let_in(self._request(self._asked))
            if reply.status == 200:
                self._note_answer(reply.seconds)

    async def _let_in(self, request: bytes) -> Reply:
        """Ask until it is not refused: what is rare among the requests would else be refused again and again."""
        while True:
            another = self._through
            reply = await exchange(self._port, request, WAIT)
            if reply.status != 503 or self._over:
                self._note_through()
                return reply
            await another.wait()

    async def _leave(self) -> None:
        while not self._over:
            with contextlib.suppress(OSError):
                await hang_up_after(self._port, self._request(self._left), self._chance.random() * self._usual)
            self._note_through()

    def _request(self, mixture: Iterator[tuple[dict[str, Any], float | None]]) -> bytes:
        body, share = next(mixture)
        return post(body if share is None else body | {"timeout_ms": math.ceil(1000 * share * self._usual)})

    def _note_through(self) -> None:
        self._through.set()
        self._through = asyncio.Event()

    def _note_answer(self, seconds: float) -> None:
        self._usual += (seconds - self._usual) / 8
        self._answers += 1
        if self._answers % ANSWERS_PER_FAULT == 0:
            self._process.send_signal(signal.SIGUSR1)


def still(rest: dict[str, Samples], now: dict[str, Samples]) -> set[str]:
    """Expressions of which no series has moved."""
    return {name for name in EXPRESSIONS if all(rest[name].get(labels) == value for labels, value in now[name].items())}


def happened(samples: Samples) -> set[str]:
    """Values of the one label whose series are above zero."""
    return {value for labels, number in samples.items() if number > 0 for _, value in labels}


EXPECTED: dict[str, set[str]] = {
    "Requests by outcome A": {"ok", "server_error", "refused", "deadline", "cancelled"},
    "Refusals by reason A": {"too_many_requests"},
    "Cancellations by stage A": set(get_args(Stage)),
    "Sentences by how they ended A": set(get_args(Outcome)),
    "Length limits A": {"source", "target"},
    "Repetitions A": {"kept"},
}


def test_every_panel_and_every_rule_has_data_that_follows_the_load(tmp_path: Path) -> None:
    async def scenario() -> None:
        binary, port = program("prometheus", "prometheus"), free_port()
        async with prometheus(binary, tmp_path, port) as ask_prometheus:
            absent = await ask_prometheus.panels()
            assert not any(absent[name] for name in STATES)
            limits = {"ATTEND_MAX_REQUESTS": "10", "ATTEND_MAX_ROWS": "32"}
            async with service(port, "tests.docker.faulty_service", **limits) as process:
                await ready(port)
                await until(lambda: is_known(ask_prometheus))
                rest = await ask_prometheus.panels()
                assert all(rest[name] for name in STATES)
                async with Load(port, process).going_on():
                    await follows(ask_prometheus, rest)
                    await check_rules(ask_prometheus)
                process.terminate()
                assert await asyncio.wait_for(process.wait(), WAIT) == 0
            await until(lambda: is_down(ask_prometheus))

    asyncio.run(scenario())


async def is_known(prometheus: Prometheus) -> bool:
    """Asked often enough for a rate."""
    return any(value >= 2 for value in (await prometheus("sum_over_time(attend_ready[1m])")).values())


async def is_down(prometheus: Prometheus) -> bool:
    return set((await prometheus('up{job="attend"}')).values()) == {0.0}


async def follows(prometheus: Prometheus, rest: dict[str, Samples]) -> None:
    """Wait until every panel has moved and everything that can happen has happened.

    Raises:
        AssertionError: it has not within `WAIT` seconds.
    """
    waiting = set(EXPRESSIONS) - STATES
    missing = {name: set(values) for name, values in EXPECTED.items()}

    async def all_seen() -> bool:
        now = await prometheus.panels()
        waiting.intersection_update(still(rest, now))
        for name, values in missing.items():
            values -= happened(now[name])
        return not waiting and not any(missing.values())

    with contextlib.suppress(TimeoutError):
        await until(all_seen)
    assert not waiting, waiting
    assert not any(missing.values()), missing


async def rules_of(prometheus: Prometheus) -> list[dict[str, Any]]:
    return [rule for group in (await prometheus.api("rules"))["groups"] for rule in group["rules"]]


async def check_rules(prometheus: Prometheus) -> None:
    """None is in error, each that records has data, and what goes wrong under load becomes pending as an alert."""

    async def all_evaluated() -> bool:
        return all(rule["health"] != "unknown" for rule in await rules_of(prometheus))

    async def all_recorded() -> bool:
        recorded = [rule["name"] for rule in await rules_of(prometheus) if rule["type"] == "recording"]
        return all([await prometheus(name) for name in recorded])

    await until(all_evaluated)
    assert [rule["name"] for rule in await rules_of(prometheus) if rule["health"] != "ok"] == []
    await until(all_recorded)  # evaluated a while after the panels were asked for

    async def both_pending() -> bool:
        pending = {alert["labels"]["alertname"] for alert in (await prometheus.api("alerts"))["alerts"]}
        return {"AttendOverloaded", "AttendErrors"} <= pending

    await until(both_pending)
