"""The study in miniature: it trains, measures and writes; done twice it trains nothing twice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.study.__main__ import main
from benchmarks.study.claims import CLAIMS, ERRORS
from benchmarks.study.measures import (
    base_parameters,
    exponent,
    influence,
    order_of_words,
    shifted_positions,
    softmax_gradients,
)
from benchmarks.study.report import bootstrap
from benchmarks.study.variants import VARIANTS, Sizes, recipe_of
from model.recipe import load_recipe
from tests.bundles import ROOT

TRAINED = ["lstm-fixed", "transformer", "distilled"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("study")


def call(folder: Path, *more: str) -> int:
    recipe = ROOT / "model" / "recipes" / "demo.toml"
    where = ["--recipe", str(recipe), "--root", str(ROOT), "--out", str(folder / "out")]
    return main([*where, "--document", str(folder / "docs" / "study.md"), "--quick", *more])


@pytest.fixture(scope="module")
def document(folder: Path) -> str:
    assert call(folder, "--only", *TRAINED) == 0
    return (folder / "docs" / "study.md").read_text(encoding="utf-8")


def test_every_claim_has_its_verdict_and_every_error_its_correction(document: str) -> None:
    assert len(CLAIMS) == 18
    for number, claim in enumerate(CLAIMS, start=1):
        (line,) = [line for line in document.splitlines() if line.startswith(f"{number}. ")]
        assert claim.text in line
        assert len(line) > len(claim.text) + 15
    assert all(right in document for _, right in ERRORS)
    assert "Open: not trained yet" in document
    assert "Not trained yet" in document
    assert "miniature" in document
    assert "| positions | full, ms | full, million numbers | window 32, ms | window, million numbers |" in document


def test_every_network_that_was_trained_has_its_row_and_the_same_tokens(document: str, folder: Path) -> None:
    results = [json.loads((folder / "out" / name / "result.json").read_text(encoding="utf-8")) for name in TRAINED]
    for variant in VARIANTS:
        rows = [line for line in document.splitlines() if line.startswith(f"| {variant.title} |")]
        assert len(rows) == (variant.name in TRAINED)
    assert results[0]["target_tokens"] == results[1]["target_tokens"]
    assert all(result["parameters"] > 1000 and len(result["hypotheses"]) == 6 for result in results)
    taught = (folder / "out" / "distilled" / "taught" / "00-fr-en.tsv").read_text(encoding="utf-8")
    assert 0 < taught.count("\n") <= 6
    assert "](images/study-maps.png)" in document
    assert (folder / "docs" / "images" / "study-maps.png").read_bytes().startswith(b"\x89PNG")


def test_a_second_call_does_nothing_again(document: str, folder: Path) -> None:
    files = sorted(path for path in (folder / "out").rglob("*") if path.is_file())
    before = [path.stat().st_mtime_ns for path in files]
    assert call(folder, "--only", *TRAINED) == 0
    assert sorted(path for path in (folder / "out").rglob("*") if path.is_file()) == files
    assert [path.stat().st_mtime_ns for path in files] == before
    assert (folder / "docs" / "study.md").read_text(encoding="utf-8") == document


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_every_variant_is_a_recipe_of_the_same_text(variant: object) -> None:
    base = load_recipe(ROOT / "model" / "recipes" / "demo.toml")
    recipe = recipe_of(variant, base, Sizes(), 10)  # type: ignore[arg-type]
    assert (recipe.data, recipe.seed, recipe.training.batch_tokens) == (
        base.data,
        base.seed,
        base.training.batch_tokens,
    )
    assert recipe.training.max_steps == 10


def test_measures_say_what_theory_says() -> None:
    assert exponent([1, 2, 4, 8], [3, 12, 48, 192]) == 2
    narrow, wide = softmax_gradients([64, 512])
    assert narrow["variance"] == pytest.approx(64, rel=0.1)
    assert wide["variance"] == pytest.approx(512, rel=0.1)
    assert wide["plain_gradient"] < 0.1 * wide["scaled_gradient"]
    assert narrow["scaled_gradient"] == pytest.approx(wide["scaled_gradient"], rel=0.2)
    assert shifted_positions(32, 50, [1, 5]) < 1e-5
    order = order_of_words({"a": (5, 6, 7), "b": (7, 6, 5)})
    assert order["no positions"] < 1e-4 < 1e-2 < min(order["transformer"], order["lstm"])
    shares = influence([0, 1, 20], 24)
    assert shares["lstm"][0] == shares["transformer"][0] == 1
    assert shares["lstm"][2] < 1e-2 * shares["transformer"][2]
    assert base_parameters() == {"six and six": 63_082_496}


def test_networks_are_compared_on_the_same_sentences() -> None:
    references = [f"the cat {number} sat on the mat" for number in range(12)]
    better = {"hypotheses": references, "references": references, "bleu": 100.0, "chrf": 100.0, "language": "en"}
    worse = {**better, "hypotheses": ["a cat sat on the mat"] * 12}
    found = bootstrap({"transformer": better, "window": worse}, samples=50)
    assert found["transformer"][0].startswith("100.0")
    assert float(found["window"][2]) < 0.05
    assert bootstrap({"window": better}) == {"window": ("100.0", "100.0", "")}
