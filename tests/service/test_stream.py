"""POST /translate/stream: what is told, in which order, and that it is what /translate answers."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import httpx
import pytest

from service.app import create_app
from service.engine.types import EngineLostError, Hypothesis, Job
from service.settings import Settings
from tests.service.fakes import FakeLoader, ask, echo, make_app, running, samples
from tests.service.listening import client, listening, until

TWO = "我爱你。你爱我。"
HTML = "<p>我<b>爱</b>你。</p>\n<ul><li>你爱我。今天天气很好。</li></ul><!-- 1 -->"
BODIES: dict[str, dict[str, Any]] = {
    "one sentence": {"q": "好！"},
    "sentences": {"q": f" {TWO}  12. {TWO}\n"},
    "lines": {"q": f"{TWO}\n\n  - {TWO}\n* * *\n"},
    "an array": {"q": [TWO, "12:30", "好！"]},
    "languages": {"q": [f"{TWO}\nIl fait beau aujourd'hui, n'est-ce pas ?\n{TWO}", "J'aime le thé."], "source": "auto"},
    "into a language without spaces": {"q": "I love you. You love me.", "source": "en", "target": "zh"},
    "in the target language": {"q": "I love you. You love me.", "source": "auto"},
    "the same language": {"q": "I love you.", "source": "en"},
    "addresses": {"q": f"{TWO} https://example.org/a {TWO} a@b.example"},
    "mark-up": {"q": HTML, "format": "html"},
    "mark-up without a word": {"q": ["<br>", HTML, ""], "format": "html", "on_error": "item"},
    "markdown": {"q": f"# 好！\n\n{TWO}\n\n```\ncode\n```\n", "format": "markdown"},
    "alternatives": {"q": TWO, "alternatives": 2},
    "a term": {"q": TWO, "glossary": [{"source": "你", "target": "you"}], "do_not_translate": ["爱"]},
    "cut": {"q": "今天天气很好。" * 4, "max_output_tokens": 1},
    "a text that is none": {"q": [TWO, 5], "on_error": "item"},
}


def events_of(reply: httpx.Response) -> list[tuple[str, dict[str, Any]]]:
    found = []
    for block in reply.text.split("\n\n")[:-1]:
        name, data = block.split("\n")
        found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


def streamed(loader: FakeLoader, body: dict[str, Any]) -> httpx.Response:
    return ask(make_app(loader), "POST", "/translate/stream", json={"source": "zh", "target": "en", **body})


@pytest.mark.parametrize("name", BODIES)
def test_the_sentences_are_the_text_and_the_end_is_what_translate_answers(loader: FakeLoader, name: str) -> None:
    body = {"source": "zh", "target": "en", **BODIES[name]}

    async def scenario() -> tuple[httpx.Response, httpx.Response]:
        async with running(make_app(loader)) as asking:
            return await asking.post("/translate/stream", json=body), await asking.post("/translate", json=body)

    reply, plain = asyncio.run(scenario())
    assert plain.status_code == 200, plain.text
    *sentences, (last, end) = events_of(reply)
    assert (last, end) == ("end", plain.json())
    assert {kind for kind, _ in sentences} <= {"sentence"}
    texts = end["translatedText"] if isinstance(end["translatedText"], list) else [end["translatedText"]]
    sources = [body["q"]] if isinstance(body["q"], str) else body["q"]
    for index, text in enumerate(texts):
        said = [event for _, event in sentences if event["index"] == index]
        assert "".join(event["text"] for event in said) == (text or "")
        assert [event["sentence"] for event in said] == list(range(len(said)))
        spans = [event["source_span"] for event in said]
        assert spans == sorted(spans)
        assert all(0 <= start <= end <= len(sources[index]) for start, end in spans)


def test_each_sentence_is_an_event_with_its_place(loader: FakeLoader) -> None:
    reply = streamed(loader, {"q": TWO})
    assert [event["source_span"] for kind, event in events_of(reply) if kind == "sentence"] == [[0, 4], [4, 8]]
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert reply.headers["cache-control"] == "no-cache, no-transform"
    assert reply.headers["x-accel-buffering"] == "no"
    assert "content-encoding" not in reply.headers
    assert "content-length" not in reply.headers


def test_partials_are_told_of_the_next_sentence_and_never_twice(loader: FakeLoader) -> None:
    async def scenario() -> tuple[httpx.Response, httpx.Response, dict[str, float]]:
        async with running(make_app(loader)) as asking:
            # As if the request had moved to another engine after two tokens.
            loader.engine.partials = (1, 2, 1, 2, 3)
            body = {"q": "I love you. You love me.", "source": "en", "target": "zh"}
            told = await asking.post("/translate/stream", json={**body, "partial": True})
            untold = await asking.post("/translate/stream", json=body)
            return told, untold, samples((await asking.get("/metrics")).text)

    told, untold, counted = asyncio.run(scenario())
    assert {kind for kind, _ in events_of(untold)} == {"sentence", "end"}
    so_far = ""
    for kind, event in events_of(told)[:-1]:
        if kind == "partial":
            assert len(event["text"]) > len(so_far)
            assert event["text"].startswith(so_far)
            so_far = event["text"]
        else:
            assert so_far
            so_far = ""
    assert counted['attend_stream_first_seconds_count{event="sentence"}'] == 2
    assert counted['attend_stream_first_seconds_count{event="partial"}'] == 1


def test_a_sentence_is_told_while_others_are_under_way(loader: FakeLoader) -> None:
    gate = threading.Event()

    def answer(job: Job) -> tuple[Hypothesis, ...]:
        if len(loader.engine.submitted) and job is not first(loader):
            gate.wait()
        return echo(job)

    loader.answer = answer

    async def scenario() -> list[str]:
        async with listening(create_app(Settings(port=0), loader), Settings(port=0)) as (_, port, _):
            body = {"q": TWO, "source": "zh", "target": "en"}
            async with client(port) as asking, asking.stream("POST", "/translate/stream", json=body) as reply:
                names = []
                async for line in reply.aiter_lines():
                    if line.startswith("event: "):
                        names.append(line)
                        gate.set()  # not before the first sentence was told
                return names

    assert asyncio.run(scenario()) == ["event: sentence", "event: sentence", "event: end"]


def first(loader: FakeLoader) -> Job:
    return loader.engine.submitted[0]


@pytest.mark.parametrize(
    ("body", "status"),
    [({"q": ""}, 400), ({"source": "xx"}, 400), ({"partial": 5}, 422), ({"q": "好！" * 60_000}, 400)],
)
def test_what_is_wrong_before_the_beginning_is_an_ordinary_error(
    loader: FakeLoader, body: dict[str, Any], status: int
) -> None:
    reply = streamed(loader, {"q": "好！", **body})
    assert (reply.status_code, [*reply.json()][:1]) == (status, ["error"])


def test_what_goes_wrong_after_the_beginning_is_the_last_event(loader: FakeLoader) -> None:
    def answer(job: Job) -> tuple[Hypothesis, ...]:
        if job is not first(loader):
            raise EngineLostError("the process of an engine is lost")
        return echo(job)

    loader.answer = answer
    reply = streamed(loader, {"q": TWO})
    (kind, _), (last, said) = events_of(reply)
    assert (reply.status_code, kind, last) == (200, "sentence", "error")
    assert said["error"].startswith("internal error, logged with id ")
    kept = streamed(loader, {"q": [TWO, "好！"], "on_error": "item"})
    assert events_of(kept)[-1][1]["translatedText"][0] is None


def test_who_hangs_up_leaves_nothing_behind(loader: FakeLoader) -> None:
    gate = threading.Event()

    def answer(job: Job) -> tuple[Hypothesis, ...]:
        if job is not first(loader):
            gate.wait()
        return echo(job)

    loader.answer = answer

    async def scenario() -> None:
        async with listening(create_app(Settings(port=0), loader), Settings(port=0)) as (server, port, _):
            body = {"q": TWO * 5, "source": "zh", "target": "en"}
            async with client(port) as asking, asking.stream("POST", "/translate/stream", json=body) as reply:
                assert (await anext(reply.aiter_lines())) == "event: sentence"
            await until(lambda: len(loader.engine.cancelled) == 10 and server._state.admission.under_way == 0)
            gate.set()

    asyncio.run(scenario())
