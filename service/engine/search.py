"""Beam search over sentences that join and leave at any step. `K = 1` is greedy: the same search.

score = log_prob / n^length_penalty, n counts the end token. An end token counts when it is among the K best
candidates of its step; a sentence is done when K hypotheses have ended (Hugging Face's `early_stopping=True`) or at
its output limit.
`model/reference_search.py` says the same without a cache and without batches.

Shapes: N sentences running, K beams a sentence, C = 2K candidates, P places.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from model.vocabulary import BOS_ID, EOS_ID
from service.engine.constraints import Change, changes
from service.engine.jobs import Hypothesis, SearchOptions

Array = npt.NDArray[np.generic]
Owner = TypeVar("Owner")

_FIRST_PLACES = 32


class RunningState(Protocol):
    """What the search needs of `Slots`."""

    count: int
    token_ids: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int32]

    def join(self, memory: Mapping[str, Array]) -> None:
        """Add sentences."""

    def leave(self, gone: Sequence[int]) -> npt.NDArray[np.int64]:
        """Remove sentences; the former slots of those that remain."""

    def reorder(self, beam_indices: npt.NDArray[np.int64]) -> None:
        """Follow the beams."""

    def step(self, num_candidates: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Log-probabilities and ids of the best next tokens of each row."""


@dataclasses.dataclass(slots=True)
class Sentence(Generic[Owner]):
    """One sentence under search, and whose it is."""

    owner: Owner
    options: SearchOptions
    ended: list[Hypothesis] = dataclasses.field(default_factory=list)

    def end(self, target_ids: Array, log_prob: float, *, by_model: bool) -> None:
        """Note one hypothesis that has ended, by its end token (which then counts in the length) or by the limit."""
        length = len(target_ids) + by_model
        score = log_prob / length**self.options.length_penalty
        ids = tuple(int(i) for i in target_ids)
        self.ended.append(Hypothesis(ids, log_prob, score, "eos" if by_model else "length"))

    def best(self) -> tuple[Hypothesis, ...]:
        """What was asked for, best first; equal scores keep the order in which they ended."""
        return tuple(sorted(self.ended, key=lambda hypothesis: -hypothesis.score)[: self.options.num_hypotheses])


