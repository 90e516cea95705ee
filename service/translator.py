"""Texts to documents to jobs, hypotheses back to texts. Knows neither HTTP nor the runtime."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from typing import TypeVar

from model.bundle import Limits
from model.vocabulary import EOS_ID, Vocabulary
from service.alternatives import ScoredText, distinct_texts, ranked_versions
from service.engine.jobs import Engine, EngineClosedError, Hypothesis, Job, SearchOptions
from service.errors import UnavailableError
from service.metrics import Metrics
from service.text.document import Document
from service.text.languages import Directions
from service.waiting import until_done

THREAD_CHARACTERS = 2000
"""Requests with more characters than this are split, tokenised and put together off the event loop."""
_TAG_AND_END = 2

_Result = TypeVar("_Result")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TranslationOptions:
    """How the texts of one request are translated."""

    beam_size: int = 1
    alternatives: int = 0
    """Further versions wanted of each text; needs `beam_size` > `alternatives`."""
    length_penalty: float = 1.0
    max_output_tokens: int | None = None
    """Of one sentence; None: twice the source and ten more, within the model's limit."""


@dataclasses.dataclass(frozen=True, slots=True)
class Translation:
    """What became of one text."""

    text: str
    alternatives: tuple[str, ...]
    truncated: bool
    """A sentence of it reached its length limit before the model ended it."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Plan:
    """A text, and a job for each of its translatable segments."""

    document: Document
    jobs: tuple[Job, ...]

    def results(self) -> list[tuple[Hypothesis, ...]]:
        """Of each job, best first; they must be done."""
        return [job.future.result() for job in self.jobs]


@dataclasses.dataclass(frozen=True, slots=True)
class Translator:
    """Translates texts with one engine; any number of requests at once."""

    engine: Engine
    vocabulary: Vocabulary
    directions: Directions
    limits: Limits
    metrics: Metrics

    async def translate(
        self, texts: Sequence[str], source: str, target: str, options: TranslationOptions
    ) -> tuple[Translation, ...]:
        """One translation for each text, in order. Cancelling the call withdraws its jobs.

        Raises:
            UnavailableError: the engine is closed or closes meanwhile.
        """
        characters = sum(map(len, texts))
        plans = await _off_loop_if_long(characters, lambda: self._plan(texts, source, target, options))
        jobs = [job for plan in plans for job in plan.jobs]
        try:
            await until_done(jobs, self.engine.submit)
        except (EngineClosedError, CancelledError):
            # Not asyncio's CancelledError: the engine withdrew a job because it is being closed.
            raise UnavailableError("the service is shutting down") from None
        return await _off_loop_if_long(characters, lambda: self._finish(plans, source, target, options.alternatives))

    def _plan(self, texts: Sequence[str], source: str, target: str, options: TranslationOptions) -> list[_Plan]:
        pieces = _PieceCache(self.vocabulary)
        limit = self.limits.source_tokens - _TAG_AND_END
        tag = self.vocabulary.tag_id(target)
        plans = []
        for text in texts:
            document = Document.parse(text, source, pieces.count, limit)
            rows = ((tag, *pieces.encode(segment), EOS_ID) for segment in document.translatable)
            plans.append(_Plan(document, tuple(Job(row, self._search(options, len(row))) for row in rows)))
        return plans

    def _search(self, options: TranslationOptions, source_tokens: int) -> SearchOptions:
        wanted = options.max_output_tokens or 2 * source_tokens + 10
        return SearchOptions(
            beam_size=options.beam_size,
            num_hypotheses=options.alternatives + 1,
            length_penalty=options.length_penalty,
            max_output_tokens=min(wanted, self.limits.target_tokens),
        )

    def _finish(self, plans: Sequence[_Plan], source: str, target: str, alternatives: int) -> tuple[Translation, ...]:
        self._count(plans)
        translations = []
        for plan in plans:
            hypotheses = plan.results()
            sentences = [self._texts(found) for found in hypotheses]
            versions = ranked_versions(sentences, alternatives)
            texts = dict.fromkeys(plan.document.translate(version, source, target) for version in versions)
            text, *others = texts
            truncated = any(found[0].finish_reason == "length" for found in hypotheses)
            translations.append(Translation(text, tuple(others), truncated))
        return tuple(translations)

    def _count(self, plans: Sequence[_Plan]) -> None:
        best = [found[0] for plan in plans for found in plan.results()]
        self.metrics.observe_translation(
            source_tokens=sum(len(job.source_ids) for plan in plans for job in plan.jobs),
            target_tokens=sum(len(hypothesis.target_ids) for hypothesis in best),
            split=sum(plan.document.split_sentences for plan in plans),
            cut=sum(hypothesis.finish_reason == "length" for hypothesis in best),
        )

    def _texts(self, hypotheses: Sequence[Hypothesis]) -> list[ScoredText]:
        # Whitespace around a sentence is the document's.
        texts = [self.vocabulary.decode(hypothesis.target_ids).strip() for hypothesis in hypotheses]
        return distinct_texts(hypotheses, texts)


class _PieceCache:
    """Token ids of the texts of one request, each tokenised once though counted and encoded."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._known: dict[str, list[int]] = {}

    def encode(self, text: str) -> list[int]:
        if text not in self._known:
            self._known[text] = self._vocabulary.encode(text)
        return self._known[text]

    def count(self, text: str) -> int:
        return len(self.encode(text))


async def _off_loop_if_long(characters: int, work: Callable[[], _Result]) -> _Result:
    return await asyncio.to_thread(work) if characters > THREAD_CHARACTERS else work()
