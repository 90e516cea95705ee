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
from typing import TYPE_CHECKING, Literal, TypeVar

from model.bundle import Limits
from model.tokenizers import Tokenizer
from service.alternatives import distinct_texts, ranked_versions
from service.engine.types import Answer, Hypothesis, Job, SearchOptions, result_of
from service.errors import InternalError, InvalidFieldError, ServiceError, TextLimitError, TruncatedError
from service.explain.details import Answers, DetailOptions, Inspection
from service.failures import engine_errors, service_error
from service.logs import request_id
from service.metrics import Metrics
from service.repetition import is_loop
from service.text.document import Document
from service.text.languages import Directions
from service.text.reading import Reader
from service.text.sentences import Span

if TYPE_CHECKING:
    from service.engine.pool import Pool
    from service.explain.inspector import Inspector

_log = logging.getLogger("attend")

THREAD_CHARACTERS = 2000
"""Requests with more characters than this are split, tokenised and put together off the event loop."""
RETRY_PENALTY, RETRY_NGRAM = 1.2, 4
"""Repetition control of the second attempt at a sentence that went round in circles."""
FEWEST_BYTES, MOST_BYTES = 2, 12
"""Of JSON for a token: French has 3 to 11, Chinese 4, or 8 written as escapes. Digits in a row have fewer."""

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
    details: DetailOptions | None = None
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
    """With `TranslationOptions.details`: one for each translated sentence of the text, then of each alternative."""

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

    def parts(self) -> dict[str, float]:
        """The seconds by name, without what was not done."""
        found = {"tokenize": self.tokenize, "queue": self.queue, "encode": self.encode, "decode": self.decode}
        return found if self.score is None else {**found, "score": self.score}


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
class _Attempts:
    """What became of one job, and of the second attempt at it."""

    job: Job
    first: Answer
    second: Answer | None = None
    is_loop: bool = False
    """Whether the first attempt went round in circles."""

    def outcome(self) -> _Outcome:
        """The better of both; raises what the first one failed with."""
        first: tuple[Hypothesis, ...] = result_of(self.first)
        if not self.is_loop:
            return _Outcome(first)
        if self.second is None or self.second.failure is not None or _is_loop(self.job, self.second):
            return _Outcome(first, "repetition")
        return _Outcome(result_of(self.second), "repetition_removed")


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

    pool: Pool
    vocabulary: Tokenizer
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
        with engine_errors("translated"):
            self.pool.check_room(fewest, most)

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
        with engine_errors("translated"):
            attempts = await self._decode([job for plan in plans for job in plan.jobs], deadline, characters, options)
            finish = functools.partial(self._finish, plans, attempts, source, target, options)
            translations = await _off_loop_if_long(characters, finish)
        timing = _timing(tokenize, attempts)
        if options.details is not None:
            translations, seconds = await self._inspect(translations, deadline, options)
            timing = dataclasses.replace(timing, score=seconds)
        return TranslatedTexts(translations, timing)

    def _plan(self, texts: Sequence[str], source: str, target: str, options: TranslationOptions) -> list[_Plan]:
        reader = self.readers[source]
        pieces = _PieceCache(reader)
        before, behind = reader.frame(target)
        silent = self.vocabulary.target_prefix(target)
        limit = self.limits.source_tokens - len(before) - len(behind)
        prefix = self._prefix(options.target_prefix.strip())
        plans, tokens = [], 0
        for text in texts:
            document = Document.parse(text, reader.language, pieces.count, limit)
            rows = ((*before, *pieces.encode(segment), *behind) for segment in document.translatable)
            prefixes = itertools.chain([prefix], itertools.repeat(()))
            jobs = (
                Job(row, self._search(options, len(row), first, silent))
                for row, first in zip(rows, prefixes, strict=False)
            )
            plans.append(_Plan(document, tuple(jobs)))
            tokens += sum(len(job.source_ids) for job in plans[-1].jobs)
        if tokens > self.max_tokens:
            raise TextLimitError(tokens, self.max_tokens, " tokens")
        return plans

    def _prefix(self, text: str) -> tuple[int, ...]:
        prefix = tuple(self.vocabulary.encode_target(text))
        if self.vocabulary.unknown_id in prefix:
            raise InvalidFieldError("target_prefix has characters that this model cannot write")
        return prefix

    def _search(
        self, options: TranslationOptions, source_tokens: int, prefix: tuple[int, ...], silent: tuple[int, ...]
    ) -> SearchOptions:
        limit = self.limits.target_tokens - len(silent)
        usual = max(self.limits.output_tokens(source_tokens), options.min_output_tokens)
        most = min(options.max_output_tokens or usual + len(prefix), limit)
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
            # Callers count the text's tokens only; one there is always.
            min_output_tokens=options.min_output_tokens + (len(silent) if options.min_output_tokens > 1 else 0),
            max_output_tokens=most + len(silent),
            target_prefix=prefix,
            silent_prefix=silent,
        )

    async def _decode(
        self, jobs: Sequence[Job], deadline: float, characters: int, options: TranslationOptions
    ) -> list[_Attempts]:
        """Run the jobs, and those again that went round in circles, unless the caller controls repetition."""
        run = functools.partial(self.pool.run, deadline=deadline, fail_fast=not options.text_by_text)
        answers = await run(jobs)
        looping = await _off_loop_if_long(
            characters, lambda: {place for place, job in enumerate(jobs) if _is_loop(job, answers[place])}
        )
        is_controlled = options.repetition_penalty != 1.0 or options.no_repeat_ngram_size > 0
        again = [] if is_controlled else sorted(looping)
        # In any queue: what a text becomes must not depend on how much else there is to do.
        seconds = await run([_second_attempt(jobs[place]) for place in again], is_further=True)
        second = dict(zip(again, seconds, strict=True))
        return [_Attempts(job, answers[place], second.get(place), place in looping) for place, job in enumerate(jobs)]

    def _finish(
        self,
        plans: Sequence[_Plan],
        attempts: Sequence[_Attempts],
        source: str,
        target: str,
        options: TranslationOptions,
    ) -> tuple[Translation | ServiceError, ...]:
        texts: list[Translation | ServiceError] = []
        left = iter(attempts)
        for index, plan in enumerate(plans):
            own = list(itertools.islice(left, len(plan.jobs)))
            try:
                outcomes = [each.outcome() for each in own]
                self._count(plan, outcomes)
                if options.strict:
                    _refuse_cut(plan, outcomes, index if len(plans) > 1 else None)
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
        wanted: DetailOptions,
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

    async def _inspect(
        self, texts: Sequence[Translation | ServiceError], deadline: float, options: TranslationOptions
    ) -> tuple[tuple[Translation | ServiceError, ...], float]:
        """The texts with all that their inspections need, and the seconds it took."""
        good = [text for text in texts if isinstance(text, Translation)]
        inspections = [each for text in good for version in text.inspections for each in version]
        began = time.monotonic()
        answers = await self.inspector.answers(inspections, deadline, fail_fast=not options.text_by_text)
        seconds = time.monotonic() - began
        return tuple(text if isinstance(text, ServiceError) else _inspected(text, answers) for text in texts), seconds

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


