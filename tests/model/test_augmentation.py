"""Pairs made of pairs."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.augmentation import augmented, lower_cased, with_other_numbers, with_typo, without_final_mark
from model.corpus import sentence_separator


@pytest.mark.parametrize(
    ("pair", "expected"),
    [
        (("我爱你。", "I love you."), ("我爱你", "I love you")),
        (("Tu viens ?", "Are you coming?"), ("Tu viens ", "Are you coming?")),
        (("Non!", "No."), ("Non", "No.")),
        (("Oui", "Yes."), None),
        ((".", "."), None),
        (("a.", "."), None),
    ],
)
def test_without_final_mark(pair: tuple[str, str], expected: tuple[str, str] | None) -> None:
    assert without_final_mark(pair) == expected


def test_augmentation_appends_and_depends_on_the_seed_alone() -> None:
    pairs = [(f"源{i}。", f"source {i}.") for i in range(100)]
    options = {"unmarked": 0.2, "concatenated": 0.1, "separators": (sentence_separator("zh"), sentence_separator("en"))}
    first = augmented(pairs, **options, seed=1)
    assert first[:100] == pairs
    assert len(first) == 100 + 20 + 10
    assert all(not source.endswith("。") and not target.endswith(".") for source, target in first[100:120])
    for source, target in first[120:]:
        assert target.count("source") == source.count("源") in (2, 3, 4)
        assert " " not in source
        assert ". source" in target
    assert first == augmented(pairs, **options, seed=1) != augmented(pairs, **options, seed=2)


def test_shares_of_each_kind_come_one_after_the_other() -> None:
    pairs = [(f"Monsieur {i} part.", f"Mister {i} leaves.") for i in range(2, 42)]
    more = augmented(pairs, lowered=0.5, misspelt=0.25, renumbered=2.0, separators=(" ", " "), seed=1)
    lowered, misspelt, renumbered = more[40:60], more[60:70], more[70:]
    assert all(source == source.lower() and target.startswith("Mister") for source, target in lowered)
    assert all((source, target) not in pairs and target in dict(pairs).values() for source, target in misspelt)
    assert 70 <= len(renumbered) <= 80
    for source, target in renumbered:
        assert re.findall("[0-9]+", source) == re.findall("[0-9]+", target)


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
