"""A decoder made of tables: exact, instant, and small enough to search exhaustively.

Shapes: N sentences, K beams, V vocabulary, T tokens.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from model.vocabulary import EOS_ID
from service.engine.decoder.batches import of_one_length

Array = npt.NDArray[Any]

FORBIDDEN = 3
"""Ids 0, 1, 2 (pad, unk, bos) are never chosen."""


class TableSlots:
    """Running sentences as plain arrays; every row remembers its last token only, as the tables do."""

    padding = 0.0

    def __init__(self, decoder: TableDecoder, beam_size: int) -> None:
        self.count = 0
        self.token_ids = np.zeros((0, beam_size), np.int64)
        self.lengths = np.zeros((0, beam_size), np.int32)
        self._which = np.zeros(0, np.int64)
        self._decoder = decoder
        self._beam_size = beam_size
        # What a real cache would hold: every row's tokens so far, to see that rows follow their beams.
        self.cache: list[list[list[int]]] = []

    @property
    def max_candidates(self) -> int:
        return self._decoder.table.shape[-1]

    def join(self, memory: Mapping[str, Array]) -> None:
        added = len(memory["which"])
        self.count += added
        self._which = np.concatenate([self._which, memory["which"]])
        for name in ("token_ids", "lengths"):
            old = getattr(self, name)
            setattr(self, name, np.concatenate([old, np.zeros((added, self._beam_size), old.dtype)]))
        self.cache += [[[] for _ in range(self._beam_size)] for _ in range(added)]

    def leave(self, gone: Sequence[int]) -> np.ndarray:
        kept = np.array([slot for slot in range(self.count) if slot not in set(gone)][::-1], np.int64)
        self.count = len(kept)
        self._which = self._which[kept]
        self.cache = [self.cache[slot] for slot in kept]
        for name in ("token_ids", "lengths"):
            setattr(self, name, getattr(self, name)[kept])
        return kept

    def reorder(self, beam_indices: np.ndarray) -> None:
        self.cache = [
            [list(rows[beam]) for beam in beams] for rows, beams in zip(self.cache, beam_indices, strict=True)
        ]

    def step(self, num_candidates: int) -> tuple[np.ndarray, np.ndarray]:
        self._decoder.before_step()
        for slot in range(self.count):
            for beam in range(self._beam_size):
                self.cache[slot][beam].append(int(self.token_ids[slot, beam]))
                assert len(self.cache[slot][beam]) == self.lengths[slot, beam] + 1
        # The token before comes from the cache: a beam that does not follow its origin gives wrong scores.
        last = np.array([[beam[-1] for beam in rows] for rows in self.cache])
        before = np.array([[beam[-2] if len(beam) > 1 else 0 for beam in rows] for rows in self.cache])
        table = self._decoder.table[self._which[:, None], self.lengths, before, last]
        rows = table.reshape(self.count * self._beam_size, -1)
        best = np.argsort(-rows, axis=1, kind="stable")[:, :num_candidates]
        return np.take_along_axis(rows, best, 1).astype(np.float32), best


class TableDecoder:
    """log p(token | the two before it, position, sentence) from random tables; the sentence is its first source id."""

    def __init__(self, *, vocabulary_size: int = 7, positions: int = 8, tables: int = 16, seed: int = 0) -> None:
        shape = (tables, positions, vocabulary_size, vocabulary_size, vocabulary_size)
        logits = np.random.default_rng(seed).normal(size=shape) * 1.5
        logits[..., :FORBIDDEN] = -np.inf
        self.table = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        self.vocabulary_size = vocabulary_size
        self.steps = 0

    def before_step(self) -> None:
        """Hook for tests."""
        self.steps += 1

    def encoder_tokens(self, source_tokens: int) -> int:
        return -(-source_tokens // 4) * 4

    def runs(self, lengths: Sequence[int]) -> Sequence[Sequence[int]]:
        return of_one_length([self.encoder_tokens(length) for length in lengths])

    def encode(self, sources: Sequence[Sequence[int]]) -> Mapping[str, Array]:
        return {"which": np.array([source[0] for source in sources])}

    def open_slots(self, beam_size: int) -> TableSlots:
        return TableSlots(self, beam_size)

    def log_prob(self, sentence: int, target: Sequence[int]) -> float:
        """log p of the tokens one after another."""
        return sum(self.token_log_probs(sentence, target))

    def token_log_probs(self, sentence: int, target: Sequence[int]) -> list[float]:
        """log p of each token after those before it."""
        seen = [0, 2, *target]
        return [float(self.table[sentence, p, seen[p], seen[p + 1], token]) for p, token in enumerate(target)]

    def exhaustive(self, sentence: int, longest: int, length_penalty: float) -> list[tuple[float, tuple[int, ...]]]:
        """Every ended output of one token or more and at most `longest` (end included), best first."""
        words = [i for i in range(FORBIDDEN, self.vocabulary_size) if i != EOS_ID]
        results = []
        for length in range(1, longest):
            for body in itertools.product(words, repeat=length):
                log_prob = self.log_prob(sentence, (*body, EOS_ID))
                results.append((log_prob / (length + 1) ** length_penalty, body))
        return sorted(results, key=lambda pair: -pair[0])
