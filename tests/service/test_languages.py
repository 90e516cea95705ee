"""Language codes as people write them, and the names of languages."""

from __future__ import annotations

import pytest
from fastapi import FastAPI
from hypothesis import given, settings
from hypothesis import strategies as st

from service.text.languages import NAMES, Directions, nearest_code, normalise_code
from tests.service.fakes import FakeLoader, ask, translate
from tests.service.names import table, written

DIRECTIONS = Directions.parse(["zh-en", "fr-en", "en-fr", "pt-en", "en-nb"])


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ("en-US", "en"), ("en_GB", "en"), ("EN", "en"), (" en ", "en"), ("eng", "en"), ("en-Latn-US", "en"),
        ("fr_CA", "fr"), ("FR", "fr"), ("fra", "fr"), ("fre", "fr"), ("fr-CH-1996", "fr"), ("zho", "zh"), ("chi", "zh"),
        ("cmn", "zh"), ("cmn-Hans", "zh"), ("zh-Hans", "zh"), ("zh_CN", "zh"), ("cmn-Hant", "zt"), ("zh-TW", "zt"),
        ("pt-BR", "pt"), ("pt_pt", "pt"), ("por", "pt"), ("no", "nb"), ("nb-NO", "nb"), ("en-u-ca-buddhist", "en"),
    ],
)  # fmt: skip
def test_codes_that_mean_a_known_language(sent: str, code: str) -> None:
    assert DIRECTIONS.find(sent) == code


@pytest.mark.parametrize(
    "sent", ["zz", "xx-yy", "", "yue", "en1", "english please", "e", "*", "fr-Cyrl", "auto", "x-en", "en" * 100, "ｅｎ"]
)
def test_codes_that_mean_none(sent: str) -> None:
    assert DIRECTIONS.find(sent) is None


@pytest.mark.parametrize(
    ("sent", "nearest"),
    [("french", "fr"), ("Chinese", "zh"), ("cn", "zh"), ("us", "en"), ("frr", "fr"), ("yue", "zt"), ("englsh", "en"),
     ("zz", None), ("", None)],
)  # fmt: skip
def test_what_may_have_been_meant(sent: str, nearest: str | None) -> None:
    assert nearest_code(sent, DIRECTIONS.codes.values()) == nearest


def test_a_refusal_names_the_nearest_and_what_there_is(app: FastAPI) -> None:
    reply = translate(app, {"q": "a", "source": "french", "target": "en"})
    assert (reply.status_code, reply.json()["error"]) == (400, "french is not supported")
    assert reply.json()["nearest"] == "fr"
    assert {"source": "fr", "target": "en"} in reply.json()["available"]


@settings(max_examples=300, deadline=None)
@given(sent=st.one_of(st.text(max_size=60), st.from_regex(r"[A-Za-z]{1,4}([-_][A-Za-z0-9]{1,9}){0,4}", fullmatch=True)))
def test_any_code_is_understood_or_not(sent: str) -> None:
    assert normalise_code(normalise_code(sent)) == normalise_code(sent)
    assert DIRECTIONS.find(sent) in (None, "zh", "zt", "en", "fr", "pt", "nb")
    assert nearest_code(sent, DIRECTIONS.codes.values()) in (None, "zh", "zt", "en", "fr", "pt", "nb")


def test_the_names_are_those_of_cldr() -> None:
    assert NAMES.read_text(encoding="utf-8") == written(table()), "renew them with: python -m tests.service.names"


@pytest.mark.parametrize(
    ("accepted", "name"),
    [
        ("", "French"), ("fr", "Français"), ("zh-CN,zh;q=0.9,en;q=0.8", "法语"), ("xx, de;q=0.5", "Französisch"),
        ("de;q=0, fr-CA;q=0.1", "Français"), ("en;q=0.2, es;q=0.9", "Francés"), ("*", "French"), (";;q=x,,", "French"),
        ("zh-TW", "法文"),
    ],
)  # fmt: skip
def test_languages_are_named_as_the_caller_reads(loader: FakeLoader, app: FastAPI, accepted: str, name: str) -> None:
    listed = ask(app, "GET", "/languages", headers={"accept-language": accepted}).json()
    assert next(each for each in listed if each["code"] == "fr")["name"] == name


def test_the_same_source_and_target_give_the_text_back(app: FastAPI) -> None:
    reply = translate(app, {"q": ["I love you.", ""], "source": "en", "target": "en-GB", "alternatives": 1})
    assert reply.json() == {"translatedText": ["I love you.", ""], "alternatives": [[], []]}
