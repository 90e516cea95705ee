"""Words as lines of their own: mined from sentences, and numbers written out."""

from __future__ import annotations

import gzip
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.__main__ import main
from model.corpus import read_tsv
from model.errors import DataError
from model.words import Words, mine_words, number_words, with_capitals, write_words

NOUNS = {"chat": "cat", "chien": "dog", "maison": "house", "voiture": "car", "pomme": "apple", "livre": "book"}
VERBS = {"voit": "sees", "veut": "wants", "cherche": "seeks", "aime": "likes"}
ZH = {"猫": "cat", "狗": "dog", "房子": "house", "苹果": "apple"}


def sentences(count: int) -> list[tuple[str, str]]:
    """French and English, word for word, every noun with every verb."""
    rng = random.Random(1)
    pairs = []
    for _ in range(count):
        (subject, cat), (other, dog) = rng.sample(sorted(NOUNS.items()), 2)
        verb, sees = rng.choice(sorted(VERBS.items()))
        pairs.append((f"Le {subject} {verb} l'{other}.", f"The {cat} {sees} the {dog}."))
    return pairs


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("fr", "L'eau de l’hôtel, aujourd'hui !", ["eau", "de", "hôtel", "aujourd'hui"]),
        ("en", "Don't touch my well-known 3 files.", ["don't", "touch", "my", "well-known", "files"]),
        ("zh", "我喜欢 iPhone 和苹果。", ["我", "喜欢", "和", "苹果"]),
    ],
)
def test_words_of_a_text(language: str, text: str, expected: list[str]) -> None:
    assert Words(language, ["喜欢", "苹果"]).of(text) == expected


@given(st.text(alphabet="猫狗房子喜欢苹果x "), st.sets(st.sampled_from(["房子", "喜欢", "苹果", "子喜"])))
def test_cutting_loses_no_character(text: str, dictionary: set[str]) -> None:
    words = Words("zh", dictionary).of(text)
    assert "".join(words) == text.replace("x", "").replace(" ", "")
    assert all(len(word) == 1 or word in dictionary for word in words)


def test_words_are_mined_from_sentences() -> None:
    mined = dict(mine_words(sentences(400), Words("fr"), Words("en")))
    assert {noun: mined.get(noun) for noun in NOUNS} == NOUNS
    assert {verb: mined.get(verb) for verb in VERBS} == VERBS
    rng = random.Random(2)
    pairs = [
        (f"{first}和{second}", f"{ZH[first]} and {ZH[second]}")
        for first, second in (rng.sample(sorted(ZH), 2) for _ in range(200))
    ]
    mined = dict(mine_words(pairs, Words("zh", ZH), Words("en")))
    assert {word: mined.get(word) for word in ZH} == ZH


def test_what_stands_together_too_seldom_is_not_mined() -> None:
    rare = [("Le hibou dort.", "The owl sleeps.")] * 4
    assert "hibou" not in dict(mine_words([*sentences(200), *rare], Words("fr"), Words("en")))


def test_numbers_are_written_out() -> None:
    french, chinese = dict(number_words("en", "fr")), dict(number_words("zh", "en"))
    assert french["forty-six"] == "quarante-six"
    assert french["seventy-one"] == "soixante et onze"
    assert chinese["四十六"] == "forty-six"
    assert chinese["一千"] == "one thousand"
    assert len(french) == len(number_words("en", "fr"))
    with pytest.raises(DataError, match="'de'"):
        number_words("en", "de")


def test_capitals_stand_on_both_sides_or_on_none(tmp_path: Path) -> None:
    pairs = list(with_capitals([("cuisine", "kitchen"), ("厨房", "kitchen"), ("été", "summer"), ("Tom", "tom")]))
    assert pairs == [
        ("cuisine", "kitchen"), ("Cuisine", "Kitchen"), ("厨房", "kitchen"), ("été", "summer"), ("Été", "Summer"),
        ("Tom", "tom"),
    ]  # fmt: skip
    path = tmp_path / "words" / "fr-en.tsv.gz"
    write_words(path, pairs)
    assert read_tsv(path, 0, 1) == pairs
    assert [entry.name for entry in path.parent.iterdir()] == ["fr-en.tsv.gz"]


def test_the_command_writes_one_file_a_pair(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with gzip.open(tmp_path / "text.tsv.gz", "wt", encoding="utf-8") as text:
        text.writelines(f"{french}\t{english}\n" for french, english in sentences(300))
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        'name = "words"\n[[data]]\npath = "text.tsv.gz"\ncolumns = ["fr", "en"]\ndirections = ["en-fr", "fr-en"]\n'
        '[[data]]\npath = "missing.tsv"\ncolumns = ["fr", "en"]\ndirections = ["fr-en"]\nkeep_held_out = true\n',
        encoding="utf-8",
    )
    assert main(["words", str(recipe), "--root", str(tmp_path), "--out", str(tmp_path / "words")]) == 0
    pairs = read_tsv(tmp_path / "words" / "en-fr.tsv.gz", 0, 1)
    assert ("cat", "chat") in pairs
    assert ("Cat", "Chat") in pairs
    assert "pairs of words" in capsys.readouterr().out
