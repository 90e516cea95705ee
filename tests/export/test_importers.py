"""Networks of other systems are what their own libraries say: ids, logits, attention; and errors are sentences."""

from __future__ import annotations

import itertools
import json
import random
import shutil
import unicodedata
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ctranslate2
import numpy as np
import pytest
import torch
from ctranslate2.converters import OpusMTConverter
from ctranslate2.converters import transformers as converters
from safetensors.torch import load_file, save_file
from transformers import (
    M2M100ForConditionalGeneration,
    M2M100Tokenizer,
    MarianMTModel,
    MarianTokenizer,
    NllbTokenizer,
)

from benchmarks.ctranslate2_model import write_ctranslate2
from benchmarks.foreign import sentences, write_m2m100, write_marian, write_marian_release, write_nllb
from export.importers.ctranslate2_file import read_variables
from export.importers.request import Request
from export.network import Network
from export.quantize import quantize_columns
from model.checkpoint import load_checkpoint
from model.config import ModelConfig
from model.errors import ModelError
from model.transformer import Transformer
from tests.bundles import PRETRAINED
from tests.export.foreign import convert, read, write_argos


def texts_of_all_scripts(count: int) -> list[str]:
    """Words of letters, marks, digits and signs of the whole first plane, and sentences of the sample text."""
    chance = random.Random(0)
    letters = [chr(code) for code in range(0x21, 0xFFF0) if unicodedata.category(chr(code))[0] in "LNPSM"]
    blocks = [letters[place : place + 200] for place in range(0, len(letters), 200)]
    found = []
    for _ in range(count):
        block = chance.choice([*blocks, letters])
        words = ("".join(chance.choices(block, k=chance.randint(1, 7))) for _ in range(chance.randint(1, 8)))
        found.append(" ".join(words))
    return [*found, *sentences("fr", 300), *sentences("en", 300), "ﬁne ½ ①", "😀 x", "a\u00a0b", "a  b", "x\ty"]


