"""Requests made from the description of the API, and damaged ones: only documented statuses come back, in documented
shapes, and what fits its schema is refused for a documented reason only.

1,000 cases in all; `make fuzz` sends 20,000 (FUZZ_CASES).
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.checks import CHECKS

from service.api.openapi import REASONS
from tests.processes import serving_process

ROOT = Path(__file__).parents[2]
CASES = int(os.environ.get("FUZZ_CASES", "1000"))
NAMES = (
    "status_code_conformance", "content_type_conformance", "response_headers_conformance",
    "response_schema_conformance",
)  # fmt: skip
PATTERNS = {
    status: [re.compile(".*".join(map(re.escape, reason.split("..."))), re.DOTALL) for reason in reasons]
    for status, reasons in REASONS.items()
}
UNHURRIED: dict[str, Any] = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}
# No time was enough, or nobody is asked: said in the field's description.
ALLOWED = {"403", "503", "504"}


@pytest.fixture(scope="module")
def operations() -> Iterator[list[Any]]:
    with serving_process() as address:
        schema = schemathesis.openapi.from_url(f"{address}/openapi.json")
        yield [found.ok() for found in schema.get_all_operations()]
        # Whatever came, its processes are those that were started.
        assert httpx.get(f"{address}/health/ready").status_code == 200
        metrics = httpx.get(f"{address}/metrics").text
        assert set(re.findall(r"^attend_processes_lost_total.* (.+)$", metrics, re.MULTILINE)) == {"0.0"}


def cases(operation: Any, mode: GenerationMode, count: int) -> Iterator[tuple[Case, Any]]:
    """Sends so many, one after another; each with its answer."""
    answered: list[tuple[Case, Any]] = []

    @settings(max_examples=count, phases=[Phase.generate], **UNHURRIED)
    @given(case=operation.as_strategy(generation_mode=mode))
    def send(case: Case) -> None:
        response = case.call()
        answered.append((case, response))
        checks = [CHECKS.get_one(name) for name in NAMES]
        case.validate_response(response, checks=checks)
        assert response.status_code != 500, case.as_curl_command()
        if mode is GenerationMode.POSITIVE:
            assert is_documented(response), f"{case.as_curl_command()}\n{response.status_code} {response.text}"

    send()
    yield from answered


def test_every_404_that_a_reader_may_meet_is_told() -> None:
    """Those of endpoints which the description names; operators' endpoints, which it does not, are left out."""
    sources = [path for path in (ROOT / "service").rglob("*.py") if path.name not in {"registry.py", "guard.py"}]
    said = {message for path in sources for message in messages_of("NotFoundError", path)}
    assert said
    for message in said:
        assert any(pattern.fullmatch(message) for pattern in PATTERNS["404"]), message


def messages_of(error: str, path: Path) -> Iterator[str]:
    """What the code there says with such an error, with `x` for each part that is filled in."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == error:
            parts = node.args[0].values if isinstance(node.args[0], ast.JoinedStr) else [node.args[0]]
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "x" for part in parts)


def is_documented(response: Any) -> bool:
    """Whether it was answered, or refused for a reason that the description tells."""
    status = str(response.status_code)
    if status.startswith("2") or status in ALLOWED:
        return True
    return any(pattern.fullmatch(message_of(response.json())) for pattern in PATTERNS.get(status, ()))


def message_of(body: Any) -> str:
    """The sentence of an error, whatever the shape of its contract."""
    error = body.get("error", body.get("message"))
    return str(error["message"] if isinstance(error, dict) else error)


def test_every_endpoint_keeps_what_its_description_says(operations: list[Any]) -> None:
    """Those with a body share the cases, half of them damaged; of the others most have a single one."""
    with_body = [each for each in operations if each.body]
    share = -(-CASES // (2 * len(with_body)))
    sent = 0
    for operation in operations:
        sent += sum(1 for _ in cases(operation, GenerationMode.POSITIVE, share if operation.body else 5))
        if operation.body:
            sent += sum(1 for _ in cases(operation, GenerationMode.NEGATIVE, share))
    print(f"{sent} cases")
    assert sent >= CASES
