"""The drill, in short: engines die and hang under load, and every request ends. In full it is `make chaos`."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from benchmarks import chaos
from benchmarks.raw_http import Reply


def reply(status: int, body: Any, **headers: str) -> Reply:
    return Reply(status, headers, json.dumps(body).encode(), 0.002)


def test_every_request_ends_whatever_happens_to_the_engines() -> None:
    found = asyncio.run(chaos.chaos(seconds=12.0, clients=8, seed=3))
    # Not how long anything took: that depends on the machine.
    assert (found["lost"], found["live_failed"], found["exit_status"]) == (0, 0, 0), found
    assert found["accepted"] + found["refused"]
    assert found["faults"]


@pytest.mark.parametrize(
    "odd",
    [Reply(0, {}, b"", 1.0), reply(500, {"detail": "x"}), Reply(503, {}, b"Internal", 1.0), reply(418, {"error": ""})],
)  # fmt: skip
def test_what_is_no_documented_answer_is_lost(odd: Reply) -> None:
    refused = reply(503, {"error": "full"}, **{"retry-after": "2"})
    replies = [reply(200, {}), refused, reply(504, {"error": "late"}), odd]
    found = chaos.counted(chaos.Seen(replies=replies, live=[reply(200, {}), reply(503, {"error": "x"})]))
    assert (found["answered"], found["refused"], found["lost"], found["accepted"]) == (1, 1, 1, 3)
    assert (found["live_asked"], found["live_failed"], found["longest_stall_ms"]) == (2, 1, 2.0)
    assert not chaos.is_good({**found, "exit_status": 0, "seconds_to_end": 1.0})


def test_ending_late_or_badly_is_said() -> None:
    good = {"lost": 0, "live_failed": 0, "exit_status": 0, "seconds_to_end": 3.0}
    assert chaos.is_good(good)
    assert not chaos.is_good({**good, "exit_status": 1})
    assert not chaos.is_good({**good, "seconds_to_end": 60.0})
