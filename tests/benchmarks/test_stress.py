"""The stress benchmark says so when the service breaks a promise; the service under stress is `make stress` itself."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import abuse, stress, stressed
from benchmarks.raw_http import Reply


def reply(status: int, body: dict[str, Any], **headers: str) -> Reply:
    return Reply(status, {"server-timing": "total;dur=1.5", **headers}, json.dumps(body).encode(), 0.002)


GOOD = reply(200, {"translatedText": ["x"] * stressed.SENTENCES})
REFUSED = reply(503, {"error": "full"}, **{"retry-after": "2"})


@pytest.mark.parametrize(
    "odd", [Reply(0, {}, b"", 1.0), reply(500, {"error": "x"}), reply(503, {}), reply(200, {"translatedText": []})]
)
def test_what_is_neither_an_answer_nor_a_refusal_is_counted(odd: Reply) -> None:
    found = stress.summary([GOOD, REFUSED, REFUSED, odd])
    assert (found["answered"], found["refused"], found["anything_else"]) == (1, 2, 1)
    assert (found["refused_p99_server_ms"], found["refused_p99_client_ms"]) == (1.5, 2.0)


def test_outcomes_are_those_in_between_and_contradictions_show() -> None:
    name = 'attend_requests_total{endpoint="translate",outcome="%s"}'
    before = {name % "ok": 5.0, name % "refused": 1.0, 'attend_rejected_total{reason="queue_full"}': 1.0}
    after = {name % "ok": 7.0, name % "refused": 4.0, 'attend_rejected_total{reason="queue_full"}': 4.0}
    assert stress.outcomes(before, after) == {"ok": 2, "refused": 3}
    after['attend_rejected_total{reason="queue_full"}'] = 3.0
    assert stress.outcomes(before, after) == {"ok": 2, "refused": 3, "rejected": 2}


LIMITED = reply(429, {"error": "rate"}, **{"retry-after": "1", "ratelimit-limit": "5"})


@pytest.mark.parametrize(
    ("beside", "abused", "counted", "broken"),
    [
        ([GOOD], [GOOD, LIMITED], 1, []),
        ([dataclasses.replace(GOOD, seconds=1.0)], [GOOD, LIMITED], 1, ["good clients do not notice"]),
        ([GOOD, LIMITED], [GOOD, LIMITED], 1, ["good clients are always answered"]),
        ([GOOD], [GOOD, LIMITED], 2, ["the counters agree"]),
        ([GOOD], [GOOD, LIMITED, REFUSED], 1, ["abusers get what their rate allows and nothing else"]),
        ([GOOD], [GOOD, reply(429, {"error": "rate"})], 1,
         ["abusers are refused with 429 and told when to come back"]),
    ],
)  # fmt: skip
def test_what_good_clients_see_beside_abusers_is_judged(
    beside: list[Reply], abused: list[Reply], counted: int, broken: list[str]
) -> None:
    assert abuse.judge([GOOD], beside, abused, counted)["broken"] == broken


def test_an_error_in_the_log_is_found(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text('{"level": "info"}\n{"level": "error"}\n')
    assert stress.errors_in(log)["broken"] == ["no errors"]


@pytest.mark.parametrize("flat", [True, False])
def test_a_broken_rule_is_named_and_the_exit_status_is_1(
    flat: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def measured(plan: stress.Plan) -> dict[str, Any]:
        size = stress.flatness([100] * 5 if flat else [100, 100, 100, 100, 200])
        return {"ok": size["ok"], "machine": {"cores": 2}, "resident_size": size}

    monkeypatch.setattr(stress, "stress", measured)
    monkeypatch.setattr("sys.argv", ["stress"])
    assert stress.main() == (0 if flat else 1)
    said = capsys.readouterr()
    assert json.loads(said.out.splitlines()[-1])["ok"] is flat
    assert said.err == ("" if flat else "not as promised: resident_size: flat\n")
