"""The container image, run by a real engine. `docker/ci/run.sh` builds the image, starts the engine and runs this file
where published ports are reached."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from benchmarks.raw_http import Reply, exchange, get, metrics, post
from service import __version__
from tests.docker.support import ROOT, free_port, program, ready, until

pytestmark = pytest.mark.skipif(
    "IMAGE_UNDER_TEST" not in os.environ, reason="docker/ci/run.sh builds an image and runs this"
)
IMAGE = os.environ.get("IMAGE_UNDER_TEST", "")
BASE = "python:3.11-slim"
MOST_BYTES = 220_000_000
MEMORY = "512m"
PATIENCE = 600
"""Seconds that what was begun has to end, however slow the machine is."""
PATIENT = (f"--env=ATTEND_SHUTDOWN_TIMEOUT_MS={PATIENCE * 1000}", f"--env=ATTEND_MAX_TIMEOUT_MS={PATIENCE * 1000}")
HARDENED = (
    "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--pids-limit=64",
    f"--memory={MEMORY}", f"--memory-swap={MEMORY}",
)  # fmt: skip
SENTENCE = {"q": "Je suis étudiant.", "source": "fr", "target": "en"}
BOTH_SCRIPTS = {"q": ["我愛你。", "我爱你。"], "source": "zh", "target": "en"}
DOCUMENT = {"q": ["Il fait beau aujourd'hui, n'est-ce pas ?", "J'aime le thé."] * 40, "source": "fr", "target": "en"}


def docker(*arguments: str, may_fail: bool = False) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    assert may_fail or done.returncode == 0, done.stderr
    return done


def inspect(name: str) -> Any:
    return json.loads(docker("inspect", name).stdout)[0]


def layer_bytes(image: str) -> list[int]:
    """Newest first."""
    return [int(size) for size in docker("history", "--human=false", "--format={{.Size}}", image).stdout.split()]


@contextlib.asynccontextmanager
async def container(*options: str) -> AsyncIterator[tuple[str, int]]:
    """A hardened container and the port where it is reached."""
    port = free_port()
    name = docker("run", "--detach", *HARDENED, f"--publish=127.0.0.1:{port}:8000", *options, IMAGE).stdout.strip()
    try:
        yield name, port
    finally:
        docker("rm", "--force", "--volumes", name)


def test_the_image_is_small_and_runs_as_nobody_in_particular() -> None:
    found = inspect(IMAGE)["Config"]
    assert found["User"] == "10001:10001"
    assert found["Healthcheck"]["Test"][0] == "CMD"
    ours = layer_bytes(IMAGE)[: -len(layer_bytes(BASE))]
    assert 50_000_000 < sum(ours) <= MOST_BYTES, ours


def test_the_image_says_what_it_was_made_of() -> None:
    labels = inspect(IMAGE)["Config"]["Labels"]
    revision = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert labels["org.opencontainers.image.version"] == __version__
    assert labels["org.opencontainers.image.revision"] == revision.strip()


def test_the_image_has_no_tool_of_training_and_installs_nothing() -> None:
    code = (
        "import importlib.util as u; print([n for n in ('torch', 'onnx', 'pip', 'export', 'redis') if u.find_spec(n)])"
    )
    done = docker("run", "--rm", "--network=none", IMAGE, "python", "-c", code)
    assert done.stdout.strip() == "['redis']", "replicas with keys count together in Redis"


def test_it_is_healthy_and_translates_with_no_rights_and_little_memory() -> None:
    async def scenario() -> None:
        async with container(*PATIENT) as (name, port):
            await ready(port)
            reply = await exchange(port, post(SENTENCE))
            assert (reply.status, "a student" in reply.json()["translatedText"]) == (200, True)
            # Its dictionaries are what is left of a package of which much is removed.
            traditional, simplified = (await exchange(port, post(BOTH_SCRIPTS))).json()["translatedText"]
            assert traditional == simplified
            heavy = await asyncio.gather(*(exchange(port, post(DOCUMENT), PATIENCE) for _ in range(16)))
            assert {one.status for one in heavy} == {200}
            await until(lambda: is_healthy(name))
            check_rights(name)
            check_logs(name)
            state = inspect(name)["State"]
            assert (state["Running"], state["OOMKilled"]) == (True, False)

    asyncio.run(scenario())


async def is_healthy(name: str) -> bool:
    health = inspect(name)["State"]["Health"]
    assert health["Status"] != "unhealthy", health
    return bool(health["Status"] == "healthy")


def check_rights(name: str) -> None:
    lines = docker("exec", name, "cat", "/proc/1/status").stdout.splitlines()
    status = {key: value.split() for key, _, value in (line.partition(":") for line in lines)}
    assert set(status["Uid"] + status["Gid"]) == {"10001"}
    assert {status[kind][0].strip("0") for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {""}
    assert status["NoNewPrivs"] == ["1"]
    assert docker("exec", name, "touch", "/tmp/file", may_fail=True).returncode != 0


def check_logs(name: str) -> None:
    """Everything is on standard output, one object a line."""
    logs = docker("logs", name)
    lines = [json.loads(line) for line in logs.stdout.splitlines()]
    assert logs.stderr == ""
    assert {"time", "level", "logger", "message"} <= set.intersection(*(set(line) for line in lines))
    assert any(line.get("endpoint") == "translate" for line in lines)


def test_stopping_finishes_what_was_begun_and_refuses_the_rest() -> None:
    async def scenario() -> None:
        async with container(*PATIENT) as (name, port):
            await ready(port)
            begun = [asyncio.create_task(exchange(port, post(DOCUMENT), PATIENCE)) for _ in range(12)]
            await until(lambda: are_in(port))
            stopping = asyncio.create_task(asyncio.to_thread(docker, "stop", f"--time={PATIENCE + 5}", name))
            late = await ask_until_gone(port)
            replies = await asyncio.gather(*begun)
            assert {one.status for one in replies} == {200}, [one.body[:200] for one in replies]
            assert {len(one.json()["translatedText"]) for one in replies} == {len(DOCUMENT["q"])}
            refused = [one for one in late if one.status == 503]
            assert refused
            assert all("retry-after" in one.headers and b"shutting down" in one.body for one in refused)
            assert {one.status for one in late} <= {200, 503}
            await stopping
            assert inspect(name)["State"]["ExitCode"] == 0

    asyncio.run(scenario())


async def are_in(port: int) -> bool:
    """The documents have been received: the first are in the batch and others wait."""
    now = await metrics(port)
    return now["attend_running_rows"] > 0 and now["attend_queue_tokens"] > 0


async def ask_until_gone(port: int) -> list[Reply]:
    """What new requests are told, until nobody listens any more."""
    replies = []
    while (reply := await exchange(port, post(SENTENCE))).status:
        replies.append(reply)
        await asyncio.sleep(0.02)
    return replies


def test_a_bundle_can_be_mounted_and_settings_are_variables() -> None:
    async def scenario() -> None:
        (bundle,) = (ROOT / "bundles").iterdir()
        mount = f"--volume={bundle}:/models/mine:ro"
        settings = {"ATTEND_BUNDLE": "/models/mine", "ATTEND_PORT": "8000", "ATTEND_MAX_TEXTS": "1"}
        async with container(mount, *(f"--env={name}={value}" for name, value in settings.items())) as (_, port):
            await ready(port)
            found = (await exchange(port, get("/health/ready"))).json()
            assert found["bundle"] == json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))["name"]
            assert (await exchange(port, post({**SENTENCE, "q": ["a", "b"]}))).status == 400

    asyncio.run(scenario())


def test_a_wrong_setting_ends_the_start_with_a_sentence() -> None:
    done = docker("run", "--rm", "--network=none", "--env=ATTEND_PORT=x", IMAGE, may_fail=True)
    assert done.returncode == 2
    assert done.stderr.startswith("ATTEND_PORT=x: ")


def test_compose_starts_the_service_and_a_prometheus_that_finds_it() -> None:
    """Without Grafana, of which there is no stand-in."""
    compose = [program("docker-compose", "docker-compose"), "--file", "docker/compose.yaml", "--project-name", "attend"]

    async def scenario() -> None:
        async with httpx.AsyncClient(trust_env=False) as client:

            async def is_scraped() -> bool:
                with contextlib.suppress(httpx.TransportError):
                    reply = await client.get("http://127.0.0.1:9090/api/v1/query", params={"query": "attend_ready"})
                    return [one["value"][1] for one in reply.json()["data"]["result"]] == ["1"]
                return False

            await until(is_scraped)
            rules = (await client.get("http://127.0.0.1:9090/api/v1/rules")).json()["data"]["groups"]
            assert len(rules) == 2
        assert (await exchange(8000, post(SENTENCE))).status == 200

    done = subprocess.run([*compose, "config", "--quiet"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    up = [*compose, "up", "--detach", "--no-build", "attend", "prometheus"]
    try:
        done = subprocess.run(up, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        asyncio.run(scenario())
    finally:
        subprocess.run([*compose, "down", "--volumes", "--timeout", "5"], cwd=ROOT, capture_output=True, check=True)
