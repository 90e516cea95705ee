"""Held-out sentences are found in training texts, and left out of training."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.__main__ import main
from model.leaks import find_leaks, sentence_key, trained_held_out_sentences, without_leaks
from model.preparation import read_texts
from model.recipe import Recipe


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    (tmp_path / "fr.tsv").write_text("The cat sleeps.\tLe chat dort.\nYes.\tOui.\nNo dog.\tPas de chien.\n")
    (tmp_path / "zh.tsv").write_text("the cat SLEEPS\t猫睡了\nOpen it.\t開門\n")
    (tmp_path / "words.tsv").write_text("Yes\tOui\n")
    (tmp_path / "test.en").write_text("Unseen.\nThe cat — sleeps!\nYes\n")
    (tmp_path / "test.fr").write_text("Inédit.\nLe chat.\nC'est ça.\n")
    (tmp_path / "dev.en").write_text("Shut it.\n")
    (tmp_path / "dev.zh").write_text("开门。\n")
    data = [
        {"path": "fr.tsv", "columns": ["en", "fr"], "directions": ["fr-en", "en-fr"]},
        {"path": "zh.tsv", "columns": ["en", "zh"], "directions": ["en-zh"]},
        {"path": "words.tsv", "columns": ["en", "fr"], "directions": ["en-fr"], "keep_held_out": True},
    ]
    test = [{"files": {"en": "test.en", "fr": "test.fr"}, "directions": ["fr-en"]}]
    validation = [{"files": {"en": "dev.en", "zh": "dev.zh"}, "directions": ["zh-en"]}]
    return Recipe.model_validate({"name": "r", "data": data, "test": test, "validation": validation})


def test_leaks_are_found_in_every_pair_of_languages_and_script(recipe: Recipe, tmp_path: Path) -> None:
    found = {(leak.test.split(" ")[0], leak.text): leak.lines for leak in find_leaks(recipe, tmp_path)}
    assert found == {
        ("test.en", "fr.tsv"): (2, 3),
        ("test.en", "zh.tsv"): (2,),
        ("dev.en", "zh.tsv"): (1,),
        ("test.en", "words.tsv"): (3,),
    }


def test_training_reads_none_of_them_but_where_it_is_told_to(recipe: Recipe, tmp_path: Path) -> None:
    pairs = {text.name: list(text.pairs) for text in read_texts(recipe, tmp_path)}
    assert pairs == {
        "fr-en fr.tsv": [("Pas de chien.", "No dog.")],
        "en-fr fr.tsv": [("No dog.", "Pas de chien.")],
        "en-zh zh.tsv": [],
        "en-fr words.tsv": [("Yes", "Oui")],
    }


def test_lines_of_the_texts_that_are_read_all_the_same_are_not_scored(recipe: Recipe, tmp_path: Path) -> None:
    trained = trained_held_out_sentences(recipe, tmp_path)
    pairs = [("Le chat.", "The cat — sleeps!"), ("C'est ça.", "Yes"), ("Oui !", "Indeed.")]
    assert without_leaks(pairs, ("fr", "en"), trained) == pairs[:1]


def test_the_command_lists_them(recipe: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(
        'name = "r"\n[[data]]\npath = "fr.tsv"\ncolumns = ["en", "fr"]\ndirections = ["fr-en"]\n'
        '[[test]]\nfiles = {en = "test.en", fr = "test.fr"}\ndirections = ["fr-en"]\n'
    )
    assert main(["leaks", str(path), "--root", str(tmp_path)]) == 0
    assert "test.en + test.fr: 2 lines in fr.tsv: 2, 3" in capsys.readouterr().out


@given(st.text(max_size=30))
def test_case_marks_and_spaces_make_no_difference(text: str) -> None:
    key = sentence_key(text, "en")
    assert key == sentence_key(f" «{text}» !", "en") == sentence_key(key, "en")
