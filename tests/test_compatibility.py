"""docs/compatibility.md: every row names a test that there is, and every endpoint of another's contract is in it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from service.api import deepl, detect, extensions, files, frontend, google, languages, open_inference, translate

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "docs" / "compatibility.md").read_text(encoding="utf-8")
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines()
        if line.startswith("| ") and not line.startswith(("| | ", "| ---"))]  # fmt: skip


def test_there_are_rows() -> None:
    assert len(ROWS) > 50
    assert {row[1] for row in ROWS} == {"yes", "differs", "no"}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:50])
def test_a_row_is_tied_to_a_test(row: list[str]) -> None:
    assert len(row) == 4, row
    named = re.fullmatch(r"`([\w/]+\.py)::(test_\w+)`", row[3])
    assert named, row[3]
    tree = ast.parse((TESTS / named.group(1)).read_text(encoding="utf-8"))
    functions = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    assert named.group(2) in functions
    # What is not served needs no reason; all else that is not simply so does.
    assert row[1] in ("yes", "no") or row[2]


@pytest.mark.parametrize(
    "contract", [translate, detect, languages, files, frontend, deepl, open_inference, extensions, google]
)
def test_every_endpoint_of_a_contract_is_in_the_page(contract: object) -> None:
    for route in contract.router.routes:  # type: ignore[attr-defined]
        path = route.path.replace("/{name}", "/...") if "download" in route.path else route.path
        plain = path.replace("/versions/{version}", "").replace("/google/language", "/language")
        assert plain in PAGE, route.path
