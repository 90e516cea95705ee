"""Beam search over one batch of sentences that start together. `K = 1` is greedy: the same search.

score = log_prob / n^length_penalty, n counts the end token. An end token counts when it is among the K best candidates of its
step; a sentence is done when K hypotheses have ended (Hugging Face's `early_stopping=True`) or at its output limit.
`model/reference_search.py` says the same without a cache and without batches.

Shapes: N sentences, K beams a sentence, C = 2K candidates, T tokens decoded so far.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from model.vocabulary import BOS_ID, EOS_ID
from service.engine.jobs import Hypothesis, SearchOptions
from service.engine.runtime import Array, Candidates, State, keep_sentences


class Decoder(Protocol):
    """What the search needs of `Runtime`."""

    def encode(self, sources: Sequence[Sequence[int]]) -> State:
        """Memory of the sentences."""

    def empty_past(self, sentences: int, beams: int) -> State:
        """State before the first token."""

    def step(
        self, token_ids: Array, position: int, beam_indices: Array, log_probs: Array, memory: State, past: State
    ) -> tuple[Candidates, State]:
        """One token for every beam."""


@dataclasses.dataclass(slots=True)
class Sentence:
    """One sentence under search; `index` is the caller's."""

    index: int
    options: SearchOptions
    ended: list[Hypothesis] = dataclasses.field(default_factory=list)

    def end(self, target_ids: Array, log_prob: float, *, by_model: bool) -> None:
        """Note one hypothesis [T] that has ended, by its end token (which then counts in the length) or by the limit."""
        length = len(target_ids) + by_model
        score = log_prob / length**self.options.length_penalty
        ids = tuple(int(i) for i in target_ids)
        self.ended.append(Hypothesis(ids, log_prob, score, "eos" if by_model else "length"))

    def best(self) -> tuple[Hypothesis, ...]:
        """What was asked for, best first; equal scores keep the order in which they ended."""
        return tuple(sorted(self.ended, key=lambda hypothesis: -hypothesis.score)[: self.options.num_hypotheses])


class BatchSearch:
    """A batch from its first step to its last; sentences leave as they finish."""

    _COMPACT_BELOW = 0.75
    """Share of unfinished rows under which the finished ones are cut out: a copy, so not at every step."""

    def __init__(self, decoder: Decoder, sources: Sequence[Sequence[int]], options: Sequence[SearchOptions]) -> None:
        beams = {option.beam_size for option in options}
        if len(beams) != 1 or len(sources) != len(options):
            raise ValueError("a batch needs one beam size and as many sources as options")
        count, width = len(sources), beams.pop()
        self._decoder = decoder
        self._sentences = [Sentence(index, option) for index, option in enumerate(options)]
        self._alive = np.ones(count, dtype=bool)
        self._width = width
        self._memory = decoder.encode(sources)
        self._past = decoder.empty_past(count, width)
        self._token_ids = np.full((count, width), BOS_ID, np.int64)
        self._beam_indices = np.zeros((count, width), np.int64)
        self._log_probs = np.full((count, width), -np.inf, np.float32)
        self._log_probs[:, 0] = 0.0  # all beams are equal at first: only one of them counts
        self._tokens = np.empty((count, width, 0), np.int64)
        self.rows = count * width
        self.steps = 0

    @property
    def finished(self) -> bool:
        """Whether no sentence is left."""
        return not self._alive.any()

    def drop(self, indices: set[int]) -> None:
        """Stop working on sentences nobody waits for any more."""
        for row, sentence in enumerate(self._sentences):
            if sentence.index in indices:
                self._alive[row] = False

    def advance(self) -> list[tuple[int, tuple[Hypothesis, ...]]]:
        """One decode step; returns the sentences that finished with it, by index.

        Raises:
            FloatingPointError: the model gave a score that is not a number.
        """
        self._compact()
        candidates, self._past = self._decoder.step(
            self._token_ids, self.steps, self._beam_indices, self._log_probs, self._memory, self._past
        )
        if np.isnan(candidates.log_probs[self._alive]).any():
            raise FloatingPointError("the model gave a score that is not a number")
        self.steps += 1
        ends = candidates.token_ids == EOS_ID
        self._end_hypotheses(candidates, ends)
        self._continue_beams(candidates, ends)
        return self._finish_sentences()

    def _end_hypotheses(self, candidates: Candidates, ends: Array) -> None:
        for row, rank in np.argwhere(ends[:, : self._width] & self._alive[:, None]):
            log_prob = float(candidates.log_probs[row, rank])
            if log_prob > -np.inf:
                self._sentences[row].end(self._tokens[row, candidates.origins[row, rank]], log_prob, by_model=True)

    def _continue_beams(self, candidates: Candidates, ends: Array) -> None:
        # At most K of 2K candidates end (one a beam), so K that go on are always there.
        going_on = np.argsort(ends, axis=1, kind="stable")[:, : self._width]
        self._token_ids = np.ascontiguousarray(np.take_along_axis(candidates.token_ids, going_on, 1))
        self._beam_indices = np.ascontiguousarray(np.take_along_axis(candidates.origins, going_on, 1))
        self._log_probs = np.ascontiguousarray(np.take_along_axis(candidates.log_probs, going_on, 1))
        followed = np.take_along_axis(self._tokens, self._beam_indices[..., None], 1)
        self._tokens = np.concatenate([followed, self._token_ids[..., None]], axis=2)

    def _finish_sentences(self) -> list[tuple[int, tuple[Hypothesis, ...]]]:
        done = []
        for row in np.flatnonzero(self._alive):
            sentence = self._sentences[row]
            if len(sentence.ended) < self._width and self.steps >= sentence.options.max_output_tokens:
                for beam in np.flatnonzero(self._log_probs[row] > -np.inf):
                    sentence.end(self._tokens[row, beam], float(self._log_probs[row, beam]), by_model=False)
            elif len(sentence.ended) < self._width:
                continue
            self._alive[row] = False
            done.append((sentence.index, sentence.best()))
        return done

    def _compact(self) -> None:
        if self._alive.sum() > self._COMPACT_BELOW * len(self._alive):
            return
        kept = np.flatnonzero(self._alive)
        self._sentences = [self._sentences[row] for row in kept]
        self._memory, self._past = keep_sentences(self._memory, kept), keep_sentences(self._past, kept)
        self._token_ids, self._beam_indices = self._token_ids[kept], self._beam_indices[kept]
        self._log_probs, self._tokens = self._log_probs[kept], self._tokens[kept]
        self._alive = self._alive[kept]
