"""What is asked of the engine that scores, to show what happens inside the network, and what it answers.

Both jobs are of one sentence, bounded by `MOST_SOURCE_TOKENS` and `MOST_TARGET_TOKENS`.
Shapes: S source tokens, T rows of the decoder (its start first), H heads, d head width, D d_model, C candidates.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from model.bundle import OWN_IDS, SpecialIds
from service.engine.search import BeamGroup, Continuations, RunningState
from service.engine.types import Hypothesis, SearchOptions

if TYPE_CHECKING:
    from service.arrays import Array
    from service.engine.scores import AttentionKind

MOST_SOURCE_TOKENS = 48
"""Of a sentence that is looked into, tag and end token included: more than fits on a screen."""
MOST_TARGET_TOKENS = 64
"""Of its translation."""
NEXT_TOKENS = 5
"""C of `Internals`."""

Fate = Literal["kept", "ended", "dropped"]
"""kept: one of the K beams of the next step. ended: a hypothesis with its end token. dropped: others were better."""


@dataclasses.dataclass(frozen=True, slots=True)
class InternalsJob:
    """One attention head at work on a sentence and its translation; the result is an `Internals`."""

    source_ids: tuple[int, ...]
    """With tag and end token."""
    target_ids: tuple[int, ...]
    """Without start and end token."""
    kind: AttentionKind
    layer: int
    head: int
    embedding: bool = False
    """Whether the vectors of tokens and positions are told too."""

    @property
    def tokens(self) -> int:
        """Source and target tokens."""
        return len(self.source_ids) + len(self.target_ids) + 1

    @property
    def work(self) -> int:
        """How much there is to do, compared with other jobs."""
        return self.tokens


@dataclasses.dataclass(frozen=True, slots=True)
class SearchJob:
    """A sentence to translate with every step of the search told; the result is a `SearchRecord`."""

    source_ids: tuple[int, ...]
    options: SearchOptions

    @property
    def tokens(self) -> int:
        """Tokens that wait for it."""
        return len(self.source_ids)

    @property
    def work(self) -> int:
        """How much there is to do, compared with other jobs."""
        return len(self.source_ids) * self.options.beam_size


@dataclasses.dataclass(frozen=True, slots=True)
class Internals:
    """What one head does, and what comes of all of them."""

    parts: Mapping[str, Array]
    """query [T, d], key and value [S, d], products, scores and weights [T, S] of the head; scores are the products by
    sqrt(d), before the mask; the columns are S of the encoder's and of cross attention, T of the decoder's."""
    heads: Array
    """[H, T, S] weights of all heads of the layer."""
    next_ids: Array
    """[T, C] the most likely tokens behind each place, best first."""
    next_log_probs: Array
    """[T, C] natural logarithms, shared among the whole vocabulary."""
    token_log_probs: Array
    """[T] of the tokens that stand there, the end token last."""
    embedding: Mapping[str, Array]
    """source_tokens and source_positions [S, D], target_tokens and target_positions [T, D], if asked for."""


@dataclasses.dataclass(frozen=True, slots=True)
class SearchStep:
    """The continuations that one step of the search ranked, best first, at most 2K: K that end and K that go on."""

    origins: tuple[int, ...]
    """The beam that each continues: its rank among those kept one step before."""
    token_ids: tuple[int, ...]
    log_probs: tuple[float, ...]
    """Of the whole hypothesis."""
    token_log_probs: tuple[float, ...]
    """Of the token by itself."""
    fates: tuple[Fate, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class SearchRecord:
    """How a sentence was found."""

    steps: tuple[SearchStep, ...]
    hypotheses: tuple[Hypothesis, ...]
    """Best first."""


class RecordedSearch(BeamGroup[None]):
    """The search of the engines, of one sentence, that notes what it ranks."""

    def __init__(self, state: RunningState, options: SearchOptions, special: SpecialIds = OWN_IDS) -> None:
        super().__init__(state, options.beam_size, special)
        self._options = options
        self._steps: list[SearchStep] = []

    def run(self, memory: Mapping[str, Array]) -> SearchRecord:
        """Search the sentence whose memory the encoder made to its end.

        Raises:
            ValueError: the model gave no token a usable score.
        """
        self.join([None], [self._options], memory)
        while True:
            done = self.step()
            if done.failed:
                raise ValueError("the model gave no token a usable score")
            if done.finished:
                return SearchRecord(tuple(self._steps), done.finished[0][1])

    def _continuations(self) -> Continuations:
        best = super()._continuations()
        ends = best.token_ids[0] == self._special.eos
        # The first step of an output may not end it: see `BeamGroup._end_hypotheses`.
        may_end = len(self._steps) > len(self._options.silent_prefix)
        fates = _fates(ends, best.log_probs[0], self._options.beam_size, may_end=may_end)
        columns = (best.origins[0], best.token_ids[0], best.log_probs[0], best.token_log_probs[0])
        # What has no probability is no continuation: before there are K hypotheses a step has fewer.
        real: list[int] = np.flatnonzero(best.log_probs[0] > -np.inf).tolist()
        origins, ids, log_probs, own = (tuple(column[real].tolist()) for column in columns)
        self._steps.append(SearchStep(origins, ids, log_probs, own, tuple(fates[rank] for rank in real)))
        return best


class Graph(Protocol):
    """What computes: the real one is `service.engine.decoder.runtime.InternalsGraph`."""

    def outputs(self, names: Sequence[str], source_ids: Sequence[int], target_ids: Sequence[int]) -> dict[str, Array]:
        """Outputs of these names for one sentence, see `export.internals`."""


PARTS = ("query", "key", "value", "products", "scores", "weights")
EMBEDDING = ("source_tokens", "source_positions", "target_tokens", "target_positions")


def look_inside(graph: Graph, special: SpecialIds, job: InternalsJob) -> Internals:
    """What the graph gives for a job, without the layers and heads that it does not ask for."""
    names = [f"{job.kind}_{part}" for part in PARTS]
    embedding = EMBEDDING if job.embedding else ()
    found = graph.outputs([*names, "log_probs", *embedding], job.source_ids, (special.bos, *job.target_ids))
    log_probs = found["log_probs"]
    labels = np.array([*job.target_ids, special.eos])
    best = np.argsort(-log_probs, axis=1, kind="stable")[:, :NEXT_TOKENS]
    return Internals(
        # Copies: a view would take the whole array through the socket.
        parts={part: found[name][job.layer, job.head].copy() for part, name in zip(PARTS, names, strict=True)},
        heads=found[f"{job.kind}_weights"][job.layer].copy(),
        next_ids=best,
        next_log_probs=np.take_along_axis(log_probs, best, axis=1),
        token_log_probs=np.take_along_axis(log_probs, labels[:, None], axis=1)[:, 0],
        embedding={name: found[name] for name in embedding},
    )


def _fates(ends: Array, log_probs: Array, width: int, *, may_end: bool) -> Sequence[Fate]:
    """What becomes of each continuation, by the rules of `BeamGroup.step`."""
    fates: list[Fate] = ["dropped"] * len(ends)
    going_on = [rank for rank in range(len(ends)) if not ends[rank]][:width]
    for rank in going_on:
        fates[rank] = "kept"
    for rank in range(min(width, len(ends))):
        if ends[rank] and may_end and log_probs[rank] > -np.inf:
            fates[rank] = "ended"
    return fates
