"""A decoder made of tables: exact, instant, and small enough to search exhaustively.

Shapes: N sentences, K beams, V vocabulary, T tokens.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from onnxruntime import OrtValue

from model.vocabulary import EOS_ID
from service.engine.runtime import Array, Candidates, State

FORBIDDEN = 3
"""Ids 0, 1, 2 (pad, unk, bos) are never chosen."""


class TableDecoder:
    """log p(token | previous token, position, sentence) from random tables; the sentence is its first source id."""

    def __init__(self, *, vocabulary_size: int = 7, positions: int = 8, tables: int = 16, seed: int = 0) -> None:
        logits = np.random.default_rng(seed).normal(size=(tables, positions, vocabulary_size, vocabulary_size)) * 1.5
        logits[..., :FORBIDDEN] = -np.inf
        self.table = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        self.vocabulary_size = vocabulary_size
        self.steps = 0

    def encode(self, sources: Sequence[Sequence[int]]) -> State:
        return {"which": OrtValue.ortvalue_from_numpy(np.array([source[0] for source in sources]))}

    def empty_past(self, sentences: int, beams: int) -> State:
        return {"past": OrtValue.ortvalue_from_numpy(np.zeros((sentences, beams, 1, 0, 1), np.float32))}

    def step(
        self, token_ids: Array, position: int, beam_indices: Array, log_probs: Array, memory: State, past: State
    ) -> tuple[Candidates, State]:
        self.steps += 1
        which = memory["which"].numpy()
        scores = self.table[which[:, None], position, token_ids] + log_probs[..., None]
        flat = scores.reshape(len(scores), -1)
        best = np.argsort(-flat, axis=1, kind="stable")[:, : 2 * token_ids.shape[1]]
        candidates = Candidates(
            np.take_along_axis(flat, best, 1).astype(np.float32), best // self.vocabulary_size, best % self.vocabulary_size
        )
        return candidates, past

    def log_prob(self, sentence: int, target: Sequence[int]) -> float:
        """log p of the tokens one after another."""
        previous = [2, *target[:-1]]
        return float(sum(self.table[sentence, p, a, b] for p, (a, b) in enumerate(zip(previous, target, strict=True))))

    def exhaustive(self, sentence: int, longest: int, length_penalty: float) -> list[tuple[float, tuple[int, ...]]]:
        """Every ended output of at most `longest` tokens (end included), best first."""
        words = [i for i in range(FORBIDDEN, self.vocabulary_size) if i != EOS_ID]
        results = []
        for length in range(longest):
            for body in itertools.product(words, repeat=length):
                log_prob = self.log_prob(sentence, (*body, EOS_ID))
                results.append((log_prob / (length + 1) ** length_penalty, body))
        return sorted(results, key=lambda pair: -pair[0])
