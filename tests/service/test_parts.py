"""Parts that are plain functions: ranking of alternatives, admission, language codes."""

from __future__ import annotations

import pytest

from service.admission import Admission
from service.alternatives import distinct_texts, ranked_versions
from service.engine.types import Hypothesis
from service.errors import RejectedError, UnavailableError, shown
from service.text.languages import Directions, language_name, normalise_code


def hypothesis(score: float) -> Hypothesis:
    return Hypothesis((7,), score, score, "eos", (score, 0.0))


def test_versions_give_up_as_little_score_as_possible() -> None:
    sentences = [[("a", -1.0), ("b", -1.5), ("c", -3.0)], [("x", -2.0), ("y", -2.1)], [("only", -1.0)]]
    assert list(ranked_versions(sentences, 3)) == [
        ["a", "x", "only"],
        ["a", "y", "only"],
        ["b", "x", "only"],
        ["c", "x", "only"],
    ]
    assert list(ranked_versions(sentences, 0)) == [["a", "x", "only"]]
    assert list(ranked_versions([], 3)) == [[]]


def test_texts_that_spell_the_same_keep_the_best_hypothesis() -> None:
    found = [hypothesis(-1.0), hypothesis(-2.0), hypothesis(-3.0)]
    assert list(distinct_texts(found, ["a", "a", "b"]).items()) == [("a", found[0]), ("b", found[2])]


def test_the_door_counts_who_is_inside_and_lets_no_more_in_than_allowed() -> None:
    admission = Admission(2)
    with admission.admit():
        with pytest.raises(KeyError), admission.admit():
            raise KeyError  # who leaves in anger has left too
        with admission.admit():
            assert admission.under_way == 2
            with pytest.raises(RejectedError) as refused, admission.admit():
                pass
    assert (refused.value.status, refused.value.rejection) == (503, "too_many_requests")
    assert admission.under_way == 0


def test_a_closed_door_lets_nobody_in_and_keeps_nobody_from_leaving() -> None:
    admission = Admission(2)
    with admission.admit():
        admission.close()
        with pytest.raises(RejectedError) as refused, admission.admit():
            pass
        assert refused.value.rejection == "draining"
        assert refused.value.headers["Connection"] == "close"
    assert admission.under_way == 0


@pytest.mark.parametrize(("seconds", "header"), [(0.0, "1"), (1.2, "2"), (500.0, "30")])
def test_nobody_is_told_to_come_back_at_once_or_in_minutes(seconds: float, header: str) -> None:
    assert UnavailableError("later", seconds).headers == {"Retry-After": header}


@pytest.mark.parametrize(
    ("written", "code"), [("EN", "en"), (" zh-Hans ", "zh"), ("zh_HANT", "zt"), ("pt-BR", "pb"), ("xx", "xx")]
)
def test_codes(written: str, code: str) -> None:
    assert normalise_code(written) == code


def test_directions() -> None:
    directions = Directions.parse(["zh-en", "fr-en", "en-fr"])
    assert directions.sources == ("zh", "zt", "fr", "en")
    assert directions.targets("en") == ("fr",)
    assert directions.knows("zh")
    assert not directions.knows("de")
    assert (language_name("zh"), language_name("xx")) == ("Chinese", "xx")


def test_values_in_messages_are_short_and_printable() -> None:
    assert shown("x" * 100) == "x" * 60 + "..."
    assert shown("\ud800") == "?"
