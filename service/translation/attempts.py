"""One sentence, and what is tried until its translation has all that a program can see that it must have.

The first attempt is the sentence as it is. What an attempt lacks says what is tried next: with repetition under control
for one that goes round in circles, with its small numbers carried for one whose numbers differ, cut at what was to be
carried, cut in parts.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from service.engine.types import Job, result_of
from service.repetition import is_loop
from service.text.document import Copied, Sentence, cut_sentence
from service.text.edits import Span
from service.text.prepared import finished
from service.text.sentences import trim

if TYPE_CHECKING:
    from model.tokenizers import Tokenizer
    from service.engine.types import Answer, Hypothesis
    from service.text.prepared import Finished, Prepared

RETRY_PENALTY, RETRY_NGRAM = 1.2, 4
"""Repetition control of the second attempt at a sentence that went round in circles."""
MOST_ATTEMPTS = 5
FEWEST_PART_CHARACTERS = 12
"""Of a sentence that is cut in parts."""
DOUBTFUL_TOKENS, DOUBTFUL_SCORE = 28, -1.0
"""A translation of so many source tokens whose tokens are on average less likely is tried in parts too."""
FEWEST_TOKENS, LEAST_RATIO = 14, 0.3
"""A translation of so many source tokens that has fewer target tokens by this ratio leaves something out."""

Way = Literal["as it is", "controlled", "numbers carried", "cut at spans", "in parts"]
_SMALL_NUMBER = re.compile(r"(?<![0-9])(?<![0-9][.,])[0-9]{1,2}(?![0-9])")


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """A sentence, or a part of one, and the job that translates it, or what is copied instead."""

    place: Span
    """In the text of the sentence."""
    prepared: Prepared | None = None
    job: Job | None = None
    answer: Answer | None = None
    best: Finished | None = None
    """What the best hypothesis says, without what was set aside; None without one."""
    copy: str | None = None
    omits: bool | None = None
    """Whether the end of its source is left out; None: nobody looked."""

    @property
    def hypotheses(self) -> tuple[Hypothesis, ...]:
        """What the engine made of it, best first; raises what it failed with."""
        assert self.answer is not None
        found: tuple[Hypothesis, ...] = result_of(self.answer)
        return found


@dataclasses.dataclass(frozen=True, slots=True)
class Problems:
    """What is wrong with an attempt."""

    failed: bool = False
    lost: bool = False
    loops: bool = False
    cut: bool = False
    short: bool = False
    numbers: bool = False
    doubtful: bool = False
    score: float = 0.0
    """Natural logarithm of the probability of a token, the mean."""

    @property
    def weight(self) -> int:
        """By which attempts are compared."""
        return (
            100 * self.failed
            + 16 * self.lost
            + 9 * self.loops
            + 8 * self.cut
            + 4 * self.numbers
            + 2 * self.short
            + self.doubtful
        )

    @property
    def rank(self) -> tuple[int, float]:
        """By which attempts are compared: what is wrong, then how sure the model is of it."""
        return self.weight, -round(self.score, 1)


@dataclasses.dataclass(frozen=True, slots=True)
class Attempt:
    """Parts that together are the sentence."""

    way: Way
    parts: tuple[Part, ...]

    @property
    def open_parts(self) -> list[Part]:
        """Those without an answer that need one."""
        return [part for part in self.parts if part.job is not None and part.answer is None]

    def answered(self, answers: Iterator[Answer], vocabulary: Tokenizer) -> Attempt:
        """The same with the next of `answers` for each of `open_parts`."""
        parts = tuple(
            _answered(part, next(answers), vocabulary) if part.job is not None and part.answer is None else part
            for part in self.parts
        )
        return Attempt(self.way, parts)

    def replaced(self, part: Part, by: Part) -> Attempt:
        """The same with `by` in place of `part`."""
        return Attempt(self.way, tuple(by if each is part else each for each in self.parts))

    def problems(self) -> Problems:
        """Those of all its parts."""
        each = [problems_of(part) for part in self.parts if part.prepared is not None]
        if len(each) == 1:
            return each[0]
        names = [field.name for field in dataclasses.fields(Problems) if field.name != "score"]
        score = sum(one.score for one in each) / max(len(each), 1)
        return Problems(**{name: any(getattr(one, name) for one in each) for name in names}, score=score)


def _answered(part: Part, answer: Answer, vocabulary: Tokenizer) -> Part:
    best = None
    if answer.failure is None and part.prepared is not None:
        best = finished(part.prepared, vocabulary.decode(answer.result[0].target_ids).strip())
    return dataclasses.replace(part, answer=answer, best=best)


def problems_of(part: Part) -> Problems:
    """What is wrong with the best hypothesis of a part."""
    if part.best is None or part.job is None:
        return Problems(failed=True)
    best, done = part.hypotheses[0], part.best
    tokens = len(part.prepared.pieces) if part.prepared else 0
    mean = best.log_prob / max(len(best.token_log_probs), 1)
    return Problems(
        lost=done.lost,
        loops=is_loop(best.target_ids, part.job.source_ids),
        cut=best.finish_reason == "length",
        short=bool(part.omits) or (tokens >= FEWEST_TOKENS and len(best.target_ids) < LEAST_RATIO * tokens),
        numbers=done.numbers_differ and not done.lost,
        doubtful=tokens >= DOUBTFUL_TOKENS and mean < DOUBTFUL_SCORE,
        score=mean,
    )


PartOf = Callable[[Span, Sentence], Part]
"""A part of a sentence with its job."""


@dataclasses.dataclass(slots=True)
class Trials:
    """All attempts at one sentence."""

    sentence: Sentence
    make: PartOf
    may_split: bool
    """False where the caller says how the sentence begins or how long its translation is."""
    may_control: bool
    """False where the caller controls repetition."""
    value: Callable[[Copied], str]
    """What stands for a copied span where it is by itself."""
    attempts: list[Attempt]
    found: list[Problems] = dataclasses.field(default_factory=list)

    def judge(self) -> None:
        """See what is wrong with the attempts that were answered."""
        for attempt in self.attempts[len(self.found) :]:
            self.found.append(attempt.problems())

    @property
    def open_parts(self) -> list[Part]:
        """The parts of the newest attempt that need an answer."""
        return self.attempts[-1].open_parts

    @property
    def best(self) -> Attempt:
        """The attempt with the least that is wrong, the earliest of equals."""
        if len(self.found) == 1:
            return self.attempts[0]
        return self.attempts[min(range(len(self.found)), key=lambda index: self.found[index].rank)]

    @property
    def left(self) -> Problems:
        """What is wrong with the best attempt."""
        if len(self.found) == 1:
            return self.found[0]
        return min(self.found, key=lambda problems: problems.rank)

    @property
    def looped(self) -> bool:
        """Whether the first attempt did."""
        return self.found[0].loops

    def next(self) -> Attempt | None:
        """What is tried next; None if all is well or nothing is left to try."""
        problems = self.left
        if self.found[0].failed or not problems.weight or len(self.attempts) >= MOST_ATTEMPTS:
            return None
        ways = {attempt.way for attempt in self.attempts}
        if problems.loops and "controlled" not in ways and self.may_control:
            return self._controlled()
        if not self.may_split:
            return None
        if problems.numbers and "numbers carried" not in ways and (carried := _with_numbers(self.sentence)):
            return Attempt("numbers carried", (self.make((0, len(carried.text)), carried),))
        if (problems.lost or problems.numbers) and self.sentence.spans and "cut at spans" not in ways:
            return self._cut_at_spans()
        if problems.loops or problems.cut or problems.short or problems.doubtful:
            return self._in_parts()
        return None

    def _controlled(self) -> Attempt:
        parts: list[Part] = []
        for part in self.best.parts:
            if part.job is not None:
                options = dataclasses.replace(
                    part.job.options, repetition_penalty=RETRY_PENALTY, no_repeat_ngram_size=RETRY_NGRAM
                )
                part = dataclasses.replace(part, job=Job(part.job.source_ids, options), answer=None, best=None)
            parts.append(part)
        return Attempt("controlled", tuple(parts))

    def _cut_at_spans(self) -> Attempt:
        """What is copied by itself, and what stands between as sentences of their own."""
        sentence, end = self.sentence, 0
        parts: list[Part] = []
        for span in (*sentence.spans, None):
            upto = span.start if span else len(sentence.text)
            parts += self._between(end, upto)
            if span:
                parts.append(Part((span.start, span.end), copy=self.value(span)))
                end = span.end
        return Attempt("cut at spans", tuple(parts))

    def _between(self, start: int, end: int) -> Iterator[Part]:
        start, end = trim(self.sentence.text, start, end)
        if start < end:
            yield self._part(start, end)

    def _part(self, start: int, end: int) -> Part:
        part = self.sentence.part(start, end)
        has_words = any(map(str.isalpha, part.text))
        return self.make((start, end), part) if has_words else Part((start, end), copy=part.text)

    def _in_parts(self) -> Attempt | None:
        """The best attempt with each part that has something wrong cut near its middle."""
        parts: list[Part] = []
        for part in self.best.parts:
            wrong = part.prepared is not None and problems_of(part)
            if not wrong or not (wrong.loops or wrong.cut or wrong.short or wrong.doubtful):
                parts.append(part)
                continue
            start, end = part.place
            cuts = list(_halves(self.sentence.part(start, end)))
            parts += [self._part(start + first, start + last) for first, last in cuts]
        return Attempt("in parts", tuple(parts)) if len(parts) > len(self.best.parts) else None


def _halves(sentence: Sentence) -> Iterator[Span]:
    """Two parts of about one length, if it is long enough."""
    if len(sentence.text.encode()) < 2 * FEWEST_PART_CHARACTERS:
        yield 0, len(sentence.text)
        return
    yield from cut_sentence(sentence, lambda part: len(part.text) < 0.8 * len(sentence.text))


def _with_numbers(sentence: Sentence) -> Sentence | None:
    """The sentence with its small numbers copied too; None if it has none."""
    taken = (*sentence.spans, *sentence.asides)
    more = [
        Copied(*match.span(), "number", match.group())
        for match in _SMALL_NUMBER.finditer(sentence.text)
        if not any(span.start < match.end() and match.start() < span.end for span in taken)
    ]
    return dataclasses.replace(sentence, spans=tuple(sorted((*sentence.spans, *more)))) if more else None


def first_attempt(sentence: Sentence, make: PartOf) -> Attempt:
    """The sentence as it is."""
    return Attempt("as it is", (make((0, len(sentence.text)), sentence),))


def flat(trials: Sequence[Trials]) -> list[Part]:
    """The parts of the newest attempts that need an answer."""
    return [part for each in trials for part in each.open_parts]
