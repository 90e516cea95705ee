"""The LSTM encoder-decoder, with attention (Bahdanau et al. 2015, section 3) and without (Sutskever et al. 2014).

The encoder reads the source in both directions. The decoder begins with the encoder's last state, and in each step

    looks      c = attention(query s, keys h, values h)   from the state s before the step at the encoder's states h,
    moves on   s = LSTM(s, [y, c])                        with the last token's embedding y,
    and says   softmax(W s + b).

Without attention there is no c: one vector of fixed width has to hold the whole sentence.

Shapes: B sentences, S source tokens, T target tokens, K rows a sentence (1 in training, beams in an exported step),
L decoder layers, D d_model. Masks are True at real tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from model.attention import attend
from model.config import ModelConfig
from model.dropout import Dropout
from model.network import Attention, EncoderDecoder, places_of
from model.similarity import new_similarity


class State(NamedTuple):
    """What an LSTM remembers of what it has read: of each layer."""

    hidden: tuple[Tensor, ...]  # L x [B, K, D]
    cell: tuple[Tensor, ...]  # L x [B, K, D]


class LstmMemory(NamedTuple):
    """What the encoder leaves the decoder."""

    states: Tensor  # [B, S, D] of the top layer; zero at padding
    hidden: Tensor  # [B, L, D] the decoder's first states
    cell: Tensor  # [B, L, D]

    def first_state(self) -> State:
        """The decoder's state before its first step, with K = 1."""
        return State(*(tuple(each[:, None] for each in part.unbind(1)) for part in (self.hidden, self.cell)))


