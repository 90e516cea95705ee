"""Every mistake a person can make ends in one line on stderr and exit status 2, never in a traceback."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from model.__main__ import main
from model.lexical import LEXICAL_FILE, load_tables
from model.vocabulary import train_vocabulary

RECIPE = """
name = "mine"
[model]
d_model = 16
num_heads = 2
d_ff = 16
encoder_layers = 1
decoder_layers = 1
[vocabulary]
size = 400
[training]
max_steps = 1
compile_loss = false
[[data]]
path = "train.tsv"
columns = ["en", "fr"]
directions = ["fr-en"]
[[validation]]
files = {en = "dev.en", fr = "dev.fr.gz"}
directions = ["fr-en"]
"""


class Project:
    """A folder with a recipe and its data, all of it right until a test breaks something."""

    def __init__(self, folder: Path, vocabulary_path: Path) -> None:
        self.folder = folder
        self.recipe = self.write("mine.toml", RECIPE)
        self.write("train.tsv", "I am here.\tJe suis ici.\nYou are there.\tTu es là.\n")
        self.write("dev.en", "Yes.\nNo.\n")
        self.write("dev.fr.gz", gzip.compress(b"Oui.\nNon.\n"))
        self.vocabulary_path = vocabulary_path

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def change_recipe(self, old: str, new: str) -> None:
        assert old in RECIPE
        self.write("mine.toml", RECIPE.replace(old, new))

    def command(self, name: str) -> list[str]:
        where = [str(self.recipe), "--root", str(self.folder)]
        if name == "vocabulary":
            return [name, *where, "--out", str(self.folder / "new.spm")]
        out = ["--out", str(self.folder / "run"), "--device", "cpu"]
        return [name, *where, "--vocabulary", str(self.vocabulary_path), *out]


@pytest.fixture
def project(tmp_path: Path, vocabulary_path: Path) -> Project:
    return Project(tmp_path, vocabulary_path)


def error_of(command: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line a failing command says."""
    assert main(command) == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1, said.err
    assert said.err.startswith("error: ")
    assert said.out == ""
    return said.err


BROKEN_TEXT: dict[str, tuple[Callable[[Project], object], str]] = {
    "missing file": (lambda p: (p.folder / "train.tsv").unlink(), "train.tsv: no such file; check the path"),
    "missing column": (
        lambda p: p.write("train.tsv", "a\tb\nonly\n"),
        "train.tsv:2: 1 tab-separated column(s), 2 needed; mend or drop the line",
    ),
    "empty side": (
        lambda p: p.write("train.tsv", "a\tb\nc\t\n"),
        "train.tsv:2: one side of the pair is empty; mend or drop the line",
    ),
    "not UTF-8": (
        lambda p: p.write("train.tsv", b"a\tb\nc\t\xe9t\xe9\n"),
        "train.tsv:2: not UTF-8 at byte 3 of the line; convert the file",
    ),
    "empty file": (lambda p: p.write("train.tsv", ""), "train.tsv: the file is empty; give one"),
}

BROKEN_RECIPE: dict[str, tuple[Callable[[Project], object], str]] = {
    "no recipe": (lambda p: p.recipe.unlink(), "mine.toml: no such recipe; see model/recipes/"),
    "unknown field": (
        lambda p: p.change_recipe("max_steps = 1", "steps = 1"),
        "mine.toml: training.steps: unknown field (found 1); model/recipes/README.md lists the fields",
    ),
    "broken TOML": (lambda p: p.change_recipe("max_steps = 1", "max_steps == 1"), "mine.toml: not a TOML file: "),
    "bad direction": (lambda p: p.change_recipe('"fr-en"', '"fr"'), "(found 'fr'); model/recipes/README.md"),
    "direction without a column": (
        lambda p: p.change_recipe('"fr-en"', '"zh-en"'),
        "direction zh-en: no column or file for language 'zh'",
    ),
    "unknown field of the model": (lambda p: p.change_recipe("d_ff = 16", "d_fff = 16"), "unknown field 'd_fff'"),
    "impossible model": (lambda p: p.change_recipe("num_heads = 2", "num_heads = 3"), "not divisible by num_heads 3"),
}


@pytest.mark.parametrize("name", ["vocabulary", "train"])
@pytest.mark.parametrize("case", [*BROKEN_TEXT, *BROKEN_RECIPE])
def test_broken_text_or_recipe(project: Project, capsys: pytest.CaptureFixture[str], name: str, case: str) -> None:
    damage, expected = {**BROKEN_TEXT, **BROKEN_RECIPE}[case]
    damage(project)
    assert expected in error_of(project.command(name), capsys)
    assert not (project.folder / "new.spm").exists()
    assert not (project.folder / "run").exists()