def _is_loop(job: Job, answer: Answer) -> bool:
    return answer.failure is None and is_loop(answer.result[0].target_ids, job.source_ids)


def _second_attempt(job: Job) -> Job:
    options = dataclasses.replace(job.options, repetition_penalty=RETRY_PENALTY, no_repeat_ngram_size=RETRY_NGRAM)
    return Job(job.source_ids, options)


def _refuse_cut(plan: _Plan, outcomes: Sequence[_Outcome], index: int | None) -> None:
    """With `strict`: a text of which a sentence was cut is an error."""
    segments = (segment for segment in plan.document.segments if segment.translatable)
    for segment, outcome in zip(segments, outcomes, strict=True):
        if outcome.is_cut:
            raise TruncatedError(segment.start, segment.end, index)


def _warnings(document: Document, outcomes: Sequence[_Outcome]) -> tuple[SentenceWarning, ...]:
    segments = (segment for segment in document.segments if segment.translatable)
    warnings: list[SentenceWarning] = []
    for segment, outcome in zip(segments, outcomes, strict=True):
        kinds: list[WarningKind] = ["truncated"] if outcome.is_cut else []
        if outcome.repetition is not None:
            kinds.append(outcome.repetition)
        warnings += (SentenceWarning(segment.start, segment.end, kind) for kind in kinds)
    return tuple(warnings)


def _timing(tokenize: float, attempts: Sequence[_Attempts]) -> Timing:
    answers = [answer for each in attempts for answer in (each.first, each.second) if answer is not None]
    last = max((answer.times for answer in answers), key=lambda times: times.finished, default=None)
    if last is None or not last.finished:
        return Timing(tokenize)
    return Timing(tokenize, last.started - last.submitted, last.encoded - last.started, last.finished - last.encoded)


def _logged(error: Exception) -> ServiceError:
    known = service_error(error, "translated")
    if known is not None:
        return known
    _log.error("a text of request %s failed", request_id.get(), exc_info=error)
    return InternalError(request_id.get())


def _inspected(text: Translation, answers: Answers) -> Translation | ServiceError:
    """The text with what its inspections need, or why one of them failed."""
    try:
        inspections = tuple(tuple(each.answered(answers) for each in version) for version in text.inspections)
    except Exception as error:
        return _logged(error)
    return dataclasses.replace(text, inspections=inspections)


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
