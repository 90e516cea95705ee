"""What a recipe may say, and how a mistake in it is reported."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from model.config import ModelConfig
from model.errors import CheckpointError, RecipeError
from model.recipe import load_recipe, split_direction
from tests.model.conftest import RECIPES

DATA = '[[data]]\npath = "a.tsv"\ncolumns = ["en", "fr"]\ndirections = ["fr-en"]\n'


def recipe_file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_shipped_recipes_are_valid(path: Path) -> None:
    recipe = load_recipe(path)
    assert recipe.directions
    assert recipe.validation, "a run without validation tells nothing"


def test_defaults_directions_and_targets(tmp_path: Path) -> None:
    recipe = load_recipe(recipe_file(tmp_path, 'name = "a"\n' + DATA + DATA.replace("fr-en", "en-fr")))
    assert recipe.directions == ("fr-en", "en-fr")
    assert recipe.target_languages == ("en", "fr")
    assert recipe.data[0].passes == 1.0
    assert recipe.config_for(77) == ModelConfig(vocabulary_size=77)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name = \n", r"mine\.toml: not a TOML file: .*line 1"),
        ('name = "a"\n' + DATA + "speed = 3\n", r"mine\.toml: data\.0\.speed: unknown field \(found 3\)"),
        ('name = "a"\nsed = 3\n' + DATA, r"mine\.toml: sed: unknown field"),
        ('name = "a"\n[model]\nd_modell = 3\n' + DATA, r"mine\.toml: recipe: model config: unknown field 'd_modell'"),
        ('name = "a"\n[model]\nnum_heads = 3\n' + DATA, r"512 is not divisible by num_heads 3"),
        (
            'name = "a"\n[training]\nmax_steps = 0\n' + DATA,
            r"training\.max_steps: .*greater than or equal to 1 \(found 0\)",
        ),
        ('name = "a"\n[training]\nlongest = 5000\n' + DATA, r"longest \(5000\) must not exceed batch_tokens"),
        (
            'name = "a"\n[model]\nmax_positions = 50\n' + DATA,
            r"longest \(128\) must not exceed model\.max_positions \(50\)",
        ),
        ('name = "a"\n' + DATA.replace("fr-en", "french"), r"data\.0\.directions\.0: .*\(found 'french'\)"),
        (
            'name = "a"\n' + DATA.replace("fr-en", "de-en"),
            r"data\.0: direction de-en: no column or file for language 'de'",
        ),
        ('name = "a"\n' + DATA + 'files = {en = "a", fr = "b"}\n', r"give either path and columns"),
        ('name = "a"\n', r"mine\.toml: data: Field required"),
        (DATA, r"mine\.toml: name: Field required"),
        ('name = "no spaces please"\n' + DATA, r"mine\.toml: name: "),
    ],
)
def test_mistakes(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        load_recipe(recipe_file(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_missing_and_undecodable_recipe(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"none\.toml: no such recipe; see model/recipes/"):
        load_recipe(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b'name = "\xe9"')
    with pytest.raises(RecipeError, match=r"latin\.toml: not a TOML file"):
        load_recipe(tmp_path / "latin.toml")


@pytest.mark.parametrize("direction", ["", "fr", "fr-", "-en", "fr-en-de", "fr_en"])
def test_bad_direction(direction: str) -> None:
    with pytest.raises(RecipeError, match=r"write it as source-target, e\.g\. zh-en"):
        split_direction(direction)


def test_config_survives_json() -> None:
    config = ModelConfig(vocabulary_size=9, norm="pre", positions="learned", encoder_layers=3)
    assert ModelConfig.from_dict(config.to_dict()) == config
    assert config.d_head == 64
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.d_model = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "vocabulary_size is missing"),
        ({"vocabulary_size": 0}, "vocabulary_size must be a whole number of at least 1, not 0"),
        ({"vocabulary_size": True}, "not True"),
        ({"vocabulary_size": 9, "d_model": 8.0}, "d_model must be a whole number"),
        ({"vocabulary_size": 9, "d_model": 9, "num_heads": 3}, "d_model must be even"),
        ({"vocabulary_size": 9, "dropout": 1.0}, r"dropout must be in \[0, 1\), not 1.0"),
        ({"vocabulary_size": 9, "dropout": "much"}, "dropout must be in"),
        ({"vocabulary_size": 9, "norm": "sandwich"}, "norm must be 'post' or 'pre' or 'none'"),
        ({"vocabulary_size": 9, "positions": "rotary"}, "positions must be 'sinusoidal' or 'learned' or 'none'"),
        (
            {"vocabulary_size": 9, "heads": 3},
            "unknown field 'heads'; known fields: activation, architecture, attention",
        ),
        ({"vocabulary_size": 9, "architecture": "gru"}, "architecture must be 'transformer' or 'lstm', not 'gru'"),
        ({"vocabulary_size": 9, "similarity": "l2"}, "similarity must be 'scaled_dot' or 'dot' or"),
        ({"vocabulary_size": 9, "window": 0}, "window must be a whole number of at least 1, not 0"),
        ({"vocabulary_size": 9, "attention": False}, "a transformer is made of attention"),
        ({"vocabulary_size": 9, "architecture": "lstm", "num_heads": 4}, "an lstm has no num_heads; leave it out"),
        ({"vocabulary_size": 9, "architecture": "lstm", "norm": "pre"}, "an lstm has no norm; leave it out"),
    ],
)
def test_impossible_architectures(values: dict[str, object], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        ModelConfig.from_dict(values)