FAMILIES: dict[str, tuple[Any, Any, tuple[str, str] | None]] = {
    "marian": (MarianMTModel, MarianTokenizer, None),
    "m2m100": (M2M100ForConditionalGeneration, M2M100Tokenizer, ("fr", "en")),
    "nllb": (M2M100ForConditionalGeneration, NllbTokenizer, ("fra_Latn", "eng_Latn")),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_ids_are_those_of_transformers(family: str, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue(family)
    network = read(folder)
    _, tokenizer_class, codes = FAMILIES[family]
    theirs = tokenizer_class.from_pretrained(folder)
    if codes:
        theirs.src_lang = codes[0]
        code = f"__{codes[1]}__" if family == "m2m100" else codes[1]
        assert network.tokenizer.target_prefix("en") == (theirs.convert_tokens_to_ids(code),)
    before, behind = network.tokenizer.source_frame("fr", "en")
    for text in texts_of_all_scripts(3000):
        # Rust's normaliser drops a mark that begins a grapheme of its own; SentencePiece, the original, keeps it.
        if family == "nllb" and any(unicodedata.category(c)[0] == "M" for c in text):
            continue
        assert [*before, *network.tokenizer.encode(text), *behind] == theirs(text).input_ids, text
        ids = network.tokenizer.encode_target(text)
        if family != "nllb":  # its newer decoder keeps the space before the first word
            assert network.tokenizer.decode(ids) == theirs.decode(ids, skip_special_tokens=True).strip(), text


def test_what_looks_like_a_special_token_is_text(marian: Path) -> None:
    tokenizer = read(marian).tokenizer
    for text in ("a </s> b", "<pad>", ">>fra<< x", "<unk>"):
        assert not {0, len(tokenizer) - 1} & set(tokenizer.encode(text))


def test_spans_are_where_the_pieces_stand(marian: Path) -> None:
    tokenizer = read(marian).tokenizer
    for text in sentences("fr", 200):
        spans = tokenizer.encode_spans(text)
        assert len(spans) == len(tokenizer.encode(text))
        assert "".join(text[start:end] for start, end in spans) == text
    for text in sentences("en", 200):
        ids = [*tokenizer.encode_target(text), 0]
        decoded, spans = tokenizer.decode(ids), tokenizer.decode_spans(ids)
        assert len(spans) == len(ids)
        assert spans[-1] == (len(decoded), len(decoded))
        assert "".join(decoded[start:end] for start, end in spans) == decoded


def compared(folder: Path, network: Network, model_class: Any) -> tuple[float, float]:
    """Largest differences of a logit and of an attention weight, over several sources of different lengths."""
    theirs = model_class.from_pretrained(folder, attn_implementation="eager").eval()
    chance = torch.Generator().manual_seed(0)
    config = network.model.config
    logits, weights = [], []
    for source_length, target_length in ((1, 1), (4, 9), (30, 17), (100, 60)):
        source = torch.randint(config.vocabulary_size - 1, (2, source_length), generator=chance)
        source[source == config.pad_id] = 5  # what transformers takes for padding has no position
        target = torch.randint(config.output_size - 1, (2, target_length), generator=chance)
        target[target == config.pad_id] = 5
        target[:, 0] = config.start_id
        mask = torch.ones_like(source, dtype=torch.bool)
        with torch.inference_mode():
            expected = theirs(
                input_ids=source, attention_mask=mask.long(), decoder_input_ids=target, output_attentions=True
            )
            found, attention = network.model.with_attention(source, mask, target)
        logits.append((expected.logits - found).abs().max().item())
        kinds = ("encoder_attentions", "decoder_attentions", "cross_attentions")
        ours = (attention.encoder, attention.decoder, attention.cross)
        for kind, layers in zip(kinds, ours, strict=True):
            for one, other in zip(expected[kind], layers, strict=True):
                weights.append((one - other).abs().max().item())
    return max(logits), max(weights)


MARIAN_VARIANTS: dict[str, dict[str, Any]] = {
    "usual": {},
    "gelu": {"activation_function": "gelu", "seed": 1},
    "relu, no scale": {"activation_function": "relu", "scale_embedding": False, "seed": 2},
    "two vocabularies": {"separate": True, "seed": 3},
    "decoder of another shape": {
        "decoder_attention_heads": 2, "decoder_ffn_dim": 160, "encoder_layers": 3, "decoder_layers": 1, "seed": 4,
    },
    "quick gelu": {"activation_function": "quick_gelu", "d_model": 48, "seed": 5},
}  # fmt: skip


@pytest.mark.parametrize("variant", MARIAN_VARIANTS)
def test_marian_computes_what_transformers_does(variant: str, tmp_path: Path) -> None:
    folder = write_marian(tmp_path / "folder", **MARIAN_VARIANTS[variant])
    logits, attention = compared(folder, read(folder), MarianMTModel)
    assert logits < 1e-4
    assert attention < 1e-4


@pytest.mark.parametrize(
    ("family", "changes"),
    [(write_m2m100, {"seed": 6}), (write_nllb, {"activation_function": "gelu_new", "scale_embedding": False})],
)
def test_m2m100_computes_what_transformers_does(
    family: Callable[..., Path], changes: dict[str, Any], tmp_path: Path
) -> None:
    folder = family(tmp_path / "folder", **changes)
    logits, attention = compared(folder, read(folder), M2M100ForConditionalGeneration)
    assert logits < 1e-4
    assert attention < 1e-4


def test_weights_are_read_from_every_kind_of_file(marian: Path, tmp_path: Path) -> None:
    expected = read(marian).model.state_dict()
    tensors = load_file(marian / "model.safetensors")
    halves = (dict(itertools.islice(tensors.items(), 40)), dict(itertools.islice(tensors.items(), 40, None)))
    names = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")

    def pickled(folder: Path) -> None:
        torch.save(tensors, folder / "pytorch_model.bin")

    def parts(folder: Path) -> None:
        for name, half in zip(names, halves, strict=True):
            save_file(half, folder / name)
        index = {"weight_map": {tensor: name for name, half in zip(names, halves, strict=True) for tensor in half}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))

    for number, write_weights in enumerate((pickled, parts)):
        folder = tmp_path / str(number)
        shutil.copytree(marian, folder, ignore=shutil.ignore_patterns("*.safetensors"))
        write_weights(folder)
        found = read(folder).model.state_dict()
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_checkpoint_runs_no_code(marian: Path, tmp_path: Path) -> None:
    class Command:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "ran",))

    folder = tmp_path / "folder"
    shutil.copytree(marian, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    torch.save({"model.shared.weight": Command()}, folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="cannot be read without running its code"):
        read(folder)
    assert not (tmp_path / "ran").exists()


def test_languages_are_sets_of_bcp_47(nllb: Path, m2m100: Path) -> None:
    everything = read(nllb, Request())
    [group] = everything.languages
    assert len(group.sources) == len(group.targets) == 202
    assert {"fr", "en", "zh-Hans", "zh-Hant", "sr", "ace-Arab", "ace-Latn", "tl"} <= set(group.sources)
    assert everything.language_names["zh-Hant"] == "Chinese (Traditional)"
    some = read(nllb, Request(languages=("fra_Latn", "de", "zh-Hant")))
    assert some.languages[0].sources == ("fr", "de", "zh-Hant")
    assert some.tokenizer_spec.tags == {"fr": "fra_Latn", "de": "deu_Latn", "zh-Hant": "zho_Hant"}
    assert len(read(m2m100, Request()).languages[0].sources) == 100
    with pytest.raises(ModelError, match=r"^tlh is no source language of this network; it has "):
        read(nllb, Request(sources=("tlh",)))


def test_tags_of_targets_stand_before_the_source(tmp_path: Path) -> None:
    folder = write_marian(tmp_path / "opus-mt-fr-ROMANCE", tags=("fra", "spa", "pt_BR", "zlw"))
    network = read(folder, Request(("fr",)))
    assert network.languages[0].targets == ("fr", "es", "pt-BR")
    theirs = MarianTokenizer.from_pretrained(folder)
    before, behind = network.tokenizer.source_frame("fr", "pt-BR")
    ids = [*before, *network.tokenizer.encode("Où est la gare ?"), *behind]
    assert ids == theirs(">>pt_BR<< Où est la gare ?").input_ids


def scores_of_both(network: Network, directory: Path, source: str, target: str) -> tuple[list[float], list[float]]:
    """Log-probabilities of a target's tokens, from our network in PyTorch and from CTranslate2."""
    tokenizer, config = network.tokenizer, network.model.config
    before, behind = tokenizer.source_frame("fr", "en")
    source_ids = [*before, *tokenizer.encode(source), *behind]
    target_ids = [*tokenizer.target_prefix("en"), *tokenizer.encode_target(target)]
    with torch.inference_mode():
        ids = torch.tensor([source_ids])
        mask, prefix = torch.ones_like(ids, dtype=torch.bool), torch.tensor([[config.start_id, *target_ids]])
        logits = network.model(ids, mask, prefix)
        logits[..., list(config.excluded_ids)] = -torch.inf
    log_probs = logits.log_softmax(-1)[0]
    ours = [log_probs[place, token].item() for place, token in enumerate([*target_ids, config.eos_id])]
    adds_end = json.loads((directory / "config.json").read_text())["add_source_eos"]
    tokens = tokenizer.source_pieces(source_ids)[: -1 if adds_end else None]
    translator = ctranslate2.Translator(str(directory), compute_type="float32", intra_threads=1)
    [theirs] = translator.score_batch([tokens], [tokenizer.pieces(target_ids)])
    return ours, theirs.log_probs


@pytest.mark.parametrize("family", FAMILIES)
def test_ctranslate2_models_compute_what_ctranslate2_does(
    family: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder: Path = request.getfixturevalue(family)
    original = read(folder)
    if family != "marian":  # the converter's list of tokens belongs to an older transformers
        tokens = original.tokenizer.source_pieces(range(original.model.config.vocabulary_size))
        monkeypatch.setattr(converters.M2M100Loader, "get_vocabulary", lambda *arguments: list(tokens))
    files = ["source.spm", "target.spm"] if family == "marian" else ["sentencepiece.bpe.model"]
    for quantization, tolerance in ((None, 1e-4), ("float16", 1e-4), ("int8", 0.15), ("int16", 0.3)):
        directory = convert(folder, tmp_path / str(quantization), quantization, files)
        network = read(directory)
        assert network.tokenizer.source_frame("fr", "en")[1]
        ours, theirs = scores_of_both(network, directory, "Je ne sais pas.", "I do not know.")
        # There int8 and int16 weights meet quantised activations.
        assert np.abs(np.subtract(ours, theirs)).max() < tolerance, quantization


def test_rms_norms_compute_what_ctranslate2_does(tmp_path: Path) -> None:
    torch.manual_seed(0)
    sizes = {"d_model": 64, "num_heads": 4, "d_ff": 96, "encoder_layers": 2, "decoder_layers": 2}
    vocabulary = load_checkpoint(PRETRAINED).vocabulary
    model = Transformer(ModelConfig(vocabulary_size=len(vocabulary), norm="pre", norm_kind="rms", **sizes)).eval()
    pieces = vocabulary.pieces(range(len(vocabulary)))
    directory = tmp_path / "rms"
    write_ctranslate2(SimpleNamespace(model=model, vocabulary=vocabulary), directory, None, pieces)
    shutil.copy(PRETRAINED / "vocabulary.spm", directory / "sentencepiece.model")
    network = read(directory)
    assert network.model.config.norm_kind == "rms"
    ours, theirs = scores_of_both(network, directory, "Je ne sais pas.", "I do not know.")
    assert np.abs(np.subtract(ours, theirs)).max() < 1e-4


def test_int8_weights_of_ctranslate2_are_used_as_they_are(marian: Path, tmp_path: Path) -> None:
    directory = convert(marian, tmp_path / "int8", "int8", ["source.spm", "target.spm"])
    stored = read_variables(directory / "model.bin")
    weights = read(directory).model.state_dict()
    for theirs, ours in (
        ("encoder/layer_0/ffn/linear_0", "encoder.0.feed_forward.inner"),
        ("decoder/layer_1/attention/linear_2", "decoder.1.cross_attention.output"),
        ("decoder/layer_0/self_attention/linear_1", "decoder.0.self_attention.output"),
    ):
        again, scale = quantize_columns(weights[f"{ours}.weight"].numpy().T)
        assert np.array_equal(again.T, stored[f"{theirs}/weight"])
        assert np.allclose(scale, 1 / stored[f"{theirs}/weight_scale"], rtol=1e-6)


def test_argos_packages_are_read_as_files_and_as_folders(marian: Path, tmp_path: Path) -> None:
    package = write_argos(tmp_path / "translate-fr_en.argosmodel", marian)
    for path in (package, tmp_path / "translate-fr_en" / "fr_en"):
        network = read(path, Request())
        assert next(iter(network.pairs())) == ("fr", "en")
        assert (network.name, network.origin, network.licence) == ("fr-en", "Argos package fr-en 1.9", "cc-by-4.0")
        assert network.tokenizer.encode("Je ne sais pas.") == read(marian).tokenizer.encode("Je ne sais pas.")


def test_a_package_cannot_write_outside_its_folder(tmp_path: Path) -> None:
    package = tmp_path / "bad.argosmodel"
    with zipfile.ZipFile(package, "w") as archive:
        archive.writestr("../../escaped", "x")
        archive.writestr("fr_en/metadata.json", "{}")
    with pytest.raises(ModelError, match="holds no Argos package"):
        read(package)
    assert not list(tmp_path.parent.rglob("escaped"))


def test_marian_releases_are_what_ctranslate2_makes_of_them(marian: Path, tmp_path: Path) -> None:
    release = write_marian_release(tmp_path / "release", marian)
    network = read(release)
    OpusMTConverter(str(release)).convert(str(tmp_path / "converted"))
    for side in ("source", "target"):
        shutil.copy(release / f"{side}.spm", tmp_path / "converted")
    converted = read(tmp_path / "converted")
    ours, theirs = network.model.state_dict(), converted.model.state_dict()
    assert set(theirs) - set(ours) == {"embedding.positions.embedding.weight"}  # computed here, stored there
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    length = network.model.config.max_positions
    stored = theirs["embedding.positions.embedding.weight"][:length]
    assert torch.allclose(network.model.embedding.positions.table, stored, atol=1e-6)
    size = len(network.tokenizer)
    assert network.tokenizer.pieces(range(size)) == converted.tokenizer.pieces(range(size))
    ours_scores, their_scores = scores_of_both(network, tmp_path / "converted", "Je ne sais pas.", "I do not know.")
    assert np.abs(np.subtract(ours_scores, their_scores)).max() < 1e-4
