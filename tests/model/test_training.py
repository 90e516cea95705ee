"""Training: it learns, it logs, and a run killed at the worst moments ends as if it had not been."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from model.__main__ import main
from model.checkpoint import load_checkpoint
from model.errors import CheckpointError, VocabularyError
from model.training import newest_average
from tests.model.conftest import DEMO_DATA

RECIPE = f"""
name = "tiny"
seed = 3
[model]
d_model = 32
num_heads = 4
d_ff = 48
encoder_layers = 1
decoder_layers = 1
dropout = 0.1
[vocabulary]
size = 400
[training]
batch_tokens = 512
longest = 20
max_steps = 50
warmup_steps = 20
cooldown_steps = 10
learning_rate_factor = 2.0
checkpoint_every = 10
average_last = 3
validate_every = 20
log_every = 4
precision = "fp32"
compile_loss = false
[[data]]
path = "{DEMO_DATA.name}/tatoeba.tsv.gz"
columns = ["en", "fr"]
directions = ["fr-en"]
passes = 0.1
unmarked = 0.2
concatenated = 0.1
[[validation]]
files = {{en = "{DEMO_DATA.name}/tatoeba-dev.en.gz", fr = "{DEMO_DATA.name}/tatoeba-dev.fr.gz"}}
directions = ["fr-en"]
limit = 5
"""
"""An epoch of this is about 20 batches, so a run crosses epochs, and 4, 10 and 20 fall on different steps."""


MUON = RECIPE.replace("[training]\n", '[training]\noptimizer = "muon"\nschedule = "constant"\nlearning_rate = 0.01\n')


@pytest.fixture(scope="module", params=[RECIPE, MUON], ids=["adam", "muon"])
def recipe(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    path.write_text(request.param, encoding="utf-8")
    return path


def arguments(recipe: Path, vocabulary_path: Path, run: Path) -> list[str]:
    root = str(DEMO_DATA.parent)
    return ["train", str(recipe), "--root", root, "--vocabulary", str(vocabulary_path), "--out", str(run),
            "--device", "cpu"]  # fmt: skip


@pytest.fixture(scope="module")
def finished(recipe: Path, vocabulary_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody disturbed."""
    run = tmp_path_factory.mktemp("finished") / "run"
    torch.set_num_threads(1)
    assert main(arguments(recipe, vocabulary_path, run)) == 0
    return run


def log_of(run: Path, kind: str | None = None) -> list[dict[str, Any]]:
    """Rows of the log, without what a clock put there."""
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    clocks = ("seconds", "tokens_per_second")
    return [{k: v for k, v in row.items() if k not in clocks} for row in rows if kind in (None, row["kind"])]


def test_loss_falls(finished: Path) -> None:
    losses = [row["loss"] for row in log_of(finished, "train")]
    assert losses[-1] < losses[0] - 1
    first, *_, last = log_of(finished, "validation")
    assert last["nll"] < first["nll"]


