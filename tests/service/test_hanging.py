"""The service while its only engine stands still: deadlines are kept, health answers, and SIGTERM ends it in time.

Real processes. The engine is stopped and never taken to hang, so nothing here waits for time to pass but for deadlines.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from benchmarks.raw_http import Reply, exchange, get, post
from benchmarks.stressed import Service, started
from model.commands import BAD_INPUT
from service.__main__ import main

SENTENCE = {"q": "Je suis étudiant.", "source": "fr", "target": "en"}
PATIENT = {"ATTEND_SESSIONS": "1", "ATTEND_HANG_TIMEOUT_MS": "3600000", "ATTEND_SHUTDOWN_TIMEOUT_MS": "500"}


def engines(pid: int) -> list[int]:
    children = (path.read_text().split() for path in Path(f"/proc/{pid}/task").glob("*/children"))
    return [int(child) for some in children for child in some]


@contextlib.asynccontextmanager
async def standing_still() -> AsyncIterator[Service]:
    """A service whose engine is stopped."""
    async with started("service", settings=PATIENT) as service:
        for pid in engines(service.process.pid):
            os.kill(pid, signal.SIGSTOP)
        yield service


def test_a_deadline_is_kept_and_health_answers() -> None:
    async def scenario() -> tuple[Reply, Reply, Reply]:
        async with standing_still() as service:
            late = await exchange(service.port, post({**SENTENCE, "timeout_ms": 200}))
            return (
                late,
                await exchange(service.port, get("/health/live")),
                await exchange(service.port, get("/metrics")),
            )

    late, live, metrics = asyncio.run(scenario())
    assert (late.status, late.json()) == (504, {"error": "the deadline passed before the translation was done"})
    assert live.status == 200
    assert 'attend_finished_total{reason="deadline"} 0' in metrics.body.decode()  # the engine has not given it back yet


def test_health_answers_while_far_more_is_sent_than_the_engine_reads() -> None:
    many = post({**SENTENCE, "q": [f"Il fait beau, et {number} fois." for number in range(700)]})

    async def scenario() -> tuple[Reply, list[Reply]]:
        async with standing_still() as service:
            asking = [asyncio.create_task(exchange(service.port, many)) for _ in range(6)]
            await exchange(service.port, post({**SENTENCE, "timeout_ms": 500}))
            live = await exchange(service.port, get("/health/live"))
            service.process.send_signal(signal.SIGTERM)
            return live, await asyncio.gather(*asking)

    live, replies = asyncio.run(scenario())
    assert live.status == 200
    assert {reply.status for reply in replies} == {503}
    assert all(list(reply.json()) == ["error"] for reply in replies)


def test_sigterm_ends_it_and_those_who_wait_are_told_in_json() -> None:
    async def scenario() -> tuple[Reply, int, str]:
        async with standing_still() as service:
            asking = asyncio.create_task(exchange(service.port, post(SENTENCE)))
            await exchange(service.port, post({**SENTENCE, "timeout_ms": 100}))  # the one before is under way by then
            service.process.send_signal(signal.SIGTERM)
            return await asking, await service.process.wait(), service.log.read_text(encoding="utf-8")

    reply, status, log = asyncio.run(scenario())
    assert (reply.status, reply.json()) == (503, {"error": "the service is shutting down"})
    assert status == 0
    lines = [json.loads(line) for line in log.splitlines()]
    assert any("could not be finished in time" in line["message"] for line in lines)
    # It was told to stop: that is no error, and has no traceback.
    assert not [line for line in lines if line["level"] in ("error", "critical") or "exception" in line]


def test_a_service_whose_engines_cannot_be_started_again_ends_with_1() -> None:
    async def scenario() -> int:
        async with started("service", settings=PATIENT) as service:
            # It gets no further file from the system, and so no process; it lives on with what it has.
            resource.prlimit(service.process.pid, resource.RLIMIT_NOFILE, (3, 3))
            for pid in engines(service.process.pid):
                os.kill(pid, signal.SIGKILL)
            return await service.process.wait()

    assert asyncio.run(scenario()) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["evaluate", "bundle", "--source", "a", "--reference", "b", "--direction", "fr-en", "--beam", "0"],
        ["evaluate", "bundle", "--source", "a", "--reference", "b", "--direction", "fr-en", "--threads", "-1"],
        ["attention", "Oui.", "--source", "fr", "--target", "en", "--png", "a.png", "--beam", "zero"],
    ],
)
def test_a_wrong_number_is_one_sentence(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == BAD_INPUT
    assert "is no whole number" in capsys.readouterr().err
