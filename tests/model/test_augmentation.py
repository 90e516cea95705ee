"""Pairs made of pairs."""

from __future__ import annotations

import dataclasses
import random
import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.augmentation import (
    Shares,
    lower_cased,
    read_pairs_anew,
    title_cased,
    with_other_numbers,
    with_typo,
    without_final_mark,
)
from model.vocabulary import CARRIERS


@pytest.mark.parametrize(
    ("pair", "expected"),
    [
        (("我爱你。", "I love you."), ("我爱你", "I love you")),
        (("Tu viens ?", "Are you coming?"), ("Tu viens", "Are you coming?")),
        (("Non!", "No."), ("Non", "No.")),
        (("Oui", "Yes."), None),
        ((".", "."), None),
        (("a.", "."), None),
    ],
)
def test_without_final_mark(pair: tuple[str, str], expected: tuple[str, str] | None) -> None:
    assert without_final_mark(pair) == expected


def test_a_reading_without_changes_is_the_text() -> None:
    pairs = [(f"源{i}。", f"source {i}.") for i in range(100)]
    rows = [5, 5, 99, 0]
    assert read_pairs_anew(pairs, rows, ("zh", "en"), Shares(), random.Random(1)) == [pairs[row] for row in rows]


def test_readings_depend_on_what_they_are_drawn_from_alone() -> None:
    pairs = [(f"Monsieur {i} part.", f"Mister {i} leaves.") for i in range(20, 220)]
    shares = Shares(**{field.name: 0.4 for field in dataclasses.fields(Shares)})
    first, again, other = (
        read_pairs_anew(pairs, range(200), ("fr", "en"), shares, random.Random(seed)) for seed in (1, 1, 2)
    )
    assert first == again != other


@pytest.mark.parametrize(
    ("change", "holds"),
    [
        ("lowered", lambda source, target: source == source.lower() and target.startswith("Mister")),
        ("titled", lambda source, target: source.split()[2] == "Part." and target.endswith("leaves.")),
        ("capitals", lambda source, target: source.isupper() and target.isupper()),
        ("unmarked", lambda source, target: source.endswith("part") and target.endswith("leaves")),
        ("misspelt", lambda source, target: not source.startswith("Monsieur ") or not source.endswith(" part.")),
        ("renumbered", lambda source, target: re.findall("[0-9]+", source) == re.findall("[0-9]+", target)),
        ("concatenated", lambda source, target: source.count("part.") == target.count("leaves.") in (2, 3, 4)),
        ("carried", lambda source, target: set(CARRIERS) & set(source) == set(CARRIERS) & set(target) != set()),
    ],
)
def test_a_share_of_the_readings_is_changed(change: str, holds: Callable[[str, str], bool]) -> None:
    pairs = [(f"Monsieur {i} part.", f"Mister {i} leaves.") for i in range(200, 600)]
    for share in (0.25, 1.0):
        read = read_pairs_anew(pairs, range(400), ("fr", "en"), Shares(**{change: share}), random.Random(3))
        changed = [pair for pair, before in zip(read, pairs, strict=True) if pair != before]
        assert abs(len(changed) / 400 - share) < 0.1
        assert all(holds(*pair) for pair in changed)


def test_joined_chinese_has_no_spaces_between_sentences() -> None:
    pairs = [(f"源{i}。", f"source {i}.") for i in range(100)]
    read = read_pairs_anew(pairs, range(100), ("zh", "en"), Shares(concatenated=1.0), random.Random(1))
    assert all(" " not in source and ". source" in target for source, target in read)


@given(st.text("aé ÉZ'我.", max_size=20), st.text("bÉ我", max_size=5))
def test_title_case_begins_words_and_changes_nothing_else(source: str, target: str) -> None:
    pair = title_cased((source, target))
    if pair is None:
        return
    assert pair[1] == target
    assert pair[0].lower() == source.lower()
    assert title_cased(pair) is None


def test_what_is_in_small_letters_is_not_repeated() -> None:
    assert lower_cased(("Il part.", "He leaves.")) == ("il part.", "He leaves.")
    assert lower_cased(("我爱你。", "I love you.")) is None


@given(st.text("abcé DÉF.'", max_size=40), st.integers())
def test_a_typo_is_in_one_word_and_leaves_its_first_letter(source: str, seed: int) -> None:
    pair = with_typo((source, "target"), random.Random(seed))
    words = [len(word) for word in re.findall("[a-zA-Zéè" + "É]+", source)]
    assert (pair is None) == (max(words, default=0) < 4)
    if pair is not None:
        assert pair[0] != source
        assert pair[1] == "target"
        assert abs(len(pair[0]) - len(source)) <= 1
        changed = [(old, new) for old, new in zip(source.split(" "), pair[0].split(" "), strict=True) if old != new]
        assert len(changed) == 1
        assert changed[0][0][0] == changed[0][1][0]


def test_chinese_has_no_such_typos() -> None:
    assert with_typo(("我今天早上看到了一只猫", "I saw a cat"), random.Random(1)) is None


@pytest.mark.parametrize(
    "pair",
    [
        ("Il a 3 ans.", "He is three."),
        ("Il est parti.", "He left."),
        ("Un 1 et un 0.", "A 1 and a 0."),
        ("2 et 3", "2"),
    ],
)
def test_numbers_that_differ_are_left_alone(pair: tuple[str, str]) -> None:
    assert with_other_numbers(pair, random.Random(1)) is None


@given(st.integers(0, 10**9), st.integers(0, 99), st.integers())
def test_numbers_become_others_of_their_length_on_both_sides(first: int, second: int, seed: int) -> None:
    pair = with_other_numbers((f"{first} et 07:{second} {first}", f"{second}/07 {first} {first}"), random.Random(seed))
    if pair is None:
        return
    (a, seven, b, a_again), (b_too, seven_too, a_too, a_last) = (re.findall("[0-9]+", side) for side in pair)
    assert a == a_again == a_too == a_last
    assert b == b_too
    assert seven == seven_too
    assert [len(number) for number in (a, b, seven)] == [len(str(first)), len(str(second)), 2]
    assert seven[0] == "0"
    assert all(number[0] not in "01" for old, number in ((first, a), (second, b)) if old > 1)
