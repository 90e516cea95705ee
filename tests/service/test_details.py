"""POST /translate with details, alignment, attention and a prefix: from real models, and what goes wrong on the way."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi.responses import JSONResponse
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.details import SENTENCES
from benchmarks.independence import CHINESE, SAMPLE
from model.corpus import read_tsv
from service.api.details import DetailedResponse
from service.app import create_app
from service.engine.scores import AttentionKind
from service.engine.scoring import Array
from service.engine.types import QueueFullError
from service.explain import details
from service.settings import Settings
from tests.bundles import SHIPPED_BUNDLE
from tests.service.fakes import FakeLoader, ask, make_app, running, samples, translate

FR = {"source": "fr", "target": "en"}
SOURCE = "Je ne suis pas étudiant.  Il fait très beau aujourd'hui.\n\n123\nMerci beaucoup !"
ALWAYS = {
    "source_span", "target_span", "source_tokens", "target_tokens", "log_prob", "score", "token_log_probs",
    "source_token_spans", "target_token_spans", "source_words", "target_words", "finish_reason", "truncated",
}  # fmt: skip

Post = Callable[..., httpx.Response]


@contextlib.contextmanager
def serving(bundle: Path) -> Iterator[Post]:
    """POST to one app with a real model."""

    async def enter(service: AbstractAsyncContextManager[httpx.AsyncClient]) -> httpx.AsyncClient:
        return await service.__aenter__()

    async def leave(service: AbstractAsyncContextManager[httpx.AsyncClient]) -> None:
        await service.__aexit__(None, None, None)

    with asyncio.Runner() as runner:
        service = running(create_app(Settings(bundle=bundle, device="cpu", sessions=1)))
        client = runner.run(enter(service))
        yield lambda path, **body: runner.run(client.post(path, json=body))
        runner.run(leave(service))


@pytest.fixture(scope="module")
def whole(shipped_fp32_bundle: Path) -> Iterator[Post]:
    """A model that decodes with the whole vocabulary."""
    with serving(shipped_fp32_bundle) as post:
        yield post


@pytest.fixture(scope="module")
def listed(fp32_bundle_with_shortlist: Path) -> Iterator[Post]:
    """The same with a shortlist."""
    with serving(fp32_bundle_with_shortlist) as post:
        yield post


@pytest.fixture(scope="module")
def shipped() -> Iterator[Post]:
    """The model of the repository, int8 and with a shortlist."""
    with serving(SHIPPED_BUNDLE) as post:
        yield post


@pytest.fixture(params=["whole", "listed"])
def post(request: pytest.FixtureRequest) -> Post:
    found: Post = request.getfixturevalue(request.param)
    return found


def segments_of(reply: httpx.Response) -> Any:
    assert reply.status_code == 200, reply.text
    return reply.json()["segments"]


def test_a_text_has_one_segment_for_each_translated_sentence(whole: Post) -> None:
    reply = whole("/translate", q=SOURCE, details=True, **FR).json()
    segments, text = reply["segments"], reply["translatedText"]
    assert [SOURCE[slice(*each["source_span"])] for each in segments] == [
        "Je ne suis pas étudiant.", "Il fait très beau aujourd'hui.", "Merci beaucoup !",
    ]  # fmt: skip
    targets = [text[slice(*each["target_span"])] for each in segments]
    assert text == f"{targets[0]}  {targets[1]}\n\n123\n{targets[2]}"
    for segment, target in zip(segments, targets, strict=True):
        assert set(segment) == ALWAYS
        # The stop is the one of the source.
        assert written(segment)[:-1] == target[:-1]
        assert (segment["source_tokens"][0], segment["source_tokens"][-1]) == ("<2en>", "</s>")
        assert (segment["finish_reason"], segment["truncated"]) == ("eos", False)
        assert segment["score"] == pytest.approx(segment["log_prob"] / len(segment["target_tokens"]))


def written(segment: dict[str, Any]) -> str:
    return "".join(segment["target_tokens"][:-1]).replace("▁", " ").strip()


def test_spans_are_those_of_the_text_around_an_address(whole: Post) -> None:
    source = "Je suis là (voir https://a.b/c?d=1). Merci 😀 beaucoup !"
    reply = whole(
        "/translate", q=source, details=True, alignment=True, target_prefix="I am", alternatives=1, **FR
    ).json()
    for text, segments in (
        (reply["translatedText"], reply["segments"]),
        *zip(reply["alternatives"], reply["alternative_segments"], strict=True),
    ):
        parts = [source[slice(*each["source_span"])] for each in segments]
        assert parts == ["Je suis là (voir https://a.b/c?d=1).", "Merci 😀 beaucoup !"]
        spans = [each["target_span"] for each in segments]
        assert text[: spans[0][1]].startswith("I am")
        assert text[spans[0][1] : spans[1][0]] == " "
        assert "https://a.b/c?d=1" in text[slice(*spans[0])]
        assert "😀" in text[slice(*spans[1])]
        for each in segments:
            for link in each["alignment"]:
                for side, span in (("source", each["source_span"]), ("target", each["target_span"])):
                    assert span[0] <= link[side][0] < link[side][1] <= span[1]


MARKED = {
    "html": "<p>Le <b>chat</b> dort &amp; le chien\nmange.</p><!-- rien --><p title='x'>Bonne <i>nuit</i>, Tom.</p>",
    "xml": "<a><t>Le <g id='1'>chat</g> dort.</t><t>Bonne nuit &lt;Tom&gt;.</t></a>",
    "markdown": "# Le chat\n\nLe **chat** dort\net [le chien](https://a.b) mange.\n",
}


@pytest.mark.parametrize("format", MARKED)
def test_spans_of_a_text_with_mark_up_point_at_words_and_not_at_tags(shipped: Post, format: str) -> None:
    source = MARKED[format]
    reply = shipped("/translate", q=source, format=format, alignment=True, **FR).json()
    plain = shipped("/translate", q=source, format=format, **FR).json()
    text = reply["translatedText"]
    assert text == plain["translatedText"]
    seen = []
    for segment in reply["segments"]:
        for side, of in (("source", source), ("target", text)):
            start, end = segment[f"{side}_span"]
            assert start < end <= len(of)
            words = [of[slice(*span)] for span in segment[f"{side}_words"]]
            assert not any(word.startswith(("<", "</")) or word.isspace() or "**" in word for word in words), words
            assert all(start <= first <= last <= end for first, last in segment[f"{side}_words"])
            assert all(start <= first <= last <= end for first, last in segment[f"{side}_token_spans"][1:-1])
            seen += words if side == "source" else []
        for link in segment["alignment"]:
            assert link["source"] in segment["source_words"]
            assert link["target"] in segment["target_words"]
    assert {"chat", "dort"} <= set(seen)


@pytest.mark.parametrize("text", ["  OÙ EST\u00a0LA GARE\u202f?", "\u3000 Ｏù　ｅｓｔ　ｌａ　ｇａｒｅ ？"])
def test_spans_are_of_the_text_as_it_was_sent(whole: Post, text: str) -> None:
    plain = whole("/translate", q="Où est la gare ?", alignment=True, **FR).json()
    reply = whole("/translate", q=text, alignment=True, **FR).json()
    (segment,), (expected,) = reply["segments"], plain["segments"]
    assert reply["translatedText"].strip().lower() == plain["translatedText"].lower()
    assert segment["source_tokens"] == expected["source_tokens"]
    assert text[slice(*segment["source_span"])] == text.strip()
    assert segment["source_words"] == [[a + 2, b + 2] for a, b in expected["source_words"]]
    assert segment["source_token_spans"] == [
        [a + 2, b + 2] if token != "<2en>" else [2, 2]
        for token, (a, b) in zip(expected["source_tokens"], expected["source_token_spans"], strict=True)
    ]
    scored = whole("/score", q=text.strip(), translation=plain["translatedText"], **FR).json()
    (known,) = scored["segments"] if isinstance(scored["segments"], list) else [scored["segments"]]
    assert known["source_tokens"] == expected["source_tokens"]


@pytest.mark.parametrize("how", [{}, {"beam_size": 4}, {"beam_size": 4, "alternatives": 3}, {"max_output_tokens": 3}])
def test_the_tokens_of_a_translation_are_together_as_likely_as_it(post: Post, how: Mapping[str, int]) -> None:
    texts = [SOURCE, "Tom est parti sans dire un mot.", "Où est la gare ? Je suis perdu."]
    reply = post("/translate", q=texts, details=True, **FR, **how)
    versions = [*segments_of(reply), *(each for text in reply.json().get("alternative_segments", []) for each in text)]
    found = [segment for version in versions for segment in version]
    assert len(found) >= 6
    for segment in found:
        # A sentence that was cut has no end token, neither in the sum nor here.
        assert sum(segment["token_log_probs"]) == pytest.approx(segment["log_prob"], abs=1e-3)


@pytest.mark.parametrize(("beam_size", "alternatives"), [(1, 0), (4, 0), (4, 3)])
def test_so_are_those_of_the_shipped_int8_bundle(shipped: Post, beam_size: int, alternatives: int) -> None:
    french = gzip.decompress(SENTENCES.read_bytes()).decode().splitlines()[:64]
    english = [english for english, _ in read_tsv(SAMPLE, 0, 1)[::100]]
    how = {"details": True, "beam_size": beam_size, "alternatives": alternatives}
    asked = [(french, "fr", "en"), (english, "en", "fr"), (list(CHINESE), "zh", "en")]
    found = []
    for texts, source, target in asked:
        reply = shipped("/translate", q=texts, source=source, target=target, **how).json()
        others = [version for text in reply.get("alternative_segments", []) for version in text]
        found += [segment for version in (*reply["segments"], *others) for segment in version]
    assert len({len(segment["source_tokens"]) for segment in found}) >= 16
    assert len(found) > 100 * (1 + bool(alternatives))
    for segment in found:
        assert len(segment["token_log_probs"]) == len(segment["target_tokens"])
        assert sum(segment["token_log_probs"]) == pytest.approx(segment["log_prob"], abs=1e-3)


def test_alternatives_carry_segments_of_their_own(whole: Post) -> None:
    reply = whole("/translate", q=[SOURCE, "Merci."], alternatives=3, details=True, **FR).json()
    for index, alternatives in enumerate(reply["alternatives"]):
        assert len(alternatives) == len(reply["alternative_segments"][index]) > 0
        for text, segments in zip(alternatives, reply["alternative_segments"][index], strict=True):
            for segment in segments:
                assert text[slice(*segment["target_span"])][:-1] == written(segment)[:-1]
            assert segments != reply["segments"][index]
    alone = whole("/translate", q="Merci.", alternatives=3, details=True, **FR).json()
    assert alone["alternative_segments"] == reply["alternative_segments"][1]


def test_alignment_implies_segments(whole: Post) -> None:
    reply = whole("/translate", q="Bonjour. Je suis étudiant.", alignment=True, **FR).json()
    text = reply["translatedText"]
    links = reply["segments"][1]["alignment"]
    words = {("Bonjour. Je suis étudiant."[slice(*each["source"])], text[slice(*each["target"])]) for each in links}
    assert ("étudiant", "student") in words
    assert all(0 < each["weight"] <= 1 for each in links)


def test_attention_is_of_the_translation_that_was_returned(post: Post) -> None:
    text = "Il a dit qu'elle n'était pas venue."
    reply = post("/translate", q=text, beam_size=4, attention=True, **FR).json()
    (segment,) = reply["segments"]
    source, target = len(segment["source_tokens"]), len(segment["target_tokens"])
    assert {kind: np.shape(weights) for kind, weights in segment["attention"].items()} == {
        "encoder": (6, 8, source, source), "decoder": (2, 8, target, target), "cross": (2, 8, target, source),
    }  # fmt: skip
    for weights in segment["attention"].values():
        assert np.array(weights).sum(-1) == pytest.approx(np.ones(np.shape(weights)[:-1]), abs=1e-4)
    (forced,) = segments_of(post("/score", q=text, translation=reply["translatedText"], attention=True, **FR))
    assert forced["target_tokens"] == segment["target_tokens"]
    assert forced["attention"] == segment["attention"]


def test_attention_can_be_chosen(whole: Post) -> None:
    def chosen(**how: Any) -> Any:
        (segment,) = segments_of(whole("/translate", q="Merci.", attention=how, **FR))
        return segment["attention"]

    everything = chosen()
    assert chosen(kinds=["cross", "cross"], layers=[1], heads=[3, 0]) == {
        "cross": [[everything["cross"][1][3], everything["cross"][1][0]]]
    }
    assert np.shape(chosen(kinds=["encoder"], reduce="mean")["encoder"])[:2] == (1, 1)
    assert set(chosen(kinds=["decoder"], encoding="float16-base64")["decoder"]) == {"shape", "dtype", "data"}
    assert "encoder_tokens" in chosen(layout="bertviz")


def test_an_attention_that_is_false_or_null_is_none(whole: Post) -> None:
    for nothing in ({"details": False}, {"attention": False, "alignment": None}):
        assert list(whole("/translate", q="Merci.", **nothing, **FR).json()) == ["translatedText"]
    (segment,) = segments_of(whole("/translate", q="Merci.", details=True, attention=False, **FR))
    assert set(segment) == ALWAYS


@pytest.mark.parametrize(
    "attention",
    [
        1,
        "all",
        [],
        {"kinds": []},
        {"kinds": ["self"]},
        {"layers": [-1]},
        {"heads": [True]},
        {"heads": []},
        {"head": [1]},
    ],
)
def test_an_attention_that_is_none_is_described(loader: FakeLoader, attention: Any) -> None:
    reply = translate(make_app(loader), {"q": "Merci.", "attention": attention, **FR})
    assert reply.status_code == 422
    assert reply.json()["error"].startswith("attention must be true, false or an object with any of kinds")


def test_what_is_not_there_or_too_much_is_refused(whole: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = whole("/translate", q="Merci.", attention={"kinds": ["cross"], "layers": [2]}, **FR)
    assert missing.status_code == 422
    assert "attention.layers: 2 does not exist" in missing.json()["error"]
    monkeypatch.setattr(details, "MAX_SENT_NUMBERS", 100)
    large = whole("/translate", q="Merci.", attention=True, **FR)
    assert large.status_code == 422
    assert "attention weights, more than 100" in large.json()["error"]
    assert whole("/translate", q="Merci.", details=True, **FR).status_code == 200


@pytest.mark.parametrize("beam_size", [1, 4])
def test_a_translation_begins_with_its_prefix(post: Post, beam_size: int) -> None:
    how = {"beam_size": beam_size, "details": True, **FR}
    # The second word is in no shortlist.
    for prefix in ("The young", " Zürich 北 "):
        reply = post("/translate", q="Je suis étudiant. Merci !", target_prefix=prefix, **how).json()
        first, second = reply["segments"]
        text = reply["translatedText"]
        assert text.startswith(prefix.strip())
        assert len(text[slice(*first["target_span"])]) > len(prefix.strip())
        assert sum(first["token_log_probs"]) == pytest.approx(first["log_prob"], abs=1e-3)
        (alone,) = segments_of(post("/translate", q="Merci !", **how))
        assert second["log_prob"] == alone["log_prob"]


@pytest.mark.parametrize("change", [{"max_output_tokens": 3}, {"target_prefix": "café " * 90}])
def test_a_prefix_that_leaves_no_room_is_refused(loader: FakeLoader, change: dict[str, Any]) -> None:
    body = {"q": "Merci.", "target_prefix": "J'aime le café", **FR, **change}
    reply = translate(make_app(loader), body)
    assert reply.status_code == 422
    assert reply.json()["error"].startswith("target_prefix has ")


class GatedGraph:
    """Every token is as likely; waits until it may go on."""

    vocabulary_size = 500

    def __init__(self) -> None:
        self.busy, self.go = threading.Event(), threading.Event()
        self.bad: set[int] = set()
        """Source ids that it fails on."""
        self.batches = 0

    def numbers(self, source_length: int, target_length: int) -> int:
        return target_length

    def score(
        self, inputs: Mapping[str, Array], attention: Sequence[AttentionKind]
    ) -> tuple[Array, dict[AttentionKind, Array]]:
        self.batches += 1
        self.busy.set()
        assert self.go.wait(10)
        if self.bad & set(inputs["source_ids"].ravel().tolist()):
            raise ZeroDivisionError("bad")
        return np.full(inputs["labels"].shape, -0.5, np.float32), {}


@pytest.fixture
def graph() -> Iterator[GatedGraph]:
    made = GatedGraph()
    yield made
    made.go.set()


@pytest.fixture
def gated(loader: FakeLoader, graph: GatedGraph) -> FakeLoader:
    loader.open_graph = lambda: graph
    return loader


BODY = {"q": "Je suis étudiant. Tu m'aimes.", "alignment": True, **FR}


def test_nobody_who_does_not_ask_opens_the_graph(loader: FakeLoader) -> None:
    opened = []
    loader.open_graph = lambda: opened.append(1)  # type: ignore[assignment, func-returns-value]
    assert "segments" not in translate(make_app(loader), {**BODY, "alignment": False}).json()
    # What the engine knows it tells itself.
    (told,) = segments_of(translate(make_app(loader), {**BODY, "q": "Merci.", "alignment": False, "details": True}))
    assert sum(told["token_log_probs"]) == told["log_prob"]
    assert loader.scorer.processes.pids() == []
    assert opened == []


def test_sentences_without_letters_have_no_segment(gated: FakeLoader) -> None:
    reply = translate(make_app(gated), {"q": ["1 + 1", ""], "details": True, "alternatives": 1, **FR}).json()
    assert (reply["segments"], reply["alternative_segments"]) == ([[], []], [[], []])


def test_the_deadline_counts_while_a_translation_is_scored(
    gated: FakeLoader, graph: GatedGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> httpx.Response:
        async with running(make_app(gated)) as client:
            # The deadline is over soon after scoring has begun, however long the translation took.
            run = gated.scorer.run
            soon = lambda jobs, deadline, fail_fast: run(jobs, deadline=time.monotonic() + 0.1)  # noqa: E731
            monkeypatch.setattr(gated.scorer, "run", soon)
            reply = await client.post("/translate", json=BODY)
            graph.go.set()
            return reply

    reply = asyncio.run(scenario())
    assert reply.status_code == 504
    assert reply.json() == {"error": "the deadline passed before the translation was scored"}


def test_a_cancelled_request_withdraws_what_waits_to_be_scored(gated: FakeLoader, graph: GatedGraph) -> None:
    async def scenario() -> None:
        async with running(make_app(gated)) as client:
            asking = asyncio.create_task(client.post("/translate", json=BODY))
            await asyncio.to_thread(graph.busy.wait, 10)
            asking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asking
            graph.go.set()
            while gated.scorer.waiting_tokens():
                await asyncio.sleep(0.001)

    asyncio.run(scenario())
    assert graph.batches == 1  # the one that ran


def test_a_service_that_stops_fails_what_waits_to_be_scored(gated: FakeLoader, graph: GatedGraph) -> None:
    async def scenario() -> httpx.Response:
        app = make_app(gated)
        async with running(app) as client:
            asking = asyncio.create_task(client.post("/translate", json=BODY))
            await asyncio.to_thread(graph.busy.wait, 10)
            app.state.service.abort()
            reply = await asking
            graph.go.set()
            return reply

    reply = asyncio.run(scenario())
    assert (reply.status_code, reply.json()) == (503, {"error": "the service is shutting down"})


def test_a_full_queue_of_the_scorer_is_503(gated: FakeLoader, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> tuple[httpx.Response, str]:
        async with running(make_app(gated)) as client:

            def refuse(jobs: object, **how: object) -> None:
                raise QueueFullError("full", 7)

            monkeypatch.setattr(gated.scorer, "run", refuse)
            reply = await client.post("/translate", json=BODY)
            return reply, (await client.get("/metrics")).text

    reply, metrics = asyncio.run(scenario())
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "7")
    assert reply.json() == {"error": "too much waits already to be scored"}
    assert samples(metrics)['attend_rejected_total{reason="queue_full"}'] == 1


@pytest.mark.parametrize("on_error", ["fail", "item"])
def test_a_sentence_that_cannot_be_scored(gated: FakeLoader, graph: GatedGraph, on_error: str) -> None:
    graph.go.set()
    graph.bad = set(gated.vocabulary.encode("Tu")) - set(gated.vocabulary.encode("À demain ?"))
    reply = translate(make_app(gated), {**BODY, "q": ["À demain ?", "Tu m'aimes."], "on_error": on_error})
    if on_error == "fail":
        assert reply.status_code == 500
        return
    found = reply.json()
    assert found["translatedText"] == ["À demain?", None]
    assert [len(segments) for segments in found["segments"]] == [1, 0]
    assert [error["index"] for error in found["errors"]] == [1]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)
ENCODABLE = JSON.filter(lambda value: not any(0xD800 <= ord(c) < 0xE000 for c in str(value)))


@given(value=ENCODABLE)
def test_replies_in_parts_are_the_same_bytes(value: Any) -> None:
    assert DetailedResponse(value).body == JSONResponse(value).body


def test_the_description_of_the_bodies_stands_alone(loader: FakeLoader) -> None:
    schema = ask(make_app(loader), "GET", "/openapi.json").json()
    for path in ("/translate", "/score"):
        body = schema["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        assert "$defs" not in str(body)
        assert "'layout'" in str(body["properties"]["attention"])
    assert set(schema["components"]["schemas"]["Segment"]["required"]) == ALWAYS
