"""The robustness benchmark counts what is there, makes the same noise every time, and runs on the real service."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import noise, robustness
from benchmarks.noise import Input, Kind, hard_kinds, noisy_kinds
from benchmarks.robustness import Answer, counted, failures
from tests.benchmarks.data import write_test_set
from tests.bundles import SHIPPED_BUNDLE

PAIRS = [
    ("Elle a perdu ses clés hier soir.", "She lost her keys last night."),
    ("Où est la gare ?", "Where is the station?"),
    ("Nous mangeons trop de pain.", "We eat too much bread."),
]
HAN = [("她昨天晚上丢了钥匙。", "She lost her keys last night."), ("车站在哪里？", "Where is the station?")]


def answer(text: str | None, *warnings: str) -> Answer:
    return Answer(text, frozenset(warnings))


GOOD = "She lost her keys last night."


@pytest.mark.parametrize(
    ("item", "given", "expected"),
    [
        (Input(PAIRS[0][0], GOOD), answer(GOOD), set()),
        (Input(PAIRS[0][0], GOOD), answer(None), {"error"}),
        (Input(PAIRS[0][0]), answer(GOOD, "repetition"), {"loop"}),
        (Input(PAIRS[0][0]), answer(GOOD, "repetition_removed", "truncated"), {"loop removed", "cut"}),
        (Input(PAIRS[0][0]), answer("ELLE A PERDU SES CLÉS HIER SOIR"), {"copy", "untranslated"}),
        (Input(PAIRS[0][0]), answer("She perdu clés hier soir."), {"untranslated"}),
        (Input(PAIRS[0][0]), answer("She lost her clés hier night."), set()),
        (Input(PAIRS[0][0]), answer(" \n"), {"empty", "length"}),
        (Input("Tom Jackson est médecin.", "Tom Jackson is a doctor."), answer("Tom Jackson a doctor."), set()),
        (Input("她昨天晚上丢了钥匙。"), answer("She 昨天晚上丢了钥匙 lost."), {"untranslated"}),
        (Input(PAIRS[0][0]), answer("She " + "lost her keys, " * 20), {"length"}),
        (Input("Voir a@b.org", kept=("a@b.org",)), answer("See a@b.com"), {"lost"}),
        (Input("Ici : www.lac.example.org", kept=("www.lac.example.org",)), answer("Here: www.lac.example.org"), set()),
        (Input("Oui !"), answer("Yes, of course I will do that for you."), set()),
        (Input("   "), answer("   "), set()),
    ],
)
def test_what_is_wrong_with_an_answer(item: Input, given: Answer, expected: set[str]) -> None:
    assert failures(item, given, usual_ratio=1.0) == expected


def test_a_length_is_judged_by_what_is_usual_and_without_what_is_kept() -> None:
    address = "https://www.example.org/a/very/long/address/indeed.html"
    item = Input("她昨天晚上丢了钥匙：" + address, kept=(address,))
    assert failures(item, answer("She lost her keys last night: " + address), usual_ratio=3.0) == set()
    assert failures(item, answer("No: " + address), usual_ratio=3.0) == {"length"}
    assert failures(item, answer("No: " + address), usual_ratio=None) == set()


def test_the_figures_of_a_kind() -> None:
    inputs = (Input("Rue 12", "Street 12", ("12",)), Input("Rue 13", "Street 13", ("13",)), Input("Rue", "Street"))
    answers = [answer("STREET 12"), answer("Street 31"), answer("Street")]
    found = [failures(*pair, 1.0) for pair in zip(inputs, answers, strict=True)]
    result = counted(Kind("numbers", inputs, scored=True, cased=False), answers, found, "en")
    assert (result.texts, result.failures["lost"], result.kept) == (3, 1, 0.5)
    assert sum(result.failures.values()) == 1
    cased = counted(Kind("numbers", inputs, scored=True), answers, found, "en")
    assert cased.chrf < result.chrf < 100
    assert counted(Kind("none", (Input("Rue"),), scored=False), [answer("a")], [set()], "en").bleu is None


def test_warnings_belong_to_their_texts() -> None:
    reply = {
        "translatedText": ["a", None, "c"],
        "warnings": [
            {"index": 2, "start": 0, "end": 3, "warning": "truncated"},
            {"index": 2, "start": 4, "end": 6, "warning": "repetition"},
        ],
    }
    assert robustness.answers_of(reply) == [answer("a"), answer(None), answer("c", "truncated", "repetition")]


@pytest.mark.parametrize(("pairs", "source"), [(PAIRS, "fr"), (HAN, "zh")])
def test_noise_is_the_same_every_time_and_is_noise(pairs: list[tuple[str, str]], source: str) -> None:
    def made() -> list[Kind]:
        return [*noisy_kinds(pairs, source, ["Hier ist es."]), *hard_kinds(pairs * 200, source, "en")]

    kinds = {kind.name: kind for kind in made()}
    assert made() == list(kinds.values())
    clean = [item.text for item in kinds["clean"].inputs]
    assert clean == [text for text, _ in pairs]
    for name in list(kinds)[1 : list(kinds).index("two languages")]:
        changed = [item.text for item in kinds[name].inputs]
        assert len(changed) == len(clean)
        assert changed != clean, name
    for kind in kinds.values():
        assert all(part in item.text for item in kind.inputs for part in item.kept), kind.name
    for name in ("3,000 characters", "3,000 without an end"):
        assert all(2500 < len(item.text) < 3500 for item in kinds[name].inputs)
    assert not any(mark in item.text for item in kinds["3,000 without an end"].inputs for mark in ".?!。？！")


@pytest.mark.parametrize(
    ("change", "text"),
    [(noise.with_typos, "incompréhensible"), (noise.one_slip_in_han, "我今天早上去公园。")],
)
def test_a_slip_is_one_letter(change: Callable[[str, random.Random], str], text: str) -> None:
    for seed in range(50):
        slipped = change(text, random.Random(seed))
        assert abs(len(slipped) - len(text)) <= 1
        assert set(slipped) <= set(text)
        assert slipped[0] == text[0] or change is noise.one_slip_in_han


def test_at_most_so_many_words_have_a_typo() -> None:
    text = "Le voisin prépare un gâteau pour demain"
    changed = noise.with_typos(text, random.Random(1), most=1).split()
    assert sum(old != new for old, new in zip(text.split(), changed, strict=True)) <= 1
    assert noise.with_typos("un an de la vie", random.Random(1)) == "un an de la vie"


def test_a_cell_shows_what_it_was_before() -> None:
    inputs = (Input(PAIRS[0][0]),)
    rows = [
        {"directions": {"fr-en": {"clean": dataclasses.asdict(result)}}}
        for result in (
            counted(Kind("clean", inputs, scored=False), [answer("a")], [found], "en") for found in ({"loop"}, set())
        )
    ]
    last = robustness.table(rows[0], rows[1]).splitlines()[-1]
    assert last == "| fr-en | clean | 1 |  |  | 1 (0) | 0 | 0 | 0 | 0 | 0 | 0 | 0 |  |"
    assert "(" not in robustness.table(rows[0], rows[0])
    assert len({line.count("|") for line in robustness.table(rows[0], None).splitlines()}) == 1


def test_a_bundle_is_measured_over_http(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, source, pairs in (
        ("tatoeba-test", "fr", PAIRS), ("tatoeba-test", "zh", HAN), ("flores200-devtest", "fr", PAIRS),
        ("newstest2014", "fr", PAIRS), ("newstest2019", "zh", HAN),
    ):  # fmt: skip
        write_test_set(tmp_path, name, pairs, source)
    now, texts = tmp_path / "now.json", tmp_path / "texts.jsonl"
    arguments = [str(SHIPPED_BUNDLE), "--root", str(tmp_path), "--json", str(now), "--texts", str(texts)]
    kinds = ["--kinds", "test", "clean", "only", "blank", "3,000", "URL", "language"]
    assert robustness.main([*arguments, "--lines", "2", *kinds]) == 0
    table = capsys.readouterr().out
    found = json.loads(now.read_text())
    assert set(found["directions"]) == {"zh-en", "en-zh", "fr-en", "en-fr"}
    assert "newstest2019" not in found["directions"]["en-fr"]
    for rows in found["directions"].values():
        assert [rows[name]["kept"] for name in ("only punctuation", "only digits", "only emoji", "blank")] == [1.0] * 4
        assert rows["tatoeba-test"]["bleu"] > 5
        lost = rows["URLs"]["failures"]["lost"]
        assert rows["URLs"]["kept"] == 1 - lost / 2
    assert len(table.splitlines()) == 2 + sum(map(len, found["directions"].values()))
    assert all(json.loads(line)["failures"] for line in texts.read_text().splitlines())