@dataclasses.dataclass(frozen=True, slots=True)
class StepResult(Generic[Owner]):
    """Who is done after a step."""

    finished: list[tuple[Owner, tuple[Hypothesis, ...]]]
    failed: list[Owner]
    """Sentences whose scores were no numbers, or that no token could continue."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Candidates:
    """The best continuations of each sentence, best first; equal ones in the order of beams, then of ids."""

    log_probs: npt.NDArray[np.float32]  # [N, C] of the whole hypothesis
    origins: npt.NDArray[np.int64]  # [N, C] the beam each continues
    token_ids: npt.NDArray[np.int64]  # [N, C]


class BeamGroup(Generic[Owner]):
    """The running sentences of one beam size."""

    def __init__(self, state: RunningState, beam_size: int) -> None:
        self._state = state
        self._width = beam_size
        self._sentences: list[Sentence[Owner]] = []
        self._log_probs = np.zeros((0, beam_size), np.float32)  # of each beam so far; -inf for a beam that is none
        self._tokens = np.zeros((0, beam_size, _FIRST_PLACES), np.int64)

    @property
    def rows(self) -> int:
        """Sentences times beams."""
        return len(self._sentences) * self._width

    @property
    def owners(self) -> list[Owner]:
        """Whose sentences are running."""
        return [sentence.owner for sentence in self._sentences]

    def join(self, owners: Sequence[Owner], options: Sequence[SearchOptions], memory: Mapping[str, Array]) -> None:
        """Start sentences whose memory the encoder made."""
        state, before = self._state, len(self._sentences)
        state.join(memory)
        self._sentences += [Sentence(owner, option) for owner, option in zip(owners, options, strict=True)]
        new = slice(before, len(self._sentences))
        state.token_ids[new] = BOS_ID
        alone = np.full((len(owners), self._width), -np.inf, np.float32)
        alone[:, 0] = 0.0  # all beams are equal at first: only one of them counts
        self._log_probs = np.concatenate([self._log_probs, alone])
        self._grow_history(len(self._sentences), 1)

    def drop(self, is_gone: Callable[[Owner], bool]) -> list[Owner]:
        """Stop working on the sentences whose owners are gone; returns those."""
        slots = [slot for slot, sentence in enumerate(self._sentences) if is_gone(sentence.owner)]
        gone = [self._sentences[slot].owner for slot in slots]
        self._leave(slots)
        return gone

    def step(self) -> StepResult[Owner]:
        """One token for every running sentence."""
        count = len(self._sentences)
        candidates = self._candidates()
        ends = candidates.token_ids == EOS_ID
        # No number at all, or no token that is possible: there is nothing to go on with.
        best = candidates.log_probs[:, 0]
        failed = np.flatnonzero(np.isnan(best) | (best == -np.inf)).tolist()
        self._end_hypotheses(candidates, ends)
        # At most one candidate of a beam ends, so K that go on are among those asked for; a greedy one may have ended.
        going_on = np.argsort(ends, axis=1, kind="stable")[:, : self._width]
        beam_indices = np.take_along_axis(candidates.origins, going_on, 1)
        self._state.token_ids[:count] = np.take_along_axis(candidates.token_ids, going_on, 1)
        self._log_probs = np.take_along_axis(candidates.log_probs, going_on, 1)
        self._remember(beam_indices)
        self._state.lengths[:count] += 1
        finished = self._finished(exclude=failed)
        result = StepResult(
            [(self._sentences[slot].owner, self._sentences[slot].best()) for slot in finished],
            [self._sentences[slot].owner for slot in failed],
        )
        kept = self._leave(sorted(finished + failed))
        if self._width > 1 and self._sentences:
            self._state.reorder(beam_indices if kept is None else beam_indices[kept])
        return result

    def _candidates(self) -> _Candidates:
        """Run the decoder and rank what it offers, over all beams of a sentence."""
        count, width = len(self._sentences), self._width
        changed = self._changes()
        log_probs, ids = self._state.step(self._wanted(changed))
        if changed:
            log_probs = _changed(log_probs, ids, changed)
        totals = log_probs.reshape(count, width, -1) + self._log_probs[..., None]
        each = totals.shape[2]
        flat = totals.reshape(count, -1)
        # Stable, and not a number first: both are what `step` relies on.
        order = np.argsort(np.where(np.isnan(flat), -np.inf, -flat), axis=1, kind="stable")[:, : 2 * width]
        token_ids = np.take_along_axis(ids.reshape(count, -1), order, 1)
        return _Candidates(np.take_along_axis(flat, order, 1), order // each, token_ids)

    def _wanted(self, changed: Mapping[int, Mapping[int, Change]]) -> int:
        """Candidates to ask of each row: K that go on, and those that end, are impossible, or were made dearer."""
        if self._width > 1:
            needed = self._width + 1
        else:  # the best token is all there is to a greedy step, but an output cannot end before it began
            needed = 1 + bool((self._state.lengths[: len(self._sentences)] == 0).any())
        return needed + max((len(row) for row in changed.values()), default=0)

    def _changes(self) -> dict[int, dict[int, Change]]:
        """By row: what the options of its sentence forbid or make dearer. Most sentences have nothing of it."""
        found = {}
        for slot, sentence in enumerate(self._sentences):
            if sentence.options.is_constrained:
                for beam in range(self._width):
                    written = self._tokens[slot, beam, : self._state.lengths[slot, 0]].tolist()
                    found[slot * self._width + beam] = changes(written, sentence.options)
        return found

    def _end_hypotheses(self, candidates: _Candidates, ends: npt.NDArray[np.bool_]) -> None:
        for slot, rank in np.argwhere(ends[:, : self._width]).tolist():
            log_prob, length = float(candidates.log_probs[slot, rank]), int(self._state.lengths[slot, 0])
            # An output has at least one token: an end token in the first place is as good as forbidden.
            if length and log_prob > -np.inf:
                origin = candidates.origins[slot, rank]
                self._sentences[slot].end(self._tokens[slot, origin, :length], log_prob, by_model=True)

    def _remember(self, beam_indices: npt.NDArray[np.int64]) -> None:
        """Add the new last tokens to what each beam has written so far."""
        count = len(beam_indices)
        lengths = self._state.lengths[:count, 0]
        longest = int(lengths.max())
        self._grow_history(count, longest + 1)
        if self._width > 1:
            written = self._tokens[:count, :, :longest]
            self._tokens[:count, :, :longest] = np.take_along_axis(written, beam_indices[..., None], 1)
        self._tokens[np.arange(count), :, lengths] = self._state.token_ids[:count]

    def _grow_history(self, sentences: int, places: int) -> None:
        have = self._tokens.shape
        if have[0] >= sentences and have[2] >= places:
            return
        wanted = (max(2 * have[0], sentences) if have[0] < sentences else have[0], self._width,
                  max(2 * have[2], places) if have[2] < places else have[2])  # fmt: skip
        tokens = np.zeros(wanted, np.int64)
        tokens[: have[0], :, : have[2]] = self._tokens
        self._tokens = tokens

    def _finished(self, exclude: Sequence[int]) -> list[int]:
        done = []
        for slot, sentence in enumerate(self._sentences):
            length = int(self._state.lengths[slot, 0])
            if slot in exclude:
                continue
            if len(sentence.ended) < self._width:
                if length < sentence.options.max_output_tokens:
                    continue
                for beam in np.flatnonzero(self._log_probs[slot] > -np.inf).tolist():
                    log_prob = float(self._log_probs[slot, beam])
                    sentence.end(self._tokens[slot, beam, :length], log_prob, by_model=False)
            done.append(slot)
        return done

    def _leave(self, slots: Sequence[int]) -> npt.NDArray[np.int64] | None:
        """Take sentences out; the former slots of the others, or None if nobody left."""
        if not slots:
            return None
        kept = self._state.leave(slots)
        self._tokens[: len(kept)] = self._tokens[kept]
        self._log_probs = self._log_probs[kept]
        self._sentences = [self._sentences[slot] for slot in kept.tolist()]
        return kept


def _changed(
    log_probs: npt.NDArray[np.float32], ids: npt.NDArray[np.int64], changed: Mapping[int, Mapping[int, Change]]
) -> npt.NDArray[np.float32]:
    """log_probs [R, C] of the tokens ids [R, C] after the changes of each row; no longer in order."""
    result = log_probs.copy()
    for row, of_row in changed.items():
        for place, token in enumerate(ids[row].tolist()):
            if token in of_row:
                factor, term = of_row[token]
                result[row, place] = result[row, place] * factor + term
    return result
