"""What a person meets at an import is one sentence, and nothing half-written stays."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from benchmarks.foreign import write_marian_release
from export import write
from export.__main__ import main
from export.importers.origin import forbids_commerce
from model.errors import ModelError
from tests.export.foreign import convert, read, write_argos


def test_what_an_import_leaves_out_is_said(marian: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    release = write_marian_release(tmp_path / "release", marian)
    (release / "preprocess.sh").write_text("normalize-punctuation.perl -l $1 | spm_encode --model $2\n")
    (release / "vmap.txt").write_text("\n")
    assert [note.partition(" ")[0] for note in read(release).notes] == ["preprocess.sh", "vmap.txt"]
    assert main(["inspect", str(release)]) == 0
    assert capsys.readouterr().out.count("note: ") == 2
    assert not read(marian).notes


def test_a_text_that_cannot_teach_is_one_sentence(
    marian: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = tmp_path / "few"
    few.write_text("Je ne sais pas.\n")
    for pair, files, sentence in (
        ("fr-en", (few, few), "--text fr-en: 1 sentence pairs, 500 are needed"),
        ("fr-de", (few, few), "--text fr-de: not a pair of languages of this network"),
        ("fr-en", (few, tmp_path / "none"), "none: no such file"),
    ):
        arguments = ["import", str(marian), str(tmp_path / "bundle"), "--text", pair, *map(str, files)]
        assert main(arguments) == 2
        assert sentence in capsys.readouterr().err.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["few"]


def broken(folder: Path, destination: Path, **changes: Any) -> Path:
    """A copy of a folder: `file=None` removes it, a dict changes keys of JSON, text replaces content."""
    shutil.copytree(folder, destination)
    for name, change in changes.items():
        path = destination / name
        if change is None:
            path.unlink()
        elif isinstance(change, dict):
            path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
        else:
            path.write_bytes(change)
    return destination


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"source.spm": None}, "source.spm: no such file; it is a SentencePiece model of the tokeniser"),
        ({"source.spm": b"x"}, "source.spm: not a SentencePiece model"),
        ({"vocab.json": None}, "vocab.json: no such file; it is the list of the tokeniser's tokens"),
        ({"vocab.json": b"[]"}, "vocab.json: not a JSON object"),
        ({"config.json": None}, "nothing here that can be imported"),
        ({"config.json": b'{"model_type": "marian"'}, "config.json: not JSON"),
        ({"config.json": {"model_type": "bert"}}, "model_type 'bert' cannot be imported"),
        ({"config.json": {"model_type": "gpt2", "is_encoder_decoder": False}}, "gpt2 is not an encoder-decoder"),
        ({"config.json": {"architectures": ["MarianForCausalLM"]}}, "marian is not an encoder-decoder"),
        ({"config.json": {"activation_function": "tanh"}}, "activation_function 'tanh' cannot be imported"),
        ({"config.json": {"encoder_layers": 10**9}}, "encoder_layers is 1000000000, but the weights hold 2 of them"),
        ({"config.json": {"max_position_embeddings": 10**9}}, "max_position_embeddings must be a whole number"),
        ({"config.json": {"encoder_attention_heads": 5}}, "d_model 64 is not divisible by num_heads 5"),
        ({"config.json": {"d_model": 128}}, "weights and config do not belong together"),
        ({"model.safetensors": None}, "no weights: neither model.safetensors nor pytorch_model.bin"),
        ({"model.safetensors": b"x" * 100}, "model.safetensors: damaged weights"),
        ({"generation_config.json": {"bad_words_ids": [[1, 2]]}}, "bad_words_ids of more than one token cannot"),
        ({"generation_config.json": {"forced_bos_token_id": 7}}, "forced_bos_token_id in the generation config cannot"),
    ],
)
def test_what_a_person_meets_is_one_sentence(
    changes: dict[str, Any], sentence: str, marian: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = broken(marian, tmp_path / "opus-mt-fr-en", **changes)
    assert main(["import", str(folder), str(tmp_path / "bundle")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert sentence in error
    assert error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["opus-mt-fr-en"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"transformer-decoder-autoreg": "rnn"}, "an SSRU decoder"),
        ({"type": "s2s"}, "type: s2s cannot be imported"),
        ({"transformer-postprocess": "d"}, "postprocess-top ('', 'd', '') cannot be imported"),
        ({"transformer-tied-layers": [1, 1]}, "transformer-tied-layers: [1, 1] cannot be imported"),
    ],
)
def test_marian_networks_that_cannot_run_are_refused_by_name(
    options: dict[str, Any], sentence: str, marian: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelError) as caught:
        read(write_marian_release(tmp_path / "release", marian, **options))
    assert sentence in str(caught.value)


def test_a_tensor_nobody_knows_is_named(marian: Path, tmp_path: Path) -> None:
    folder = broken(marian, tmp_path / "folder")
    tensors = load_file(folder / "model.safetensors")
    save_file({**tensors, "model.encoder.layers.0.adapter.weight": torch.zeros(2)}, folder / "model.safetensors")
    with pytest.raises(ModelError, match=r"does not know, model\.encoder\.layers\.0\.adapter\.weight"):
        read(folder)


def test_damaged_ctranslate2_models_are_refused(marian: Path, tmp_path: Path) -> None:
    directory = convert(marian, tmp_path / "model", "int8", ["source.spm", "target.spm"])
    whole = (directory / "model.bin").read_bytes()
    for content in (b"", whole[:1000], whole[: len(whole) // 2], b"\xff" * 200, whole[:4] + b"\xff" * 100):
        (directory / "model.bin").write_bytes(content)
        with pytest.raises(ModelError, match=r"model\.bin: damaged"):
            read(directory)


def test_inspect_says_what_a_folder_is(
    marian: Path, nllb: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    package = write_argos(tmp_path / "translate-fr_en.argosmodel", marian)
    release = write_marian_release(tmp_path / "release", marian)
    for path, words in (
        (marian, ("a folder of Hugging Face transformers", "marian, 2 + 2 layers of 64", "from fr", "to en")),
        (nllb, ("m2m_100, 2 + 2 layers of 64", "from ace-Arab, ace-Latn", "and 190 more")),
        (package, ("an Argos package", "from fr to en, version 1.9")),
        (release, ("a release of Marian's own files",)),
    ):
        assert main(["inspect", str(path)]) == 0
        lines = capsys.readouterr().out
        assert f"can be imported: python -m export import {path} BUNDLE" in lines
        assert all(word in lines for word in words), lines
    folder = broken(marian, tmp_path / "broken", **{"config.json": {"model_type": "bert"}})
    assert main(["inspect", str(folder)]) == 0
    assert "cannot be imported: " in capsys.readouterr().out
    assert main(["inspect", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err == f"error: {tmp_path / 'none'}: no such file or folder\n"


def test_inspect_loads_no_torch(marian: Path) -> None:
    code = "import sys; from export.__main__ import main; main(sys.argv[1:]); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code, "inspect", str(marian)], check=True, cwd=Path(__file__).parents[2])


def test_a_full_disk_leaves_nothing_and_is_one_sentence(
    marian: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tmp_path / "bundle.partial" / "weights.bin"))

    monkeypatch.setattr(write, "_write_graphs", full)
    assert main(["import", str(marian), str(tmp_path / "bundle"), "--precision", "fp32"]) == 1
    assert "No space left on device" in capsys.readouterr().err.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


def test_a_licence_that_forbids_commerce_is_said(marian: Path, tmp_path: Path) -> None:
    folder = broken(marian, tmp_path / "opus-mt-fr-en")
    (folder / "README.md").write_text("---\nlanguage: fr\nlicense: cc-by-nc-4.0\n---\n# A model\n")
    network = read(folder)
    assert network.licence == "cc-by-nc-4.0"
    assert forbids_commerce(network.licence)
    assert not any(map(forbids_commerce, (None, "cc-by-4.0", "apache-2.0", "mit")))
