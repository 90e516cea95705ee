"""How much each caller may ask for: rates in memory and in a real Redis, quotas, and what /v2/usage tells."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from service.access import counters as counting
from service.access.config import AccessConfig
from service.access.counters import Counters, MemoryCounters, Windows
from service.access.guard import Guard
from service.access.key_file import write_keys
from service.access.keys import Key, digest_of
from service.access.rate import Rate
from service.access.rates import count, seconds_until_room
from service.access.replicas import RedisCounters, RedisUsage
from service.access.usage import FileUsage, MemoryUsage, Usage, UsageError, this_month
from service.engine.types import Hypothesis, Job
from service.errors import RateExceededError, TextLimitError
from tests.service.fakes import FakeLoader, echo, make_app, running, samples
from tests.service.listening import until
from tests.service.redis_server import needs_redis, redis_server

ANN, BOB = "ann's key", "bob's key"
KEYS = f"ann:translate:{digest_of(ANN)} bob:translate:{digest_of(BOB)}"
ASK = {"q": "好！", "source": "zh", "target": "en"}
PLACES = ("memory", pytest.param("redis", marks=needs_redis))


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with redis_server(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """Where to count; each test in a database of its own would need as many, so callers have names of their own."""
    if request.param == "redis":
        return {"redis": request.getfixturevalue("redis_url")}
    return {"usage_file": tmp_path / "usage"}


def conversing(app: FastAPI, *asked: tuple[str, str, dict[str, Any]]) -> list[httpx.Response]:
    async def scenario() -> list[httpx.Response]:
        async with running(app) as client:
            return [await client.request(method, path, **request) for method, path, request in asked]

    return asyncio.run(scenario())


@contextlib.asynccontextmanager
async def opened(gate: threading.Event) -> AsyncIterator[None]:
    """Opened at the end, or nothing could stop."""
    try:
        yield
    finally:
        gate.set()


def translating(key: str | None = None, q: str = "好！", **headers: str) -> tuple[str, str, dict[str, Any]]:
    """LibreTranslate's request."""
    own = {"Authorization": f"Bearer {key}"} if key else {}
    return "POST", "/translate", {"json": {**ASK, "q": q}, "headers": {**own, **headers}}


@pytest.mark.parametrize("settings", PLACES, indirect=True)
def test_requests_of_a_key_are_counted_and_refused(loader: FakeLoader, settings: dict[str, Any]) -> None:
    app = make_app(loader, keys=KEYS, rate_key_requests="2/hour", **settings)
    first, second, third, other = conversing(app, *[translating(ANN)] * 3, translating(BOB))
    assert [reply.status_code for reply in (first, second, third, other)] == [200, 200, 429, 200]
    assert [reply.headers["ratelimit-remaining"] for reply in (first, second, third)] == ["1", "0", "0"]
    assert first.headers["ratelimit-limit"] == "2, 2;w=3600"
    assert 0 < int(first.headers["ratelimit-reset"]) <= 7200
    assert third.json() == {"error": "Slowdown: 2 per 1 hour"}
    assert 0 < int(third.headers["retry-after"]) <= 7200


def test_every_contract_says_429_in_its_shape(loader: FakeLoader) -> None:
    deepl = {"json": {"text": ["好！"], "source_lang": "ZH", "target_lang": "EN"}}
    asked = [translating(), ("POST", "/v2/translate", deepl), ("POST", "/language/translate/v2", {"json": ASK}),
             ("POST", "/deeplx/translate", {"json": {"text": "好！", "target_lang": "EN"}}), ("GET", "/metrics", {}),
             ("GET", "/health", {})]  # fmt: skip
    first, *replies = conversing(make_app(loader, rate_address_requests="1/hour"), *asked)
    assert [reply.status_code for reply in (first, *replies)] == [200, 429, 429, 429, 200, 200]
    message = "Slowdown: 1 per 1 hour"
    google = {"error": {"code": 429, "message": message, "status": "RESOURCE_EXHAUSTED"}}
    assert [reply.json() for reply in replies[:3]] == [{"message": message}, google, {"code": 429, "message": message}]
    counted = samples(replies[3].text)
    assert counted['attend_rejected_total{reason="rate"}'] == 3


