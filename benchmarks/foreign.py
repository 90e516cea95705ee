"""Checkpoints of other systems as their own libraries write them, with random or quickly trained weights."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece
import torch
import yaml
from transformers import (
    M2M100Config,
    M2M100ForConditionalGeneration,
    M2M100Tokenizer,
    MarianConfig,
    MarianMTModel,
    MarianTokenizer,
    NllbTokenizer,
)
from transformers.models.nllb.tokenization_nllb import FAIRSEQ_LANGUAGE_CODES

from export.importers.huggingface_tokens import M2M100_CODES

DEMO = Path(__file__).parents[1] / "model" / "recipes" / "demo-data"
SIZES = {
    "d_model": 64,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 96,
    "decoder_ffn_dim": 96,
    "max_position_embeddings": 128,
    "dropout": 0.0,
    "attention_dropout": 0.0,
    "init_std": 0.15,
}


def sentences(language: str, count: int = 10_000) -> list[str]:
    """The first lines of the sample text."""
    return gzip.decompress((DEMO / f"tatoeba-dev.{language}.gz").read_bytes()).decode().splitlines()[:count]


def pieces_model(languages: Sequence[str], size: int, **options: Any) -> bytes:
    """A SentencePiece model of the sample text."""
    lines = [line for language in languages for line in sentences(language)]
    trained = io.BytesIO()
    sentencepiece.SentencePieceTrainer.Train(
        sentence_iterator=iter(lines), model_writer=trained, vocab_size=size, minloglevel=2, num_threads=1, **options
    )
    return trained.getvalue()


def _pieces(model: bytes) -> list[str]:
    processor = sentencepiece.SentencePieceProcessor()
    processor.LoadFromSerializedProto(model)
    return [processor.IdToPiece(place) for place in range(3, processor.GetPieceSize())]


def _write_list(path: Path, tokens: Sequence[str]) -> None:
    path.write_text(json.dumps({token: place for place, token in enumerate(tokens)}), encoding="utf-8")


def write_marian(
    directory: Path,
    *,
    pair: tuple[str, str] = ("fr", "en"),
    separate: bool = False,
    tags: Sequence[str] = (),
    seed: int = 0,
    **changes: Any,
) -> Path:
    """A folder of MarianMT from one language to the other, or to the languages of `tags`."""
    directory.mkdir(parents=True)
    models = {"source": pieces_model([pair[0]], 260), "target": pieces_model([pair[1]], 220)}
    for side, model in models.items():
        (directory / f"{side}.spm").write_bytes(model)
    marks = [f">>{tag}<<" for tag in tags]
    own = {side: ["</s>", "<unk>", *sorted(set(_pieces(model))), "<pad>"] for side, model in models.items()}
    both = ["</s>", "<unk>", *sorted({*_pieces(models["source"]), *_pieces(models["target"])}), *marks, "<pad>"]
    _write_list(directory / "vocab.json", own["source"] if separate else both)
    files = [str(directory / name) for name in ("source.spm", "target.spm", "vocab.json")]
    if separate:
        _write_list(directory / "target_vocab.json", own["target"])
        files.append(str(directory / "target_vocab.json"))
    languages = {"source_lang": pair[0], "target_lang": pair[1]}
    MarianTokenizer(*files, separate_vocabs=separate, **languages).save_pretrained(directory)
    torch.manual_seed(seed)
    size = len(own["source"] if separate else both)
    config = MarianConfig(
        **{
            **SIZES,
            "vocab_size": size,
            "decoder_vocab_size": len(own["target"]) if separate else size,
            "share_encoder_decoder_embeddings": not separate,
            "tie_word_embeddings": not separate,
            "pad_token_id": size - 1 if not separate else len(own["target"]) - 1,
            "decoder_start_token_id": size - 1 if not separate else len(own["target"]) - 1,
            "eos_token_id": 0,
            "forced_eos_token_id": None,
            "activation_function": "swish",
            "scale_embedding": True,
            **changes,
        }
    )
    model = MarianMTModel(config)
    with torch.no_grad():
        model.final_logits_bias.normal_(std=0.1)
    model.generation_config.bad_words_ids = [[config.pad_token_id]]
    model.save_pretrained(directory)
    return directory


def write_m2m100(directory: Path, seed: int = 0, **changes: Any) -> Path:
    """A folder of M2M100 with its hundred languages."""
    directory.mkdir(parents=True)
    model = pieces_model(["fr", "en"], 300, model_type="bpe")
    (directory / "sentencepiece.bpe.model").write_bytes(model)
    tokens = ["<s>", "<pad>", "</s>", "<unk>", *_pieces(model)]
    _write_list(directory / "vocab.json", tokens)
    files = [str(directory / name) for name in ("vocab.json", "sentencepiece.bpe.model")]
    M2M100Tokenizer(*files).save_pretrained(directory)
    _write_m2m100_model(directory, len(tokens) + len(M2M100_CODES) + 8, seed, changes)
    return directory


def write_nllb(directory: Path, seed: int = 0, **changes: Any) -> Path:
    """A folder of NLLB with its two hundred languages."""
    directory.mkdir(parents=True)
    (directory / "sentencepiece.bpe.model").write_bytes(pieces_model(["fr", "en"], 300, model_type="bpe"))
    tokenizer = NllbTokenizer.from_pretrained(directory, extra_special_tokens=FAIRSEQ_LANGUAGE_CODES)
    tokenizer.save_pretrained(directory)
    _write_m2m100_model(directory, len(tokenizer) + 2, seed, changes)
    return directory


def _write_m2m100_model(directory: Path, size: int, seed: int, changes: Mapping[str, Any]) -> None:
    torch.manual_seed(seed)
    config = M2M100Config(**{**SIZES, "vocab_size": size, **changes})
    M2M100ForConditionalGeneration(config).save_pretrained(directory)


def train_marian(directory: Path, *, pairs: int, steps: int, pair: tuple[str, str] = ("fr", "en")) -> None:
    """Teach a folder's network the first so many pairs of the sample text by heart."""
    model, tokenizer = MarianMTModel.from_pretrained(directory), MarianTokenizer.from_pretrained(directory)
    texts = {"text": sentences(pair[0], pairs), "text_target": sentences(pair[1], pairs)}
    batch = tokenizer(**texts, return_tensors="pt", padding=True)
    labels = batch["labels"].masked_fill(batch["labels"] == tokenizer.pad_token_id, -100)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    chance = torch.Generator().manual_seed(0)
    model.train()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # steps are so small that threads would wait for each other longer than they work
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * min(1.0, (step + 1) / 50, 2 * (steps - step) / steps)
        some = torch.randint(pairs, (48,), generator=chance)
        inputs = {name: batch[name][some] for name in ("input_ids", "attention_mask")}
        optimizer.zero_grad()
        model(**inputs, labels=labels[some]).loss.backward()
        optimizer.step()
    torch.set_num_threads(threads)
    model.eval().save_pretrained(directory)


