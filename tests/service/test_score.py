"""POST /score: a given translation, forced."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.service.fakes import FakeLoader, ask, make_app
from tests.service.test_details import ALWAYS, FR, Post, segments_of, serving

SOURCE, TARGET = "Je ne suis pas étudiant.", "I'm not a student."


@pytest.fixture(scope="module")
def post(shipped_fp32_bundle: Path) -> Iterator[Post]:
    with serving(shipped_fp32_bundle) as made:
        yield made


def test_a_string_is_scored_token_by_token(post: Post) -> None:
    (found,) = segments_of(post("/score", q=SOURCE, translation=TARGET, **FR))
    assert set(found) == ALWAYS
    assert found["target_tokens"][-1] == "</s>"
    assert len(found["token_log_probs"]) == len(found["target_tokens"])
    assert found["log_prob"] == pytest.approx(sum(found["token_log_probs"]), abs=1e-5)
    assert found["score"] == pytest.approx(found["log_prob"] / len(found["target_tokens"]))
    assert (found["source_span"], found["target_span"]) == ([0, len(SOURCE)], [0, len(TARGET)])
    assert (found["finish_reason"], found["truncated"]) == ("eos", False)


def test_the_engine_finds_its_own_translation_as_likely(post: Post) -> None:
    texts = ["Merci beaucoup.", "Il fait très beau aujourd'hui.", SOURCE]
    reply = post("/translate", q=texts, details=True, **FR).json()
    forced = segments_of(post("/score", q=texts, translation=reply["translatedText"], **FR))
    for (decoded,), (scored,) in zip(reply["segments"], forced, strict=True):
        assert scored["target_tokens"] == decoded["target_tokens"]
        assert scored["log_prob"] == pytest.approx(decoded["log_prob"], abs=1e-3)


def test_a_better_translation_is_likelier_and_order_is_kept(post: Post) -> None:
    translations = ["A cat sleeps.", TARGET, ""]
    found = segments_of(post("/score", q=[SOURCE] * 3, translation=translations, **FR))
    assert [len(segments) for segments in found] == [1, 1, 1]
    assert found[1][0]["log_prob"] > found[0][0]["log_prob"]
    assert found[2][0]["target_tokens"] == ["</s>"]
    alone = segments_of(post("/score", q=[SOURCE], translation=[TARGET], **FR))
    assert alone == [found[1]]


def test_a_text_is_one_sentence_whatever_is_in_it(post: Post) -> None:
    q, translation = "Bonjour. Merci.", "  Hello. Thanks. "
    (found,) = segments_of(post("/score", q=q, translation=translation, **FR))
    assert found["source_span"] == [0, len(q)]
    assert translation[slice(*found["target_span"])] == "Hello. Thanks."


def test_alignment_and_attention(post: Post) -> None:
    (found,) = segments_of(post("/score", q=SOURCE, translation=" " + TARGET, alignment=True, attention=True, **FR))
    assert set(found) == ALWAYS | {"alignment", "attention"}
    links = {(SOURCE[slice(*e["source"])], (" " + TARGET)[slice(*e["target"])]) for e in found["alignment"]}
    assert ("étudiant", "student") in links
    assert set(found["attention"]) == {"encoder", "decoder", "cross"}
    assert all(math.isclose(sum(row), 1, abs_tol=1e-4) for row in found["attention"]["cross"][1][0])


@pytest.mark.parametrize(
    ("change", "status", "message"),
    [
        ({"translation": None}, 400, "Invalid request: missing translation parameter"),
        ({"translation": ""}, 400, "Invalid request: missing translation parameter"),
        ({"q": ""}, 400, "Invalid request: missing q parameter"),
        ({"translation": 5}, 400, "Invalid request: translation parameter must be a string or an array of strings"),
        ({"translation": ["a"]}, 400, "q and translation parameters must be two strings or equally long arrays"),
        ({"q": ["a", "b"], "translation": ["a"]}, 400, "must be two strings or equally long arrays"),
        ({"target": "de"}, 400, "de is not supported"),
        ({"source": "auto"}, 400, "auto is not supported"),
        ({"q": "J'aime le café. " * 20}, 422, "a text of q has "),
        ({"translation": "I like tea. " * 40}, 422, "a text of translation has "),
        ({"translation": "x" * 2001}, 400, "exceeds text limit (2000)"),
        ({"details": True}, 422, "unknown field 'details'; the fields are q, source, target, translation, alignment"),
        ({"alignment": 1}, 422, "alignment must be true or false"),
        ({"timeout_ms": 10**9}, 422, "timeout_ms must be at most"),
    ],
)
def test_what_does_not_fit_is_refused(loader: FakeLoader, change: dict[str, Any], status: int, message: str) -> None:
    body = {"q": "Merci.", "translation": "Thanks.", **FR, **change}
    reply = ask(make_app(loader, max_characters=2000), "POST", "/score", json=body)
    assert reply.status_code == status
    assert message in reply.json()["error"]