def test_line_number_of_broken_toml(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    project.change_recipe("max_steps = 1", "max_steps == 1")
    assert "line 12" in error_of(project.command("train"), capsys)


# These come after the corpora were read and counted, which is said on stderr too: the error is the last line.
BROKEN_VALIDATION: dict[str, tuple[Callable[[Project], object], tuple[str, ...]]] = {
    "damaged gzip": (
        lambda p: p.write("dev.fr.gz", b"\x1f\x8bnot"),
        ("dev.fr.gz: damaged gzip file", "fetch or write it"),
    ),
    "uneven": (
        lambda p: p.write("dev.en", "Yes.\nNo.\nWhat?\n"),
        ("dev.fr.gz has 2 lines", "dev.en has 3", "equally long: the first line without a partner is 3"),
    ),
    "empty line": (
        lambda p: p.write("dev.en", "Yes.\n\n"),
        ("dev.en:2: one side of the pair is empty", "mend or drop"),
    ),
}


@pytest.mark.parametrize("case", BROKEN_VALIDATION)
def test_broken_validation_text(project: Project, capsys: pytest.CaptureFixture[str], case: str) -> None:
    damage, expected = BROKEN_VALIDATION[case]
    damage(project)
    assert main(project.command("train")) == 2
    *_, error = capsys.readouterr().err.splitlines()
    assert all(part in error for part in expected), error


def test_missing_vocabulary(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    project.vocabulary_path = project.folder / "none.spm"
    expected = "none.spm: no such vocabulary; train one with: python -m model vocabulary"
    assert expected in error_of(project.command("train"), capsys)


def test_vocabulary_of_another_size(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    project.change_recipe("size = 400", "size = 500")
    error = error_of(project.command("train"), capsys)
    assert (
        "vocabulary.spm: 400 pieces, the recipe says 500; train one that fits with: python -m model vocabulary" in error
    )


def test_vocabulary_without_the_tag(
    project: Project, capsys: pytest.CaptureFixture[str], demo_pairs: list[tuple[str, str]]
) -> None:
    project.vocabulary_path = project.folder / "french.spm"
    train_vocabulary([p[0] for p in demo_pairs[:500]], project.vocabulary_path, size=400, languages=["fr"])
    error = error_of(project.command("train"), capsys)
    assert "french.spm: no tag for target language 'en', only for fr; train one that fits" in error


def test_vocabulary_too_large_for_the_text(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    error = error_of(project.command("vocabulary"), capsys)
    assert "new.spm: SentencePiece could not train a vocabulary of 400" in error
    assert "Please set it to a value" in error


def test_every_pair_too_long(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    project.change_recipe("max_steps = 1", "max_steps = 1\nlongest = 4")
    assert main(project.command("train")) == 2
    assert "error: no training pair is left; raise training.longest" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--beam", "0", "0 is no whole number above 0"),
        ("--beam", "-1", "-1 is no whole number above 0"),
        ("--beam", "two", "two is no whole number above 0"),
        ("--length-penalty", "nan", "nan is no number, 0 or more"),
        ("--length-penalty", "-0.5", "-0.5 is no number, 0 or more"),
        ("--length-penalty", "much", "much is no number, 0 or more"),
    ],
)
@pytest.mark.parametrize("command", ["evaluate", "translate"])
def test_an_impossible_search_is_refused(
    command: str, option: str, value: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    files = ["--source", "a", "--reference", "b"] if command == "evaluate" else []
    with pytest.raises(SystemExit) as ended:
        main([command, "checkpoint", "--direction", "fr-en", *files, f"{option}={value}"])
    assert ended.value.code == 2
    assert f"argument {option}: {said}" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["evaluate", "translate"])
def test_no_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
    files = ["--source", "a", "--reference", "b"] if command == "evaluate" else []
    error = error_of([command, str(tmp_path), "--direction", "fr-en", *files], capsys)
    assert "config.json: no such file; give the directory of a checkpoint" in error


def test_bad_direction_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    error = error_of(["translate", str(tmp_path), "--direction", "french"], capsys)
    assert "direction 'french': write it as source-target, e.g. zh-en" in error


def test_curves_without_a_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "log.jsonl: no such log; has the run begun?" in error_of(["curves", str(tmp_path)], capsys)


def test_curves_of_a_damaged_log_name_the_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "log.jsonl").write_text('{"kind": "other"}\nnot json\n{}\n')
    assert "log.jsonl:2: not JSON" in error_of(["curves", str(tmp_path)], capsys)


def test_averaging_a_run_that_saved_nothing(
    tmp_path: Path, vocabulary_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out")
    error = error_of(["average", str(tmp_path), "--vocabulary", str(vocabulary_path), "--out", out], capsys)
    assert "nothing to average: no weights were saved yet" in error


def test_vocabulary_command_writes_what_training_accepts(
    project: Project, capsys: pytest.CaptureFixture[str], demo_pairs: list[tuple[str, str]]
) -> None:
    project.write("train.tsv", "".join(f"{english}\t{french}\n" for french, english in demo_pairs[:300]))
    assert main(project.command("vocabulary")) == 0
    assert "new.spm: 400 pieces, tags for en" in capsys.readouterr().out
    project.vocabulary_path = project.folder / "new.spm"
    assert main(project.command("train")) == 0


def test_lexical_command_learns_from_each_text_once_for_both_ways(
    project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str], demo_pairs: list[tuple[str, str]]
) -> None:
    project.change_recipe('directions = ["fr-en"]\n[[validation]]', 'directions = ["fr-en", "en-fr"]\n[[validation]]')
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    # Both languages are targets: both need a tag.
    sentences = [text for pair in demo_pairs[:300] for text in pair]
    vocabulary = train_vocabulary(sentences, checkpoint / "vocabulary.spm", size=400, languages=["en", "fr"])
    assert main(["lexical", str(project.recipe), str(checkpoint), "--root", str(project.folder)]) == 0
    assert "fr-en: 2 pairs" in capsys.readouterr().err
    assert set(load_tables(checkpoint / LEXICAL_FILE, vocabulary)) == {"fr-en", "en-fr"}


def test_unknown_command_is_argparse_own(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["fly"])
