"""The networks against torch's own layers, and what may not influence what."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from model.attention import causal_mask
from model.transformer import Transformer
from model.vocabulary import BOS_ID, PAD_ID
from tests.model.tiny import tiny_model
from tests.oracles import torch_decoder_layer, torch_encoder_layer

D_FF = 24
NORMS = pytest.mark.parametrize("norm", ["post", "pre"])
MODES = pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])


def inputs(seed: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Source ids [3, 7] with padding, their mask, target ids [3, 5]."""
    generator = torch.Generator().manual_seed(seed)
    source_ids = torch.randint(4, 30, (3, 7), generator=generator)
    source_ids[1, 5:] = PAD_ID
    source_ids[2, 2:] = PAD_ID
    target_ids = torch.randint(4, 30, (3, 5), generator=generator)
    target_ids[:, 0] = BOS_ID
    return source_ids, source_ids != PAD_ID, target_ids


@NORMS
@MODES
def test_encoder_layer_equals_torchs(norm: str, training: bool) -> None:
    layer = tiny_model(norm=norm).encoder[0].train(training)
    theirs = torch_encoder_layer(layer, D_FF).train(training)
    x, mask = torch.randn(3, 7, 16), inputs()[1]
    expected = theirs(x, src_key_padding_mask=~mask)
    torch.testing.assert_close(layer(x, mask[:, None])[mask], expected[mask], rtol=1e-5, atol=1e-5)


@NORMS
@MODES
def test_decoder_layer_equals_torchs(norm: str, training: bool) -> None:
    layer = tiny_model(norm=norm).decoder[0].train(training)
    theirs = torch_decoder_layer(layer, D_FF).train(training)
    x, memory, mask = torch.randn(3, 5, 16), torch.randn(3, 7, 16), inputs()[1]
    expected = theirs(x, memory, tgt_mask=~causal_mask(5)[0], memory_key_padding_mask=~mask)
    ours = layer(x, memory, causal_mask(5), mask[:, None])
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)


@NORMS
def test_whole_stacks_equal_torchs(norm: str) -> None:
    model = tiny_model(norm=norm)
    source_ids, mask, target_ids = inputs()
    encoder = nn.TransformerEncoder(
        torch_encoder_layer(model.encoder[0], D_FF), 2, norm=model.encoder_norm, enable_nested_tensor=False
    )
    encoder.layers = nn.ModuleList(torch_encoder_layer(layer, D_FF) for layer in model.encoder)
    decoder = nn.TransformerDecoder(torch_decoder_layer(model.decoder[0], D_FF), 2, norm=model.decoder_norm)
    decoder.layers = nn.ModuleList(torch_decoder_layer(layer, D_FF) for layer in model.decoder)
    memory = encoder(model.embedding(source_ids, torch.arange(7)[None]), src_key_padding_mask=~mask)
    states = decoder(
        model.embedding(target_ids, torch.arange(5)[None]),
        memory,
        tgt_mask=~causal_mask(5)[0],
        memory_key_padding_mask=~mask,
    )
    torch.testing.assert_close(model.encode(source_ids, mask)[mask], memory[mask], rtol=1e-4, atol=1e-5)
    expected = states @ model.embedding.tokens.weight.T
    torch.testing.assert_close(model(source_ids, mask, target_ids), expected, rtol=1e-4, atol=1e-4)


@NORMS
@torch.no_grad()
def test_masked_source_positions_have_no_influence_on_the_memory(norm: str) -> None:
    model = tiny_model(norm=norm)
    source_ids, mask, _ = inputs()
    other = source_ids.masked_fill(~mask, 17)
    assert torch.equal(model.encode(source_ids, mask)[mask], model.encode(other, mask)[mask])


@NORMS
@torch.no_grad()
def test_masked_memory_has_no_influence_on_the_decoder(norm: str) -> None:
    model = tiny_model(norm=norm)
    source_ids, mask, target_ids = inputs()
    memory = model.encode(source_ids, mask)
    other = torch.where(mask[..., None], memory, torch.full_like(memory, 1e4))
    assert torch.equal(model.decode(target_ids, memory, mask), model.decode(target_ids, other, mask))
    layer, x = model.decoder[0], torch.randn(3, 5, 16)
    attended = [layer.cross_attention(x, values, mask[:, None]) for values in (memory, other)]
    assert torch.equal(*attended)


@NORMS
@torch.no_grad()
def test_an_unmasked_position_does_have_influence(norm: str) -> None:
    model = tiny_model(norm=norm)
    source_ids, mask, target_ids = inputs()
    other = source_ids.clone()
    other[0, 3] = 4 if other[0, 3] != 4 else 5
    assert not torch.equal(model(source_ids, mask, target_ids)[0], model(other, mask, target_ids)[0])
    assert torch.equal(model(source_ids, mask, target_ids)[1:], model(other, mask, target_ids)[1:])


