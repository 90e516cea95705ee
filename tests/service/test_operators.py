"""What operators do with models: take them away, bring them back, change the directory."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import httpx
import pytest

from model.vocabulary import Vocabulary
from service.access.keys import digest_of
from service.models.finding import find_bundles
from service.models.watching import Watcher
from tests.service.listening import until
from tests.service.many import ManyLoader, listed, put, serving, texts, three

TEA = "I like tea."


@pytest.fixture
def loader(vocabulary: Vocabulary) -> ManyLoader:
    return ManyLoader(vocabulary)


def test_operators_load_and_unload(tmp_path: Path, loader: ManyLoader) -> None:
    three(tmp_path)

    async def scenario() -> None:
        async with serving(tmp_path, loader) as (app, client, operator):
            await until(lambda: len(app.state.service.models.engines()) == 3)
            assert (await operator.post("/admin/models/en-fr/unload")).json()["removed"] == ["en-fr@1"]
            assert "en-fr@1" in loader.closed
            assert (await listed(client))["zh"] == ["en"]
            assert (await operator.post("/admin/models/en-fr/unload")).status_code == 404
            put(tmp_path, "en-fr", "1", "en-fr", extra={"broken": True})
            refused = await operator.post("/admin/models/en-fr/load")
            assert refused.status_code == 422
            assert refused.json() == {"error": "en-fr@1: the self-test of this bundle fails"}
            assert (await listed(client))["zh"] == ["en"]
            put(tmp_path, "en-fr", "1", "en-fr")
            assert (await operator.post("/admin/models/en-fr@1/load")).json()["loaded"] == ["en-fr@1"]
            assert (await listed(client))["zh"] == ["en", "fr"]
            assert (await operator.post("/admin/models/nobody/load")).status_code == 404
            told = (await operator.get("/admin/models")).json()["models"]
            assert {each["name"]: each["state"] for each in told} == dict.fromkeys(("zh-en", "en-fr", "fr-en"), "ready")
            for headers in ({"Origin": "http://127.0.0.1"}, {"Host": "evil.example"}):
                assert (await operator.post("/admin/reload", headers=headers)).status_code == 403
            # Clients have no such path.
            assert (await client.post("/admin/reload")).status_code == 404

    asyncio.run(scenario())


def test_a_model_may_be_taken_away_before_it_has_been_loaded(
    tmp_path: Path, loader: ManyLoader, caplog: pytest.LogCaptureFixture
) -> None:
    """Before its turn, at it, or while it is being loaded: it is not served, nothing of it stays, nobody complains."""
    three(tmp_path)

    async def scenario(steps: int) -> None:
        async with serving(tmp_path, loader) as (app, client, operator):
            for _ in range(steps):
                await asyncio.sleep(0)
            assert (await operator.post("/admin/models/fr-en/unload")).json()["removed"] == ["fr-en@1"]
            assert loader.loads.count("fr-en@1") == loader.closed.count("fr-en@1")
            models = app.state.service.models
            await until(lambda: len(models.engines()) == 2)
            assert "fr" not in {each for each, targets in (await listed(client)).items() if "en" in targets}
            assert all(entry.state == "ready" for entry in models.entries.values() if not entry.is_retired)

    for steps in range(0, 42, 6):
        loader.loads.clear()
        loader.closed.clear()
        asyncio.run(scenario(steps))
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_who_began_with_a_model_gets_it_even_if_it_is_taken_away_before_it_is_loaded(
    tmp_path: Path, vocabulary: Vocabulary
) -> None:
    loader = ManyLoader(vocabulary, delay=0.05)
    put(tmp_path, "zh-en", "2", "zh-en", priority=1)
    put(tmp_path, "en-fr", "1", "en-fr")

    async def scenario() -> tuple[dict, dict]:
        async with serving(tmp_path, loader, lazy=True) as (_, client, operator):
            asking = asyncio.create_task(texts(client, ["好！"], "zh", "fr", details=True))
            await until(lambda: loader.pools["zh-en@2"].submitted)
            unloading = asyncio.create_task(operator.post("/admin/models/en-fr/unload"))
            return await asking, (await unloading).json()

    done, unloaded = asyncio.run(scenario())
    assert done["route"] == [["zh-en@2", "en-fr@1"]]
    assert unloaded["removed"] == ["en-fr@1"]
    assert loader.loads == ["zh-en@2", "en-fr@1"]
    assert "en-fr@1" in loader.closed


def test_where_there_are_keys_operators_have_one_with_the_right(tmp_path: Path, loader: ManyLoader) -> None:
    three(tmp_path)
    keys = f"ann:translate:{digest_of('ann')} oscar:admin:{digest_of('oscar')}"

    async def scenario() -> list[int]:
        async with serving(tmp_path, loader, keys=keys) as (_, _, operator):
            return [
                (await operator.post("/admin/reload", headers=headers)).status_code
                for headers in ({}, *({"Authorization": f"Bearer {key}"} for key in ("ann", "nobody", "oscar")))
            ]

    assert asyncio.run(scenario()) == [401, 403, 401, 200]


def test_what_cannot_be_served_is_said_and_the_rest_is(tmp_path: Path, loader: ManyLoader) -> None:
    three(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "manifest.json").write_text("{")
    twin = put(tmp_path, "twin", "1", "en-zh")
    write = (tmp_path / "zh-en" / "manifest.json").read_text()
    (twin / "manifest.json").write_text(write)
    found = find_bundles(tmp_path)
    assert sorted(str(bundle.model) for bundle in found.bundles) == ["en-fr@1", "fr-en@1", "zh-en@2"]
    assert len(found.problems) == 2

    async def scenario() -> httpx.Response:
        async with serving(tmp_path, loader) as (_, client, operator):
            assert set(await listed(client)) == {"zh", "zt", "en", "fr"}
            return await operator.post("/admin/reload")

    reply = asyncio.run(scenario())
    assert reply.status_code == 422
    assert {Path(path).name for path in reply.json()["refused"]} == {"damaged", "zh-en"}


def test_a_watched_directory_is_served_as_it_is_once_it_has_settled(tmp_path: Path, loader: ManyLoader) -> None:
    three(tmp_path)

    async def scenario() -> list[bool]:
        async with serving(tmp_path, loader) as (app, client, _):
            watcher = Watcher(tmp_path, app.state.service.models)
            looks = [await watcher.look(), await watcher.look()]
            put(tmp_path, "en-de", "1", "en-de")
            looks.append(await watcher.look())
            (tmp_path / "en-de" / "weights.bin").write_bytes(b"still being copied")
            looks += [await watcher.look(), await watcher.look(), await watcher.look()]
            assert "de" in (await listed(client))["en"]
            return looks

    assert asyncio.run(scenario()) == [False, False, False, False, True, False]


def test_a_directory_that_is_away_for_a_while_changes_nothing(tmp_path: Path, loader: ManyLoader) -> None:
    """As a disk that is mounted again, or folders that are exchanged by two renames."""
    models, away = tmp_path / "models", tmp_path / "away"
    models.mkdir()
    three(models)

    async def scenario() -> list[httpx.Response]:
        async with serving(models, loader) as (app, client, operator):
            await until(lambda: len(app.state.service.models.engines()) == 3)
            watcher = Watcher(models, app.state.service.models)
            before, told = await listed(client), []
            await watcher.look()
            models.rename(away)
            for is_there in (False, True):
                if is_there:
                    models.mkdir()
                told += [await operator.post(f"/admin/{path}") for path in ("reload", "models/zh-en/load")]
                await watcher.look()
                await watcher.look()
                assert await listed(client) == before
            models.rmdir()
            put(away, "en-de", "1", "en-de")
            away.rename(models)
            assert [await watcher.look(), await watcher.look()] == [False, True]
            assert (await listed(client))["en"] == ["de", "fr"]
            return told

    told = asyncio.run(scenario())
    assert [reply.status_code for reply in told] == [422] * 4
    assert told[0].json()["error"].startswith("the bundles cannot be looked at: ")
    assert told[2].json()["error"] == "there is no bundle; what was served still is, until it is unloaded"


def test_the_preferred_model_may_be_unloaded_while_it_is_busy_and_the_last_one_too(
    tmp_path: Path, vocabulary: Vocabulary
) -> None:
    loader = ManyLoader(vocabulary, delay=0.02)
    put(tmp_path, "en-fr", "1", "en-fr", priority=1)
    put(tmp_path, "other", "1", "en-fr")

    async def scenario() -> list[Any]:
        async with serving(tmp_path, loader) as (app, client, operator):
            await until(lambda: len(app.state.service.models.engines()) == 2)
            routes = []
            for name in ("en-fr", "other"):
                asking = asyncio.create_task(texts(client, [TEA] * 3, "en", "fr", details=True))
                await until(lambda name=name: loader.pools[f"{name}@1"].submitted)
                assert (await operator.post(f"/admin/models/{name}/unload")).status_code == 200
                routes += (await asking)["route"]
            body = {"q": TEA, "source": "en", "target": "fr"}
            refused = await client.post("/translate", json=body), await client.get("/health/ready")
            assert [reply.status_code for reply in refused] == [503, 503]
            assert (await operator.post("/admin/models/other/load")).status_code == 200
            return [*routes, *(await texts(client, [TEA], "en", "fr", details=True))["route"]]

    assert asyncio.run(scenario()) == [["en-fr@1"]] * 3 + [["other@1"]] * 4
