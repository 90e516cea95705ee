"""The texts of Multi30k as its table wants them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from benchmarks.multi30k import FOREIGN, HELD_OUT, main, moses_pipeline, prepare
from model.corpus import read_aligned
from tests.bundles import ROOT

PRETRAINED = ROOT / "model" / "pretrained"


def test_the_order_is_lower_case_then_punctuation_then_words() -> None:
    assert moses_pipeline("fr")("Un homme d’hiver, l'ÉTÉ «loin».") == "un homme d' hiver , l' été \" loin \" ."
    assert moses_pipeline("de")("Ein Mann (25) trägt St. Johns-Trikot.") == "ein mann ( 25 ) trägt st. johns-trikot ."
    assert moses_pipeline("en")("A man's T-shirt & hat.") == "a man 's t-shirt & hat ."


def test_prepare_keeps_the_lines_together(tmp_path: Path) -> None:
    for foreign in FOREIGN:
        folder = tmp_path / "data" / f"{foreign}-en"
        (folder / "train").mkdir(parents=True)
        with gzip.open(folder / "train" / "multi30k.tsv.gz", "wt", encoding="utf-8") as file:
            file.write("A dog runs.\tEins.\nTwo dogs!\tZwei!\n")
        for stem in HELD_OUT.values():
            path = folder / stem
            path.parent.mkdir(exist_ok=True)
            for language, text in (("en", "A cat.\n"), (foreign, "Etwas.\n")):
                with gzip.open(path.with_name(f"{path.name}.{language}.gz"), "wt", encoding="utf-8") as file:
                    file.write(text)
    prepare(tmp_path / "data", tmp_path / "out")
    for foreign in FOREIGN:
        out = tmp_path / "out" / f"en-{foreign}"
        assert read_aligned(out / "train.en.gz", out / f"train.{foreign}.gz") == [
            ("a dog runs .", "eins ."),
            ("two dogs !", "zwei !"),
        ]
        assert {path.name for path in out.iterdir()} == {
            f"{name}.{language}.gz" for name in ("train", *HELD_OUT) for language in ("en", foreign)
        }


def test_the_score_is_of_tokens_as_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = {"en": "i love you .\nthank you .\n", "fr": "je t' aime .\nmerci .\n"}
    (tmp_path / "en-fr").mkdir()
    for language, text in texts.items():
        (tmp_path / "en-fr" / f"val.{language}.gz").write_bytes(gzip.compress(text.encode()))
    search = ["--set", "val", "--beam", "2", "--length-penalty", "0.5"]
    assert main(["score", str(PRETRAINED), "--data", str(tmp_path), "--direction", "en-fr", *search]) == 0
    found = json.loads(capsys.readouterr().out)
    assert 0 <= found["bleu"] <= 100
    assert (found["beam_size"], found["length_penalty"], found["set"]) == (2, 0.5, "val")
    assert "tok:none" in found["signature"]
