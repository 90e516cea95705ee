"""Every documented metric exists, and moves when what it tells of happens."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import threading
from collections.abc import Mapping, Sequence

import httpx
import numpy as np
import pytest

from model.vocabulary import Vocabulary
from service.__main__ import main
from service.engine.scores import AttentionKind
from service.engine.scoring import Array
from service.engine.types import Answer, Failure, Hypothesis, Job, QueueFullError, Times
from service.metrics import Metrics
from tests.bundles import ROOT
from tests.service.fakes import FakeLoader, echo, make_app, running, samples

PAGE = ROOT / "docs" / "metrics.md"
PAIR = {"source": "en", "target": "fr"}
GOOD = {"q": "I love you.", **PAIR}
TEA = {"q": "I like tea.", **PAIR}


def test_the_documented_metrics_are_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["metrics"]) == 0
    table = capsys.readouterr().out
    assert table == Metrics().table()
    page = PAGE.read_text(encoding="utf-8")
    assert page.endswith(f"\n\n{table}"), "renew its table with: python -m service metrics"


class GatedGraph:
    """Scores as soon as it may."""

    vocabulary_size = 500

    def __init__(self) -> None:
        self.busy, self.go = threading.Event(), threading.Event()

    def numbers(self, source_length: int, target_length: int) -> int:
        return target_length

    def score(self, inputs: Mapping[str, Array], attention: Sequence[AttentionKind]) -> tuple[Array, dict[str, Array]]:
        self.busy.set()
        assert self.go.wait(20)
        return np.full(inputs["labels"].shape, -0.5, np.float32), {}


def test_every_documented_metric_moves(vocabulary: Vocabulary, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, graph = threading.Event(), GatedGraph()

    def answer(job: Job) -> tuple[Hypothesis, ...]:
        gate.wait(20)
        if "tea" in vocabulary.decode(job.source_ids):
            return (Hypothesis((7,) * 40, -1.0, -1.0, "eos", (-0.025,) * 40 + (0.0,)),)
        return echo(job)

    async def pages() -> list[str]:
        loader = FakeLoader(vocabulary, answer=answer, open_graph=lambda: graph)
        app = make_app(loader, cache_bytes=1_000_000)
        async with running(app) as client:
            page = [(await client.get("/metrics")).text]
            page.append(await _while_one_waits(client, loader, gate))
            page.append(await _while_one_is_scored(client, loader, graph))
            await client.post("/translate", json=TEA)
            await client.post("/translate/stream", json=TEA)
            # The engine of the tests withdraws and runs nothing: its real reports are tested with the real one.
            withdrawn = Answer(1, 0, None, Failure("cancelled", stage="queue"), Times())
            for observer in (app.state.service.metrics.decoding, app.state.service.metrics.scoring):
                observer.observe_answer(withdrawn)
                observer.count_lost_process(hung=True)
            monkeypatch.setattr(loader.engine, "running_rows", lambda: 2)
            loader.engine.refusal = QueueFullError("full", 1.0)
            await client.post("/translate", json={**GOOD, "q": "We like coffee."})
            page.append((await client.get("/metrics")).text)
            return page

    before, *later = map(samples, asyncio.run(pages()))
    documented = re.findall(r"^\| `(attend_\w+)` \| (\w+)", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(documented) > 20
    at_once = {"attend_model_info", "attend_model_load_duration_seconds", "attend_ready"}
    for name, kind in documented:
        if name.startswith("attend_model_") and name not in at_once:
            continue  # of each model: see test_models.py
        series = name + ("_count" if kind == "histogram" else "")
        values = [
            [value for key, value in page.items() if key.partition("{")[0] == series] for page in (before, *later)
        ]
        assert all(values), f"{name} has no series"
        if name in at_once:
            assert any(values[0]), f"{name} is 0 though the model is loaded"
        else:
            assert any(page != values[0] for page in values[1:]), f"{name} never moves"


async def _while_one_waits(client: httpx.AsyncClient, loader: FakeLoader, gate: threading.Event) -> str:
    asking = asyncio.create_task(client.post("/translate", json={**GOOD, "max_output_tokens": 1}))
    while not loader.engine.submitted:
        await asyncio.sleep(0.001)
    page = (await client.get("/metrics")).text
    gate.set()
    await asking
    return page


async def _while_one_is_scored(client: httpx.AsyncClient, loader: FakeLoader, graph: GatedGraph) -> str:
    """A second one waits behind it, and leaves."""
    body = {**GOOD, "alignment": True}
    asking = asyncio.create_task(client.post("/translate", json=body))
    await asyncio.to_thread(graph.busy.wait, 20)
    leaving = asyncio.create_task(client.post("/translate", json=body))
    while not loader.scorer.waiting_tokens():
        await asyncio.sleep(0.001)
    page = (await client.get("/metrics")).text
    leaving.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await leaving
    graph.go.set()
    timing = (await asking).headers["server-timing"]
    assert re.search(r"decode;dur=[\d.]+, score;dur=[\d.]+, total;dur=", timing)
    return page


def test_a_score_says_how_long_it_took_and_is_counted(vocabulary: Vocabulary) -> None:
    graph = GatedGraph()
    graph.go.set()
    translations = ["I love you.", "You love me.", "I like tea."]  # what is the same is scored once
    body = {"q": ["Je suis étudiant."] * 3, "translation": translations, "source": "fr", "target": "en"}

    async def scenario() -> tuple[httpx.Response, dict[str, float]]:
        loader = FakeLoader(vocabulary, open_graph=lambda: graph)
        async with running(make_app(loader)) as client:
            reply = await client.post("/score", content=json.dumps(body))
            while (counted := samples((await client.get("/metrics")).text))['attend_scored_total{outcome="ok"}'] < 3:
                await asyncio.sleep(0.001)
            return reply, counted

    reply, counted = asyncio.run(scenario())
    assert re.fullmatch(r"score;dur=[\d.]+, total;dur=[\d.]+", reply.headers["server-timing"])
    assert counted["attend_score_queue_wait_seconds_count"] == 3
    assert 1 <= counted["attend_score_duration_seconds_count"] <= 3
    assert counted["attend_score_queue_tokens"] == counted['attend_scored_total{outcome="cancelled"}'] == 0
