"""Sentences and their translations to scored inspections, within limits and time."""

from __future__ import annotations

import asyncio
import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from service.errors import InvalidFieldError
from service.explain.details import Side, check_size, inspect, jobs_of
from service.failures import engine_errors
from service.text.sentences import trim

if TYPE_CHECKING:
    from model.bundle import Manifest
    from model.tokenizers import Tokenizer
    from service.engine.pool import Pool
    from service.engine.types import Hypothesis
    from service.explain.details import Answers, DetailOptions, Inspection
    from service.text.reading import Reader


@dataclasses.dataclass(frozen=True, slots=True)
class Inspector:
    """Inspects with one scorer; any number of requests at once."""

    scorer: Pool
    manifest: Manifest
    vocabulary: Tokenizer

    def of_sides(
        self, source: Side, target: Side, hypothesis: Hypothesis, pair: tuple[str, str], wanted: DetailOptions
    ) -> Inspection:
        """Of a sentence and what the engine made of it, in the model's own pair of languages."""
        return self._inspect(source, target, hypothesis, pair, wanted)

    def of_pair(self, text: str, translation: str, reader: Reader, target: str, wanted: DetailOptions) -> Inspection:
        """Of one sentence, as the model reads it, and a translation to the language `target` from anywhere.

        Raises:
            InvalidFieldError: one of them is longer than the model can read.
        """
        start, _ = trim(translation, 0, len(translation))
        side = Side.of_source(text, 0, reader)
        other = Side.of_target(self.vocabulary.encode_target(translation), start, self.vocabulary)
        limits = self.manifest.limits
        for name, tokens, limit in (
            ("q", len(side.framed(reader.frame(target)).all_ids), limits.source_tokens),
            ("translation", len(self.vocabulary.target_prefix(target)) + len(other.ids) + 1, limits.target_tokens),
        ):
            if tokens > limit:
                raise InvalidFieldError(
                    f"a text of {name} has {tokens} tokens, more than {limit}, the limit of this model; "
                    "each is scored as one sentence"
                )
        return self._inspect(side, other, None, reader.pair(target), wanted)

    def _inspect(
        self, source: Side, target: Side, hypothesis: Hypothesis | None, pair: tuple[str, str], wanted: DetailOptions
    ) -> Inspection:
        return inspect(
            source,
            target,
            hypothesis,
            pair=pair,
            wanted=wanted,
            manifest=self.manifest,
            vocabulary=self.vocabulary,
        )

    def check_room(self) -> None:
        """Whether it is worth reading a request at all.

        Raises:
            RejectedError: too much waits to be scored.
        """
        with engine_errors("scored"):
            self.scorer.check_room()

    async def run(self, inspections: Sequence[Inspection], deadline: float = math.inf) -> list[Inspection]:
        """The inspections with all that they need; raises as `answers` does."""
        answers = await self.answers(inspections, deadline)
        return [each.answered(answers) for each in inspections]

    async def answers(
        self, inspections: Sequence[Inspection], deadline: float = math.inf, *, fail_fast: bool = True
    ) -> Answers:
        """What the scorer says to the jobs of these inspections; with `fail_fast` none of them has failed then.
        Cancelling the call withdraws them.

        Args:
            inspections: what is to be inspected.
            deadline: in seconds of `time.monotonic`.
            fail_fast: whether the first failure is raised.

        Raises:
            InvalidFieldError: it is too much, see `check_size`.
            RejectedError: too much waits to be scored.
            DeadlineExceededError: it was not done in time.
            UnavailableError: the scorer is closed or closes meanwhile.
        """
        jobs = jobs_of(inspections)
        await asyncio.to_thread(check_size, inspections, self.manifest)
        with engine_errors("scored"):
            return dict(zip(jobs, await self.scorer.run(jobs, deadline=deadline, fail_fast=fail_fast), strict=True))
