"""Texts to documents to jobs, hypotheses back to texts. Knows neither HTTP nor the runtime."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from service.engine.types import Job
from service.errors import InternalError, InvalidFieldError, ServiceError, TextLimitError
from service.explain.details import DetailOptions, Side
from service.failures import engine_errors, service_error
from service.logs import request_id
from service.text.acronyms import with_acronyms
from service.text.document import Document
from service.text.prepared import prepared, value_of
from service.text.tags import Words
from service.text_work import TextWork
from service.translation.assemble import Assembler, Plan, refuse_cut
from service.translation.attempts import Part, Trials, first_attempt, flat
from service.translation.judging import Judge
from service.translation.options import TranslationOptions
from service.translation.progress import Progress
from service.translation.results import Timing, TranslatedTexts, Translation
from service.translation.streaming import Streaming

if TYPE_CHECKING:
    from model.bundle import Limits
    from model.tokenizers import Tokenizer
    from service.engine.cache import Cache
    from service.engine.pool import Pool
    from service.engine.types import Answer
    from service.explain.details import Answers, Inspection
    from service.explain.inspector import Inspector
    from service.text.document import Sentence
    from service.text.edits import Span
    from service.text.languages import Directions
    from service.text.prepared import Prepared
    from service.text.reading import Reader
    from service.translation.progress import Listener

_log = logging.getLogger("attend")

FEWEST_BYTES, MOST_BYTES = 2, 12
"""Of JSON for a token: French has 3 to 11, Chinese 4, or 8 written as escapes. Digits in a row have fewer."""
_TOO_MANY = 1_000_000

Running = Callable[[int], contextlib.AbstractAsyncContextManager[None]]
"""What is entered while so many sentences of a caller run or wait."""


class Counts(Protocol):
    """What is told of what a translator does."""

    def observe_translation(self, *, source_tokens: int, target_tokens: int, split: int, cut: int) -> None:
        """Count one translated text."""

    def count_repetition(self, *, removed: bool) -> None:
        """Count one sentence that went round in circles."""


@dataclasses.dataclass(frozen=True, slots=True)
class Translator:
    """Translates texts with one engine; any number of requests at once."""

    pool: Pool
    vocabulary: Tokenizer
    directions: Directions
    readers: Mapping[str, Reader]
    """One for each of the sources of `directions`."""
    limits: Limits
    metrics: Counts
    max_tokens: int
    """Source tokens of one request."""
    inspector: Inspector
    cache: Cache | None = None
    """In front of the pool."""

    text_work: TextWork = dataclasses.field(default_factory=TextWork)
    """For work on texts, whichever contract it is for."""

    @property
    def _run(self) -> Callable[..., Awaitable[list[Answer]]]:
        """See `Pool.run`."""
        return self.pool.run if self.cache is None else self.cache.run

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
        running: Running = lambda _: contextlib.nullcontext(),
        listener: Listener | None = None,
        *,
        is_further: bool = False,
    ) -> TranslatedTexts:
        """One translation for each text, in order. Cancelling the call withdraws its jobs.

        Args:
            texts: what is translated.
            source: of the pairs of `directions`.
            target: its other side.
            options: how.
            deadline: in seconds of `time.monotonic`.
            running: is entered with the number of sentences, while they run or wait; may refuse them.
            listener: is told of sentences as they become final.
            is_further: whether they belong to a request that was accepted already: no limit keeps them out.

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
        reader = self.readers[source]
        plans = await self.text_work.run(characters, lambda: self.plan(texts, reader, target, options, is_further))
        tokenize = time.monotonic() - began
        trials = [each for plan in plans for each in plan.trials]
        async with running(len(trials)):
            with engine_errors("translated"):
                pair, at_once = reader.pair(target), characters if listener is None else 0
                judge = Judge(self.vocabulary, self.inspector, pair, deadline, self.text_work, at_once, self.cache)
                if listener is None:
                    answers = await self._decode(trials, judge, options, is_further)
                else:
                    answers = await self._stream(plans, (source, target), judge, options, listener)
        with engine_errors("translated"):
            words = await self._words(plans, pair, deadline)
            finish = functools.partial(self._finish, plans, words, source, target, options)
            translations = await self.text_work.run(characters, finish)
        timing = _timing(tokenize, answers)
        if options.details is not None:
            translations, seconds = await self._inspect(translations, deadline, options)
            timing = dataclasses.replace(timing, score=seconds)
        return TranslatedTexts(translations, timing)

    def plan(
        self, texts: Sequence[str], reader: Reader, target: str, options: TranslationOptions, is_further: bool
    ) -> list[Plan]:
        """The first attempt at each sentence of each text; raises as `translate` does."""
        prefix = self._prefix(options.target_prefix.strip())
        limit = self.limits.source_tokens - sum(map(len, reader.frame(target)))
        readings = _Readings(reader, target)
        plans, tokens = [], 0
        for text in texts:
            document = Document.parse(
                text,
                reader.language,
                readings.count_tokens,
                limit,
                options.terms,
                has_tags=options.has_tags,
            )
            trials: list[Trials] = []
            for plain in document.sentences:
                sentence = with_acronyms(plain, reader.count_pieces) if reader.folds_case else plain
                first = prefix if not trials else ()
                make = functools.partial(self._part, readings, options, first)
                trials.append(
                    Trials(
                        sentence,
                        make,
                        may_split=not first and options.max_output_tokens is None,
                        may_control=not options.controls_repetition,
                        value=functools.partial(value_of, sentence=sentence, source=reader.language, target=target),
                        attempts=[first_attempt(sentence, make)],
                    )
                )
            plans.append(Plan(document, tuple(trials)))
            tokens += sum(len(part.job.source_ids) for part in flat(trials) if part.job is not None)
        if tokens > self.max_tokens and not is_further:
            raise TextLimitError(tokens, self.max_tokens, " tokens")
        return plans

    def _prefix(self, text: str) -> tuple[int, ...]:
        if not text:
            return ()
        prefix = tuple(self.vocabulary.encode_target(text))
        if self.vocabulary.unknown_id in prefix:
            raise InvalidFieldError("target_prefix has characters that this model cannot write")
        return prefix

    def _part(
        self, readings: _Readings, options: TranslationOptions, prefix: tuple[int, ...], place: Span, sentence: Sentence
    ) -> Part:
        ready = readings.of(sentence)
        silent = self.vocabulary.target_prefix(ready.target)
        search = options.search(len(ready.source_ids), self.limits, prefix, silent)
        if ready.required:
            room = search.max_output_tokens - len(prefix) - len(silent) - 1
            search = dataclasses.replace(search, required=ready.required[:room], stops=ready.stops)
        forbidden = readings.reader.carriers.forbidden(ready.read.text, ready.required, is_begun=bool(prefix))
        if forbidden:
            search = dataclasses.replace(search, forbidden=forbidden)
        return Part(place, ready, Job(ready.source_ids, search))

    async def _decode(
        self, trials: Sequence[Trials], judge: Judge, options: TranslationOptions, is_further: bool
    ) -> list[Answer]:
        """Attempt each sentence until nothing is wrong with it, or nothing is left to try. Returns all answers."""
        run = functools.partial(self._run, deadline=judge.deadline, fail_fast=not options.text_by_text)
        answers: list[Answer] = []
        tried = list(trials)
        while tried:
            parts = flat(tried)
            # In any queue: what a text becomes must not depend on how much else there is to do.
            jobs = [part.job for part in parts if part.job is not None]
            new = await run(jobs, is_further=is_further or bool(answers))
            answers += new
            tried = await judge.further(tried, iter(new))
        return answers

    async def _stream(
        self,
        plans: Sequence[Plan],
        languages: tuple[str, str],
        judge: Judge,
        options: TranslationOptions,
        listener: Listener,
    ) -> list[Answer]:
        """The same as `_decode`, sentence by sentence, each told when it is final."""
        progress = [Progress(place, plan, self.vocabulary, languages, listener) for place, plan in enumerate(plans)]
        places = [(place, number) for place, plan in enumerate(plans) for number in range(len(plan.trials))]

        async def finish(index: int, trials: Trials) -> None:
            place, number = places[index]
            words = await self._words([Plan(plans[place].document, (trials,))], judge.pair, judge.deadline)
            progress[place].note_done(number, trials, words)

        return await Streaming(
            [trials for plan in plans for trials in plan.trials],
            [(progress[place], number) for place, number in places],
            functools.partial(self._run, deadline=judge.deadline, fail_fast=not options.text_by_text),
            judge.further,
            finish,
        ).answers()

    async def _words(self, plans: Sequence[Plan], pair: tuple[str, str], deadline: float) -> dict[int, Words]:
        """The words of parts of which something was set aside and of their translations, by `id` of the part."""
        parts = [
            part
            for plan in plans
            for part in plan.parts()
            if part.prepared is not None and part.prepared.asides and part.answer and part.answer.failure is None
        ]
        if not parts:
            return {}
        inspections = [self._inspection(part, pair) for part in parts]
        try:
            done = await self.inspector.run(inspections, deadline)
        except Exception as error:
            # Without alignments they are placed by position: no reason to fail.
            _log.warning("tags are placed without alignments: %s", error)
            return {}
        return {id(part): _words_of(each) for part, each in zip(parts, done, strict=True)}

    def _inspection(self, part: Part, pair: tuple[str, str]) -> Inspection:
        assert part.prepared is not None
        read, best = part.prepared.read.text, part.hypotheses[0]
        source = Side(read, 0, part.prepared.pieces, tuple(self.vocabulary.encode_spans(read)))
        target = Side.of_target(best.target_ids, 0, self.vocabulary)
        return self.inspector.of_sides(source, target, best, pair, DetailOptions(alignment=True))

    def _finish(
        self,
        plans: Sequence[Plan],
        words: Mapping[int, Words],
        source: str,
        target: str,
        options: TranslationOptions,
    ) -> tuple[Translation | ServiceError, ...]:
        assembler = Assembler(
            self.vocabulary, self.inspector, source, target, self.readers[source].pair(target), options
        )
        texts: list[Translation | ServiceError] = []
        for index, plan in enumerate(plans):
            try:
                self._count(plan)
                if options.strict:
                    refuse_cut(plan, index if len(plans) > 1 else None)
                texts.append(assembler.translation(plan, words))
            except Exception as error:
                if not options.text_by_text:
                    raise
                texts.append(_logged(error))
        return tuple(texts)

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

    def _count(self, plan: Plan) -> None:
        """Raises what a sentence failed with."""
        parts = plan.parts()
        self.metrics.observe_translation(
            source_tokens=sum(len(part.job.source_ids) for part in parts if part.job is not None),
            target_tokens=sum(len(part.hypotheses[0].target_ids) for part in parts),
            split=plan.document.split_sentences,
            cut=sum(trials.left.cut for trials in plan.trials),
        )
        for trials in plan.trials:
            if trials.looped:
                self.metrics.count_repetition(removed=not trials.left.loops)


