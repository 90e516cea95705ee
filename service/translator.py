"""Texts to documents to jobs, hypotheses back to texts. Knows neither HTTP nor the runtime."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import itertools
import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from typing import Literal, TypeVar

from model.bundle import Limits
from model.vocabulary import EOS_ID, Vocabulary
from service.alternatives import distinct_texts, ranked_versions
from service.engine.jobs import (
    DeadlineError,
    Engine,
    EngineClosedError,
    Hypothesis,
    Job,
    QueueFullError,
    SearchOptions,
    Ticket,
)
from service.errors import (
    DeadlineExceededError,
    DeadlineRefusedError,
    InternalError,
    InvalidFieldError,
    RejectedError,
    ServiceError,
    TextLimitError,
    TruncatedError,
    UnavailableError,
)
from service.explain.details import Inspection, Wanted, jobs_of
from service.explain.inspector import Inspector
from service.logs import request_id
from service.metrics import Metrics
from service.repetition import is_loop
from service.text.document import Document
from service.text.languages import Directions
from service.text.reading import Reader
from service.text.sentences import Span
from service.waiting import until_done

_log = logging.getLogger("attend")

THREAD_CHARACTERS = 2000
"""Requests with more characters than this are split, tokenised and put together off the event loop."""
RETRY_PENALTY, RETRY_NGRAM = 1.2, 4
"""Repetition control of the second attempt at a sentence that went round in circles."""
FEWEST_BYTES, MOST_BYTES = 2, 12
"""Of JSON for a token: French has 3 to 11, Chinese 4, or 8 written as escapes. Digits in a row have fewer."""
_TAG_AND_END = 2

_Result = TypeVar("_Result")
WarningKind = Literal["truncated", "repetition", "repetition_removed"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TranslationOptions:
    """How the texts of one request are translated."""

    beam_size: int = 1
    alternatives: int = 0
    """Further versions wanted of each text; needs `beam_size` > `alternatives`."""
    length_penalty: float = 1.0
    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    min_output_tokens: int = 1
    max_output_tokens: int | None = None
    """Of one sentence; None: twice the source and ten more, within the model's limit."""
    strict: bool = False
    """A text of which a sentence was cut is an error."""
    text_by_text: bool = False
    """A text that fails leaves the others alone."""
    target_prefix: str = ""
    """What the translation of the first sentence of each text begins with; whitespace around it does not count."""
    details: Wanted | None = None
    """What is told of each sentence beside its translation; None: nothing."""


@dataclasses.dataclass(frozen=True, slots=True)
class SentenceWarning:
    """Something a caller should know about the sentence at `text[start:end]` of its source, in code points."""

    start: int
    end: int
    warning: WarningKind
    """truncated: cut at its length limit. repetition: goes round in circles, and a second attempt with repetition
    control did too or was not made. repetition_removed: the second attempt was better, and is what was returned."""


@dataclasses.dataclass(frozen=True, slots=True)
class Translation:
    """What became of one text."""

    text: str
    alternatives: tuple[str, ...]
    warnings: tuple[SentenceWarning, ...]
    inspections: tuple[tuple[Inspection, ...], ...] = ()
    """With `TranslationOptions.details`: done, one for each translated sentence of the text, then of each
    alternative."""

    @property
    def truncated(self) -> bool:
        """Whether a sentence of it reached its length limit before the model ended it."""
        return any(warning.warning == "truncated" for warning in self.warnings)


@dataclasses.dataclass(frozen=True, slots=True)
class Timing:
    """Where the time of a request went, in seconds; queue to decode of the sentence that was done last."""

    tokenize: float = 0.0
    queue: float = 0.0
    encode: float = 0.0
    decode: float = 0.0
    score: float | None = None
    """With `TranslationOptions.details`."""


@dataclasses.dataclass(frozen=True, slots=True)
class TranslatedTexts:
    """The answer to one request, text by text, and what it took."""

    texts: tuple[Translation | ServiceError, ...]
    """Errors only with `TranslationOptions.text_by_text`."""
    timing: Timing