Recurrence = Callable[[nn.LSTM, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
"""Runs one bidirectional layer over x [B, S, D], of which row b has lengths[b] real tokens, the first ones: all states
[B, S, D], and the last of each direction, hidden and cell [2, B, D / 2]."""


def packed_recurrence(layer: nn.LSTM, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A `Recurrence` by PyTorch's own LSTM, which begins its way back where each sentence ends."""
    packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
    states, (hidden, cell) = layer(packed)
    return pad_packed_sequence(states, batch_first=True, total_length=x.shape[1])[0], hidden, cell


class LstmCell(nn.Module):
    """One layer's step (Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000)."""

    def __init__(self, width: int, d_model: int) -> None:
        super().__init__()
        self.gates = nn.Linear(width + d_model, 4 * d_model)
        nn.init.xavier_uniform_(self.gates.weight)
        nn.init.zeros_(self.gates.bias)
        # A gate that is open from the start lets the gradient through (Jozefowicz et al. 2015).
        with torch.no_grad():
            self.gates.bias[d_model : 2 * d_model] = 1.0

    def forward(self, x: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        """x [..., width], hidden and cell [..., D] -> hidden and cell after it.

        cell = sigmoid(f) cell + sigmoid(i) tanh(g), hidden = sigmoid(o) tanh(cell), with the gates
        i, f, g, o = W [x, hidden] + b in this order, which is PyTorch's.
        """
        i, f, g, o = self.gates(torch.cat([x, hidden], dim=-1)).chunk(4, dim=-1)
        cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
        return o.sigmoid() * cell.tanh(), cell


class LstmEncoderDecoder(EncoderDecoder):
    """A recurrent network that reads, looks and writes."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        width = config.d_model
        self.encoder = nn.ModuleList(
            nn.LSTM(width, width // 2, batch_first=True, bidirectional=True) for _ in range(config.encoder_layers)
        )
        widths = [width * (1 + config.attention), *[width] * (config.decoder_layers - 1)]
        self.decoder = nn.ModuleList(LstmCell(each, width) for each in widths)
        self.similarity = new_similarity(config.similarity, 1, width) if config.attention else None
        self.dropout = Dropout(config.dropout)
        self.output_dropout = Dropout(config.dropout)

    @property
    def last_module(self) -> nn.Module:
        """The dropout of the top layer's states."""
        return self.output_dropout

    def encode(self, source_ids: Tensor, source_mask: Tensor, recurrence: Recurrence = packed_recurrence) -> LstmMemory:
        """source_ids [B, S], source_mask [B, S] -> memory. What the mask hides is not read, wherever it stands."""
        places = _places_of_real_tokens_first(source_mask)[..., None].expand(-1, -1, self.config.d_model)
        embedded = self.embedding(source_ids, places_of(source_ids))
        x = torch.zeros_like(embedded).scatter(1, places, embedded)
        lengths = source_mask.sum(dim=1)
        hidden, cell = [], []
        for index, layer in enumerate(self.encoder):
            x, last_hidden, last_cell = recurrence(layer, self.dropout(x) if index else x, lengths)
            hidden.append(torch.cat([last_hidden[0], last_hidden[1]], dim=-1))
            cell.append(torch.cat([last_cell[0], last_cell[1]], dim=-1))
        # A decoder that is deeper than the encoder begins its upper layers where the encoder's top layer ended.
        layers = [min(index, len(hidden) - 1) for index in range(len(self.decoder))]
        first = (torch.stack([part[index] for index in layers], dim=1) for part in (hidden, cell))
        return LstmMemory(self.dropout(x.gather(1, places)), *first)

    def keys(self, memory: LstmMemory) -> tuple[Tensor, Tensor] | None:
        """What each step looks at: keys and values [B, 1, S, D], one head; None without attention."""
        if self.similarity is None:
            return None
        values = memory.states[:, None]
        return self.similarity.keys(values), values

    def step(
        self, token: Tensor, state: State, keys: tuple[Tensor, Tensor] | None, source_mask: Tensor
    ) -> tuple[State, Tensor | None]:
        """token [B, K, D], the embedding of each row's last; source_mask [B, 1, 1, S].

        Returns:
            The state after it, and the weights of its look at the source [B, 1, K, S].
        """
        x, weights = token, None
        if keys is not None:
            assert self.similarity is not None
            query = state.hidden[-1][:, None]
            context, weights = attend(query, *keys, source_mask, self.similarity.scores)
            x = torch.cat([token, context[:, 0]], dim=-1)
        hidden, cell = [], []
        for layer, h, c in zip(self.decoder, *state, strict=True):
            next_hidden, next_cell = layer(x, h, c)
            hidden.append(next_hidden)
            cell.append(next_cell)
            x = self.dropout(next_hidden)
        return State(tuple(hidden), tuple(cell)), weights

    def decode(self, target_ids: Tensor, memory: LstmMemory, source_mask: Tensor) -> Tensor:
        """target_ids [B, T] (starting with BOS) -> states [B, T, D]; row t has seen target_ids[:, :t+1]."""
        return self._decode(target_ids, memory, source_mask)[0]

    def _decode(self, target_ids: Tensor, memory: LstmMemory, source_mask: Tensor) -> tuple[Tensor, Tensor | None]:
        """The states, and the weights [B, 1, T, S]."""
        tokens = self.target_embedding(target_ids, places_of(target_ids))
        keys, mask = self.keys(memory), source_mask[:, None, None, :]
        state, states, seen = memory.first_state(), [], []
        for token in tokens.split(1, dim=1):
            state, weights = self.step(token, state, keys, mask)
            states.append(state.hidden[-1])
            if weights is not None:
                seen.append(weights)
        return self.output_dropout(torch.cat(states, dim=1)), torch.cat(seen, dim=2) if seen else None

    def expanded(self, memory: LstmMemory, rows: int) -> LstmMemory:
        """The memory of one source as that of `rows` rows."""
        return LstmMemory(*(part.expand(rows, -1, -1) for part in memory))

    def states_with_attention(
        self, source_ids: Tensor, source_mask: Tensor, target_ids: Tensor
    ) -> tuple[Tensor, Attention]:
        """What `project` makes logits of [B, T, D], and its look at the source: the only attention it has, if any."""
        memory = self.encode(source_ids, source_mask)
        states, cross = self._decode(target_ids, memory, source_mask)
        return states, Attention((), (), () if cross is None else (cross,))


def _places_of_real_tokens_first(source_mask: Tensor) -> Tensor:
    """[B, S]: where each token goes so that those the mask shows come first, in their order, and the others last."""
    real = source_mask.to(torch.int64)
    before, hidden_before = real.cumsum(1) - real, (1 - real).cumsum(1) - (1 - real)
    return torch.where(source_mask, before, real.sum(dim=1, keepdim=True) + hidden_before)
