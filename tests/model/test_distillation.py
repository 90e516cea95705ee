"""Distillation: what the teacher writes, whole after any interruption, and a recipe that trains a student on it."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
import torch

from model.__main__ import main
from model.architectures import new_network
from model.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from model.corpus import read_tsv
from model.distillation import distil, to_toml
from model.errors import CheckpointError
from model.preparation import read_texts
from model.recipe import load_recipe
from model.translation import translate_with_beam
from model.vocabulary import Vocabulary
from tests.model.tiny import tiny_config

RECIPE = """
name = "student"
[model]
architecture = "lstm"
d_model = 16
encoder_layers = 1
decoder_layers = 1
max_positions = 24
[vocabulary]
size = 400
[training]
longest = 20
[[data]]
path = "train.tsv"
columns = ["en", "fr"]
directions = ["fr-en", "en-fr"]
passes = 0.5
unmarked = 0.2
[[validation]]
files = {en = "dev.en", fr = "dev.fr"}
directions = ["fr-en"]
"""
PAIRS = ["I am here.\tJe suis ici.", "You are there.\tTu es là.", "No.\tNon.", "Yes.\tOui."]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "student.toml").write_text(RECIPE, encoding="utf-8")
    (tmp_path / "train.tsv").write_text("".join(f"{pair}\n" for pair in PAIRS), encoding="utf-8")
    (tmp_path / "dev.en").write_text("No.\n", encoding="utf-8")
    (tmp_path / "dev.fr").write_text("Non.\n", encoding="utf-8")
    return tmp_path


@pytest.fixture(scope="module")
def teacher_folder(vocabulary_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(4)
    config = tiny_config(vocabulary_size=len(Vocabulary.load(vocabulary_path)), max_positions=24)
    folder = tmp_path_factory.mktemp("teacher") / "checkpoint"
    described = {"name": "teacher", "directions": ["fr-en", "en-fr"], "training": {}}
    save_checkpoint(folder, config, new_network(config).state_dict(), vocabulary_path, **described)
    return folder


@pytest.fixture
def teacher(teacher_folder: Path) -> Checkpoint:
    return load_checkpoint(teacher_folder)


def test_the_student_reads_what_the_teacher_writes_of_what_it_may_read(root: Path, teacher: Checkpoint) -> None:
    recipe = load_recipe(root / "student.toml")
    student = load_recipe(distil(recipe, root, teacher, root / "out", beam_size=2))
    assert (student.model, student.training, student.validation) == (recipe.model, recipe.training, recipe.validation)
    assert [(data.directions, data.passes, data.unmarked) for data in student.data] == [
        (("fr-en",), 0.5, 0.2), (("en-fr",), 0.5, 0.2),
    ]  # fmt: skip
    texts = read_texts(student, root)
    search = {"beam_size": 2, "length_penalty": 1.0}
    sources = ["Je suis ici.", "Tu es là.", "Oui."]
    expected = [translate_with_beam(teacher.model, teacher.vocabulary, each, "en", **search) for each in sources]
    # "Non." is held out: it is neither translated nor learned.
    assert texts[0].pairs == [(s, " ".join(t.split())) for s, t in zip(sources, expected, strict=True) if t.strip()]
    assert [source for source, _ in texts[1].pairs] == ["I am here.", "You are there.", "Yes."]


def test_an_interrupted_call_goes_on_behind_its_last_whole_line(root: Path, teacher: Checkpoint) -> None:
    recipe = load_recipe(root / "student.toml")
    distil(recipe, root, teacher, root / "whole", beam_size=2)
    (root / "cut").mkdir()
    (root / "cut" / "00-fr-en.partial").write_text("Je suis ici.\tdone before\nTu es l", encoding="utf-8")
    distil(recipe, root, teacher, root / "cut", beam_size=2)
    whole, cut = (read_tsv(root / name / "00-fr-en.tsv", 0, 1) for name in ("whole", "cut"))
    assert cut == [("Je suis ici.", "done before"), *whole[1:]]
    assert not list((root / "cut").glob("*.partial"))


def test_a_teacher_of_other_directions_is_refused(root: Path, teacher: Checkpoint) -> None:
    teacher.directions = ("fr-en",)
    with pytest.raises(CheckpointError, match="teacher: does not translate en-fr, only fr-en"):
        distil(load_recipe(root / "student.toml"), root, teacher, root / "out")


def test_the_command_says_how_to_go_on(root: Path, teacher_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--root", str(root), "--out", str(root / "out"), "--teacher", str(teacher_folder)]
    assert main(["distill", str(root / "student.toml"), *where, "--beam", "1", "--limit", "1"]) == 0
    assert "python -m model train" in capsys.readouterr().out
    assert len(read_tsv(root / "out" / "01-en-fr.tsv", 0, 1)) == 1


def test_what_is_written_as_toml_is_read_as_it_was() -> None:
    values = {
        "name": "a", "seed": 3, "test": [], "model": {"norm": "pre", "residuals": False, "dropout": 0.1},
        "data": [{"path": 'C:\\a "b".tsv', "columns": ["en", "zh"], "files": {"fr": "é"}}, {"passes": 1e-05}],
    }  # fmt: skip
    assert tomllib.loads(to_toml(values)) == values
