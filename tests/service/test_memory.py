"""Nothing is kept of a request once it has been answered."""

from __future__ import annotations

import asyncio
import gc
import json
import random
from typing import Any

from fastapi import FastAPI

from model.vocabulary import Vocabulary
from service.logs import configure_logging
from tests.service.fakes import FakeLoader, make_app, running, scope_of

REQUESTS = 1500
ALPHABETS = ("abc é", "我爱你。", "абв", "ا ب", "😀👍🏽", "\u0301\u200d\u2028\n", '{}[]\\"')


async def post(app: FastAPI, body: dict[str, Any]) -> int:
    """One POST /translate without a client library between, which would keep things of its own."""
    data, statuses, asked = json.dumps(body).encode(), [], False

    async def receive() -> dict[str, Any]:
        nonlocal asked
        if asked:
            await asyncio.Event().wait()
        asked = True
        return {"type": "http.request", "body": data, "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    await app(scope_of(b"/translate"), receive, send)
    return int(statuses[0])


async def ask(app: FastAPI, count: int, chance: random.Random) -> set[int]:
    """Requests of all kinds, some of them wrong; the statuses that came."""
    statuses = set()
    for _ in range(count):
        text = "".join(chance.choices(chance.choice(ALPHABETS), k=chance.randint(0, 40)))
        body: dict[str, Any] = {"q": text, "source": "fr", "target": chance.choice(("en", "en", "en", "xx"))}
        statuses.add(
            await post(
                app, body | chance.choice(({}, {"alternatives": 2}, {f"unknown {text}": 1, "strict_fields": True}))
            )
        )
    return statuses


def test_requests_leave_no_objects_behind(vocabulary: Vocabulary) -> None:
    configure_logging("info", "json")  # every request has its line, and none goes to pytest, which would keep it

    async def scenario() -> tuple[set[int], int, int]:
        loader, chance = FakeLoader(vocabulary), random.Random(1)
        app = make_app(loader)
        async with running(app):
            await ask(app, 200, chance)  # what is made once, at the first request of a kind
            before = objects(loader)
            statuses = await ask(app, REQUESTS, chance)
            kept_by_the_fake = objects_alive()
            return statuses, objects(loader) - before, kept_by_the_fake - before

    statuses, grown, with_the_jobs = asyncio.run(scenario())
    assert {200, 400, 422} <= statuses
    # The fake engine keeps every job: that is seen, so what the service kept would be.
    assert with_the_jobs > REQUESTS // 6
    assert grown < REQUESTS // 10


def objects(loader: FakeLoader) -> int:
    """What is alive without what the fake engine remembers."""
    loader.engine.submitted.clear()
    loader.engine.deadlines.clear()
    return objects_alive()


def objects_alive() -> int:
    gc.collect()
    return len(gc.get_objects())
