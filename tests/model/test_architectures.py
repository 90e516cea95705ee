"""Every architecture and setting of a recipe: trained by the same command, resumed to the bit, loaded, translating."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from model.__main__ import main
from model.batches import Mixture
from model.checkpoint import load_checkpoint
from model.errors import CheckpointError
from model.lstm import LstmEncoderDecoder
from model.preparation import load_vocabulary, read_texts, read_validation
from model.recipe import load_recipe
from model.reference_search import greedy_search
from model.training import Trainer
from model.transformer import Transformer
from tests.model.conftest import DEMO_DATA
from tests.model.test_transformer import inputs
from tests.model.tiny import tiny_model

TRANSFORMER = {"d_model": 16, "num_heads": 2, "d_ff": 24, "encoder_layers": 1, "decoder_layers": 1}
LSTM = {"architecture": "lstm", "d_model": 16, "encoder_layers": 1, "decoder_layers": 2}
ARCHITECTURES = {
    "lstm with attention": {**LSTM, "similarity": "additive", "output_bias": True},
    "lstm without": {**LSTM, "attention": False},
    "window": {**TRANSFORMER, "window": 3, "norm": "pre"},
    "cosine": {**TRANSFORMER, "similarity": "cosine", "positions": "learned"},
    "bare": {**TRANSFORMER, "similarity": "dot", "positions": "none", "norm": "none", "residuals": False},
}
RECIPE = f"""
name = "tiny"
seed = 3
[model]
%s
[vocabulary]
size = 400
[training]
batch_tokens = 256
longest = 20
max_steps = %d
warmup_steps = 4
checkpoint_every = 3
average_last = 2
validate_every = 6
log_every = 2
precision = "fp32"
compile_loss = false
optimizer = "%s"
[[data]]
path = "{DEMO_DATA.name}/tatoeba.tsv.gz"
columns = ["en", "fr"]
directions = ["fr-en"]
passes = 0.05
[[validation]]
files = {{en = "{DEMO_DATA.name}/tatoeba-dev.en.gz", fr = "{DEMO_DATA.name}/tatoeba-dev.fr.gz"}}
directions = ["fr-en"]
limit = 3
"""


def toml(values: dict[str, object]) -> str:
    shown = {name: f'"{value}"' if isinstance(value, str) else str(value).lower() for name, value in values.items()}
    return "\n".join(f"{name} = {value}" for name, value in shown.items())


def train(folder: Path, run: Path, vocabulary_path: Path, model: dict[str, object], steps: int, optimizer: str) -> Path:
    """What the command does, apart from the picture of the curves."""
    path = folder / "tiny.toml"
    path.write_text(RECIPE % (toml(model), steps, optimizer), encoding="utf-8")
    recipe, root = load_recipe(path), DEMO_DATA.parent
    vocabulary = load_vocabulary(recipe, vocabulary_path)
    mixture = Mixture(read_texts(recipe, root), vocabulary, batch_tokens=256, longest=20, seed=recipe.seed)
    validation = read_validation(recipe, root, vocabulary)
    config = recipe.config_for(len(vocabulary))
    return Trainer(recipe, config, mixture, validation, run, vocabulary_path, torch.device("cpu")).train()


@pytest.mark.parametrize(
    ("name", "optimizer"), [(name, "adam") for name in ARCHITECTURES] + [(next(iter(ARCHITECTURES)), "muon")]
)
def test_trained_in_two_halves_it_is_what_it_is_trained_at_once(
    name: str, optimizer: str, tmp_path: Path, vocabulary_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = {"dropout": 0.1, "max_positions": 40, **ARCHITECTURES[name]}
    whole = train(tmp_path, tmp_path / "whole", vocabulary_path, model, 6, optimizer)
    train(tmp_path, tmp_path / "halves", vocabulary_path, model, 3, optimizer)
    halves = train(tmp_path, tmp_path / "halves", vocabulary_path, model, 6, optimizer)
    found, expected = load_checkpoint(halves), load_checkpoint(whole)
    assert type(found.model) is (LstmEncoderDecoder if model.get("architecture") == "lstm" else Transformer)
    for key, value in expected.model.state_dict().items():
        assert torch.equal(found.model.state_dict()[key], value), key
    capsys.readouterr()
    assert main(["translate", str(whole), "--direction", "fr-en", "--beam", "2", "--text", "Je suis ici.", "Oui."]) == 0
    assert capsys.readouterr().out.count("\n") == 2


def test_a_run_is_not_resumed_with_another_architecture(tmp_path: Path, vocabulary_path: Path) -> None:
    train(tmp_path, tmp_path / "run", vocabulary_path, LSTM, 3, "adam")
    with pytest.raises(CheckpointError, match="the recipe describes another model"):
        train(tmp_path, tmp_path / "run", vocabulary_path, {**LSTM, "attention": False}, 6, "adam")


@torch.no_grad()
def test_without_positions_i_love_you_and_you_love_i_are_one_sentence() -> None:
    model = tiny_model(positions="none")
    one, other, mask = torch.tensor([[5, 6, 7]]), torch.tensor([[7, 6, 5]]), torch.ones(1, 3, dtype=torch.bool)
    target_ids = inputs()[2][:1]
    torch.testing.assert_close(model(one, mask, target_ids), model(other, mask, target_ids), rtol=1e-5, atol=1e-5)
    assert greedy_search(model, one, mask, 6) == greedy_search(model, other, mask, 6)


@torch.no_grad()
def test_without_residuals_a_sub_layer_replaces_its_input() -> None:
    x, mask = torch.randn(2, 5, 16), torch.ones(2, 1, 5, dtype=torch.bool)
    zero = torch.zeros_like(x)
    for norm in ("post", "pre", "none"):
        layer, bare = (tiny_model(norm=norm, residuals=residuals).encoder[0] for residuals in (True, False))
        residual, without = layer.residuals[0], bare.residuals[0]
        assert torch.equal(without(x, lambda y: zero), without.norm(zero) if norm == "post" else zero)
        expected = residual.norm(x) if norm == "post" else x
        torch.testing.assert_close(residual(x, lambda y: zero), expected)
        assert not torch.allclose(layer(x, mask), bare(x, mask), atol=1e-3)


@torch.no_grad()
def test_unscaled_products_are_what_the_scaled_network_computes_with_larger_keys() -> None:
    scaled, plain = tiny_model(), tiny_model(similarity="dot")
    width = 16 // 4
    for layer in (*plain.encoder, *plain.decoder):
        for name in ("self_attention", "cross_attention"):
            if hasattr(layer, name):
                key = getattr(layer, name).key
                key.weight.mul_(width**-0.5)
                key.bias.mul_(width**-0.5)
    torch.testing.assert_close(plain(*inputs()), scaled(*inputs()), rtol=1e-4, atol=1e-4)
