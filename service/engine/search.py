"""Beam search over sentences that join and leave at any step. `K = 1` is greedy: the same search.

score = log_prob / n^length_penalty, n counts the end token. An end token counts when it is among the K best
candidates of its step; a sentence is done when K hypotheses have ended (Hugging Face's `early_stopping=True`) or at
its output limit.
`model/reference_search.py` says the same without a cache and without batches.

Shapes: N sentences running, K beams a sentence, R = N K rows, C candidates a row, P places.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from model.bundle import OWN_IDS, SpecialIds
from model.shortlist import NOTHING
from service.arrays import Array, next_power_of_two, padded
from service.engine.agreement import common_start
from service.engine.constraints import Change, changes, forced_token, missing
from service.engine.types import FinishReason, Hypothesis, SearchOptions

Number = TypeVar("Number", np.int64, np.float32)
Owner = TypeVar("Owner")

_FIRST_PLACES = 32


class RunningState(Protocol):
    """What the search needs of `Slots`."""

    count: int
    token_ids: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int32]
    padding: float

    @property
    def max_candidates(self) -> int:
        """All the tokens a row may choose from."""

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

    def end(self, target_ids: Array, log_prob: float, token_log_probs: Sequence[float], *, by_model: bool) -> None:
        """Note one hypothesis that has ended, by its end token (which then counts in the length) or by the limit."""
        length = len(target_ids) + by_model
        score = log_prob / length**self.options.length_penalty
        silent = len(self.options.silent_prefix)
        target_ids, token_log_probs = target_ids[silent:], token_log_probs[silent:]
        reason: FinishReason = "eos" if by_model else "length"
        self.ended.append(Hypothesis(tuple(target_ids.tolist()), log_prob, score, reason, tuple(token_log_probs)))

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
class Continuations:
    """The best continuations of each sentence, best first; equal ones in the order of beams, then of ids."""

    log_probs: npt.NDArray[np.float32]  # [N, 2K] of the whole hypothesis
    origins: npt.NDArray[np.int64]  # [N, 2K] the beam each continues
    token_ids: npt.NDArray[np.int64]  # [N, 2K]
    token_log_probs: npt.NDArray[np.float32]  # [N, 2K] of the token by itself, before options changed it

    def at(self, rows: npt.NDArray[np.int64], order: npt.NDArray[np.int64]) -> Continuations:
        """In another order [N, 2K]; rows [N, 1] are their numbers."""
        at = (rows, order)
        return Continuations(self.log_probs[at], self.origins[at], self.token_ids[at], self.token_log_probs[at])


class BeamGroup(Generic[Owner]):
    """The running sentences of one beam size."""

    def __init__(self, state: RunningState, beam_size: int, special: SpecialIds = OWN_IDS) -> None:
        self._state = state
        self._special = special
        self._width = beam_size
        self._sentences: list[Sentence[Owner]] = []
        self._log_probs = np.zeros((0, beam_size), np.float32)  # of each beam so far; -inf for a beam that is none
        self._tokens = np.zeros((0, beam_size, _FIRST_PLACES), np.int64)
        self._token_log_probs = np.zeros((0, beam_size, _FIRST_PLACES), np.float32)
        self._limits = np.zeros(0, np.int64)  # tokens an output may have
        self._ended = np.zeros(0, np.int64)  # hypotheses that have ended
        self._constrained = 0  # sentences some of whose log-probabilities change
        self._requiring = 0  # sentences that must have certain tokens
        self._beginning = False  # whether any sentence may be within its silent prefix
        self._row_numbers = np.zeros((0, 1), np.int64)
        self._no_origins = np.zeros((0, 2), np.int64)

    @property
    def rows(self) -> int:
        """Sentences times beams."""
        return len(self._sentences) * self._width

    @property
    def padding(self) -> float:
        """Share of the source places a step reads that hold nothing."""
        return self._state.padding

    @property
    def owners(self) -> list[Owner]:
        """Whose sentences are running."""
        return [sentence.owner for sentence in self._sentences]

    def agreed(self, wanted: Callable[[Owner], bool]) -> Iterator[tuple[Owner, tuple[int, ...]]]:
        """Of the sentences whose owners are wanted: what all their beams, and all hypotheses that ended, begin with."""
        for slot, sentence in enumerate(self._sentences):
            if not wanted(sentence.owner):
                continue
            beams = self._tokens[slot, self._log_probs[slot] > -np.inf, : self._state.lengths[slot, 0]]
            silent = len(sentence.options.silent_prefix)
            ids = common_start(beams[:, silent:], [hypothesis.target_ids for hypothesis in sentence.ended])
            yield sentence.owner, ids

    def join(self, owners: Sequence[Owner], options: Sequence[SearchOptions], memory: Mapping[str, Array]) -> None:
        """Start sentences whose memory the encoder made."""
        state, before = self._state, len(self._sentences)
        state.join(_with_prefixes(memory, options))
        self._sentences += [Sentence(owner, option) for owner, option in zip(owners, options, strict=True)]
        new = slice(before, len(self._sentences))
        state.token_ids[new] = self._special.bos
        alone = np.full((len(owners), self._width), -np.inf, np.float32)
        alone[:, 0] = 0.0  # all beams are equal at first: only one of them counts
        self._log_probs = np.concatenate([self._log_probs, alone])
        self._constrained += sum(option.is_constrained for option in options)
        self._requiring += sum(bool(option.required) for option in options)
        self._beginning |= any(option.silent_prefix for option in options)
        self._grow_history(len(self._sentences), 1)
        self._limits[new] = [option.max_output_tokens for option in options]
        self._ended[new] = 0

    def drop(self, is_gone: Callable[[Owner], bool]) -> list[Owner]:
        """Stop working on the sentences whose owners are gone; returns those."""
        slots = [slot for slot, sentence in enumerate(self._sentences) if is_gone(sentence.owner)]
        gone = [self._sentences[slot].owner for slot in slots]
        self._leave(slots)
        return gone

    def step(self) -> StepResult[Owner]:
        """One token for every running sentence."""
        best = self._continuations()
        count, width = len(self._sentences), self._width
        lengths = self._state.lengths[:count, 0]
        ends = best.token_ids == self._special.eos
        some_end = bool(ends.any())
        if some_end:
            self._end_hypotheses(best, ends, lengths)
        # No number at all, or no token that is possible: there is nothing to go on with.
        leading = best.log_probs[:, 0]
        failed = [] if leading.min() > -np.inf else np.flatnonzero(~(leading > -np.inf)).tolist()
        if some_end:  # at most one continuation of a beam ends, so K of these 2K go on
            best = best.at(self._row_numbers[:count], np.argsort(ends, axis=1, kind="stable"))
        beam_indices = best.origins[:, :width]
        self._state.token_ids[:count] = best.token_ids[:, :width]
        self._log_probs = best.log_probs[:, :width]
        self._remember(beam_indices, lengths, best.token_log_probs[:, :width])
        lengths = self._state.lengths[:count]
        lengths += 1
        finished = self._finished(lengths[:, 0], failed)
        result = StepResult(
            [(self._sentences[slot].owner, self._sentences[slot].best()) for slot in finished],
            [self._sentences[slot].owner for slot in failed],
        )
        kept = self._leave(sorted(finished + failed))
        if width > 1 and self._sentences:
            self._state.reorder(beam_indices if kept is None else beam_indices[kept])
        return result

    def _continuations(self) -> Continuations:
        """Run the decoder and rank what it offers, over all beams of a sentence."""
        count, width = len(self._sentences), self._width
        changed, forced = self._constraints() if self._constrained else ({}, {})
        # Of K beams no more than 2K continuations are ever needed: K that end and K that go on; one of a row may end.
        wanted = width + 1
        if changed:  # few different numbers: a step is bound for each
            wanted = next_power_of_two(wanted + max(map(len, changed.values())))
        most = self._state.max_candidates
        offered, ids = self._state.step(most if forced else min(wanted, most))
        log_probs = offered
        if changed or forced:
            log_probs = _changed(offered, ids, changed)
            if self._requiring:
                log_probs, ids = self._with_missing(log_probs, ids)
            for row, token in forced.items():
                log_probs[row, ids[row] != token] = -np.inf
        if self._beginning:
            offered, log_probs, ids = self._begun(offered, log_probs, ids)
        totals = (log_probs.reshape(count, width, -1) + self._log_probs[..., None]).reshape(count, -1)
        ids, offered = ids.reshape(count, -1), offered.reshape(count, -1)
        if width == 1 and not changed and not forced:  # ranked already
            return Continuations(totals, self._no_origins[:count, : ids.shape[1]], ids, offered)
        # Stable, and not a number first: both are what `step` relies on.
        order = np.argsort(np.where(np.isnan(totals), -np.inf, -totals), axis=1, kind="stable")[:, : 2 * width]
        rows = self._row_numbers[:count]
        origins = order // log_probs.shape[-1]
        return Continuations(totals[rows, order], origins, ids[rows, order], offered[rows, order])

    def _begun(
        self, offered: npt.NDArray[np.float32], log_probs: npt.NDArray[np.float32], ids: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """The candidates [R, C], with the next token of its silent prefix as the only one of a sentence within it."""
        offered, log_probs, ids = offered.copy(), log_probs.copy(), ids.copy()
        self._beginning = False
        for slot, sentence in enumerate(self._sentences):
            prefix, length = sentence.options.silent_prefix, int(self._state.lengths[slot, 0])
            if length < len(prefix):
                rows = slice(slot * self._width, (slot + 1) * self._width)
                log_probs[rows] = -np.inf
                log_probs[rows, 0] = offered[rows, 0] = 0.0
                ids[rows, 0] = prefix[length]
                self._beginning |= length + 1 < len(prefix)
        return offered, log_probs, ids

    def _constraints(self) -> tuple[dict[int, dict[int, Change]], dict[int, int]]:
        """By row: what the options of its sentence forbid or make dearer, and the tokens that are without choice."""
        changed, forced = {}, {}
        for slot, sentence in enumerate(self._sentences):
            if not sentence.options.is_constrained:
                continue
            length = int(self._state.lengths[slot, 0])
            token = forced_token(length, sentence.options)
            for beam in range(self._width):
                row, written = slot * self._width + beam, self._tokens[slot, beam, :length]
                if token is None:
                    changed[row] = changes(written.tolist(), sentence.options, self._special)
                else:
                    forced[row] = token
        return changed, forced

    def _with_missing(
        self, log_probs: npt.NDArray[np.float32], ids: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """log_probs [R, C] of the tokens ids [R, C], in which a required token that is missing stands for the end."""
        log_probs, ids = log_probs.copy(), ids.copy()
        for slot, sentence in enumerate(self._sentences):
            length = int(self._state.lengths[slot, 0])
            begun = len(sentence.options.silent_prefix) + len(sentence.options.target_prefix)
            if not sentence.options.required or length < begun:
                continue
            for beam in range(self._width):
                row = slot * self._width + beam
                left = missing(self._tokens[slot, beam, :length].tolist(), sentence.options)
                if left:
                    places_left = sentence.options.max_output_tokens - length
                    ends = (self._special.eos, *sentence.options.stops)
                    _require(log_probs[row], ids[row], left, ends, must=places_left <= len(left))
        return log_probs, ids

    def _end_hypotheses(self, best: Continuations, ends: npt.NDArray[np.bool_], lengths: npt.NDArray[np.int32]) -> None:
        for slot, rank in zip(*map(np.ndarray.tolist, ends[:, : self._width].nonzero()), strict=True):
            log_prob, length = float(best.log_probs[slot, rank]), int(lengths[slot])
            # An output has at least one token: an end token in its first place is as good as forbidden.
            if length > len(self._sentences[slot].options.silent_prefix) and log_prob > -np.inf:
                beam = best.origins[slot, rank]
                last = float(best.token_log_probs[slot, rank])
                each = (*self._token_log_probs[slot, beam, :length].tolist(), last)
                self._sentences[slot].end(self._tokens[slot, beam, :length], log_prob, each, by_model=True)
                self._ended[slot] += 1

    def _remember(
        self,
        beam_indices: npt.NDArray[np.int64],
        lengths: npt.NDArray[np.int32],
        token_log_probs: npt.NDArray[np.float32],
    ) -> None:
        """Add the new last tokens, and how likely each was [N, K], to what each beam has written so far."""
        count, longest = len(beam_indices), int(lengths.max())
        self._grow_history(count, longest + 1)
        rows = self._row_numbers[:count]
        for history, new in ((self._tokens, self._state.token_ids[:count]), (self._token_log_probs, token_log_probs)):
            if self._width > 1:
                history[:count, :, :longest] = history[rows, beam_indices, :longest]
            history[rows[:, 0], :, lengths] = new

    def _grow_history(self, sentences: int, places: int) -> None:
        have = self._tokens.shape
        if have[0] >= sentences and have[2] >= places:
            return
        wanted = (max(2 * have[0], sentences) if have[0] < sentences else have[0], self._width,
                  max(2 * have[2], places) if have[2] < places else have[2])  # fmt: skip
        self._tokens, self._token_log_probs = _enlarged(self._tokens, wanted), _enlarged(self._token_log_probs, wanted)
        self._limits, self._ended = _enlarged(self._limits, wanted[:1]), _enlarged(self._ended, wanted[:1])
        self._row_numbers = np.arange(wanted[0])[:, None]
        self._no_origins = np.zeros((wanted[0], 2), np.int64)

    def _finished(self, lengths: npt.NDArray[np.int32], failed: Sequence[int]) -> list[int]:
        """Slots of sentences with K ended hypotheses, or at their output limit."""
        count = len(lengths)
        full = lengths >= self._limits[:count]
        full |= self._ended[:count] >= self._width
        if not full.any():
            return []
        done = full.nonzero()[0].tolist()
        for slot in done:
            if self._ended[slot] < self._width:
                for beam in np.flatnonzero(self._log_probs[slot] > -np.inf).tolist():
                    written = slice(lengths[slot])
                    each = self._token_log_probs[slot, beam, written].tolist()
                    log_prob = float(self._log_probs[slot, beam])
                    self._sentences[slot].end(self._tokens[slot, beam, written], log_prob, each, by_model=False)
        return [slot for slot in done if slot not in failed]

    def _leave(self, slots: Sequence[int]) -> npt.NDArray[np.int64] | None:
        """Take sentences out; the former slots of the others, or None if nobody left."""
        if not slots:
            return None
        kept = self._state.leave(slots)
        for values in (self._tokens, self._token_log_probs, self._limits, self._ended):
            values[: len(kept)] = values[kept]
        self._log_probs = self._log_probs[kept]
        self._constrained -= sum(self._sentences[slot].options.is_constrained for slot in slots)
        self._requiring -= sum(bool(self._sentences[slot].options.required) for slot in slots)
        self._sentences = [self._sentences[slot] for slot in kept.tolist()]
        return kept


def _with_prefixes(memory: Mapping[str, Array], options: Sequence[SearchOptions]) -> Mapping[str, Array]:
    """What an output must begin with, or have, belongs to its shortlist."""
    if "shortlist" not in memory or not any(option.target_prefix or option.required for option in options):
        return memory
    wanted = [(*option.target_prefix, *itertools.chain(*option.required)) for option in options]
    rows = [np.union1d(row, more) for row, more in zip(memory["shortlist"], wanted, strict=True)]
    rows = [row[row != NOTHING] for row in rows]
    return {**memory, "shortlist": padded(rows, max(map(len, rows)), NOTHING)}


def _enlarged(values: npt.NDArray[Number], shape: tuple[int, ...]) -> npt.NDArray[Number]:
    """`values` with zeros after them on every axis."""
    larger = np.zeros(shape, values.dtype)
    larger[tuple(map(slice, values.shape))] = values
    return larger


_HARDLY = np.float32(-30.0)


def _require(
    log_probs: npt.NDArray[np.float32],
    ids: npt.NDArray[np.int64],
    groups: Sequence[tuple[int, ...]],
    ends: Sequence[int],
    *,
    must: bool,
) -> None:
    """Change log_probs [C] of the tokens ids [C]: a token of the groups takes the place of those that end a sentence,
    the likeliest of them that is offered, else the first; with `must` nothing else is possible."""
    found = np.isin(ids, [token for group in groups for token in group]).nonzero()[0]
    end = (np.isin(ids, ends) & (log_probs > -np.inf)).nonzero()[0]
    best = found[np.nanargmax(log_probs[found])] if len(found) and not np.isnan(log_probs[found]).all() else None
    if best is None:
        if not must and not len(end):
            return
        best = end[0] if len(end) else len(ids) - 1
        ids[best] = groups[0][0]
    if len(end):
        likeliest = max(log_probs[best], log_probs[end].max())
        log_probs[end] = -np.inf
        log_probs[best] = likeliest
    if must:
        log_probs[np.arange(len(ids)) != best] = -np.inf
        # What must be written is possible, however unlikely.
        log_probs[best] = max(log_probs[best], _HARDLY)


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
