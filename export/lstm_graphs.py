"""An LSTM encoder-decoder as modules whose `forward` signature is the contract of one ONNX graph, see `export.graphs`.

Its state is `replaced` at every step: what each layer remembers. Where a row has read nothing yet the step begins with
what the encoder left, so that nothing has to be put in place when a sentence joins.

Shapes: N sentences, K beams a sentence, R = N K rows, S source tokens, T target tokens, L decoder layers, D d_model.
State has the four axes of a Transformer's: one head, and where it has no places, one place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch._higher_order_ops.scan import scan

from export.output import ShortlistOnly, WholeVocabulary
from export.scorer import Scorer
from model.lstm import LstmEncoderDecoder, LstmMemory, Recurrence, State
from model.network import Attention, places_of

_ONNX_ORDER = (0, 3, 1, 2)
"""PyTorch's gates are input, forget, cell, output; ONNX has input, output, forget, cell."""


class OnnxLstm(nn.Module):
    """One bidirectional layer by the operator of ONNX."""

    def __init__(self, layer: nn.LSTM) -> None:
        super().__init__()
        self.width = layer.hidden_size

        def both(name: str) -> Tensor:
            """[2, 4 D / 2, ...], the gates in the order of ONNX."""
            directions = [getattr(layer, f"{name}_l0{suffix}").detach() for suffix in ("", "_reverse")]
            return torch.stack([torch.cat([part.chunk(4)[gate] for gate in _ONNX_ORDER]) for part in directions])

        self.register_buffer("input_weight", both("weight_ih"))
        self.register_buffer("state_weight", both("weight_hh"))
        self.register_buffer("bias", torch.cat([both("bias_ih"), both("bias_hh")], dim=1))

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As `model.lstm.Recurrence`, of x [N, S, D] and lengths [N]."""
        # A product of one row takes another kernel, and gives other bits, than the same row in company has.
        x, lengths = torch.cat([x, x[:1]]), torch.cat([lengths, lengths[:1]])
        rows, places = x.shape[:2]
        last = (2, rows, self.width)
        states, hidden, cell = torch.onnx.ops.symbolic_multi_out(
            "ai.onnx::LSTM",
            [x.transpose(0, 1), self.input_weight, self.state_weight, self.bias, lengths.to(torch.int32)],
            {"direction": "bidirectional", "hidden_size": self.width},
            dtypes=[x.dtype] * 3,
            shapes=[(places, 2, rows, self.width), last, last],
        )
        return states.permute(2, 0, 1, 3).flatten(2)[:-1], hidden[:, :-1], cell[:, :-1]


class LstmEncoder(nn.Module):
    """Source to memory: what each step looks at, if it does, and what the decoder begins with."""

    def __init__(self, model: LstmEncoderDecoder) -> None:
        super().__init__()
        self.model = model
        self.layers = nn.ModuleList(OnnxLstm(layer) for layer in model.encoder)

    def encode(self, source_ids: Tensor, source_mask: Tensor) -> LstmMemory:
        """As the network's own, with the operator of ONNX in it."""
        return self.model.encode(source_ids, source_mask, _one_after_another(self.layers))

    def forward(self, source_ids: Tensor, source_mask: Tensor) -> tuple[Tensor, ...]:
        """source_ids [N, S], source_mask [N, S] -> keys and values [N, 1, S, D], unless it has no attention, then L
        hidden and L cell states [N, 1, 1, D]."""
        memory = self.encode(source_ids, source_mask)
        first = [part[:, None, None] for each in (memory.hidden, memory.cell) for part in each.unbind(1)]
        return (*(self.model.keys(memory) or ()), *first)


def _one_after_another(layers: nn.ModuleList) -> Recurrence:
    """The operator of each layer, in the order in which the encoder asks for them."""
    remaining: Iterator[nn.Module] = iter(layers)

    def recurrence(layer: nn.LSTM, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        states, hidden, cell = next(remaining)(x, lengths)
        return states, hidden, cell

    return recurrence


class LstmStep(nn.Module):
    """One token for every beam of every running sentence, and the best next tokens of each: see `DecoderStep`."""

    def __init__(self, model: LstmEncoderDecoder, output: WholeVocabulary | ShortlistOnly) -> None:
        super().__init__()
        self.model = model
        self.output = output

    def forward(
        self,
        token_ids: Tensor,
        lengths: Tensor,
        longest: Tensor,
        num_candidates: Tensor,
        source_mask: Tensor,
        memory: Sequence[Tensor],
        past: Sequence[Tensor],
        shortlist: Sequence[Tensor],
    ) -> tuple[Tensor, ...]:
        """One step for R = N K rows.

        Args:
            token_ids: [N, K] the last token of each beam.
            lengths: [R] int32, tokens each row has read before.
            longest: [] int32; of no use here.
            num_candidates: [1], C.
            source_mask: [N, S], True at real tokens.
            memory: what `LstmEncoder` returned.
            past: L hidden, then L cell states [R, 1, 1, D]; of rows that have read nothing, anything.
            shortlist: what the output projection takes, see `ShortlistOnly`.

        Returns:
            candidate_log_probs [R, C] of the next token, best first, and candidate_ids [R, C]; present: `past` after
            the token.
        """
        keys, first = (None, memory) if self.model.similarity is None else ((memory[0], memory[1]), memory[2:])
        is_first = (lengths == 0).reshape(*token_ids.shape, 1)
        before = [
            torch.where(is_first, begin[:, 0], state.reshape(*token_ids.shape, -1))
            for begin, state in zip(first, past, strict=True)
        ]
        layers = len(before) // 2
        tokens = self.model.target_embedding(token_ids, lengths.reshape(token_ids.shape))
        state = State(tuple(before[:layers]), tuple(before[layers:]))
        after, _ = self.model.step(tokens, state, keys, source_mask[:, None, None, :])
        log_probs, ids = self.output(self.model, after.hidden[-1], num_candidates, shortlist)
        present = [part.reshape(each.shape) for part, each in zip((*after.hidden, *after.cell), past, strict=True)]
        return (log_probs, ids, *present)


class LstmScorer(Scorer):
    """As `Scorer`; the steps of the decoder are a loop in the graph."""

    def __init__(self, model: LstmEncoderDecoder) -> None:
        super().__init__(model)
        self.encoder = LstmEncoder(model)

    def states_with_attention(
        self, source_ids: Tensor, source_mask: Tensor, target_ids: Tensor
    ) -> tuple[Tensor, Attention]:
        """As the network's own."""
        model = self.encoder.model
        memory = self.encoder.encode(source_ids, source_mask)
        keys, mask = model.keys(memory), source_mask[:, None, None, :]
        first = memory.first_state()
        layers = len(first.hidden)

        def step(carry: tuple[Tensor, ...], token: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
            state, weights = model.step(token[:, None], State(carry[:layers], carry[layers:]), keys, mask)
            seen = () if weights is None else (weights[:, :, 0].clone(),)
            return (*state.hidden, *state.cell), (state.hidden[-1][:, 0].clone(), *seen)

        tokens = model.target_embedding(target_ids, places_of(target_ids)).transpose(0, 1)
        begin = tuple(each.contiguous() for each in (*first.hidden, *first.cell))
        _, (states, *seen) = scan(step, begin, tokens)
        cross = tuple(weights.permute(1, 2, 0, 3) for weights in seen)
        return states.transpose(0, 1), Attention((), (), cross)
