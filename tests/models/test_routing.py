"""Which models a text goes through: no model is loaded here."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.model_names import Canary, ModelName, parse_canaries
from service.models.memory import Resident, leaving
from service.models.routing import Candidate, Routes
from service.text.languages import Directions


def candidate(written: str, *pairs: str, priority: int = 0) -> Candidate:
    name, _, version = written.partition("@")
    return Candidate(ModelName(name, version), Directions.parse(pairs), priority)


def names(routes: Routes, source: str, target: str, canary: ModelName | None = None) -> list[str]:
    return [str(hop.model) for hop in routes.route(source, target, lambda name: canary)]


OLD, NEW, BEST = candidate("fr-en@9", "fr-en"), candidate("fr-en@10", "fr-en"), candidate("x@1", "fr-en", priority=1)
BACK, CHINESE = candidate("en-fr@1", "en-fr"), candidate("zh@1", "zh-en", "en-zh")


def test_the_highest_priority_takes_a_pair_then_the_highest_version() -> None:
    assert names(Routes.over([OLD, NEW]), "fr", "en") == ["fr-en@10"]
    assert names(Routes.over([OLD, BEST, NEW]), "fr", "en") == ["x@1"]
    assert names(Routes.over([BACK, NEW]), "en", "fr") == ["en-fr@1"]


def test_two_models_translate_a_pair_that_none_does_alone() -> None:
    routes = Routes.over([NEW, BACK, CHINESE], pivot="*")
    assert names(routes, "zh", "fr") == ["zh@1", "en-fr@1"]
    assert names(routes, "fr", "zh") == ["fr-en@10", "zh@1"]
    assert routes.directions.translates("zt", "fr")
    # Nobody wants a text of one script in the other by way of English.
    assert not routes.directions.translates("zt", "zh")


def test_no_pivot_where_the_setting_forbids_it() -> None:
    for pivot in ("none", "de", "fr,zh"):
        routes = Routes.over([NEW, BACK, CHINESE], pivot=pivot)
        assert names(routes, "zh", "fr") == []
        assert not routes.directions.translates("zh", "fr")
    assert names(Routes.over([NEW, BACK, CHINESE], pivot="de,en"), "zh", "fr") == ["zh@1", "en-fr@1"]


def test_the_wanted_language_between_comes_first() -> None:
    several = [candidate("a@1", "fr-en", "fr-de"), candidate("b@1", "en-zh"), candidate("c@1", "de-zh")]
    assert names(Routes.over(several, pivot="*"), "fr", "zh") == ["a@1", "b@1"]
    assert names(Routes.over(several, pivot="de,en"), "fr", "zh") == ["a@1", "c@1"]


def test_models_that_write_a_language_in_other_codes_share_it() -> None:
    routes = Routes.over([candidate("a@1", "fr-en"), candidate("b@1", "eng-deu")], pivot="*")
    hops = routes.route("fr", "deu")
    assert [(hop.source, hop.target) for hop in hops] == [("fr", "en"), ("eng", "deu")]
    assert set(routes.directions.pairs) == {("fr", "en"), ("en", "deu"), ("fr", "deu")}


def test_a_canary_gets_what_is_drawn_for_it_and_is_not_the_default() -> None:
    canaries = parse_canaries("fr-en@10=0.1")
    routes = Routes.over([OLD, NEW], canaries)
    assert names(routes, "fr", "en") == ["fr-en@9"]
    assert names(routes, "fr", "en", NEW.model) == ["fr-en@10"]
    # Alone it serves everything.
    assert names(Routes.over([NEW], canaries), "fr", "en") == ["fr-en@10"]
    # One that does not translate the pair is passed over.
    other = candidate("fr-en@11", "de-en")
    assert names(Routes.over([OLD, other], [Canary(other.model, 1.0)]), "fr", "en", other.model) == ["fr-en@9"]


def test_one_model_may_be_named() -> None:
    routes = Routes.over([OLD, NEW, BEST, BACK])
    for written, found in (("fr-en", "fr-en@10"), ("fr-en@9", "fr-en@9")):
        only = routes.only(written)
        assert only is not None
        assert names(only, "fr", "en") == [found]
        assert only.directions.pairs == (("fr", "en"),)
    assert routes.only("fr-en@8") is None


@pytest.mark.parametrize("written", ["fr-en=0.1", "fr-en@2", "fr-en@2=2", "fr-en@2=a", "@2=0.1", "a@1=0.1,a@2=0.1"])
def test_what_is_no_canary_is_said(written: str) -> None:
    with pytest.raises(ValueError, match="canary"):
        parse_canaries(written)


PAIRS = st.sampled_from([f"{a}-{b}" for a in ("fr", "en", "de", "zh") for b in ("fr", "en", "de", "zh") if a != b])


@given(st.lists(st.lists(PAIRS, min_size=1, unique=True), min_size=1, max_size=5), st.sampled_from(["*", "none", "en"]))
def test_every_pair_of_the_union_has_a_way_and_its_hops_fit_together(models: list[list[str]], pivot: str) -> None:
    candidates = [candidate(f"m{index}@1", *pairs) for index, pairs in enumerate(models)]
    routes = Routes.over(candidates, pivot=pivot)
    for source, target in routes.directions.pairs:
        hops = routes.route(source, target)
        assert 1 <= len(hops) <= (1 if pivot == "none" else 2)
        assert (hops[0].source, hops[-1].target) == (source, target)
        assert all(one.target == other.source for one, other in itertools.pairwise(hops))


RESIDENTS = st.lists(
    st.builds(Resident, st.uuids(), st.integers(1, 50), st.floats(0, 100), st.booleans(), st.booleans()), max_size=8
)


@given(RESIDENTS, st.integers(1, 60), st.integers(0, 200))
def test_what_leaves_makes_room_and_the_idle_leave_first(residents: list[Resident], size: int, bound: int) -> None:
    left = list(residents)
    while (key := leaving(left, size, bound)) is not None:
        victim = next(each for each in left if each.key == key)
        others = [each for each in left if each.may_leave]
        assert victim.may_leave
        if victim.is_busy:
            assert all(each.is_busy for each in others)
        assert all(victim.last_used <= each.last_used for each in others if each.is_busy == victim.is_busy)
        left.remove(victim)
    has_room = not bound or sum(each.size for each in left) + size <= bound
    assert has_room or not any(each.may_leave for each in left)
