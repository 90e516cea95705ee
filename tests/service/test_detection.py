"""Which language a text is in, and what that means for its translation."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest
from fastapi import FastAPI
from hypothesis import given, settings
from hypothesis import strategies as st

from service.api.units import decided, line_by_line
from service.text.detection import detector, is_in_target_already, source_of
from service.text.languages import Directions
from tests.service.fakes import FakeLoader, ask, make_app, running, translate

DIRECTIONS = Directions.parse(["zh-en", "fr-en", "en-fr", "en-zh"])

TEXTS = {
    "en": ["The cat sleeps.", "Where is my book?", "THE DOOR IS OPEN", "See https://example.fr/le-chat for the news"],
    "fr": [
        "Le chat dort.",
        "Où est mon livre ?",
        "LA PORTE EST OUVERTE",
        "Bonjour",
        "{0} fichiers ont été <b>supprimés</b>",
    ],
    "zh": ["你好", "我喜欢Python编程", "今天天气很好。", "請看 https://example.org"],
    "de": ["Guten Morgen, wie geht es dir?"],
    "ja": ["こんにちは世界", "今日は天気がいいですね。"],
    "ko": ["안녕하세요"],
    "ru": ["Доброе утро, друзья!"],
    "el": ["Καλημέρα σε όλους"],
    "ar": ["صباح الخير يا أصدقائي"],
    "th": ["สวัสดีตอนเช้า"],
}


@pytest.mark.parametrize(("language", "text"), [(code, text) for code, texts in TEXTS.items() for text in texts])
def test_the_language_of_a_text(language: str, text: str) -> None:
    guess = source_of(text, DIRECTIONS, "en" if language != "en" else "fr")
    assert guess.language.replace("zt", "zh") == language
    assert 0 < guess.confidence <= 100


@pytest.mark.parametrize(
    "text", ["", " \n", "123", "!!! ...", "😀 👩‍👩‍👧", "https://a.b/c", "3 + 4 = 7", "{0} %s", "<br/>", "\ufeff"]
)
def test_a_text_without_letters_is_in_none(text: str) -> None:
    assert [(each.language, each.confidence) for each in detector().guesses(text)] == [("en", 0.0)]


def test_letters_of_an_unknown_script_are_of_no_known_language() -> None:
    assert [(each.language, each.confidence) for each in detector().guesses("ᏣᎳᎩ ᎦᏬᏂᎯᏍᏗ")] == [("und", 0.0)]


@settings(max_examples=150, deadline=None)
@given(text=st.text(max_size=200))
def test_any_text_has_a_language_and_the_likeliest_is_the_first(text: str) -> None:
    guesses = detector().guesses(text)
    assert guesses[0] == detector().best(text)
    assert [each.probability for each in guesses] == sorted((each.probability for each in guesses), reverse=True)
    assert all(0 <= each.confidence <= 100 for each in guesses)


@settings(max_examples=60, deadline=None)
@given(noise=st.sampled_from(["https://example.org/der/hund", "a@b.de", "😀", "12,5", "{name}", "%(file)s", "<b>"]))
def test_what_is_no_word_does_not_tell_a_language(noise: str) -> None:
    text = "Le chien est dans le jardin."
    assert detector().best(f"{text} {noise}") == detector().best(text)


@pytest.mark.parametrize(
    ("text", "target", "expected"),
    [
        ("Le jardin est petit.", "fr", True),
        ("Le jardin", "fr", False),  # too few words to be sure
        ("The garden is small.", "fr", False),
        ("Le jardin est petit.\nThe garden is small.", "fr", False),  # a line of it is not
        ("Le jardin est petit.\n\nIl fait beau aujourd'hui.\nOui.", "fr", True),
        ("今天天气很好，我们去公园吧。", "zh", True),
        ("今天好", "zh", False),
        ("Tom, Marie, Paul, Boston", "en", False),  # names
        ("", "fr", False),
    ],
)
def test_what_is_in_the_target_language_already(text: str, target: str, expected: bool) -> None:
    assert is_in_target_already(text, DIRECTIONS, target) is expected


def test_auto_detects_each_text_by_itself(loader: FakeLoader) -> None:
    texts = [
        "我喜欢咖啡，你喜欢茶。",
        "Il fait beau aujourd'hui.",
        "The weather is nice today.",
        "12 😀",
        "Guten Morgen, wie geht es dir?",
    ]
    reply = translate(make_app(loader), {"q": texts, "source": "auto", "target": "en"})
    assert reply.status_code == 200
    body = reply.json()
    assert [each["language"] for each in body["detectedLanguage"]] == ["zh", "fr", "en", "en", "de"]
    assert [each["confidence"] > 50 for each in body["detectedLanguage"]] == [True, True, True, False, True]
    assert body["translatedText"][2:] == texts[2:]
    assert body["warnings"] == [{"index": 4, "start": 0, "end": 30, "warning": "language_not_available"}]
    # The others were not given to the engine.
    assert len(loader.engine.submitted) == 2


def test_auto_answers_a_string_with_one_detection(app: FastAPI) -> None:
    body = translate(app, {"q": "Il fait beau aujourd'hui.", "source": "AUTO", "target": "en"}).json()
    assert body["translatedText"] == "Il fait beau aujourd'hui."
    assert body["detectedLanguage"]["language"] == "fr"
    assert list(body) == ["translatedText", "detectedLanguage"]


def test_a_language_that_is_known_but_not_translated_into_the_target_comes_back(loader: FakeLoader) -> None:
    body = translate(make_app(loader), {"q": "今天天气很好。", "source": "auto", "target": "fr"}).json()
    assert (body["translatedText"], body["detectedLanguage"]["language"]) == ("今天天气很好。", "zh")
    assert body["warnings"][0]["warning"] == "language_not_available"
    assert loader.engine.submitted == []


def test_traditional_chinese_has_its_own_code(app: FastAPI) -> None:
    body = translate(app, {"q": "今天天氣很好。", "source": "auto", "target": "en"}).json()
    assert body["detectedLanguage"]["language"] == "zt"


def test_with_a_source_what_is_surely_in_the_target_language_comes_back_with_a_warning(loader: FakeLoader) -> None:
    texts = ["Le jardin est petit.", "The garden is small.", "Bonjour"]
    body = translate(make_app(loader), {"q": texts, "source": "en", "target": "fr"}).json()
    assert body["translatedText"][0] == texts[0]
    assert body["warnings"] == [{"index": 0, "start": 0, "end": 20, "warning": "already_in_target"}]
    assert "detectedLanguage" not in body
    assert len(loader.engine.submitted) == 2


MIXED = (
    "The weather is nice today, my friends.\nIl fait beau aujourd'hui, mes amis.\nOui.\n\n"
    "The children are playing in the garden with their dog.\n"
)
LINES = [*MIXED.splitlines(), "", "  ", "12", "今天天气很好，我们去公园吧。", "Tom"]


def sent(loader: FakeLoader) -> str:
    """What the engine was given, all of it."""
    return " ".join(loader.vocabulary.decode(job.source_ids) for job in loader.engine.submitted)


@pytest.mark.parametrize("source", ["auto", "fr"])
def test_of_a_text_of_several_languages_only_lines_that_are_in_another_are_translated(
    loader: FakeLoader, source: str
) -> None:
    body = translate(make_app(loader), {"q": MIXED, "source": source, "target": "en"}).json()
    assert body["translatedText"] == MIXED  # the engine gives back what it read
    assert "amis" in sent(loader)
    assert "Oui" in sent(loader)
    assert "weather" not in sent(loader)
    assert "children" not in sent(loader)
    already = [each for each in body.get("warnings", ()) if each["warning"] == "already_in_target"]
    lines = [MIXED[each["start"] : each["end"]].strip() for each in already]
    assert lines == ([] if source == "auto" else [MIXED.splitlines()[0], MIXED.splitlines()[-1]])


def test_lines_in_a_language_that_is_not_translated_come_back_among_others(loader: FakeLoader) -> None:
    text = "Il fait beau aujourd'hui, mes amis.\nGuten Morgen, wie geht es dir heute?\nJ'aime le café et le thé."
    body = translate(make_app(loader), {"q": text, "source": "auto", "target": "en"}).json()
    assert body["translatedText"] == text
    assert "Morgen" not in sent(loader)
    (note,) = body["warnings"]
    assert (text[note["start"] : note["end"]].strip(), note["warning"]) == (
        text.splitlines()[1], "language_not_available",
    )  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(
    lines=st.lists(st.sampled_from(LINES), max_size=8),
    line_break=st.sampled_from(["\n", "\r\n"]),
    source=st.sampled_from([None, "fr"]),
)
def test_units_are_the_text_in_order(lines: list[str], line_break: str, source: str | None) -> None:
    text = line_break.join(lines)
    whole = decided(text, source, "en", DIRECTIONS)
    units = line_by_line(text, whole, source, "en", DIRECTIONS)
    assert "".join(unit.text + unit.tail for unit in units) == text
    assert all(one.decision != other.decision for one, other in itertools.pairwise(units))


def test_auto_needs_a_target_that_something_is_translated_into(app: FastAPI) -> None:
    reply = translate(app, {"q": "a", "source": "auto", "target": "zt"})
    assert (reply.status_code, reply.json()["error"]) == (
        400, "Chinese (traditional) (zt) is not available as a target language from any language",
    )  # fmt: skip
    assert translate(app, {"q": "a", "source": "auto", "target": "xx"}).status_code == 400


def test_a_group_that_fails_takes_the_others_with_it(loader: FakeLoader) -> None:
    """Texts of several languages are one request: it has one answer."""

    async def scenario() -> Any:
        async with running(make_app(loader)) as client:
            loader.engine.refusal = ZeroDivisionError("a defect")
            texts = ["我喜欢咖啡，你喜欢茶。", "Il fait beau aujourd'hui."]
            return await client.post("/translate", json={"q": texts, "source": "auto", "target": "en"})

    reply = asyncio.run(scenario())
    assert reply.status_code == 500
    assert all(job.future.done() or job.future.cancelled() for job in loader.engine.submitted)


def test_details_of_texts_that_come_back_are_empty(app: FastAPI) -> None:
    body = translate(app, {"q": ["123", "The weather is nice."], "source": "auto", "target": "en", "details": True})
    assert body.json()["segments"] == [[], []]


@pytest.mark.parametrize(
    "request_",
    [{"json": {"q": "Bonjour tout le monde", "api_key": ""}}, {"data": {"q": "Bonjour tout le monde"}},
     {"params": {"q": "Bonjour tout le monde"}}],
)  # fmt: skip
def test_detect_as_libretranslate(app: FastAPI, request_: dict[str, Any]) -> None:
    reply = ask(app, "POST", "/detect", **request_)
    assert reply.status_code == 200
    best, *others = reply.json()
    assert set(best) == {"confidence", "language"}
    assert (best["language"], best["confidence"] > 80, len(others) <= 2) == ("fr", True, True)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "Invalid request: missing q parameter"),
        ({"q": ""}, "Invalid request: missing q parameter"),
        ({"q": ["a"]}, "Invalid request: q parameter must be a string"),
        ({"q": 5}, "Invalid request: q parameter must be a string"),
        ({"q": "a" * 51}, "Invalid request: request (51) exceeds text limit (50)"),
    ],
)
def test_what_cannot_be_detected_is_refused(loader: FakeLoader, body: dict[str, Any], message: str) -> None:
    reply = ask(make_app(loader, max_characters=50), "POST", "/detect", json=body)
    assert (reply.status_code, reply.json()) == (400, {"error": message})


def test_detect_is_only_for_post(app: FastAPI) -> None:
    assert ask(app, "GET", "/detect").status_code == 405
