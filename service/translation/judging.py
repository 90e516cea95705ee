"""What is wrong with the answers to attempts, and what is tried next."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from service.engine.scores import AlignmentJob
from service.translation.endings import is_left_out, may_be_left_out

if TYPE_CHECKING:
    from model.tokenizers import Tokenizer
    from service.arrays import Array
    from service.engine.cache import Cache
    from service.engine.types import Answer
    from service.explain.inspector import Inspector
    from service.text_work import TextWork
    from service.translation.attempts import Part, Trials

_log = logging.getLogger("attend")


@dataclasses.dataclass(frozen=True, slots=True)
class Judge:
    """Judges the attempts of one call."""

    vocabulary: Tokenizer
    inspector: Inspector
    pair: tuple[str, str]
    """Of the model."""
    deadline: float
    """In seconds of `time.monotonic`."""
    text_work: TextWork
    characters: int
    """Of the texts that are judged together."""
    cache: Cache | None = None
    """Of the answers that are judged: an answer that it keeps is judged once."""

    @property
    def _direction(self) -> str:
        return "-".join(self.pair)

    async def further(self, tried: Sequence[Trials], answers: Iterator[Answer]) -> list[Trials]:
        """Take the answers to the newest attempts; those sentences of which another is to be made."""
        doubted = await self.text_work.run(self.characters, lambda: self._answered(tried, answers))
        if doubted:
            await self._look_at_ends(doubted)
        return await self.text_work.run(self.characters, lambda: _judged(tried))

    def _answered(self, tried: Sequence[Trials], answers: Iterator[Answer]) -> list[tuple[Trials, Part]]:
        """Give the attempts their answers; the parts whose end may be left out."""
        method = self.inspector.manifest.alignment.get(self._direction)
        doubted = []
        for trials in tried:
            trials.attempts[-1] = trials.attempts[-1].answered(answers, self.vocabulary)
            if method is not None and method.evidence == "hmm":
                doubted += [(trials, part) for part in trials.attempts[-1].parts if _is_doubted(part)]
        return doubted

    async def _look_at_ends(self, doubted: Sequence[tuple[Trials, Part]]) -> None:
        unknown = []
        for trials, part in doubted:
            known = self.cache.verdict(part.job, self._direction) if self.cache and part.job else None
            if known is None:
                unknown.append((trials, part))
            else:
                _note(trials, part, known)
        if unknown:
            await self._ask_aligner(unknown)

    async def _ask_aligner(self, doubted: Sequence[tuple[Trials, Part]]) -> None:
        for (trials, part), evidence in zip(doubted, await self._evidence([part for _, part in doubted]), strict=True):
            omits = evidence is not None and self._is_left_out(part, evidence)
            if self.cache is not None and part.job is not None and evidence is not None:
                self.cache.note(part.job, self._direction, omits)
            _note(trials, part, omits)

    async def _evidence(self, parts: Sequence[Part]) -> list[Array | None]:
        """[target pieces, source pieces] of each part; None where the aligner did not answer."""
        jobs = [
            AlignmentJob(part.prepared.pieces, part.hypotheses[0].target_ids, self._direction)
            for part in parts
            if part.prepared is not None
        ]
        try:
            scorer = self.inspector.scorer
            answers = await scorer.run(jobs, deadline=self.deadline, is_further=True, fail_fast=False)
        except Exception as error:
            # The translation is there: no reason to fail.
            _log.warning("the ends of sentences are not looked at: %s", error)
            return [None] * len(parts)
        return [answer.result for answer in answers]

    def _is_left_out(self, part: Part, evidence: Array) -> bool:
        assert part.prepared is not None
        read = part.prepared.read.text
        return is_left_out(read, self.vocabulary.encode_spans(read), evidence)


def _note(trials: Trials, part: Part, omits: bool) -> None:
    trials.attempts[-1] = trials.attempts[-1].replaced(part, dataclasses.replace(part, omits=omits))


def _is_doubted(part: Part) -> bool:
    if part.omits is not None or part.prepared is None or part.best is None or not part.hypotheses[0].target_ids:
        return False
    return may_be_left_out(part.prepared.read.text, len(part.prepared.pieces), part.best.edited.old)


def _judged(tried: Sequence[Trials]) -> list[Trials]:
    """See what is wrong with the newest attempts; those sentences of which another is to be made."""
    again = []
    for trials in tried:
        trials.judge()
        further = trials.next()
        if further is not None:
            trials.attempts.append(further)
            again.append(trials)
    return again
