"""The tables of the model card: which test sets count for which direction, and what was cut."""

from __future__ import annotations

import collections
import json
from pathlib import Path

import pytest

from benchmarks import model_card
from benchmarks.model_card import digits_kept, sets_by_direction
from model.errors import DataError
from tests.benchmarks.data import write_test_set
from tests.bundles import ROOT, SHIPPED_BUNDLE

FRENCH = [("Je suis étudiant.", "I am a student.")]
CHINESE = [("我爱你。", "I love you.")]


def test_a_set_counts_for_the_directions_that_have_it(tmp_path: Path) -> None:
    write_test_set(tmp_path, "newstest2014", FRENCH, "fr")
    write_test_set(tmp_path, "newstest2019", CHINESE, "zh")
    found = sets_by_direction(("fr-en", "en-fr", "zh-en", "en-zh"), ["newstest2014", "newstest2019"], tmp_path)
    turned = [(target, source) for source, target in FRENCH]
    assert found == {
        "fr-en": {"newstest2014": FRENCH},
        "en-fr": {"newstest2014": turned},
        "zh-en": {"newstest2019": CHINESE},
        "en-zh": {},
    }


def test_a_set_that_no_direction_has_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_test_set(tmp_path, "newstest2019", CHINESE, "zh")
    with pytest.raises(DataError, match="newstest2019"):
        sets_by_direction(("en-zh", "fr-en"), ["newstest2019"], tmp_path)
    scores = ["scores", str(SHIPPED_BUNDLE), "--root", str(tmp_path), "--sets", "newstest2019", "newstest2015"]
    assert model_card.main(scores) == 1
    said = capsys.readouterr()
    assert "newstest2015" in said.err
    assert "zh-en" not in said.out


def test_half_a_set_is_an_error(tmp_path: Path) -> None:
    write_test_set(tmp_path, "newstest2014", FRENCH, "fr")
    (tmp_path / "fr-en" / "test" / "newstest2014.en.gz").unlink()
    with pytest.raises(DataError, match=r"newstest2014\.en\.gz"):
        sets_by_direction(("fr-en",), ["newstest2014"], tmp_path)


def test_a_line_that_is_too_long_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    long = ("Nous mangeons trop de pain, " * 60, "We eat too much bread, " * 60)
    write_test_set(tmp_path, "newstest2014", [*FRENCH, long], "fr")
    rows = tmp_path / "rows.jsonl"
    scores = ["scores", str(SHIPPED_BUNDLE), "--root", str(tmp_path), "--sets", "newstest2014", "--beam", "1"]
    assert model_card.main([*scores, "--json", str(rows)]) == 0
    found = [json.loads(line) for line in rows.read_text().splitlines()]
    assert {row["direction"]: row["sources_cut"] for row in found} == {"fr-en": 1, "en-fr": 1}
    assert all(line.endswith(" 1 |") for line in capsys.readouterr().out.splitlines()[2:])


def test_sentences_come_from_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sentences = tmp_path / "sentences.tsv"
    sentences.write_text("fr-en\tJe t'aime !\nfr-en\tZoé rit.\n", encoding="utf-8")
    recipe = ROOT / "model" / "recipes" / "demo.toml"
    arguments = ["sentences", str(SHIPPED_BUNDLE), "--root", str(ROOT), "--recipe", str(recipe)]
    assert model_card.main([*arguments, "--file", str(sentences)]) == 0
    table = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[1] for line in table[2:]] == ["Je t'aime !", "Zoé rit."]


def test_first_words_are_sixty_a_direction_and_no_two_alike() -> None:
    lines = (ROOT / "benchmarks" / "first_words.tsv").read_text(encoding="utf-8").splitlines()
    assert len(set(lines)) == len(lines)
    counts = collections.Counter(line.split("\t")[0] for line in lines)
    assert counts == {"zh-en": 60, "fr-en": 60, "en-fr": 60, "en-zh": 60}


def test_digits_that_the_reference_keeps_are_counted() -> None:
    pairs = [("En 1990, 3 fois 20 et 20", "In 1990, three times 20 and 20"), ("Le 5 mai", "5 May"), ("rien", "1")]
    assert digits_kept(pairs, ["In 1990 it was 20", "On 6 May", ""]) == 2 / 4
    assert digits_kept(pairs[2:], ["1"]) is None


def test_everyday_sentences_are_fifty_a_direction_and_no_two_alike() -> None:
    lines = (ROOT / "benchmarks" / "everyday_sentences.tsv").read_text(encoding="utf-8").splitlines()
    assert len(set(lines)) == len(lines)
    assert collections.Counter(line.split("\t")[0] for line in lines) == {"zh-en": 50, "fr-en": 50, "en-fr": 50}
