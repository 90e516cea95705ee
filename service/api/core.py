"""What every contract does between its request and its reply: who may come in, which language, translate, or copy."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import math
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from fastapi import Request

from service.api.bodies import check_texts, check_timeout, language_of, language_pair, no_such_pair
from service.api.requests import declared_length, unless_disconnected
from service.api.units import Decision, Unit, decided, joined, line_by_line, marked_up, notes_of
from service.api.visits import visit_of
from service.engine.cache import sharing
from service.errors import ServiceError, UnsupportedPairError
from service.text.detection import NOTHING, source_of
from service.text.languages import AUTO, language_name
from service.text.markup.formats import PLAIN
from service.translation.options import TranslationOptions
from service.translation.results import Timing

if TYPE_CHECKING:
    from service.api.telling import Telling
    from service.api.units import Note
    from service.models.router import Router
    from service.settings import Settings
    from service.state import Model, ServiceState
    from service.text.detection import Guess
    from service.text.languages import Directions
    from service.text.markup.formats import FormatOptions
    from service.text.markup.units import MarkedText
    from service.translation.results import Translation
    from service.translator import Running

_Result = TypeVar("_Result")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a caller wants translated; languages as the caller names them."""

    texts: Sequence[str]
    source: str
    """`auto` or empty: to be detected."""
    target: str
    options: TranslationOptions
    timeout_ms: int | None = None
    is_one_text: bool = False
    """The texts are parts of one document: there may be any number, and they are in one language."""
    format: FormatOptions = PLAIN
    unusable: Mapping[int, ServiceError] = dataclasses.field(default_factory=dict)
    """Why texts at some places cannot be translated: their answers."""
    model: str | None = None
    """The only model that may be used, by name, or name and version."""


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What became of one text."""

    translation: Translation | ServiceError
    """An error only with `TranslationOptions.text_by_text`."""
    source: str
    """The code of the language it was in, of the model where it has one."""
    guess: Guess | None
    """Where the language was detected."""
    notes: tuple[Note, ...] = ()

    @property
    def text(self) -> str:
        """The translation; raises what went wrong, where that was asked for text by text."""
        if isinstance(self.translation, ServiceError):
            raise self.translation
        return self.translation.text


@dataclasses.dataclass(frozen=True, slots=True)
class Answers:
    """The answer to one request, text by text, and what it took."""

    texts: tuple[Answer, ...]
    target: str
    timing: Timing


@contextlib.contextmanager
def admitted(request: Request, state: ServiceState, *, is_file: bool = False) -> Iterator[Model]:
    """The model, while one request is served, from its headers to its answer.

    Of a file the length says nothing of how much text is in it.

    Raises:
        UnavailableError: it is not there, or there is too much to do.
    """
    with state.admission, state.held() as model:
        packed = is_file or "content-encoding" in request.headers
        model.translator.check_room(None if packed else declared_length(request.headers))
        yield model


def default_options(settings: Settings) -> TranslationOptions:
    """How texts are translated whose contract leaves it to the service."""
    return TranslationOptions(beam_size=settings.usual_beam_size)


async def answered(
    request: Request, settings: Settings, model: Model, wish: Wish, began: float, telling: Telling | None = None
) -> Answers:
    """The texts translated; given up when the caller hangs up. The body must have been read.

    `telling` is told of sentences as they become final.

    `began`, in seconds of `time.monotonic`, is when the caller's time started.

    Raises:
        ServiceError: what is wrong with the wish, or with all of its texts.
    """
    check_texts(wish.texts, settings)
    check_timeout(wish.timeout_ms, settings)
    deadline = began + (wish.timeout_ms or settings.max_timeout_ms) / 1000
    translator = model.translator.only(wish.model)
    return await _charged(
        request, settings, wish, lambda running: answers_to(translator, wish, deadline, running, telling)
    )


async def _charged(
    request: Request, settings: Settings, wish: Wish, work: Callable[[Running], Coroutine[Any, Any, Answers]]
) -> Answers:
    """What `work` returns, within what its caller may have; given up when the caller hangs up."""
    visit = visit_of(request)
    sharing.set("" if settings.cache_sharing == "all" else visit.caller.key.name if visit.caller.key else "-")
    async with visit.spending(sum(map(len, wish.texts))):
        done = await unless_disconnected(request, work(visit.running))
    visit.parts, visit.stretches = done.timing.parts(), done.timing.stretches()
    return done


PART_CHARACTERS = 4000
"""Of a part of a document, at least: large enough to wait among large requests, small enough to tell how far it is."""


async def document_answered(
    request: Request,
    settings: Settings,
    model: Model,
    wish: Wish,
    began: float,
    note: Callable[[int], None],
) -> Answers:
    """`answered` for a document, in parts that are all asked for at once.

    `note` is called with the number of characters that are done, all parts together.
    """
    check_texts(["".join(wish.texts)] if any(wish.texts) else ["."], settings)
    deadline = began + settings.max_timeout_ms / 1000
    translator = model.translator.only(wish.model)
    return await _charged(
        request, settings, wish, lambda running: answers_to_document(translator, wish, deadline, note, running)
    )


async def answers_to_document(
    translator: Router,
    wish: Wish,
    deadline: float = math.inf,
    note: Callable[[int], None] = lambda _: None,
    running: Running = lambda _: contextlib.nullcontext(),
) -> Answers:
    """The same for the texts of one document, in parts that are all asked for at once; see `document_answered`."""
    directions = translator.directions
    target, source = _languages(wish, directions)
    if source is None:
        characters = sum(map(len, wish.texts))
        source = await translator.text_work.run(characters, lambda: _of_whole(wish, directions, target))
    done = 0

    async def part(texts: Sequence[str]) -> Answers:
        nonlocal done
        answers = await answers_to(translator, dataclasses.replace(wish, texts=texts, source=source), deadline, running)
        done += sum(map(len, texts))
        note(done)
        return answers

    found = await _all([part(texts) for texts in _parts_of(wish.texts)])
    answers = tuple(answer for each in found for answer in each.texts)
    return Answers(answers, target, _timing([each.timing for each in found] or [Timing()]))


def _parts_of(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """The texts in runs of at least `PART_CHARACTERS`."""
    start = length = 0
    for index, text in enumerate(texts, 1):
        length += len(text)
        if length >= PART_CHARACTERS or index == len(texts):
            yield texts[start:index]
            start, length = index, 0


async def answers_to(
    translator: Router,
    wish: Wish,
    deadline: float = math.inf,
    running: Running = lambda _: contextlib.nullcontext(),
    telling: Telling | None = None,
) -> Answers:
    """The texts translated, whoever wants them; `deadline` is in seconds of `time.monotonic`.

    Raises:
        ServiceError: what is wrong with the wish, or with all of its texts.
    """
    directions = translator.directions
    target, source = _languages(wish, directions)
    characters, text_work = sum(map(len, wish.texts)), translator.text_work
    plans = await text_work.run(characters, lambda: list(_plans(wish, source, directions, target)))
    # Units, all in a row, that are translated, by their source.
    units = [unit for plan in plans for unit in plan.units]
    groups: dict[str, list[int]] = {}
    for number, unit in enumerate(units):
        if not unit.decision.is_copied:
            groups.setdefault(unit.decision.source, []).append(number)
    if telling is not None:
        telling.begin([(plan.units, plan.marked, plan.problem) for plan in plans])
    translate = translator.translate
    options = dataclasses.replace(wish.options, has_tags=True) if wish.format.has_tags else wish.options
    done = await _all(
        [
            translate(
                [units[number].text for number in numbers],
                source,
                target,
                options,
                deadline,
                running,
                telling and telling.of(numbers),
            )
            for source, numbers in groups.items()
        ]
    )
    results: list[Translation | ServiceError | None] = [None] * len(units)
    for numbers, found in zip(groups.values(), done, strict=True):
        for number, text in zip(numbers, found.texts, strict=True):
            results[number] = text
    remaining = iter(results)
    answers = [plan.answer([next(remaining) for _ in plan.units]) for plan in plans]
    return Answers(tuple(answers), target, _timing([found.timing for found in done]))


@dataclasses.dataclass(frozen=True, slots=True)
class _Plan:
    """What is done with one text."""

    whole: Decision
    units: Sequence[Unit]
    problem: ServiceError | None = None
    """Why there is nothing to do."""
    marked: MarkedText | None = None
    """With mark-up: what the units are parts of."""

    def answer(self, results: Sequence[Translation | ServiceError | None]) -> Answer:
        if self.marked is not None:
            translation = marked_up(self.marked, results)
            return Answer(translation, self.whole.source, self.whole.guess, tuple(notes_of((), translation)))
        translation = self.problem or joined(self.units, results)
        notes = tuple(notes_of(self.units, translation))
        return Answer(translation, self.whole.source, self.whole.guess, notes)


def _plans(wish: Wish, source: str | None, directions: Directions, target: str) -> Iterator[_Plan]:
    options = wish.options
    # Alternatives and details are of a text in one piece.
    is_split = not (wish.is_one_text or options.alternatives or options.details)
    for index, text in enumerate(wish.texts):
        if index in wish.unusable:
            yield _Plan(Decision(source or NOTHING), (), wish.unusable[index])
            continue
        whole = decided(wish.format.words_of(text), source, target, directions)
        marked = None if whole.is_copied else wish.format.parse(text)
        if marked is not None:
            yield _Plan(whole, [Unit(each, whole) for each in marked.texts], marked=marked)
        elif is_split and "\n" in text and source != target:
            yield _Plan(whole, line_by_line(text, whole, source, target, directions))
        else:
            yield _Plan(whole, (Unit(text, whole),))


def _languages(wish: Wish, directions: Directions) -> tuple[str, str | None]:
    """Codes of target and source; None for a source that is to be detected."""
    if wish.source.strip().lower() not in ("", AUTO):
        source, target = language_pair(wish.source, wish.target, directions, same=True)
        return target, source
    target = language_of(wish.target, directions)
    if all(target != known for _, known in directions.pairs):
        raise UnsupportedPairError(f"{language_name(target)} ({target})", "any language", directions.pairs)
    return target, None


def _of_whole(wish: Wish, directions: Directions, target: str) -> str:
    """The language of a document.

    Raises:
        UnsupportedPairError: it is in one that is not translated.
    """
    guess = source_of("\n".join(map(wish.format.words_of, wish.texts)), directions, target)
    code = directions.find(guess.language) or guess.language
    if guess.probability == 0:
        return target
    if code != target and not directions.translates(code, target):
        raise no_such_pair(code, target, directions)
    return code


async def _all(work: Sequence[Coroutine[Any, Any, _Result]]) -> list[_Result]:
    """Every result, in order; what is left is cancelled when one fails or the caller gives up."""
    if len(work) == 1:
        return [await work[0]]
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()


def _timing(timings: Sequence[Timing]) -> Timing:
    """Of several the slowest, part by part."""
    if len(timings) == 1:
        return timings[0]
    parts = [dataclasses.asdict(each) for each in timings]
    names = [field.name for field in dataclasses.fields(Timing)]
    slowest = {name: max((part[name] for part in parts if part[name] is not None), default=None) for name in names}
    return Timing(**{name: seconds for name, seconds in slowest.items() if seconds is not None})