@dataclasses.dataclass(frozen=True, slots=True)
class _Plan:
    """A text, and a job for each of its translatable segments."""

    document: Document
    jobs: tuple[Job, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class _Outcome:
    """What the engine made of one job, best first."""

    hypotheses: tuple[Hypothesis, ...]
    repetition: Literal["repetition", "repetition_removed"] | None = None

    @property
    def is_cut(self) -> bool:
        return self.hypotheses[0].finish_reason == "length"


@dataclasses.dataclass(frozen=True, slots=True)
class Translator:
    """Translates texts with one engine; any number of requests at once."""

    engine: Engine
    vocabulary: Vocabulary
    directions: Directions
    readers: Mapping[str, Reader]
    """One for each of the sources of `directions`."""
    limits: Limits
    metrics: Metrics
    max_tokens: int
    """Source tokens of one request."""
    inspector: Inspector

    def check_room(self, body_bytes: int | None) -> None:
        """Whether it is worth reading a request whose texts have at most so many bytes as JSON; None: nobody knows.

        Raises:
            RejectedError: the queue that it would join is full.
        """
        fewest, most = (
            (0, self.max_tokens) if body_bytes is None else (body_bytes // MOST_BYTES, body_bytes // FEWEST_BYTES)
        )
        try:
            self.engine.check_room(fewest, most)
        except QueueFullError as error:
            raise _rejected(error) from None

    async def translate(
        self,
        texts: Sequence[str],
        source: str,
        target: str,
        options: TranslationOptions,
        deadline: float = math.inf,
    ) -> TranslatedTexts:
        """One translation for each text, in order. Cancelling the call withdraws its jobs.

        Args:
            deadline: in seconds of `time.monotonic`.

        Raises:
            TextLimitError: more than `max_tokens`.
            RejectedError: the queue is full.
            DeadlineExceededError: it was not done in time, or would not have been.
            TruncatedError: a sentence was cut and `strict` is set.
            InvalidFieldError: `target_prefix` does not fit, or the details are too much.
            UnavailableError: the engine is closed or closes meanwhile.
        """
        began = time.monotonic()
        characters = sum(map(len, texts))
        plans = await _off_loop_if_long(characters, lambda: self._plan(texts, source, target, options))
        tokenize = time.monotonic() - began
        jobs = [job for plan in plans for job in plan.jobs]
        ticket = Ticket(deadline)
        try:
            retries = await self._decode(jobs, ticket, characters, options)
            finish = functools.partial(self._finish, plans, retries, source, target, options)
            translations = await _off_loop_if_long(characters, finish)
        except BaseException as error:
            self.engine.withdraw(ticket)
            known = _service_error(error, queued=ticket.queued)
            if known is None:
                raise
            raise known from None
        timing = _timing(tokenize, [*jobs, *(job for job in retries.values() if job)])
        if options.details is not None:
            seconds = await self._inspect(translations, deadline, fail_fast=not options.text_by_text)
            translations = tuple(map(_unless_failed, translations))
            timing = dataclasses.replace(timing, score=seconds)
        return TranslatedTexts(translations, timing)

    def _plan(self, texts: Sequence[str], source: str, target: str, options: TranslationOptions) -> list[_Plan]:
        reader = self.readers[source]
        pieces = _PieceCache(reader)
        limit = self.limits.source_tokens - _TAG_AND_END
        tag = self.vocabulary.tag_id(target)
        prefix = tuple(self.vocabulary.encode(options.target_prefix.strip()))
        plans, tokens = [], 0
        for text in texts:
            document = Document.parse(text, reader.language, pieces.count, limit)
            rows = ((tag, *pieces.encode(segment), EOS_ID) for segment in document.translatable)
            prefixes = itertools.chain([prefix], itertools.repeat(()))
            jobs = (
                Job(row, self._search(options, len(row), first)) for row, first in zip(rows, prefixes, strict=False)
            )
            plans.append(_Plan(document, tuple(jobs)))
            tokens += sum(len(job.source_ids) for job in plans[-1].jobs)
        if tokens > self.max_tokens:
            raise TextLimitError(tokens, self.max_tokens, " tokens")
        return plans

    def _search(self, options: TranslationOptions, source_tokens: int, prefix: tuple[int, ...]) -> SearchOptions:
        usual = max(self.limits.output_tokens(source_tokens), options.min_output_tokens)
        most = options.max_output_tokens or min(usual + len(prefix), self.limits.target_tokens)
        if len(prefix) >= most:
            raise InvalidFieldError(
                f"target_prefix has {len(prefix)} tokens, which leaves none of the {most} that a sentence may have"
            )
        return SearchOptions(
            beam_size=options.beam_size,
            num_hypotheses=options.alternatives + 1,
            length_penalty=options.length_penalty,
            repetition_penalty=options.repetition_penalty,
            no_repeat_ngram_size=options.no_repeat_ngram_size,
            min_output_tokens=options.min_output_tokens,
            max_output_tokens=most,
            target_prefix=prefix,
        )

    async def _decode(
        self, jobs: Sequence[Job], ticket: Ticket, characters: int, options: TranslationOptions
    ) -> dict[Job, Job | None]:
        """Run the jobs; those that went round in circles are the keys of what is returned.

        The values are their second attempts; None where the caller controls repetition and has it as it was asked for.
        """
        fail_fast = not options.text_by_text
        await until_done(jobs, lambda some: self.engine.submit(some, ticket), fail_fast=fail_fast)
        controlled = options.repetition_penalty != 1.0 or options.no_repeat_ngram_size > 0
        looping = await _off_loop_if_long(characters, lambda: [job for job in jobs if _is_loop(job)])
        retries = {job: None if controlled else _second_attempt(job) for job in looping}
        again = [job for job in retries.values() if job is not None]
        if again:
            # Unbounded: what a text becomes must not depend on how much else there is to do.
            await until_done(again, lambda some: self.engine.submit(some, ticket, bounded=False), fail_fast=fail_fast)
        return retries

    def _finish(
        self,
        plans: Sequence[_Plan],
        retries: Mapping[Job, Job | None],
        source: str,
        target: str,
        options: TranslationOptions,
    ) -> tuple[Translation | ServiceError, ...]:
        texts: list[Translation | ServiceError] = []
        for plan in plans:
            try:
                outcomes = [_outcome(job, retries) for job in plan.jobs]
                self._count(plan, outcomes)
                texts.append(self._translation(plan.document, outcomes, source, target, options))
            except Exception as error:
                if not options.text_by_text:
                    raise
                texts.append(_logged(error))
        return tuple(texts)

    def _translation(
        self, document: Document, outcomes: Sequence[_Outcome], source: str, target: str, options: TranslationOptions
    ) -> Translation:
        warnings = _warnings(document, outcomes)
        if options.strict:
            for warning in warnings:
                if warning.warning == "truncated":
                    raise TruncatedError(warning.start, warning.end)
        sentences = [self._texts(outcome.hypotheses) for outcome in outcomes]
        scored = [[(text, found.score) for text, found in sentence.items()] for sentence in sentences]
        versions: dict[str, tuple[list[str], list[Span]]] = {}
        for version in ranked_versions(scored, options.alternatives):
            text, spans = document.place(version, source, target)
            versions.setdefault(text, (version, spans))
        text, *others = versions
        if options.details is None:
            return Translation(text, tuple(others), warnings)
        inspect = functools.partial(self._inspections, document, sentences, source, target, options.details)
        return Translation(text, tuple(others), warnings, tuple(inspect(versions.values())))

    def _inspections(
        self,
        document: Document,
        sentences: Sequence[Mapping[str, Hypothesis]],
        source: str,
        target: str,
        wanted: Wanted,
        versions: Iterable[tuple[Sequence[str], Sequence[Span]]],
    ) -> Iterator[tuple[Inspection, ...]]:
        """Those of each version; versions share all sentences but one, and what they share is inspected once."""
        segments = [segment for segment in document.segments if segment.translatable]
        known: dict[tuple[int, str], Inspection] = {}
        for texts, spans in versions:
            version = []
            for index, (text, (start, _)) in enumerate(zip(texts, spans, strict=True)):
                if (index, text) not in known:
                    known[index, text] = self.inspector.of_hypothesis(
                        segments[index], sentences[index][text], start, self.readers[source], target, wanted
                    )
                version.append(known[index, text].at(start))
            yield tuple(version)

    async def _inspect(self, texts: Sequence[Translation | ServiceError], deadline: float, *, fail_fast: bool) -> float:
        """Have the inspections of the texts done; returns the seconds it took."""
        good = [text for text in texts if isinstance(text, Translation)]
        inspections = [each for text in good for version in text.inspections for each in version]
        return await self.inspector.run(inspections, deadline, fail_fast=fail_fast)

    def _count(self, plan: _Plan, outcomes: Sequence[_Outcome]) -> None:
        self.metrics.observe_translation(
            source_tokens=sum(len(job.source_ids) for job in plan.jobs),
            target_tokens=sum(len(outcome.hypotheses[0].target_ids) for outcome in outcomes),
            split=plan.document.split_sentences,
            cut=sum(outcome.is_cut for outcome in outcomes),
        )
        for outcome in outcomes:
            if outcome.repetition is not None:
                self.metrics.count_repetition(removed=outcome.repetition == "repetition_removed")

    def _texts(self, hypotheses: Sequence[Hypothesis]) -> dict[str, Hypothesis]:
        # Whitespace around a sentence is the document's.
        texts = [self.vocabulary.decode(hypothesis.target_ids).strip() for hypothesis in hypotheses]
        return distinct_texts(hypotheses, texts)


def _is_loop(job: Job) -> bool:
    failed = job.future.cancelled() or job.future.exception() is not None
    return not failed and is_loop(job.future.result()[0].target_ids, job.source_ids)


def _second_attempt(job: Job) -> Job:
    options = dataclasses.replace(job.options, repetition_penalty=RETRY_PENALTY, no_repeat_ngram_size=RETRY_NGRAM)
    return Job(job.source_ids, options)


def _outcome(job: Job, retries: Mapping[Job, Job | None]) -> _Outcome:
    """The better of the first and the second attempt; raises what the first one failed with."""
    first = job.future.result()
    if job not in retries:
        return _Outcome(first)
    second = retries[job]
    if second is None or second.future.exception() is not None or _is_loop(second):
        return _Outcome(first, "repetition")
    return _Outcome(second.future.result(), "repetition_removed")


def _warnings(document: Document, outcomes: Sequence[_Outcome]) -> tuple[SentenceWarning, ...]:
    segments = (segment for segment in document.segments if segment.translatable)
    warnings: list[SentenceWarning] = []
    for segment, outcome in zip(segments, outcomes, strict=True):
        kinds: list[WarningKind] = ["truncated"] if outcome.is_cut else []
        if outcome.repetition is not None:
            kinds.append(outcome.repetition)
        warnings += (SentenceWarning(segment.start, segment.end, kind) for kind in kinds)
    return tuple(warnings)


def _timing(tokenize: float, jobs: Sequence[Job]) -> Timing:
    last = max((job.times for job in jobs), key=lambda times: times.finished, default=None)
    if last is None or not last.finished:
        return Timing(tokenize)
    return Timing(tokenize, last.started - last.submitted, last.encoded - last.started, last.finished - last.encoded)


def _service_error(error: BaseException, *, queued: bool) -> ServiceError | None:
    """What a caller is told, if there is more to say than that something went wrong."""
    if isinstance(error, ServiceError):
        return error
    if isinstance(error, QueueFullError):
        return _rejected(error)
    if isinstance(error, DeadlineError):
        in_time = "the deadline passed before the translation was done"
        return DeadlineExceededError(in_time) if queued else DeadlineRefusedError(error.retry_after_seconds)
    # Not asyncio's CancelledError: the engine withdrew a job because it is being closed.
    if isinstance(error, EngineClosedError | CancelledError):
        return UnavailableError("the service is shutting down")
    return None


def _rejected(error: QueueFullError) -> RejectedError:
    return RejectedError("too much waits already", "queue_full", error.retry_after_seconds)


def _logged(error: Exception) -> ServiceError:
    known = _service_error(error, queued=True)
    if known is not None:
        return known
    _log.error("a text of request %s failed", request_id.get(), exc_info=error)
    return InternalError(request_id.get())


def _unless_failed(text: Translation | ServiceError) -> Translation | ServiceError:
    """The text, or why one of its inspections failed."""
    inspections = () if isinstance(text, ServiceError) else text.inspections
    try:
        for job in jobs_of([each for version in inspections for each in version]):
            job.future.result()
    except Exception as error:
        return _logged(error)
    return text


class _PieceCache:
    """Token ids of the source texts of one request, each tokenised once though counted and encoded."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._known: dict[str, list[int]] = {}

    def encode(self, text: str) -> list[int]:
        if text not in self._known:
            self._known[text] = self._reader.encode(text)
        return self._known[text]

    def count(self, text: str) -> int:
        return len(self.encode(text))


async def _off_loop_if_long(characters: int, work: Callable[[], _Result]) -> _Result:
    return await asyncio.to_thread(work) if characters > THREAD_CHARACTERS else work()
