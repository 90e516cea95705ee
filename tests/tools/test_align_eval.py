"""Gold links in, error rates and a choice out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from model.bundle import AlignmentMethod, read_alignment, read_manifest
from model.commands import BAD_INPUT
from model.errors import BundleError, DataError
from service.__main__ import main
from service.explain.alignment import GoldAlignment
from tests.bundles import PRETRAINED, SHIPPED_BUNDLE
from tools.align_eval import (
    Evidence,
    GoldSet,
    Trials,
    by_attention,
    combinations,
    joined,
    read_gold,
    single_heads,
)

PAIRS = (
    ("je suis étudiant .", "i am a student .", "0-0 1-1 2-3 2p2 3-4"),
    ("où est la gare ?", "where is the station ?", "0-0 1-1 2-2 3-3 4-4"),
    ("il mange une pomme .", "he eats an apple .", "0-0 1-1 2-2 3-3 4-4"),
    ("c' est mon frère .", "it is my brother .", "0-0 1-1 2-2 3-3 4-4"),
)


@pytest.fixture
def gold(tmp_path: Path) -> Path:
    for index, suffix in enumerate(("fr", "en", "fr-en.talp")):
        lines = "".join(pair[index] + "\n" for pair in PAIRS)
        (tmp_path / f"fr-en.made-up.{suffix}").write_text(lines, encoding="utf-8")
    return tmp_path


def test_gold_links_are_read(gold: Path) -> None:
    found = read_gold(gold / "fr-en.made-up.fr-en.talp")
    assert (found.direction, len(found.pairs), found.half) == ("fr-en", 4, 2)
    assert found.pairs[0] == (("je", "suis", "étudiant", "."), ("i", "am", "a", "student", "."))
    assert found.gold[0].sure == {(0, 0), (1, 1), (2, 3), (3, 4)}
    assert found.gold[0].possible == found.gold[0].sure | {(2, 2)}
    turned = found.reversed()
    assert (turned.direction, turned.gold[0].possible - turned.gold[0].sure) == ("en-fr", {(2, 2)})
    assert (3, 2) in turned.gold[0].sure
    assert turned.reversed() == found


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("fr-en.made-up.fr-en.talp", "0-0\n", "1 lines of links for 4 and 4 sentences"),
        ("fr-en.made-up.fr-en.talp", "0-9\n\n\n\n", "'0-9' is no link of a sentence with 4 and 5 words"),
        ("fr-en.made-up.fr-en.talp", "0:1\n\n\n\n", "'0:1' is no link"),
    ],
)
def test_what_is_no_gold_is_named(gold: Path, file: str, content: str, message: str) -> None:
    (gold / file).write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_gold(gold / "fr-en.made-up.fr-en.talp")


def test_a_missing_side_is_named(gold: Path) -> None:
    (gold / "fr-en.made-up.en").unlink()
    with pytest.raises(DataError, match=r"made-up\.en: no such file"):
        read_gold(gold / "fr-en.made-up.fr-en.talp")


@pytest.mark.parametrize(
    ("words", "language", "text"),
    [
        ("Shell 's profit , -LRB- 5 % -RRB- .", "en", "Shell's profit, (5%)."),
        ("Qu' est -ce , l' auberge ?", "fr", "Qu'est -ce, l'auberge ?"),
        ("新华社 电 ( 记者 ) , 3月 。", "zh", "新华社电（记者），3月。"),
        ("", "en", ""),
    ],
)
def test_tokenised_words_become_text_again(words: str, language: str, text: str) -> None:
    found, spans = joined(words.split(), language)
    assert found == text
    plain = [found[start:end] for start, end in spans]
    assert len(plain) == len(words.split())
    assert "".join(plain) == found.replace(" ", "")


def made_up_trials() -> tuple[Trials, list[tuple[int, int]]]:
    """Head (1, 0) is right where it predicts, head (0, 1) where it consumes; erasure is always wrong, the HMM right."""
    right, wrong = np.eye(3) + 0.1, np.roll(np.eye(3), 1, axis=1)
    heads = {
        "predicts": np.array([[wrong, wrong], [right, wrong]]),
        "consumes": np.array([[wrong, right], [wrong, wrong]]),
    }
    links = frozenset((i, i) for i in range(3))
    words = (("a", "b", "c"), ("x", "y", "z"))
    gold = GoldSet("made-up", "fr-en", (words,) * 5, (GoldAlignment(links, links),) * 5)
    return Trials(gold, [Evidence(heads, wrong, right)] * 5), [(0, 0), (0, 1), (1, 0), (1, 1)]  # type: ignore[arg-type]


def test_the_better_head_and_row_are_found() -> None:
    trials, heads = made_up_trials()
    singles = single_heads(trials, heads)
    best = [each for each in singles if each.chosen_on == 0]
    assert [(each.method.heads, each.method.row) for each in best] == [(((1, 0),), "predicts"), (((0, 1),), "consumes")]
    assert all(each.reported_on == each.chosen_on for each in singles)
    combined = {(each.label, each.method.row): each.chosen_on for each in combinations(trials, singles, heads)}
    assert combined["best 1 on the first half", "predicts"] == 0
    assert combined["erasure", "predicts"] == 1
    assert combined["hmm", "predicts"] == 0
    assert combined["all heads", "predicts"] == 1
    assert trials.entropy((1, 0), "predicts") > trials.entropy((0, 0), "predicts") == 0


def test_the_second_half_is_not_seen_by_the_choice() -> None:
    trials, _ = made_up_trials()
    gold = trials._gold
    other = frozenset((i, (i + 1) % 3) for i in range(3))
    mixed = GoldSet(gold.name, gold.direction, gold.pairs, (*gold.gold[:3], *[GoldAlignment(other, other)] * 2))
    found = Trials(mixed, trials._evidence).run("one", by_attention([(1, 0)], "predicts"))
    assert (found.chosen_on, found.reported_on) == (0, 1)


def test_a_bundle_is_measured_and_the_choice_can_be_exported(
    gold: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "alignment.json"
    assert main(["align-eval", str(SHIPPED_BUNDLE), "--gold", str(gold), "--threads", "1", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "fr-en, fr-en.made-up: AER in % on the first 2 sentences / the other 2" in printed
    assert json.loads(printed.splitlines()[-1]) == json.loads(out.read_text())
    chosen = read_alignment(out)
    assert sorted(chosen) == ["en-fr", "fr-en"]
    assert all(method.aer is not None and method.aer < 0.3 for method in chosen.values()), "easy sentences"
    manifest = read_manifest(SHIPPED_BUNDLE).model_copy(update={"alignment": chosen})
    assert type(manifest).model_validate_json(manifest.model_dump_json()).alignment == chosen


def test_the_export_stores_a_choice(shipped_fp32_bundle: Path) -> None:
    assert read_manifest(shipped_fp32_bundle).alignment == read_alignment(PRETRAINED / "alignment.json") != {}


def test_no_gold_for_a_bundle_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["align-eval", str(SHIPPED_BUNDLE), "--gold", str(tmp_path)]) == BAD_INPUT
    assert "no gold links for fr-en, zh-en, en-fr" in capsys.readouterr().err


def test_another_file_is_not_taken_for_a_choice(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"fr-en": {"evidence": "dice"}}')
    with pytest.raises(BundleError, match="not what align-eval wrote"):
        read_alignment(tmp_path / "x.json")


def test_the_shipped_bundle_knows_its_best_way() -> None:
    alignment = read_manifest(SHIPPED_BUNDLE).alignment
    assert alignment == read_alignment(PRETRAINED / "alignment.json")
    assert sorted(alignment) == ["en-fr", "en-zh", "fr-en", "zh-en"]
    assert all(isinstance(method, AlignmentMethod) and method.aer is not None for method in alignment.values())