@pytest.mark.parametrize("settings", PLACES, indirect=True)
def test_addresses_are_those_that_named_proxies_say(loader: FakeLoader, settings: dict[str, Any]) -> None:
    asked = [translating(None, **{"X-Forwarded-For": each}) for each in ("192.0.2.1", "192.0.2.1", "192.0.2.2")]
    limits = {"rate_address_requests": "1/hour", **settings}
    trusting = conversing(make_app(loader, trusted_proxies="127.0.0.0/8", **limits), *asked)
    assert [reply.status_code for reply in trusting] == [200, 429, 200]
    # Whoever is not named, loopback too, cannot give himself another address.
    alone = conversing(make_app(loader, **limits), *asked)
    assert [reply.status_code for reply in alone] == [200, 429, 429]


def test_wrong_keys_are_counted_for_the_address(loader: FakeLoader) -> None:
    replies = conversing(make_app(loader, keys=KEYS, rate_address_requests="2/hour"), *[translating("guess")] * 3,
                         translating(ANN))  # fmt: skip
    assert [reply.status_code for reply in replies] == [403, 403, 429, 200]


@pytest.mark.parametrize("settings", PLACES, indirect=True)
def test_characters_are_counted(loader: FakeLoader, settings: dict[str, Any]) -> None:
    app = make_app(loader, keys=KEYS.replace("ann", "ann2"), rate_key_characters="10/hour", **settings)
    texts = ("我爱你。我爱你。", "我爱你。", "好！", "我爱你。" * 3)
    replies = conversing(app, *[translating(ANN, text) for text in texts])
    assert [reply.status_code for reply in replies] == [200, 429, 200, 400]
    assert replies[1].json() == {"error": "Slowdown: 10 per 1 hour (characters)"}
    # More than there may ever be is not worth another try.
    assert replies[3].json() == {"error": "Invalid request: request (12) exceeds text limit (10)"}


@pytest.mark.parametrize("settings", PLACES, indirect=True)
def test_sentences_at_once(loader: FakeLoader, settings: dict[str, Any]) -> None:
    gate = threading.Event()

    def answer(job: Job) -> tuple[Hypothesis, ...]:
        gate.wait()
        return echo(job)

    loader.answer = answer
    app = make_app(loader, keys=KEYS.replace("ann", "ann3"), rate_key_sentences=3, **settings)

    async def scenario() -> list[int]:
        async with running(app) as client, opened(gate):
            first = asyncio.create_task(client.request("POST", "/translate", **translating(ANN, "我爱你。你爱我。")[2]))
            await until(lambda: len(loader.engine.submitted) == 2)
            refused = await client.request("POST", "/translate", **translating(ANN, "我爱你。你爱我。")[2])
            fits = asyncio.create_task(client.request("POST", "/translate", **translating(ANN)[2]))
            other = asyncio.create_task(client.request("POST", "/translate", **translating(BOB, "我爱你。" * 9)[2]))
            await until(lambda: len(loader.engine.submitted) == 2 + 1 + 9)
            gate.set()
            done = [(await each).status_code for each in (first, fits, other)]
            # Alone even more than there may be: a request that is allowed must be possible.
            later = await client.request("POST", "/translate", **translating(ANN, "我爱你。" * 9)[2])
            return [refused.status_code, *done, later.status_code]

    assert asyncio.run(scenario()) == [429, 200, 200, 200, 200]


