"""Many models at once: routes, pivots, versions; loaded, exchanged and freed while requests go on."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from model.vocabulary import Vocabulary
from service.translation.options import TranslationOptions
from tests.service.fakes import samples
from tests.service.listening import until
from tests.service.many import ManyLoader, listed, put, serving, texts, three

TEA = "I like tea."


@pytest.fixture
def loader(vocabulary: Vocabulary) -> ManyLoader:
    return ManyLoader(vocabulary)


def test_languages_are_the_union_and_pairs_through_a_third(tmp_path: Path, loader: ManyLoader) -> None:
    three(tmp_path)

    async def scenario() -> tuple[dict[str, list[str]], dict[str, list[str]], httpx.Response]:
        async with serving(tmp_path, loader) as (_, client, _):
            found = await listed(client)
        async with serving(tmp_path, loader, pivot="none") as (_, client, _):
            body = {"q": "好！", "source": "zh", "target": "fr"}
            return found, await listed(client), await client.post("/translate", json=body)

    union, direct, refused = asyncio.run(scenario())
    assert union["zh"] == ["en", "fr"]
    assert direct["zh"] == ["en"]
    assert refused.status_code == 400
    assert "French (fr) is not available as a target language from Chinese (zh)" in refused.json()["error"]


def test_a_text_goes_through_two_models_and_the_reply_says_so(tmp_path: Path, loader: ManyLoader) -> None:
    three(tmp_path)

    async def scenario() -> tuple[dict, dict, httpx.Response, dict]:
        async with serving(tmp_path, loader) as (_, client, _):
            pivoted = await texts(client, ["我喜欢咖啡。", "好！"], "zh", "fr", details=True, alternatives=1)
            auto = await texts(client, ["今天天气很好。", TEA, "Il fait beau aujourd'hui."], "auto", "fr", details=True)
            body = {"q": "好！", "source": "zh", "target": "fr", "alignment": True}
            refused = await client.post("/translate", json=body)
            scored = {"q": "好！", "translation": "Bien", "source": "zh", "target": "fr"}
            return pivoted, auto, refused, (await client.post("/score", json=scored)).json()

    pivoted, auto, refused, scored = asyncio.run(scenario())
    assert pivoted["route"] == [["zh-en@2", "en-fr@1"]] * 2
    assert pivoted["segments"] == [[], []]
    for hops, text in zip(pivoted["hops"], pivoted["translatedText"], strict=True):
        assert [(hop["source"], hop["target"]) for hop in hops] == [("zh", "en"), ("en", "fr")]
        assert hops[1]["text"] == text
        assert all(segment["target_tokens"] for hop in hops for segment in hop["segments"])
    # What is in the target language comes back as it was.
    assert auto["route"] == [["zh-en@2", "en-fr@1"], ["en-fr@1"], []]
    assert auto["translatedText"][2] == "Il fait beau aujourd'hui."
    assert refused.status_code == 422
    assert refused.json()["error"].startswith("alignment is not told across two models (zh-en@2, en-fr@1); ask for")
    assert scored == {"error": "no model scores zh to fr by itself; ask for zh to en, en to fr"}


def test_options_terms_and_warnings_hold_across_both(tmp_path: Path, loader: ManyLoader) -> None:
    three(tmp_path)

    async def scenario() -> tuple[dict, dict, httpx.Response, dict]:
        async with serving(tmp_path, loader) as (_, client, _):
            pair = {"source": "zh", "target": "fr"}
            terms = await texts(client, ["我 tea 咖啡。"], **pair, glossary=[{"source": "tea", "target": "Thé Noir"}])
            # The first model is not kept from what the second has to keep to.
            cut = await texts(client, ["我喜欢咖啡。好！"], **pair, max_output_tokens=2)
            strict = {"q": "我喜欢咖啡。", **pair, "max_output_tokens": 2, "strict": True}
            item = await texts(
                client, ["我喜欢咖啡。", "好"], **pair, max_output_tokens=3, strict=True, on_error="item"
            )
            return terms, cut, await client.post("/translate", json=strict), item

    terms, cut, strict, item = asyncio.run(scenario())
    assert "Thé Noir" in terms["translatedText"][0]
    assert cut["truncated"] == [True]
    assert {(each["start"], each["end"]) for each in cut["warnings"]} <= {(0, 6), (6, 8)}
    assert strict.status_code == 422
    assert "the sentence at 0 to 6 was cut" in strict.json()["error"]
    assert item["errors"][0]["index"] == 0


def test_versions_are_named_and_a_canary_gets_its_share(tmp_path: Path, loader: ManyLoader) -> None:
    put(tmp_path, "en-fr", "1", "en-fr")
    put(tmp_path, "other", "1", "en-fr")
    old = tmp_path / "older"
    (tmp_path / "en-fr").rename(old)
    put(tmp_path, "en-fr", "2", "en-fr")

    async def scenario() -> tuple[list[str], httpx.Response, dict[str, float]]:
        routes = []
        async with serving(tmp_path, loader, canary="en-fr@2=1.0") as (app, client, _):
            for named in ({}, {"model": "en-fr@1"}, {"model": "en-fr"}, {"model": "other"}):
                done = await texts(client, [TEA], "en", "fr", details=True, **named)
                routes.append(done["route"][0][0])
            app.state.service.models.catalogue.canaries.clear()
            routes.append((await texts(client, [TEA], "en", "fr", details=True))["route"][0][0])
            wrong = await client.post("/translate", json={"q": "a", "source": "en", "target": "fr", "model": "fr-de"})
            return routes, wrong, samples((await client.get("/metrics")).text)

    routes, wrong, counted = asyncio.run(scenario())
    assert routes == ["en-fr@2", "en-fr@1", "en-fr@1", "other@1", "en-fr@1"]
    assert wrong.status_code == 422
    assert wrong.json()["error"] == "model must be one of en-fr@1, other@1, en-fr@2; fr-de is not served"
    for model, count in (("en-fr@1", 3), ("en-fr@2", 1), ("other@1", 1)):
        assert counted[f'attend_model_requests_total{{model="{model}",outcome="ok"}}'] == count
        assert counted[f'attend_model_request_duration_seconds_count{{model="{model}"}}'] == count
        assert counted[f'attend_model_tokens_total{{model="{model}",side="source"}}'] > 0


def test_other_contracts_name_a_model_too(tmp_path: Path, loader: ManyLoader) -> None:
    put(tmp_path, "en-fr", "1", "en-fr")
    put(tmp_path, "other", "2", "en-fr", priority=1)

    async def scenario() -> tuple[dict[str, list[str]], httpx.Response, httpx.Response]:
        found = {}
        async with serving(tmp_path, loader) as (_, client, _):
            for named in ("", "nmt", "base", "other", "en-fr@1", "en-fr"):
                body = {"q": TEA, "source": "en", "target": "fr", "model": named}
                reply = await client.post("/language/translate/v2", json=body)
                (told,) = reply.json()["data"]["translations"]
                assert told.get("model", "") == named
                found[named] = told["translatedText"]
            unknown = await client.post("/language/translate/v2", json=body | {"model": "en-fr@2"})
            pair = {"q": TEA, "source": "en", "target": "fr"}
            scored = {"translation": "Bien", **pair, "model": "en-fr@2"}
            return found, unknown, await client.post("/score", json=scored)

    found, unknown, scored = asyncio.run(scenario())
    assert len({found[named] for named in ("", "nmt", "base", "other")}) == 1
    assert found["en-fr@1"] == found["en-fr"] != found["other"]
    assert unknown.status_code == 400
    sentence = "model must be one of other@2, en-fr@1; en-fr@2 is not served"
    assert unknown.json()["error"]["message"] == sentence
    assert (scored.status_code, scored.json()["error"]) == (422, sentence)


def test_pairs_by_two_models_are_detected_named_and_kept_as_any_others(tmp_path: Path, loader: ManyLoader) -> None:
    three(tmp_path)

    async def scenario() -> tuple[dict, dict, dict, list[float], httpx.Response, str]:
        async with serving(tmp_path, loader) as (_, client, _):
            auto = await texts(client, ["今天天气很好。"], "auto", "fr", details=True)
            # The same language on both sides: nothing to translate, whoever could.
            same = await texts(client, ["我喜欢咖啡。"], "zh", "zh", details=True)
            several = await texts(client, ["我喜欢咖啡。"], "zh", "fr", alternatives=2, details=True)
            await texts(client, ["我喜欢咖啡。"], "zh", "fr", timeout_ms=60_000)
            deadlines = [loader.pools[name].deadlines[-1] for name in ("zh-en@2", "en-fr@1")]
            only = {"q": "好！", "source": "zh", "target": "fr", "model": "zh-en"}
            detected = (await client.post("/detect", json={"q": "今天天气很好。"})).json()[0]["language"]
            return auto, same, several, deadlines, await client.post("/translate", json=only), detected

    auto, same, several, deadlines, only, detected = asyncio.run(scenario())
    assert auto["route"] == [["zh-en@2", "en-fr@1"]]
    assert auto["detectedLanguage"][0]["language"] == detected == "zh"
    assert same["translatedText"] == ["我喜欢咖啡。"]
    assert [len(hop["segments"]) for hop in several["hops"][0]] == [1, 1]
    # The second has what the first has left.
    assert deadlines[0] == deadlines[1] < float("inf")
    assert only.status_code == 400
    assert only.json()["error"] == "fr is not supported"


def test_health_and_index_tell_of_each_model(tmp_path: Path, loader: ManyLoader) -> None:
    three(tmp_path)
    put(tmp_path, "bad", "1", "en-zh", extra={"broken": True})

    async def scenario() -> tuple[list[httpx.Response], list[dict[str, str]], dict]:
        async with serving(tmp_path, loader) as (app, client, _):
            await until(lambda: len(loader.loads) == 4)
            entries = app.state.service.models.entries
            await until(lambda: all(each.state in ("ready", "failed") for each in entries.values()))
            paths = [f"/health/ready?model={name}" for name in ("zh-en", "zh-en@2", "zh-en@3", "bad")]
            replies = [await client.get(path) for path in paths]
            tensors = [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["好！"]}]
            body = {"inputs": tensors, "parameters": {"source": "zh", "target": "en"}}
            inferred = (await client.post("/v2/models/zh-en/versions/2/infer", json=body)).json()
            return replies, (await client.get("/v2/repository/index")).json(), inferred

    replies, index, inferred = asyncio.run(scenario())
    assert [reply.status_code for reply in replies] == [200, 200, 404, 404]
    assert (replies[0].json()["bundle"], replies[0].json()["version"]) == ("zh-en", "2")
    states = {each["name"]: each for each in index}
    assert {name for name, each in states.items() if each["state"] == "READY"} == {"zh-en", "en-fr", "fr-en"}
    assert states["bad"] == {
        "name": "bad", "version": "1", "state": "UNAVAILABLE", "reason": "bad@1: the self-test of this bundle fails",
    }  # fmt: skip
    assert (inferred["model_name"], inferred["model_version"]) == ("zh-en", "2")


def test_exchanges_under_load_lose_no_request_and_none_is_answered_half_by_each(
    tmp_path: Path, vocabulary: Vocabulary
) -> None:
    loader = ManyLoader(vocabulary, delay=0.001)
    put(tmp_path, "en-fr", "1", "en-fr")
    answers: list[tuple[str, ...]] = []
    stopped = False

    async def ask_again_and_again(client: httpx.AsyncClient) -> None:
        while not stopped:
            done = await texts(client, [TEA, TEA, TEA], "en", "fr", details=True)
            answers.append((*done["translatedText"], *(each[0] for each in done["route"])))

    async def scenario() -> None:
        nonlocal stopped
        async with serving(tmp_path, loader) as (app, client, operator):
            clients = [asyncio.create_task(ask_again_and_again(client)) for _ in range(8)]
            for version in range(2, 7):
                seen = len(answers)
                await until(lambda seen=seen: len(answers) > seen + 8)
                broken = {"broken": True} if version == 4 else {}
                put(tmp_path, "en-fr", str(version), "en-fr", extra=broken)
                reply = await operator.post("/admin/reload")
                assert reply.status_code == (422 if broken else 200)
                if not broken:
                    assert reply.json()["loaded"] == [f"en-fr@{version}"]
            seen = len(answers)
            await until(lambda: len(answers) > seen + 8)
            stopped = True
            await asyncio.gather(*clients)
            await until(lambda: len(loader.closed) == 4)
            assert len(app.state.service.models.loads.residents) == 1

    asyncio.run(scenario())
    models = [answer[3:] for answer in answers]
    assert all(len(set(each)) == 1 for each in models), "answered by several models"
    assert all(len(set(answer[:3])) == 1 for answer in answers), "answered half by each"
    assert len({answer[0] for answer in answers}) == len({each[0] for each in models}) == 5
    # One after the other, and never back: the broken one changed nothing.
    assert list(dict.fromkeys(each[0] for each in models))[-1] == "en-fr@6"
    assert loader.closed == ["en-fr@1", "en-fr@2", "en-fr@3", "en-fr@5", "en-fr@6"]


def test_a_request_keeps_its_model_until_it_ends(tmp_path: Path, vocabulary: Vocabulary) -> None:
    loader = ManyLoader(vocabulary, delay=0.05)
    put(tmp_path, "en-fr", "1", "en-fr")

    async def scenario() -> dict:
        async with serving(tmp_path, loader) as (_, client, operator):
            asking = asyncio.create_task(texts(client, [TEA] * 3, "en", "fr", details=True))
            await until(lambda: loader.pools["en-fr@1"].submitted)
            put(tmp_path, "en-fr", "2", "en-fr")
            await operator.post("/admin/reload")
            assert loader.closed == []
            new = await texts(client, [TEA], "en", "fr", details=True)
            assert new["route"] == [["en-fr@2"]]
            done = await asking
            await until(lambda: loader.closed == ["en-fr@1"])
            return done

    assert asyncio.run(scenario())["route"] == [["en-fr@1"]] * 3


def test_models_are_loaded_when_wanted_and_leave_for_others_without_a_deadlock(
    tmp_path: Path, vocabulary: Vocabulary
) -> None:
    loader = ManyLoader(vocabulary, delay=0.001)
    pairs = {
        f"{source}-{target}-{letter}": (source, target)
        for (source, target), letter in itertools.product(itertools.permutations(("en", "fr", "zh"), 2), "ab")
    }
    for name, pair in pairs.items():
        path = put(tmp_path, name, "1", "-".join(pair), files={"weights.bin": "0"})
        (path / "weights.bin").write_bytes(b"x" * 100)
    most = 0

    async def scenario() -> dict[str, float]:
        nonlocal most
        async with serving(tmp_path, loader, lazy=True, model_memory=250) as (app, client, _):
            assert len(loader.loads) == 1

            async def ask(name: str, times: int) -> None:
                nonlocal most
                for _ in range(times):
                    await texts(client, ["12 a."], *pairs[name], model=name)
                    most = max(most, len(app.state.service.models.loads.residents))

            # Twelve models, room for two, all wanted at once: some of them again and again.
            await asyncio.gather(*(ask(name, 1 + index % 3) for index, name in enumerate(pairs)))
            return samples((await client.get("/metrics")).text)

    counted = asyncio.run(scenario())
    assert most <= 2
    assert len(loader.closed) == len(loader.loads)
    assert set(loader.loads) == {f"{name}@1" for name in pairs}
    memory = {name: value for name, value in counted.items() if name.startswith("attend_model_memory_bytes")}
    assert len(memory) == len(pairs)
    assert sum(memory.values()) <= 250
    assert sum(value for name, value in counted.items() if 'reason="memory"' in name) >= len(pairs) - 2


def test_a_request_does_not_wait_for_a_model_longer_than_it_has(tmp_path: Path, loader: ManyLoader) -> None:
    three(tmp_path)

    async def scenario() -> tuple[httpx.Response, dict]:
        async with serving(tmp_path, loader, lazy=True) as (_, client, _):
            loader.gate = asyncio.Event()
            body = {"q": "Bien", "source": "fr", "target": "en", "timeout_ms": 50}
            late = await client.post("/translate", json=body)
            waiting = asyncio.create_task(texts(client, ["Bien"], "fr", "en", details=True))
            await until(lambda: len(loader.loads) == 2)
            loader.gate.set()
            return late, await waiting

    late, done = asyncio.run(scenario())
    assert (late.status_code, late.json()) == (
        504, {"error": "the deadline passed before the model fr-en@1 was loaded"},
    )  # fmt: skip
    assert done["route"] == [["fr-en@1"]]


def test_sentences_of_both_hops_count_as_running(tmp_path: Path, loader: ManyLoader) -> None:
    three(tmp_path)
    counted: list[int] = []

    @contextlib.asynccontextmanager
    async def running(sentences: int) -> AsyncIterator[None]:
        counted.append(sentences)
        yield

    async def scenario() -> None:
        async with serving(tmp_path, loader) as (app, _, _):
            router = app.state.service.models.router()
            await router.translate(["好！", "我喜欢咖啡。"], "zh", "fr", TranslationOptions(), running=running)

    asyncio.run(scenario())
    assert counted == [2, 2]