def _words_of(inspection: Inspection) -> Words:
    found = inspection.words()
    links = [int(row.argmax()) if row.size and row.max() > 0 else -1 for row in np.asarray(found.evidence)]
    return Words(found.sources, found.targets, links)


def _timing(tokenize: float, answers: Sequence[Answer]) -> Timing:
    last = max((answer.times for answer in answers), key=lambda times: times.finished, default=None)
    if last is None or not last.finished:
        return Timing(tokenize)
    return Timing(
        tokenize,
        last.started - last.submitted,
        last.encoded - last.started,
        last.finished - last.encoded,
        submitted=last.submitted,
    )


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


class _Readings:
    """The sentences of one request as the model reads them, each made ready once."""

    def __init__(self, reader: Reader, target: str) -> None:
        self.reader = reader
        self._target = target
        self._known: dict[Sentence, Prepared] = {}

    def of(self, sentence: Sentence) -> Prepared:
        """The sentence made ready."""
        if sentence not in self._known:
            self._known[sentence] = prepared(sentence, self.reader, self._target)
        return self._known[sentence]

    def count_tokens(self, sentence: Sentence) -> int:
        """Its pieces; more than any limit if there are not so many carriers."""
        ready = self.of(sentence)
        return len(ready.pieces) if len(ready.carried) == len(sentence.spans) else _TOO_MANY