@pytest.mark.parametrize("settings", PLACES, indirect=True)
def test_a_quota_ends_and_usage_tells_it(loader: FakeLoader, settings: dict[str, Any]) -> None:
    app = make_app(loader, keys=KEYS.replace("ann", "ann4"), quota_characters=10, **settings)
    deepl = {"json": {"text": ["我爱你。"], "target_lang": "EN"}, "headers": {"Authorization": f"DeepL-Auth-Key {ANN}"}}
    usage = ("GET", "/v2/usage", {"headers": deepl["headers"]})
    imme = ("POST", "/imme?token=ann's key", {"json": {"target_lang": "en", "text_list": ["我爱你。"]}})
    texts = (translating(ANN, "我爱你。我爱你。"), translating(ANN, "我爱你。"))
    replies = conversing(app, texts[0], usage, texts[1], ("POST", "/v2/translate", deepl), usage, imme)
    assert [reply.status_code for reply in replies] == [200, 200, 403, 456, 200, 429]
    assert replies[1].json() == replies[4].json() == {"character_count": 8, "character_limit": 10}
    assert replies[2].json() == {"error": "Quota exceeded: 10 characters a month"}
    assert replies[3].json() == {"message": "Quota exceeded: 10 characters a month"}


def test_what_fails_is_not_counted_and_the_file_outlives_the_service(loader: FakeLoader, tmp_path: Path) -> None:
    def fail(job: Job) -> tuple[Hypothesis, ...]:
        raise RuntimeError("no")

    usage = ("GET", "/v2/usage", {"headers": {"Authorization": f"DeepL-Auth-Key {ANN}"}})
    settings = {"keys": KEYS, "usage_file": tmp_path / "usage"}
    loader.answer = fail
    failed, before = conversing(make_app(loader, **settings), translating(ANN), usage)
    assert (failed.status_code, before.json()["character_count"]) == (500, 0)
    loader.answer = echo
    conversing(make_app(loader, **settings), translating(ANN))
    (after,) = conversing(make_app(loader, **settings), usage)
    assert after.json() == {"character_count": 2, "character_limit": 1_000_000_000_000}


def test_a_key_has_rates_of_its_own(loader: FakeLoader, tmp_path: Path) -> None:
    own = Key(name="ann", digest=digest_of(ANN), requests="3/hour", quota=5)
    write_keys(tmp_path / "keys", [own, Key(name="bob", digest=digest_of(BOB))])
    app = make_app(loader, keys_file=tmp_path / "keys", rate_key_requests="1/hour", usage_file=tmp_path / "usage")
    replies = conversing(app, *[translating(ANN)] * 3, *[translating(BOB)] * 2)
    assert [reply.status_code for reply in replies] == [200, 200, 403, 200, 429]


async def of(place: str, url: str, act: Callable[[Counters], Awaitable[Any]]) -> Any:
    counters: Counters = MemoryCounters() if place == "memory" else RedisCounters(url, 60)
    try:
        return await act(counters)
    finally:
        await counters.close()


@pytest.mark.parametrize("place", PLACES)
def test_what_waits_for_room_finds_it_when_it_was_told(place: str, request: pytest.FixtureRequest) -> None:
    url = request.getfixturevalue("redis_url") if place == "redis" else ""
    rate = Rate.parse("4/second")

    async def act(counters: Counters) -> int:
        tries = 0
        for _ in range(6):
            try:
                await count(counters, rate, "requests", "key:patient", 2)
            except RateExceededError as error:
                tries += 1
                await asyncio.sleep(float(error.headers["Retry-After"]))
                await count(counters, rate, "requests", "key:patient", 2)
        return tries

    assert asyncio.run(of(place, url, act)) >= 1


def test_seconds_until_there_is_room() -> None:
    assert seconds_until_room((0, 3), 5, 10.0, 60.0) == 0
    # Of 60 before, 10/60 still count: 10. When 5 are left of them, there is room for those 3 beside.
    assert seconds_until_room((60, 3), 8, 10.0, 60.0) == pytest.approx(5.0)
    # This window alone is too many: when half of it has gone by in the next.
    assert seconds_until_room((0, 10), 5, 10.0, 60.0) == pytest.approx(40.0)


