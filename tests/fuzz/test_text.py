"""What comes back whole of texts made by Hypothesis, with random weights and with the shipped model.

Random weights write anything, so what holds there is the code's doing. A few hundred texts; `make fuzz` takes thousands
(FUZZ_CASES).
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from benchmarks.html_tags import Tags
from service.text.numbers import numbers_differ
from tests.bundles import ROOT, SHIPPED_BUNDLE, random_bundle
from tests.fuzz import texts
from tests.service.conftest import SENTENCES
from tests.service.test_details import Post, serving

CASES = int(os.environ.get("FUZZ_CASES", "1000"))
PAIRS = (("en", "fr"), ("fr", "en"), ("zh", "en"), ("en", "zh"))
SHARES = {"random": 40, "digits": 80, "shipped": 160}
"""Of the cases one in so many for each property: the shipped model is the slowest."""
_BREAK = re.compile("\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")

Ask = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module", params=list(SHARES))
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Post]]:
    """Random weights with carriers, a small model that carries by digits, and the shipped one."""
    bundles: dict[str, Callable[[], Path]] = {
        "random": lambda: random_bundle(tmp_path_factory.mktemp("random"), SENTENCES, has_shortlist=True),
        "digits": lambda: ROOT / "tests" / "data" / "bundle-format-2",
        "shipped": lambda: SHIPPED_BUNDLE,
    }
    with serving(bundles[request.param]()) as post:
        yield request.param, post


def holds(
    model: tuple[str, Post],
    made: Callable[[str], st.SearchStrategy[Any]],
    claim: Callable[[Ask, Any, str, str], None],
) -> None:
    """Whether the claim holds in each direction, given (ask, what is made for the source language, source, target)."""
    name, post = model
    pairs = [pair for pair in PAIRS if name != "digits" or "zh" not in pair]
    cases = st.sampled_from(pairs).flatmap(lambda pair: st.tuples(made(pair[0]), st.just(pair)))

    def ask(text: str, source: str, target: str, **fields: Any) -> dict[str, Any]:
        reply = post("/translate", q=text, source=source, target=target, beam_size=1, **fields)
        assert reply.status_code == 200, reply.text
        found: dict[str, Any] = reply.json()
        return found

    @settings(
        max_examples=max(CASES // SHARES[name], 1),
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=cases)
    def check(case: tuple[Any, tuple[str, str]]) -> None:
        claim(ask, case[0], *case[1])

    check()


def test_lines_and_their_ends_are_those_of_the_source(model: tuple[str, Post]) -> None:
    def claim(ask: Ask, made: tuple[str, list[str]], source: str, target: str) -> None:
        answer = ask(made[0], source, target)["translatedText"]
        assert _BREAK.findall(answer) == _BREAK.findall(made[0])
        for line, translated in zip(_BREAK.split(made[0]), _BREAK.split(answer), strict=True):
            assert bool(line.strip()) == bool(translated.strip())
            assert translated.count("\t") == line.count("\t")

    holds(model, lambda language: texts.texts(language, texts.verbatim), claim)


def test_what_is_copied_stands_in_the_answer_as_often(model: tuple[str, Post]) -> None:
    def claim(ask: Ask, made: tuple[str, list[str]], source: str, target: str) -> None:
        answer = ask(made[0], source, target)["translatedText"]
        for part in made[1]:
            assert answer.count(part) == made[0].count(part), part
        assert not re.search("[\ue000-\uf8ff]", answer)

    holds(model, lambda language: texts.texts(language, texts.verbatim), claim)


def test_numbers_are_those_of_the_source_or_it_is_said(model: tuple[str, Post]) -> None:
    def claim(ask: Ask, made: tuple[str, list[str]], source: str, target: str) -> None:
        reply = ask(made[0], source, target)
        if numbers_differ(made[0], reply["translatedText"], (source, target)):
            assert {warning["warning"] for warning in reply.get("warnings", ())} & {
                "numbers_differ",
                "placeholder_lost",
            }

    holds(model, lambda language: texts.sentences(language, texts.numbers(language)), claim)


def test_text_without_a_letter_of_the_language_is_unchanged(model: tuple[str, Post]) -> None:
    def claim(ask: Ask, text: str, source: str, target: str) -> None:
        assert ask(text, source, target)["translatedText"] == text

    signs = st.lists(st.sampled_from(texts.NO_LETTERS), min_size=1, max_size=12).map("".join)
    holds(model, lambda language: signs, claim)


def test_invisible_characters_change_nothing(model: tuple[str, Post]) -> None:
    def claim(ask: Ask, made: tuple[str, str], source: str, target: str) -> None:
        plain, marked = (ask(text, source, target)["translatedText"] for text in made)
        # What is not translated may keep them.
        assert unicodedata.normalize("NFC", re.sub(f"[{texts.INVISIBLE}]", "", marked)) == plain

    @st.composite
    def both(draw: st.DrawFn, language: str) -> tuple[str, str]:
        plain, _ = draw(texts.texts(language, texts.numbers(language)))
        marked = unicodedata.normalize("NFD", plain) if draw(st.booleans()) else plain
        for place in sorted(draw(st.lists(st.integers(0, len(marked)), max_size=4)), reverse=True):
            if place == 0 or marked[place - 1 : place + 1] != "\r\n":
                marked = marked[:place] + draw(st.sampled_from(texts.INVISIBLE)) + marked[place:]
        return plain, marked

    holds(model, both, claim)


def test_html_comes_back_well_formed_with_its_tags(model: tuple[str, Post]) -> None:
    def claim(ask: Ask, text: str, source: str, target: str) -> None:
        before = Tags(text)
        assert before.is_balanced
        answer = ask(text, source, target, format="html")["translatedText"]
        after = Tags(answer)
        assert after.found == before.found, answer
        assert after.is_balanced, answer
        assert answer.count("<code>x = 1</code>") == text.count("<code>x = 1</code>")

    holds(model, texts.html, claim)


def test_tags_in_plain_text_come_back_as_often(model: tuple[str, Post]) -> None:
    def claim(ask: Ask, text: str, source: str, target: str) -> None:
        tags = re.compile(r"</?[a-z][^<>]*>|<!--.*?-->|&[a-z]+;")
        answer = ask(text, source, target)["translatedText"]
        assert Counter(tags.findall(answer)) == Counter(tags.findall(text))

    holds(model, lambda language: st.one_of(texts.html(language), texts.inline(language)), claim)


def test_spans_of_details_point_at_what_they_name(model: tuple[str, Post]) -> None:
    def claim(ask: Ask, made: tuple[str, list[str]], source: str, target: str) -> None:
        reply = ask(made[0], source, target, details=True)
        sides = (("source", made[0]), ("target", reply["translatedText"]))
        ends = dict.fromkeys(("source", "target"), 0)
        for segment in reply["segments"]:
            for side, whole in sides:
                start, end = segment[f"{side}_span"]
                assert ends[side] <= start < end <= len(whole)
                ends[side] = end
                left = start
                for first, last in [*segment[f"{side}_words"], (end, end)]:
                    # Only marks, and what was set aside, are in no word.
                    between = re.sub("|".join(map(re.escape, made[1])), "", whole[left:first])
                    assert left <= first <= last <= end
                    assert not re.search(r"\w", between)
                    left = last
                for token, (first, last) in zip(segment[f"{side}_tokens"], segment[f"{side}_token_spans"], strict=True):
                    assert start <= first <= last <= end
                    shown, word = whole[first:last].casefold(), token.strip("\u2581").casefold()
                    # A piece of letters stands where its letters are; carriers stand for something else.
                    if word.isalpha() and shown.isalpha():
                        assert word == shown

    holds(model, lambda language: texts.texts(language, st.one_of(texts.verbatim, texts.numbers(language))), claim)