@NORMS
@pytest.mark.parametrize("changed_from", [1, 3, 4])
@torch.no_grad()
def test_later_target_tokens_have_no_influence_on_earlier_logits(norm: str, changed_from: int) -> None:
    model = tiny_model(norm=norm)
    source_ids, mask, target_ids = inputs()
    other = target_ids.clone()
    other[:, changed_from:] = (other[:, changed_from:] - 3) % 26 + 4
    logits, changed = model(source_ids, mask, target_ids), model(source_ids, mask, other)
    assert torch.equal(logits[:, :changed_from], changed[:, :changed_from])
    assert not torch.equal(logits[:, changed_from:], changed[:, changed_from:])


@NORMS
@torch.no_grad()
def test_with_attention_equals_forward_and_its_rows_sum_to_one(norm: str) -> None:
    model = tiny_model(norm=norm)
    source_ids, mask, target_ids = inputs()
    logits, attention = model.with_attention(source_ids, mask, target_ids)
    torch.testing.assert_close(logits, model(source_ids, mask, target_ids), rtol=1e-5, atol=1e-5)
    for kind, shape in (("encoder", (3, 4, 7, 7)), ("decoder", (3, 4, 5, 5)), ("cross", (3, 4, 5, 7))):
        layers = getattr(attention, kind)
        assert [weights.shape for weights in layers] == [shape] * 2, kind
        for weights in layers:
            torch.testing.assert_close(weights.sum(-1), torch.ones(shape[:-1]))
    assert all((weights.triu(1) == 0).all() for weights in attention.decoder)
    assert all((weights[2, :, :, 2:] == 0).all() for weights in (*attention.encoder, *attention.cross))


def test_one_matrix_embeds_source_and_target_and_projects_the_output() -> None:
    model = tiny_model()
    matrices = [p for p in model.parameters() if p.shape == (30, 16)]
    assert len(matrices) == 1
    source_ids, mask, target_ids = inputs()
    before = model(source_ids, mask, target_ids)
    with torch.no_grad():
        matrices[0][29].add_(1.0)
    after = model(source_ids, mask, target_ids)
    unseen = [row for row in range(3) if 29 not in source_ids[row] and 29 not in target_ids[row]]
    assert unseen
    changed = (before != after)[unseen].any(dim=0).any(dim=0).nonzero().flatten().tolist()
    assert changed == [29], "a sentence without word 29 only sees its logit change"


def test_embeddings_are_scaled_by_the_root_of_d_model_before_positions_are_added() -> None:
    model = tiny_model()
    ids = torch.tensor([[7, 8]])
    positions = model.embedding.positions(torch.arange(2)[None])
    expected = model.embedding.tokens.weight[ids] * math.sqrt(16) + positions
    torch.testing.assert_close(model.embedding(ids, torch.arange(2)[None]), expected)


@pytest.mark.parametrize("positions", ["sinusoidal", "learned"])
@torch.no_grad()
def test_order_of_the_source_matters(positions: str) -> None:
    model = tiny_model(positions=positions)
    mask = torch.ones(1, 3, dtype=torch.bool)
    target_ids = torch.tensor([[BOS_ID, 9]])
    forwards = model(torch.tensor([[5, 6, 7]]), mask, target_ids)
    assert not torch.allclose(forwards, model(torch.tensor([[7, 6, 5]]), mask, target_ids), atol=1e-3)


def test_parameter_count_of_the_papers_base_model() -> None:
    from model.config import ModelConfig

    with torch.device("meta"):
        model = Transformer(ModelConfig(vocabulary_size=37_000))
    # 37,000 x 512 embeddings, 6 encoder layers of 3,152,384 and 6 decoder layers of 4,204,032: "65 million".
    assert model.num_parameters() == 37_000 * 512 + 6 * 3_152_384 + 6 * 4_204_032


def test_encoder_and_decoder_depth_are_separate() -> None:
    model = tiny_model(encoder_layers=3, decoder_layers=1)
    assert (len(model.encoder), len(model.decoder)) == (3, 1)
    source_ids, mask, target_ids = inputs()
    assert model(source_ids, mask, target_ids).shape == (3, 5, 30)


def test_states_have_the_precision_that_products_are_computed_in() -> None:
    """Were they fp32, every layer would convert them, and convert their gradients back."""
    model = tiny_model(norm="pre")
    source, mask, target = inputs()
    exact = model(source, mask, target)
    with torch.autocast("cpu", torch.bfloat16):
        memory = model.encode(source, mask)
        assert memory.dtype == torch.bfloat16
        states = model.decode(target, memory, mask)
        assert states.dtype == torch.bfloat16
        logits = model.project(states)
    assert (logits.float() - exact).abs().max() < 0.05 * exact.abs().max()