def test_what_never_fits_is_another_error() -> None:
    with pytest.raises(TextLimitError):
        asyncio.run(count(MemoryCounters(), Rate.parse("4/second"), "characters", "key:a", 5))


def test_counts_in_memory_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "MOST_WINDOWS", 100)

    async def scenario() -> int:
        windows, most = Windows(), 0
        for number in range(2000):
            await windows.incr(str(number), 3600)
            most = max(most, len(windows.storage))
        assert await windows.get("1999") == 1
        return most

    assert asyncio.run(scenario()) <= 101


@needs_redis
def test_replicas_count_together_and_alone_while_redis_is_away(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rate = Rate.parse("3/hour")

    async def outcome(counters: RedisCounters) -> bool:
        try:
            return bool(await count(counters, rate, "requests", "address:1", 1))
        except RateExceededError:
            return False

    async def scenario() -> list[bool]:
        with redis_server(tmp_path) as url:
            one, other = RedisCounters(url, 60), RedisCounters(url, 60)
            together = [await outcome(each) for each in (one, other, one, other)]
            async with one.sentences("key:a", 2, 2) as first, other.sentences("key:a", 1, 2) as second:
                together += [first, second]
            async with other.sentences("key:a", 1, 2) as third:
                together.append(third)
        alone = [await outcome(one) for _ in range(4)]
        async with one.sentences("key:a", 2, 2) as first:
            alone.append(first)
        await one.close()
        await other.close()
        return [*together, *alone]

    found = asyncio.run(scenario())
    assert found == [True, True, True, False, True, False, True, True, True, True, False, True]
    assert caplog.text.count("Redis does not answer") == 1


@needs_redis
def test_a_quota_gives_nothing_away_while_redis_is_away(loader: FakeLoader, tmp_path: Path) -> None:
    app = make_app(loader, keys=KEYS, quota_characters=10, redis=f"unix://{tmp_path}/nothing")
    reply, health = conversing(app, translating(ANN), ("GET", "/health/ready", {}))
    assert (reply.status_code, health.status_code) == (503, 200)
    assert reply.json() == {"error": "what is used cannot be counted now"}


@pytest.mark.parametrize("place", ["memory", "file", pytest.param("redis", marks=needs_redis)])
def test_usage_in_every_place(place: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    async def scenario() -> None:
        url = request.getfixturevalue("redis_url") if place == "redis" else ""
        makers: dict[str, Callable[[], Usage]] = {
            "memory": MemoryUsage,
            "file": lambda: FileUsage(tmp_path / "usage"),
            "redis": lambda: RedisUsage(url),
        }
        usage = makers[place]()
        assert [await usage.spend("cy", "2026-11", 6, 10) for _ in range(2)] == [True, False]
        assert await usage.spend("cy", "2026-12", 6, 10)
        assert not await usage.spend("di", "2026-11", 11, 10)
        assert await usage.spend("di", "2026-11", 11, None)
        assert [await usage.spent("cy", "2026-11"), await usage.spent("di", "2026-11")] == [6, 11]
        await usage.give_back("cy", "2026-11", 4)
        await usage.give_back("cy", "2026-12", 100)
        await usage.give_back("eve", "2026-12", 100)
        found = [await usage.spent(*each) for each in (("cy", "2026-11"), ("cy", "2026-12"), ("eve", "2026-12"))]
        assert found == [2, 0, 0]
        await usage.close()

    asyncio.run(scenario())
    assert len(this_month()) == 7


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database, but long enough to have a header " * 10)
    with pytest.raises(UsageError, match="cannot keep what is used"):
        FileUsage(tmp_path / "text")
    with pytest.raises(UsageError, match="cannot keep what is used"):
        Guard(AccessConfig(usage_file=tmp_path))
