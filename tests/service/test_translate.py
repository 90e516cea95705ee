"""POST /translate: what comes back for what was sent."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fastapi import FastAPI

from service.engine.types import Hypothesis, Job
from tests.service.fakes import FakeLoader, ask, echo, make_app, running, translate

ZH = {"source": "zh", "target": "en"}


def test_a_string_comes_back_as_a_string(app: FastAPI) -> None:
    reply = translate(app, {"q": "我爱你。", **ZH})
    assert (reply.status_code, reply.json()) == (200, {"translatedText": "我爱你."})


def test_an_array_comes_back_in_order_with_empty_texts_in_their_places(app: FastAPI) -> None:
    reply = translate(app, {"q": ["我爱你。", "", "好！"], **ZH})
    assert reply.json() == {"translatedText": ["我爱你.", "", "好!"]}


def test_an_array_of_one_stays_an_array(app: FastAPI) -> None:
    assert translate(app, {"q": ["好！"], **ZH}).json() == {"translatedText": ["好!"]}


@pytest.mark.parametrize(
    ("source", "target", "text", "expected"),
    [
        ("zh", "en", "我爱你。你爱我。\n\n  好！", "我爱你. 你爱我.\n\n  好!"),
        ("en", "zh", "I love you. You love me.\r\n\tOk.", "I love you。You love me。\r\n\tOk。"),
        ("fr", "en", "Il fait beau. À demain ?", "Il fait beau. À demain?"),
        ("en", "zh", "I love you.  You love me.", "I love you。  You love me。"),
    ],
)
def test_sentences_are_spaced_as_the_target_language_does(
    app: FastAPI, source: str, target: str, text: str, expected: str
) -> None:
    assert translate(app, {"q": text, "source": source, "target": target}).json() == {"translatedText": expected}


@pytest.mark.parametrize(
    "text", [" ", "\n", "123", "!!! ...", "😀 👩‍👩‍👧", "——。", "3 + 4 = 7\r\n", "(https://a.b/c), a@b.org"]
)
def test_text_with_nothing_to_translate_never_reaches_the_engine(loader: FakeLoader, text: str) -> None:
    assert translate(make_app(loader), {"q": text, **ZH}).json() == {"translatedText": text}
    assert loader.engine.submitted == []


@pytest.mark.parametrize("code", ["zh", "ZH", "zh-Hans", "zh-hans", "ZH_HANS"])
def test_language_codes_are_case_insensitive_and_have_aliases(app: FastAPI, code: str) -> None:
    assert translate(app, {"q": "好！", "source": code, "target": "EN"}).json() == {"translatedText": "好!"}


def test_the_model_reads_target_tag_pieces_and_end(loader: FakeLoader) -> None:
    translate(make_app(loader), {"q": "Tu m'aimes.", "source": "fr", "target": "en"})
    vocabulary = loader.vocabulary
    assert [job.source_ids for job in loader.engine.submitted] == [tuple(vocabulary.encode_source("Tu m'aimes.", "en"))]


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("Où es-tu\u202f?", "Où es-tu ?"),
        ("Ｔｕ　ｍ＇ａｉｍｅｓ．", "Tu m'aimes."),
        ("TU NE M'AIMES PAS.", "Tu ne m'aimes pas."),
    ],
)
def test_the_model_reads_the_characters_it_knows(loader: FakeLoader, text: str, read: str) -> None:
    translate(make_app(loader), {"q": text, "source": "fr", "target": "en"})
    vocabulary = loader.vocabulary
    assert [job.source_ids for job in loader.engine.submitted] == [tuple(vocabulary.encode_source(read, "en"))]


def test_a_prefix_is_taken_as_it_is(loader: FakeLoader) -> None:
    prefix = "YOU DO NOT LOVE"
    translate(make_app(loader), {"q": "Tu m'aimes.", "source": "fr", "target": "en", "target_prefix": prefix})
    (job,) = loader.engine.submitted
    assert job.options.target_prefix == tuple(loader.vocabulary.encode(prefix))


def test_a_sentence_too_long_for_the_model_is_split_and_nothing_is_lost(loader: FakeLoader) -> None:
    text = "，".join(["我喜欢咖啡"] * 40) + "。"
    reply = translate(make_app(loader), {"q": text, **ZH}).json()
    assert reply["translatedText"].replace(" ", "").replace(",", "，") == text[:-1] + "."
    assert len(loader.engine.submitted) > 1
    assert all(len(job.source_ids) <= 40 for job in loader.engine.submitted)


@pytest.mark.parametrize("none", [None, 0, -3, "0"])
def test_without_alternatives_the_reply_has_no_such_field(app: FastAPI, none: Any) -> None:
    assert translate(app, {"q": "好！", "alternatives": none, **ZH}).json() == {"translatedText": "好!"}


def test_alternatives_of_one_sentence_are_its_n_best(loader: FakeLoader) -> None:
    text = "I love you."
    reply = translate(make_app(loader), {"q": text, "alternatives": 2, "source": "en", "target": "fr"}).json()
    (job,) = loader.engine.submitted
    best, second, third = (loader.vocabulary.decode(found.target_ids).strip() for found in echo(job))
    # Both are given the stop of the source.
    assert reply == {"translatedText": best, "alternatives": [second + ".", third + "."]}
    assert (job.options.beam_size, job.options.num_hypotheses) == (4, 3)


@pytest.mark.parametrize(("alternatives", "beam_size"), [(0, 4), (3, 4), (4, 5)])
def test_the_beam_is_4_and_wider_than_the_alternatives(loader: FakeLoader, alternatives: int, beam_size: int) -> None:
    translate(make_app(loader), {"q": "好！", "alternatives": alternatives, **ZH})
    assert loader.engine.submitted[0].options.beam_size == beam_size


def test_a_limit_on_beams_limits_the_usual_beam(loader: FakeLoader) -> None:
    translate(make_app(loader, max_beam_size=2, max_alternatives=1), {"q": "好！", **ZH})
    assert loader.engine.submitted[0].options.beam_size == 2


def test_alternatives_of_several_sentences_change_the_least_sure_one_first(vocabulary: Any) -> None:
    def answer(job: Job) -> tuple[Hypothesis, ...]:
        known, gap = vocabulary.decode(job.source_ids), 0.9 if "love" in vocabulary.decode(job.source_ids) else 0.1
        texts = (known, known.replace("I ", "We ").replace("You ", "They "))
        return tuple(
            Hypothesis(ids, 0.0, -gap * rank, "eos", (0.0,) * (len(ids) + 1))
            for rank, ids in enumerate(tuple(vocabulary.encode(text)) for text in texts)
        )

    app = make_app(FakeLoader(vocabulary, answer=answer))
    q = ["I love you. You like tea."]
    assert translate(app, {"q": q, "source": "en", "target": "fr", "alternatives": 5}).json() == {
        "translatedText": ["I love you. You like tea."],
        "alternatives": [["I love you. They like tea.", "We love you. You like tea."]],
    }


def test_alternatives_that_spell_the_same_are_left_out(vocabulary: Any) -> None:
    app = make_app(FakeLoader(vocabulary, answer=lambda job: echo(job)[:1] * job.options.num_hypotheses))
    reply = translate(app, {"q": "好！", "alternatives": 3, **ZH}).json()
    assert reply == {"translatedText": "好!", "alternatives": []}


def test_search_options_reach_the_engine(loader: FakeLoader) -> None:
    body = {"q": "I love you.", "source": "en", "target": "fr", "beam_size": 4, "length_penalty": 0.6}
    translate(make_app(loader), {**body, "max_output_tokens": 50})
    (job,) = loader.engine.submitted
    options = job.options
    assert (options.beam_size, options.num_hypotheses, options.length_penalty, options.max_output_tokens) == (
        4, 1, 0.6, 50,
    )  # fmt: skip


def test_without_options_the_settings_decide(loader: FakeLoader) -> None:
    translate(make_app(loader, beam_size=5), {"q": "好！", **ZH})
    (job,) = loader.engine.submitted
    assert job.options.beam_size == 5
    assert job.options.max_output_tokens == 2 * len(job.source_ids) + 10


def test_a_translation_that_was_cut_says_so(app: FastAPI) -> None:
    cut = translate(app, {"q": "The weather is nice today.", "source": "en", "target": "fr", "max_output_tokens": 2})
    assert cut.json()["truncated"] is True
    texts = ["The weather is nice today.", "123"]
    cut = translate(app, {"q": texts, "source": "en", "target": "fr", "max_output_tokens": 2})
    assert cut.json()["truncated"] == [True, False]


@pytest.mark.parametrize(
    "optional", [{"api_key": None}, {"api_key": "k", "secret": ""}, {"format": ""}, {"format": None}]
)
def test_fields_of_other_clients_are_accepted(app: FastAPI, optional: dict[str, Any]) -> None:
    assert translate(app, {"q": "好！", **ZH, **optional}).json() == {"translatedText": "好!"}


@pytest.mark.parametrize("content_type", [None, "application/json; charset=utf-8", "application/vnd.x+json"])
def test_json_is_read_under_any_name_it_goes_by(app: FastAPI, content_type: str | None) -> None:
    headers = {"content-type": content_type} if content_type else {}
    body = '{"q": "好！", "source": "zh", "target": "en"}'.encode()
    reply = ask(app, "POST", "/translate", content=body, headers=headers)
    assert reply.json() == {"translatedText": "好!"}


def test_concurrent_requests_get_their_own_answers(vocabulary: Any) -> None:
    app = make_app(FakeLoader(vocabulary, delay=0.001))
    texts = [f"I like tea {index}." for index in range(30)]

    async def scenario() -> list[str]:
        async with running(app) as client:
            replies = await asyncio.gather(
                *(client.post("/translate", json={"q": q, "source": "en", "target": "fr"}) for q in texts)
            )
            return [reply.json()["translatedText"] for reply in replies]

    assert asyncio.run(scenario()) == texts


def test_a_large_request_is_translated_whole(app: FastAPI) -> None:
    text = "我爱你。" * 2000
    assert translate(app, {"q": text, **ZH}).json()["translatedText"].replace(" ", "") == text.replace("。", ".")