def test_log_is_json_lines_with_the_promised_fields(finished: Path) -> None:
    rows = [json.loads(line) for line in (finished / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    train = [row for row in rows if row["kind"] == "train"]
    assert [row["step"] for row in train] == list(range(4, 51, 4))
    for row in train:
        assert {"step", "target_tokens", "seconds", "loss", "learning_rate", "tokens_per_second"} < set(row)
    validation = [row for row in rows if row["kind"] == "validation"]
    assert [row["step"] for row in validation] == [20, 40, 50]
    assert {"set", "direction", "loss", "nll", "bleu", "chrf"} < set(validation[0])
    tokens = [row["target_tokens"] for row in rows]
    assert tokens == sorted(tokens)


def test_curves_are_drawn_by_training_and_by_command(finished: Path, tmp_path: Path) -> None:
    assert (finished / "curves.png").read_bytes().startswith(b"\x89PNG")
    picture = tmp_path / "again.png"
    assert main(["curves", str(finished), "--png", str(picture)]) == 0
    assert picture.stat().st_size > 5000


def test_curves_of_a_run_without_validation_that_is_writing_its_log(tmp_path: Path) -> None:
    row = {"kind": "train", "step": 1, "target_tokens": 9, "loss": 5.0, "learning_rate": 0.1}
    (tmp_path / "log.jsonl").write_text(json.dumps(row) + '\n{"kind": "tr')
    assert main(["curves", str(tmp_path)]) == 0
    assert (tmp_path / "curves.png").exists()


def test_checkpoint_is_the_mean_of_the_last_weights(finished: Path) -> None:
    files = sorted((finished / "weights").glob("*.pt"))
    assert [int(file.stem) for file in files] == [30, 40, 50]
    parts = [torch.load(file, weights_only=True) for file in files]
    model = load_checkpoint(finished / "checkpoint").model
    for key, value in model.state_dict().items():
        torch.testing.assert_close(value, torch.stack([part[key].double() for part in parts]).mean(0).float())
    description = json.loads((finished / "checkpoint" / "config.json").read_text())
    assert description["training"]["averaged_steps"] == [30, 40, 50]
    assert description["directions"] == ["fr-en"]


def test_average_command(finished: Path, vocabulary_path: Path, tmp_path: Path) -> None:
    out = tmp_path / "last"
    command = [
        "average",
        str(finished),
        "--vocabulary",
        str(vocabulary_path),
        "--last",
        "1",
        "--half",
        "--out",
        str(out),
    ]
    assert main(command) == 0
    last = torch.load(finished / "weights" / "00000050.pt", weights_only=True)
    for key, value in load_checkpoint(out).model.state_dict().items():
        assert torch.equal(value, last[key].half().float())


# The process ends itself with SIGKILL: no handler runs, nothing is flushed.
KILLED = """
import os, signal, sys, torch
torch.set_num_threads(1)
from model import training
from model.__main__ import main

def die():
    os.kill(os.getpid(), signal.SIGKILL)

where, command = sys.argv[1], sys.argv[2:]
if where == "in the middle of a log line":
    log = training.Trainer._log
    def log_half(self, kind, **values):
        if self.position.step < 16:
            return log(self, kind, **values)
        with (self.run / training.LOG_FILE).open("ab") as file:
            file.write('{"kind": "train", "step": 16, "é'.encode()[:-1])
        die()
    training.Trainer._log = log_half
else:
    write = training._write_atomically
    def write_half(path, value):
        if path.name == training.STATE_FILE and value["position"]["step"] == 40:
            path.with_suffix(".partial").write_bytes(b"half a state")
            die()
        write(path, value)
    training._write_atomically = write_half
main(command)
"""


def run_until_killed(where: str, command: list[str]) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", KILLED, where, *command], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


def test_a_killed_run_resumes_and_ends_bitwise_the_same(
    finished: Path, recipe: Path, vocabulary_path: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    command = arguments(recipe, vocabulary_path, run)
    run_until_killed("in the middle of a log line", command)
    assert torch.load(run / "state.pt", weights_only=True)["position"]["step"] == 10
    run_until_killed("between the weights and the state", command)
    assert (run / "weights" / "00000040.pt").exists()
    assert torch.load(run / "state.pt", weights_only=True)["position"]["step"] == 30
    assert max(row["step"] for row in log_of(run)) == 40, "the log is ahead of the state"
    torch.set_num_threads(1)
    assert main(command) == 0

    assert log_of(run) == log_of(finished)
    assert [f.name for f in sorted((run / "weights").iterdir())] == ["00000030.pt", "00000040.pt", "00000050.pt"]
    for name in ("00000030.pt", "00000040.pt", "00000050.pt"):
        ours, theirs = (torch.load(r / "weights" / name, weights_only=True) for r in (run, finished))
        assert all(torch.equal(value, theirs[key]) for key, value in ours.items()), name
    ours, theirs = (load_checkpoint(r / "checkpoint").model.state_dict() for r in (run, finished))
    assert all(torch.equal(value, theirs[key]) for key, value in ours.items())


def test_another_mixture_begins_with_an_epoch_of_its_own(
    finished: Path, recipe: Path, vocabulary_path: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    changed = tmp_path / "changed.toml"
    text = recipe.read_text(encoding="utf-8")
    changed.write_text(text.replace("max_steps = 50", "max_steps = 54").replace("passes = 0.1", "passes = 0.3"))
    before = torch.load(run / "state.pt", weights_only=True)["position"]
    assert main(arguments(changed, vocabulary_path, run)) == 0
    after = torch.load(run / "state.pt", weights_only=True)["position"]
    assert after["epoch"] == before["epoch"] + 1
    assert after["batch"] == 4
    epochs = log_of(run, "epoch")
    assert epochs[-1]["step"] == 50
    assert epochs[-1]["batches"] > 2 * epochs[0]["batches"]


def test_a_branch_cools_down_and_leaves_its_run_alone(
    finished: Path, recipe: Path, vocabulary_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (finished / "state.pt").read_bytes()
    out = tmp_path / "branch"
    assert main(["branch", str(finished), "--steps", "8", "--out", str(out)]) == 0
    assert main(arguments(recipe, vocabulary_path, out)) == 0
    assert (finished / "state.pt").read_bytes() == before
    rates = [row["learning_rate"] for row in log_of(out, "train") if row["step"] > 50]
    assert [row["step"] for row in log_of(out, "train")][-2:] == [52, 56]
    assert rates == sorted(rates, reverse=True)
    assert load_checkpoint(out / "checkpoint").directions == ("fr-en",)
    assert main(["branch", str(finished), "--steps", "8", "--out", str(out)]) == 2
    assert main(["branch", str(tmp_path), "--steps", "8", "--out", str(tmp_path / "other")]) == 2
    assert "the run has saved nothing yet" in capsys.readouterr().err


@pytest.mark.parametrize("recipe", [MUON], indirect=True)
def test_processes_train_together_and_resume(recipe: Path, vocabulary_path: Path, tmp_path: Path) -> None:
    """Two processes do what one does, but for the order of sums; stopped, they go on."""
    text = recipe.read_text(encoding="utf-8").replace("dropout = 0.1", "dropout = 0.0")
    text = text.replace("cooldown_steps = 10", "").split("[[validation]]")[0]
    short, whole = tmp_path / "short.toml", tmp_path / "whole.toml"
    short.write_text(text.replace("max_steps = 50", "max_steps = 10"))
    whole.write_text(text.replace("max_steps = 50", "max_steps = 20"))

    def train(recipe: Path, processes: int) -> Path:
        run = tmp_path / "together"
        command = [*arguments(recipe, vocabulary_path, run), "--processes", str(processes)]
        subprocess.run([sys.executable, "-m", "model", *command], check=True, capture_output=True, timeout=300)
        return run

    assert main(arguments(whole, vocabulary_path, tmp_path / "alone")) == 0
    train(short, 2)
    together = train(whole, 2)
    ours, theirs = ([row["loss"] for row in log_of(run, "train")] for run in (together, tmp_path / "alone"))
    assert ours == pytest.approx(theirs, rel=1e-2)
    assert len(ours) == 5


def test_starting_a_finished_run_again_changes_nothing(
    finished: Path, recipe: Path, vocabulary_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = log_of(finished), (finished / "checkpoint" / "model.safetensors").read_bytes()
    assert main(arguments(recipe, vocabulary_path, finished)) == 0
    assert (log_of(finished), (finished / "checkpoint" / "model.safetensors").read_bytes()) == before


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[training]", '[training]\noptimizer = "OTHER"', "the run began with another training.optimizer"),
        ("seed = 3", "seed = 4", "the run began with seed 3, the recipe says 4"),
        ("d_model = 32", "d_model = 40", "the recipe describes another model; choose another --out: size mismatch"),
        ("encoder_layers = 1", "encoder_layers = 2", "the recipe describes another model"),
    ],
)
def test_a_run_is_not_resumed_with_another_recipe(
    finished: Path, recipe: Path, vocabulary_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str,
    new: str, message: str,
) -> None:  # fmt: skip
    text = recipe.read_text(encoding="utf-8")
    new = new.replace("OTHER", "adam" if text == MUON else "muon")
    changed = tmp_path / "changed.toml"
    changed.write_text(text.replace('optimizer = "muon"\n', "").replace(old, new), encoding="utf-8")
    run = tmp_path / "run"
    run.mkdir()
    (run / "state.pt").write_bytes((finished / "state.pt").read_bytes())
    assert main(arguments(changed, vocabulary_path, run)) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: ")
    assert message in last


def test_averaging_needs_weights_and_their_own_vocabulary(
    finished: Path, demo_pairs: list[tuple[str, str]], vocabulary_path: Path, tmp_path: Path
) -> None:
    from model.vocabulary import train_vocabulary

    with pytest.raises(CheckpointError, match="nothing to average"):
        newest_average(tmp_path, vocabulary_path, 3)
    train_vocabulary([p[0] for p in demo_pairs[:300]], tmp_path / "other.spm", size=350, languages=["en"])
    with pytest.raises(VocabularyError, match=r"other\.spm: 350 pieces, the run was trained with 400"):
        newest_average(finished, tmp_path / "other.spm", 3)


def test_bf16_trains_too(recipe: Path, vocabulary_path: Path, tmp_path: Path) -> None:
    short = RECIPE.replace("max_steps = 50", "max_steps = 8").replace('"fp32"', '"bf16"')
    path = tmp_path / "bf16.toml"
    path.write_text(short.split("[[validation]]")[0], encoding="utf-8")
    assert main(arguments(path, vocabulary_path, tmp_path / "run")) == 0
    weights = torch.load(tmp_path / "run" / "weights" / "00000008.pt", weights_only=True)
    assert all(value.dtype == torch.float32 and torch.isfinite(value).all() for value in weights.values())


def test_evaluate_and_translate_commands(
    finished: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint, data = str(finished / "checkpoint"), DEMO_DATA
    capsys.readouterr()
    command = ["evaluate", checkpoint, "--source", str(data / "tatoeba-dev.fr.gz"), "--direction", "fr-en",
               "--reference", str(data / "tatoeba-dev.en.gz"), "--limit", "6"]  # fmt: skip
    assert main([*command, "--output", str(tmp_path / "out.txt")]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["sentences"] == 6
    assert "version:" in scores["bleu_signature"]
    assert (tmp_path / "out.txt").read_text(encoding="utf-8").count("\n") == 6
    assert main([*command, "--beam", "2"]) == 0

    capsys.readouterr()
    assert main(["translate", checkpoint, "--direction", "fr-en", "--text", "Je suis là.", "Tom ?"]) == 0
    from_arguments = capsys.readouterr().out
    assert from_arguments.count("\n") == 2
    monkeypatch.setattr("sys.stdin", iter(["Je suis là.\n", "Tom ?\n"]))
    assert main(["translate", checkpoint, "--direction", "fr-en"]) == 0
    assert capsys.readouterr().out == from_arguments
