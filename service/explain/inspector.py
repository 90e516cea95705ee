"""Sentences and their translations to scored inspections, within limits and time."""

from __future__ import annotations

import asyncio
import dataclasses
import math
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import CancelledError

from model.bundle import Manifest
from model.lexical import LexicalTable
from model.shortlist import Shortlist
from model.vocabulary import Vocabulary
from service.engine.jobs import EngineClosedError, Hypothesis, QueueFullError
from service.engine.scoring import Scorer
from service.errors import DeadlineExceededError, InvalidFieldError, RejectedError, UnavailableError
from service.explain.details import Inspection, Side, Wanted, check_size, inspect, jobs_of
from service.text.document import Segment
from service.text.reading import Reader
from service.text.sentences import trim
from service.waiting import until_done


@dataclasses.dataclass(frozen=True, slots=True)
class Inspector:
    """Inspects with one scorer; any number of requests at once."""

    scorer: Scorer
    manifest: Manifest
    vocabulary: Vocabulary
    shortlist: Shortlist | None = None
    """What the engine decodes with."""
    lexical: Mapping[str, LexicalTable] = dataclasses.field(default_factory=dict)
    """For directions that are aligned by `hmm`."""

    def of_hypothesis(
        self, segment: Segment, hypothesis: Hypothesis, start: int, reader: Reader, target: str, wanted: Wanted
    ) -> Inspection:
        """Of what the engine made of a segment, read by `reader`; `start` is where it begins in the translated text,
        whose language is `target`."""
        return self._inspect(
            Side.of_source(segment.text, segment.start, reader),
            Side.of_target(hypothesis.target_ids, start, self.vocabulary),
            hypothesis,
            reader.direction(target),
            wanted,
        )

    def of_pair(self, text: str, translation: str, reader: Reader, target: str, wanted: Wanted) -> Inspection:
        """Of one sentence, as the model reads it, and a translation to the language `target` from anywhere.

        Raises:
            InvalidFieldError: one of them is longer than the model can read.
        """
        start, _ = trim(translation, 0, len(translation))
        side = Side.of_source(text, 0, reader)
        other = Side.of_target(self.vocabulary.encode(translation), start, self.vocabulary)
        limits = self.manifest.limits
        for name, tokens, limit in (
            ("q", len(side.ids) + 2, limits.source_tokens),
            ("translation", len(other.ids) + 1, limits.target_tokens),
        ):
            if tokens > limit:
                raise InvalidFieldError(
                    f"a text of {name} has {tokens} tokens, more than {limit}, the limit of this model; "
                    "each is scored as one sentence"
                )
        return self._inspect(side, other, None, reader.direction(target), wanted)

    def _inspect(
        self, source: Side, target: Side, hypothesis: Hypothesis | None, direction: str, wanted: Wanted
    ) -> Inspection:
        return inspect(
            source,
            target,
            hypothesis,
            direction=direction,
            wanted=wanted,
            manifest=self.manifest,
            vocabulary=self.vocabulary,
            shortlist=self.shortlist,
            lexical=self.lexical,
        )

    def check_room(self) -> None:
        """Whether it is worth reading a request at all.

        Raises:
            RejectedError: too much waits to be scored.
        """
        try:
            self.scorer.check_room()
        except QueueFullError as error:
            raise _rejected(error) from None

    async def run(
        self, inspections: Sequence[Inspection], deadline: float = math.inf, *, fail_fast: bool = True
    ) -> float:
        """Have the jobs of these inspections done; with `fail_fast` none of them has failed then. Cancelling the call
        withdraws them. Returns how many seconds it took.

        Args:
            deadline: in seconds of `time.monotonic`.

        Raises:
            InvalidFieldError: it is too much, see `check_size`.
            RejectedError: too much waits to be scored.
            DeadlineExceededError: it was not done in time.
            UnavailableError: the scorer is closed or closes meanwhile.
        """
        began = time.monotonic()
        jobs = jobs_of(inspections)
        await asyncio.to_thread(check_size, inspections, self.manifest)
        if not jobs:
            return 0.0
        try:
            async with asyncio.timeout(None if math.isinf(deadline) else deadline - time.monotonic()):
                await until_done(jobs, self.scorer.submit, fail_fast=fail_fast)
            return time.monotonic() - began
        except TimeoutError:
            raise DeadlineExceededError("the deadline passed before the translation was scored") from None
        except QueueFullError as error:
            raise _rejected(error) from None
        except (EngineClosedError, CancelledError):
            raise UnavailableError("the service is shutting down") from None
        finally:
            self.scorer.withdraw(jobs)


def _rejected(error: QueueFullError) -> RejectedError:
    return RejectedError("too much waits already to be scored", "queue_full", error.retry_after_seconds)
