"""The command `attend`, as it is typed: in processes of its own, from a directory that has nothing to do with it."""

from __future__ import annotations

import functools
import gzip
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from attend.cli import WORDS, main
from tests.attend.support import said
from tests.bundles import ROOT, SHIPPED_BUNDLE
from tests.processes import PATIENCE_SECONDS, serving_process

QUICK = ("--sessions", "1", "--beam-size", "1")


def environment() -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("ATTEND_")}
    return {**ours, "PYTHONPATH": str(ROOT)}


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "attend", *map(str, arguments)]


def attend(*arguments: object, cwd: Path, given: bytes = b"", **variables: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        command(*arguments),
        cwd=cwd,
        env=environment() | variables,
        input=given,
        capture_output=True,
        timeout=PATIENCE_SECONDS * 3,
        check=False,
    )


@pytest.fixture(scope="module")
def whole(corpus: Path) -> Path:
    """The same in English, translated without an interruption."""
    path = corpus.with_name("whole.txt")
    done = attend("translate", corpus, "-o", path, "-s", "fr", "-t", "en", *QUICK, "-q", cwd=corpus.parent)
    assert (done.returncode, said(done)) == (0, "")
    return path


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some hundred sentences, each another one."""
    path = tmp_path_factory.mktemp("corpus") / "in.txt"
    path.write_text("".join(f"Il a {number} ans et il habite à Paris.\n" for number in range(240)), encoding="utf-8")
    return path


def test_lines_and_texts(tmp_path: Path) -> None:
    done = attend("translate", "-s", "fr", "-t", "en", *QUICK, cwd=tmp_path, given=b"Bonjour.\n\nIl pleut.")
    assert (done.returncode, done.stdout.count(b"\n")) == (0, 2)
    assert "3 lines in" in said(done)
    hello, _, rain = done.stdout.decode().split("\n")
    done = attend("translate", "Il pleut.", "Bonjour.", "-s", "fr", "-t", "en", *QUICK, cwd=tmp_path)
    assert done.stdout.decode() == f"{rain}\n{hello}\n"


def test_killed_at_any_moment_it_loses_and_repeats_nothing(corpus: Path, whole: Path, tmp_path: Path) -> None:
    """The whole process, with `kill -9`, whenever it has written another random number of bytes."""
    wish = ("-s", "fr", "-t", "en", *QUICK, "--chunk", "8", "--commit-every", "0", "-q")
    lines = whole.read_text(encoding="utf-8").splitlines()
    assert len(lines) == 240
    assert all(str(number) in line for number, line in enumerate(lines))
    seed = random.randrange(10**6)
    chance = random.Random(seed)
    output = tmp_path / "out.txt"
    partial = tmp_path / "out.txt.partial"
    kills = 0
    for _ in range(3):
        process = subprocess.Popen(command("translate", corpus, "-o", output, *wish), cwd=tmp_path, env=environment())
        before = partial.stat().st_size if partial.exists() else 0
        enough = before + chance.randrange(1, whole.stat().st_size // 4)
        while process.poll() is None and (partial.stat().st_size if partial.exists() else 0) < enough:
            time.sleep(chance.random() * 0.01)
        if process.poll() is None:
            process.kill()
            kills += 1
        process.wait()
    assert kills >= 2, "it was done before it could be killed"
    done = attend("translate", corpus, "-o", output, *wish, cwd=tmp_path)
    assert (done.returncode, said(done)) == (0, "")
    assert output.read_bytes() == whole.read_bytes(), f"seed {seed}"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.txt"]


def test_stopped_it_says_so_and_goes_on(corpus: Path, whole: Path, tmp_path: Path) -> None:
    output, wish = tmp_path / "out.txt.gz", ("-s", "fr", "-t", "en", *QUICK, "--chunk", "8", "--commit-every", "0")
    statuses: list[int] = []
    for _ in range(10):  # now and then it is done before the signal reaches it
        statuses = [_stopped(number, output, "translate", corpus, "-o", output, *wish) for number in STOPPING]
        if 0 not in statuses:
            break
        output.unlink()
    assert statuses == [143, 130]
    done = attend("translate", corpus, "-o", output, *wish, cwd=tmp_path)
    assert done.returncode == 0
    assert "goes on behind" in said(done)
    assert gzip.decompress(output.read_bytes()) == whole.read_bytes()


STOPPING = (signal.SIGTERM, signal.SIGINT)


def _stopped(number: signal.Signals, output: Path, *arguments: str | Path) -> int:
    """The exit status of a command that gets a signal once it has written something."""
    partial = output.with_name(f"{output.name}.partial")
    before = partial.stat().st_size if partial.exists() else 0
    process = subprocess.Popen(
        command(*arguments),
        cwd=output.parent,
        env=environment(),
        stderr=subprocess.PIPE,
        # Where the tests run in the background of a shell, Ctrl-C is ignored by all that they start.
        preexec_fn=functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    while process.poll() is None and (partial.stat().st_size if partial.exists() else 0) <= before:
        time.sleep(0.01)
    process.send_signal(number)
    _, told = process.communicate(timeout=PATIENCE_SECONDS)
    assert b"Traceback" not in told
    return process.returncode


def test_folders_and_documents(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.txt").write_text("Bonjour.\nIl pleut.\n", encoding="utf-8")
    (folder / "deep" / "b.md").write_text("# Bonjour\n\nIl *pleut*.\n", encoding="utf-8")
    (folder / "c.bin").write_bytes(b"\0")
    (folder / "d.docx").write_bytes(b"no archive")
    wish = ("-s", "fr", "-t", "en", *QUICK)
    done = attend("translate", "in", "-o", "out", *wish, cwd=tmp_path)
    assert done.returncode == 1
    assert "d.docx: Invalid request: the file is damaged" in said(done)
    assert "1 files of unknown kinds" in said(done)
    out = tmp_path / "out"
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*.*")) == ["a.txt", "deep/b.md"]
    assert (tmp_path / "out/deep/b.md").read_text(encoding="utf-8").startswith("# ")
    done = attend("translate", "in", "-o", "out", *wish, cwd=tmp_path)
    assert "out/a.txt exists" in said(done)
    done = attend("translate", "in/deep/b.md", "-o", "b.en.md", *wish, cwd=tmp_path)
    assert (done.returncode, (tmp_path / "b.en.md").read_bytes()) == (0, (tmp_path / "out/deep/b.md").read_bytes())


def test_a_service_may_do_the_work(corpus: Path, whole: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.txt"
    wish = ("-s", "fr", "-t", "en", "--beam-size", "1", "-q", "--chunk", "50")
    with serving_process() as address:
        done = attend("translate", corpus, "-o", output, *wish, "--service", address, cwd=tmp_path)
        assert (done.returncode, said(done)) == (0, "")
    assert output.read_bytes() == whole.read_bytes()
    done = attend("translate", corpus, "-o", "x", *wish, "--service", address, cwd=tmp_path)
    assert (done.returncode, "no answer from" in said(done)) == (1, True)
    assert not list(tmp_path.glob("x*"))


WRONG = [
    (("translate", "x y"), "Missing option '-t'"),
    (("translate", "nothing.txt", "-t", "en"), "there is no file nothing.txt"),
    (("translate", "Bonjour.", "-t", "xx"), "xx is not supported"),
    (("translate", "Bonjour.", "-t", "en", "--bundle", "."), "manifest.json"),
    (("translate", "here.txt", "-t", "en", "--shard", "3/2"), "is no shard"),
    (("translate", "here.txt", "-t", "en", "-o", "here.txt"), "written over itself"),
    (("translate", "here.txt", "here.txt", "-t", "en"), "several files need a folder"),
    (("translate", "here.txt", "-t", "en", "--as", "tsv"), "which column"),
    (("translate", "here.txt", "-t", "en", "--as", "tsv", "--column", "z"), "there is no column 'z'"),
    (("translate", "here.txt", "-s", "fr", "-t", "en", "-o", "no/" + "x" * 300), "File name too long"),
    (("translate", "here.txt", "-t", "en", "--errors", "x"), "--errors needs --output"),
    (("translate", "here.txt", "b.txt", "-t", "en", "-o", "out", "--errors", "x"), "--errors is for one file"),
    (("translate", "here.txt", "-t", "en", "--api-key-file", "here.txt"), "--api-key-file needs --service"),
    (("translate", "broken.txt.gz", "-s", "fr", "-t", "en", "-o", "x", *QUICK), "is damaged"),
    (("translate", "here.txt", "-s", "fr", "-t", "en", "-o", "b.txt/x", *QUICK), "b.txt"),
    (("serve", "nowhere"), "does not exist"),
    (("serve", "."), "manifest.json"),
    (("inspect", "nowhere"), "no such file or folder"),
    (("inspect", "."), "nothing here that can be imported"),
    (("export", "nowhere"), "attend export: error: the following arguments are required: bundle"),
    (("export", "nowhere", "x"), "nowhere/config.json: no such file"),
    (("import",), "attend import: error: the following arguments are required"),
    (("train", "recipe.toml"), "attend train: error: the following arguments are required: --vocabulary"),
    (("keys", "list", "much"), "attend keys list: error: unrecognized arguments: much"),
    (("settings", "x"), "attend settings: error: unrecognized arguments: x"),
    (("import", "nowhere", "x"), "no such file or folder"),
    (("keys", "list"), "which file?"),
    (("evaluate", "nowhere", "--source", "a", "--reference", "b", "--direction", "fr-en"), "a: "),
    (("fly",), "No such command 'fly'"),
]


@pytest.mark.parametrize(("arguments", "why"), WRONG, ids=lambda value: value if isinstance(value, str) else "-")
def test_what_a_person_can_mend_is_a_sentence(
    arguments: tuple[str, ...],
    why: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("here.txt", "b.txt"):
        (tmp_path / name).write_text("a\tb\n", encoding="utf-8")
    (tmp_path / "broken.txt.gz").write_bytes(b"no gzip")
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("ATTEND_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("ATTEND_BUNDLE", str(SHIPPED_BUNDLE))  # is put back, whatever a command makes of it
    assert main(list(arguments)) == 2
    assert why in capsys.readouterr().err


DOCUMENT = ("translate", "page.md", "-s", "fr", "-t", "en", "-o", "page.en.md")
IGNORED = [
    (("translate", "a b", "-t", "en"), option)
    for option in (("--as", "tsv"), ("--shard", "1/2"), ("--chunk", "9"), ("--commit-every", "1"), ("--no-header",))
]
IGNORED += [
    (DOCUMENT, option)
    for option in (("--column", "x"), ("--no-header",), ("--shard", "1/2"), ("--errors", "x"), ("--chunk", "9"),
                   ("--commit-every", "1"), ("--format", "html"))
]  # fmt: skip
IGNORED += [
    ((*DOCUMENT, "--service", "http://127.0.0.1:1"), option)
    for option in (("--bundle", "."), ("--device", "cpu"), ("--sessions", "1"), ("--beam-size", "1"), ("--strict",),
                   ("--glossary", "page.md"), ("--do-not-translate", "x"), ("--length-penalty", "1"),
                   ("--max-output-tokens", "9"), ("--model", "x"))
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "option"), IGNORED, ids=lambda value: value[0] if len(value) < 3 else "-")
def test_an_option_without_a_meaning_is_refused(
    arguments: tuple[str, ...],
    option: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "page.md").write_text("# Bonjour\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert main([*arguments, *option]) == 2
    assert f"Error: {option[0]} is" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["page.md"]


def test_what_a_bundle_and_a_checkpoint_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(SHIPPED_BUNDLE)]) == 0
    told = capsys.readouterr().out
    assert f"{SHIPPED_BUNDLE}: a bundle, " in told
    assert "fr-en" in told
    assert "all files are as they were written" in told
    checkpoint = ROOT / "model/pretrained"
    assert main(["inspect", str(checkpoint)]) == 0
    assert f"can be exported: attend export {checkpoint} BUNDLE\n" in capsys.readouterr().out


def test_a_full_disk_is_a_sentence_and_it_goes_on_later(corpus: Path, whole: Path, tmp_path: Path) -> None:
    """The limit of a file's size stands in for the disk's."""
    wish = command("translate", corpus, "-o", "out.txt", "-s", "fr", "-t", "en", *QUICK, "-q", "--chunk", "40")
    limited = ["bash", "-c", 'ulimit -f 3 && exec "$@"', "limited", *wish]
    assert whole.stat().st_size > 3 * 1024
    done = subprocess.run(limited, cwd=tmp_path, env=environment(), capture_output=True, check=False)
    assert (done.returncode, "File too large" in said(done)) == (1, True)
    done = subprocess.run(wish, cwd=tmp_path, env=environment(), capture_output=True, check=False)
    assert (done.returncode, said(done)) == (0, "")
    assert (tmp_path / "out.txt").read_bytes() == whole.read_bytes()


def test_a_closed_pipe_ends_it_in_silence(corpus: Path, tmp_path: Path) -> None:
    """As `attend translate ... | head -1` does."""
    wish = command("translate", corpus, "-s", "fr", "-t", "en", *QUICK, "-q", "--chunk", "8")
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(wish, cwd=tmp_path, env=environment(), text=True, **pipes) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline()
        process.stdout.close()
        told = process.stderr.read()
        assert (process.wait(PATIENCE_SECONDS), "rror" in told) == (141, False), told


def test_training_that_cannot_begin_is_a_sentence(tmp_path: Path) -> None:
    done = attend("train", "nowhere", "--vocabulary", "a", "--out", "b", cwd=tmp_path)
    assert (done.returncode, "nowhere" in said(done)) == (2, True)


def test_every_word_helps(tmp_path: Path) -> None:
    done = attend("--help", cwd=tmp_path)
    assert all(word in done.stdout.decode() for word in WORDS)
    for word in ("translate", "import", "export", "keys", "train"):
        done = attend(word, "--help", cwd=tmp_path)
        assert (done.returncode, done.stdout.decode().lower().startswith(f"usage: attend {word} ")) == (0, True)
    assert attend("settings", cwd=tmp_path).stdout.count(b"ATTEND_") > 50


def test_the_doctor_tells_what_is_wrong(tmp_path: Path) -> None:
    done = attend("doctor", "--json", cwd=tmp_path, ATTEND_SESSIONS="1")
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, found
    assert {each["subject"] for each in found} >= {"attend", "machine", "runtime", "settings", "bundle", "trial"}
    assert any("a second" in each["says"] for each in found)
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    for file in SHIPPED_BUNDLE.iterdir():
        (damaged / file.name).write_bytes(file.read_bytes()[: 1000 if file.name == "weights.bin" else None])
    done = attend("doctor", "damaged", cwd=tmp_path, ATTEND_PORT="many")
    assert done.returncode == 1
    assert done.stdout.count(b"PROBLEM") == 2
    assert b"weights.bin" in done.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete(shell: str, tmp_path: Path) -> None:
    assert b"_ATTEND_COMPLETE" in attend("completion", shell, cwd=tmp_path).stdout


def test_options_of_every_room_are_completed(tmp_path: Path) -> None:
    def completed(line: str) -> Iterator[str]:
        words = line.split(" ")
        variables = {"_ATTEND_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
        done = attend(cwd=tmp_path, **variables)
        return (each.partition(",")[2] for each in done.stdout.decode().splitlines())

    assert "translate" in completed("attend tr")
    assert "--glossary" in completed("attend translate --gl")
    assert "--precision" in completed("attend import x --pre")
    assert "revoke" in completed("attend keys re")


def test_packages_of_others_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "__init__.py").write_text("", encoding="utf-8")
    done = attend("settings", cwd=tmp_path)
    assert done.returncode == 2
    assert f"the package 'model' in {tmp_path} stands before Attend's own in {ROOT}" in said(done)
    done = subprocess.run(
        [sys.executable, "-c", "from attend import Translator"], cwd=tmp_path, env=environment(), capture_output=True
    )
    assert b"stands before Attend's own" in done.stderr
