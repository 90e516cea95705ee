"""The LSTM encoder-decoder against PyTorch's cell, the order of its steps, and what may not influence what."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import nn

from model.attention import attend
from model.batches import pad
from model.config import SimilarityKind
from model.lstm import LstmCell
from model.reference_search import beam_search, greedy_search
from model.vocabulary import BOS_ID, PAD_ID
from tests.model.test_transformer import inputs
from tests.model.tiny import tiny_lstm
from tests.oracles import log_prob_of

ATTENTION = pytest.mark.parametrize("attention", [True, False], ids=["attention", "fixed vector"])


@torch.no_grad()
def test_the_cell_is_pytorchs() -> None:
    torch.manual_seed(0)
    ours, theirs = LstmCell(5, 8), nn.LSTMCell(5, 8)
    theirs.weight_ih.copy_(ours.gates.weight[:, :5])
    theirs.weight_hh.copy_(ours.gates.weight[:, 5:])
    theirs.bias_ih.copy_(ours.gates.bias)
    theirs.bias_hh.zero_()
    x, hidden, cell = torch.randn(3, 5), torch.randn(3, 8), torch.randn(3, 8)
    for found, expected in zip(ours(x, hidden, cell), theirs(x, (hidden, cell)), strict=True):
        torch.testing.assert_close(found, expected)


@ATTENTION
@torch.no_grad()
def test_the_decoder_begins_where_the_encoder_ended(attention: bool) -> None:
    model = tiny_lstm(attention=attention)
    source_ids, mask, _ = inputs()
    memory = model.encode(source_ids, mask)
    lengths = mask.sum(1)
    half = model.config.d_model // 2
    for row, length in enumerate(lengths.tolist()):
        # Read to the end in one direction, to the start in the other.
        last = torch.cat([memory.states[row, length - 1, :half], memory.states[row, 0, half:]])
        torch.testing.assert_close(memory.hidden[row, -1], last)
    state = memory.first_state()
    assert torch.equal(state.hidden[1][:, 0], memory.hidden[:, 1])
    assert torch.equal(state.cell[0][:, 0], memory.cell[:, 0])


@torch.no_grad()
def test_a_step_looks_from_the_state_before_it_then_moves_on_then_speaks() -> None:
    model = tiny_lstm(encoder_layers=1, decoder_layers=1, similarity="dot", output_bias=True)
    source_ids, mask, _ = inputs()
    memory = model.encode(source_ids[:1], mask[:1])
    states = memory.states[0]
    before, cell = memory.hidden[0], memory.cell[0]
    context, _ = attend(before, states, states, None, lambda q, k: q @ k.T)
    token = model.embedding(torch.tensor([[BOS_ID]]), torch.zeros(1, 1, dtype=torch.int64))[0]
    after, _ = model.decoder[0](torch.cat([token, context], dim=-1), before, cell)
    logits = after @ model.embedding.tokens.weight.T + model.output.bias
    torch.testing.assert_close(model(source_ids[:1], mask[:1], torch.tensor([[BOS_ID]]))[0], logits)


@ATTENTION
@torch.no_grad()
def test_without_attention_one_vector_is_all_the_decoder_knows(attention: bool) -> None:
    model = tiny_lstm(attention=attention)
    source_ids, mask, target_ids = inputs()
    memory = model.encode(source_ids, mask)
    other = memory._replace(states=torch.randn_like(memory.states))
    is_same = torch.equal(model.decode(target_ids, memory, mask), model.decode(target_ids, other, mask))
    assert is_same != attention


@ATTENTION
@torch.no_grad()
def test_what_the_mask_hides_is_not_read_wherever_it_stands(attention: bool) -> None:
    model = tiny_lstm(attention=attention)
    source_ids, _, target_ids = inputs()
    hidden = torch.tensor([[True, False, True, True, False, True, True]])
    shown = source_ids[:1, hidden[0]]
    logits = model(source_ids[:1], hidden, target_ids[:1])
    without = model(shown, torch.ones_like(shown, dtype=torch.bool), target_ids[:1])
    torch.testing.assert_close(logits, without, rtol=1e-5, atol=1e-5)


@ATTENTION
@torch.no_grad()
def test_company_and_padding_have_no_influence(attention: bool) -> None:
    model = tiny_lstm(attention=attention)
    source_ids, mask, target_ids = inputs()
    together = model(source_ids, mask, target_ids)
    for row in range(3):
        alone = source_ids[row : row + 1, mask[row]]
        logits = model(alone, torch.ones_like(alone, dtype=torch.bool), target_ids[row : row + 1])
        torch.testing.assert_close(together[row : row + 1], logits, rtol=1e-5, atol=1e-5)


@ATTENTION
@torch.no_grad()
def test_later_target_tokens_have_no_influence_on_earlier_logits(attention: bool) -> None:
    model = tiny_lstm(attention=attention)
    source_ids, mask, target_ids = inputs()
    other = target_ids.clone()
    other[:, 3:] = (other[:, 3:] - 3) % 26 + 4
    logits, changed = model(source_ids, mask, target_ids), model(source_ids, mask, other)
    assert torch.equal(logits[:, :3], changed[:, :3])
    assert not torch.equal(logits[:, 3:], changed[:, 3:])


@pytest.mark.parametrize("similarity", get_args(SimilarityKind))
@torch.no_grad()
def test_its_one_attention_is_a_distribution_over_real_tokens(similarity: SimilarityKind) -> None:
    model = tiny_lstm(similarity=similarity)
    source_ids, mask, target_ids = inputs()
    logits, attention = model.with_attention(source_ids, mask, target_ids)
    assert torch.equal(logits, model(source_ids, mask, target_ids))
    assert (attention.encoder, attention.decoder) == ((), ())
    (cross,) = attention.cross
    assert cross.shape == (3, 1, 5, 7)
    torch.testing.assert_close(cross.sum(-1), torch.ones(3, 1, 5))
    assert (cross[2, :, :, 2:] == 0).all()
    assert tiny_lstm(attention=False).with_attention(source_ids, mask, target_ids)[1].cross == ()


@ATTENTION
@pytest.mark.parametrize(("encoder_layers", "decoder_layers"), [(1, 3), (3, 1)])
@torch.no_grad()
def test_depths_may_differ(attention: bool, encoder_layers: int, decoder_layers: int) -> None:
    model = tiny_lstm(attention=attention, encoder_layers=encoder_layers, decoder_layers=decoder_layers)
    source_ids, mask, target_ids = inputs()
    assert model(source_ids, mask, target_ids).shape == (3, 5, 30)
    assert model.encode(source_ids, mask).hidden.shape == (3, decoder_layers, 16)


@ATTENTION
@torch.no_grad()
def test_beam_search_finds_what_it_scores(attention: bool) -> None:
    model = tiny_lstm(attention=attention)
    source = torch.tensor([7, 9, 12, 3])
    found = beam_search(model, source, beam_size=3, max_output_tokens=8)
    assert found
    for hypothesis in found:
        expected = log_prob_of(model, source, hypothesis.target_ids, end=hypothesis.finished)
        assert hypothesis.log_prob == pytest.approx(expected, abs=1e-4)
    ids = pad([source.tolist(), [5, 3]])
    (greedy, _) = greedy_search(model, ids, ids != PAD_ID, 8)
    (best,) = beam_search(model, source, beam_size=1, max_output_tokens=8)
    assert tuple(greedy) == best.target_ids


def test_a_gradient_reaches_every_parameter() -> None:
    for changes in ({"attention": False}, *({"similarity": kind} for kind in get_args(SimilarityKind))):
        model = tiny_lstm(**changes).train()
        model(*inputs()).square().sum().backward()
        missing = [name for name, each in model.named_parameters() if each.grad is None or not each.grad.any()]
        assert not missing, changes