def plant_outliers(directory: Path, times: float) -> None:
    """Make three channels of each attention's context so many times larger, as in large trained networks, and the rows
    of the matrix that reads them as much smaller: the network computes what it did."""
    model = MarianMTModel.from_pretrained(directory)
    with torch.no_grad():
        for name, module in model.named_modules():
            if name.endswith("attn"):
                for channel in (3, 17, 40):
                    module.v_proj.weight[channel] *= times
                    module.v_proj.bias[channel] *= times
                    module.out_proj.weight[:, channel] /= times
    model.save_pretrained(directory)


def marian_arrays(model: MarianMTModel) -> dict[str, np.ndarray]:
    """A network of MarianMT under the names of Marian's own files, without the padding token that was added."""
    state = {name: value.numpy() for name, value in model.state_dict().items()}
    found = {"Wemb": state["model.shared.weight"][:-1], "decoder_ff_logit_out_b": state["final_logits_bias"][:, :-1]}
    for side, layers in (("encoder", model.config.encoder_layers), ("decoder", model.config.decoder_layers)):
        for layer in range(layers):
            theirs, ours = f"model.{side}.layers.{layer}.", f"{side}_l{layer + 1}_"
            attentions = [("self_attn", "self")] + ([("encoder_attn", "context")] if side == "decoder" else [])
            for attention, name in attentions:
                for projection, letter in (("q_proj", "q"), ("k_proj", "k"), ("v_proj", "v"), ("out_proj", "o")):
                    found[f"{ours}{name}_W{letter}"] = state[f"{theirs}{attention}.{projection}.weight"].T
                    found[f"{ours}{name}_b{letter}"] = state[f"{theirs}{attention}.{projection}.bias"][None]
                found[f"{ours}{name}_Wo_ln_scale"] = state[f"{theirs}{attention}_layer_norm.weight"][None]
                found[f"{ours}{name}_Wo_ln_bias"] = state[f"{theirs}{attention}_layer_norm.bias"][None]
            for linear, number in (("fc1", "1"), ("fc2", "2")):
                found[f"{ours}ffn_W{number}"] = state[f"{theirs}{linear}.weight"].T
                found[f"{ours}ffn_b{number}"] = state[f"{theirs}{linear}.bias"][None]
            found[f"{ours}ffn_ffn_ln_scale"] = state[f"{theirs}final_layer_norm.weight"][None]
            found[f"{ours}ffn_ffn_ln_bias"] = state[f"{theirs}final_layer_norm.bias"][None]
    return found


def write_marian_release(directory: Path, folder: Path, **options: Any) -> Path:
    """The network of a MarianMT folder as Marian's own release: `.npz`, `decoder.yml`, vocabulary, pieces."""
    directory.mkdir(parents=True)
    model = MarianMTModel.from_pretrained(folder)
    settings = {
        "type": "transformer",
        "dim-emb": model.config.d_model,
        "enc-depth": model.config.encoder_layers,
        "dec-depth": model.config.decoder_layers,
        "transformer-heads": model.config.encoder_attention_heads,
        "transformer-ffn-activation": "swish",
        "transformer-preprocess": "",
        "transformer-postprocess": "dan",
        "transformer-postprocess-emb": "d",
        "transformer-decoder-autoreg": "self-attention",
        "transformer-no-projection": False,
        "transformer-guided-alignment-layer": "last",
        "version": "v1.9.0",
        **options,
    }
    text = np.frombuffer((yaml.safe_dump(settings) + "\0").encode(), np.int8)
    np.savez(directory / "model.npz", **marian_arrays(model), **{"special:model.yml": text})
    tokens = list(json.loads((folder / "vocab.json").read_text()))[:-1]
    lines = (f"{json.dumps(token, ensure_ascii=False)}: {place}\n" for place, token in enumerate(tokens))
    (directory / "vocab.yml").write_text("".join(lines), encoding="utf-8")
    (directory / "decoder.yml").write_text(yaml.safe_dump({"models": ["model.npz"], "vocabs": ["vocab.yml"] * 2}))
    for side in ("source", "target"):
        (directory / f"{side}.spm").write_bytes((folder / f"{side}.spm").read_bytes())
    return directory
