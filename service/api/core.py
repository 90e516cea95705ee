"""What every contract does between its request and its reply: who may come in, which language, translate, or copy."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeVar

from fastapi import Request

from service.api.bodies import check_texts, check_timeout, language_of, language_pair, no_such_pair
from service.api.requests import declared_length, unless_disconnected
from service.errors import ServiceError, UnsupportedPairError
from service.settings import Settings
from service.state import Model, ServiceState
from service.text.detection import NOTHING, Guess, is_in_target_already, source_of
from service.text.languages import AUTO, Directions, language_name
from service.text.markup.formats import PLAIN, FormatOptions
from service.text.markup.units import MarkedText
from service.translator import SentenceWarning, Timing, Translation, TranslationOptions, WarningKind

_Result = TypeVar("_Result")

THREAD_CHARACTERS = 2000
"""Languages of more characters than this are detected off the event loop."""

NoteKind = WarningKind | Literal["already_in_target", "language_not_available"]


@dataclasses.dataclass(frozen=True, slots=True)
class Note:
    """Something a caller should know about `text[start:end]`, in code points."""

    start: int
    end: int
    warning: NoteKind


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


@dataclasses.dataclass(frozen=True, slots=True)
class Answers:
    """The answer to one request, text by text, and what it took."""

    texts: tuple[Answer, ...]
    target: str
    timing: Timing


@contextlib.contextmanager
def admitted(request: Request, state: ServiceState) -> Iterator[Model]:
    """The model, while one request is served, from its headers to its answer.

    Raises:
        UnavailableError: it is not there, or there is too much to do.
    """
    with state.door.enter():
        model = state.model()
        packed = "content-encoding" in request.headers
        model.translator.check_room(None if packed else declared_length(request.headers))
        yield model


def default_options(settings: Settings) -> TranslationOptions:
    """How texts are translated whose contract leaves it to the service."""
    return TranslationOptions(beam_size=settings.usual_beam_size)


async def answered(request: Request, settings: Settings, model: Model, wish: Wish, began: float) -> Answers:
    """The texts translated; given up when the caller hangs up. The body must have been read.

    `began`, in seconds of `time.monotonic`, is when the caller's time started.

    Raises:
        ServiceError: what is wrong with the wish, or with all of its texts.
    """
    check_texts(["".join(wish.texts)] if wish.is_one_text else wish.texts, settings)
    check_timeout(wish.timeout_ms, settings)
    deadline = began + (wish.timeout_ms or settings.max_timeout_ms) / 1000
    return await unless_disconnected(request, _answered(model, wish, deadline))


async def _answered(model: Model, wish: Wish, deadline: float) -> Answers:
    directions = model.translator.directions
    target, source = _languages(wish, directions)
    if wish.is_one_text and source is None:
        source = await off_loop_if_long(
            wish.texts, lambda: _of_whole([wish.format.words_of(text) for text in wish.texts], directions, target)
        )
    plans = await off_loop_if_long(wish.texts, lambda: list(_plans(wish, source, directions, target)))
    groups: dict[str, list[int]] = {}
    for index, plan in enumerate(plans):
        if plan.translation is None:
            groups.setdefault(plan.source, []).append(index)
    done = await _all([_group(model, wish, places, source, target, deadline) for source, places in groups.items()])
    found = {index: text for texts, _ in done for index, text in texts.items()}
    answers = (plan.answer(found.get(index)) for index, plan in enumerate(plans))
    return Answers(tuple(answers), target, _timing([timing for _, timing in done]))


async def _group(
    model: Model, wish: Wish, places: Sequence[int], source: str, target: str, deadline: float
) -> tuple[dict[int, Translation | ServiceError], Timing]:
    """The texts at these places, which are in one language, and how long they took."""
    texts = [wish.texts[index] for index in places]
    parsed = await off_loop_if_long(texts, lambda: [wish.format.parse(text) for text in texts])
    units = [piece for text, each in zip(texts, parsed, strict=True) for piece in (each.texts if each else [text])]
    options = dataclasses.replace(wish.options, has_tags=True) if wish.format.has_tags else wish.options
    done = await model.translator.translate(units, source, target, options, deadline)
    remaining = iter(done.texts)
    whole = [_together(each, [next(remaining) for _ in each.texts]) if each else next(remaining) for each in parsed]
    return dict(zip(places, whole, strict=True)), done.timing


def _together(parsed: MarkedText, units: Sequence[Translation | ServiceError]) -> Translation | ServiceError:
    """A text with mark-up again, of the translations of its units; or what one of them failed with."""
    texts: list[str] = []
    warnings: list[SentenceWarning] = []
    for unit, found in zip(parsed.units, units, strict=True):
        if isinstance(found, ServiceError):
            return found
        texts.append(found.text)
        for each in found.warnings:
            start, end = unit.text.old_span((each.start, each.end))
            warnings.append(dataclasses.replace(each, start=unit.start + start, end=unit.start + end))
    return Translation(parsed.assembled(texts), (), tuple(warnings))


@dataclasses.dataclass(frozen=True, slots=True)
class _Plan:
    """Where a text is translated from, or what it is without a translation."""

    source: str
    guess: Guess | None
    translation: Translation | ServiceError | None
    note: Note | None = None

    def answer(self, translated: Translation | ServiceError | None) -> Answer:
        translation = self.translation if translated is None else translated
        assert translation is not None  # one of the two is there, always
        notes = tuple(_notes(translation)) + ((self.note,) if self.note else ())
        return Answer(translation, self.source, self.guess, notes)


def _notes(translation: Translation | ServiceError) -> Iterator[Note]:
    if isinstance(translation, Translation):
        yield from (Note(each.start, each.end, each.warning) for each in translation.warnings)


def _languages(wish: Wish, directions: Directions) -> tuple[str, str | None]:
    """Codes of target and source; None for a source that is to be detected."""
    if wish.source.strip().lower() not in ("", AUTO):
        source, target = language_pair(wish.source, wish.target, directions, same=True)
        return target, source
    target = language_of(wish.target, directions)
    if all(target != known for _, known in directions.pairs):
        raise UnsupportedPairError(f"{language_name(target)} ({target})", "any language", directions.pairs)
    return target, None


def _of_whole(texts: Sequence[str], directions: Directions, target: str) -> str:
    """The language of a document.

    Raises:
        UnsupportedPairError: it is in one that is not translated.
    """
    guess = source_of("\n".join(texts), directions, target)
    code = directions.find(guess.language) or guess.language
    if guess.probability == 0:
        return target
    if code != target and not directions.translates(code, target):
        raise no_such_pair(code, target, directions)
    return code


def _plans(wish: Wish, source: str | None, directions: Directions, target: str) -> Iterator[_Plan]:
    for index, text in enumerate(wish.texts):
        if index in wish.unusable:
            yield _Plan(source or NOTHING, None, wish.unusable[index])
        elif source is None:
            yield _detected(text, wish.format.words_of(text), directions, target)
        else:
            yield _said(text, wish.format.words_of(text), source, directions, target)


def _said(text: str, words: str, source: str, directions: Directions, target: str) -> _Plan:
    """Of a text whose language the caller says."""
    if source == target:
        return _Plan(source, None, _copy(text))
    if is_in_target_already(words, directions, target):
        return _Plan(source, None, _copy(text), Note(0, len(text), "already_in_target"))
    return _Plan(source, None, None)


def _detected(text: str, words: str, directions: Directions, target: str) -> _Plan:
    guess = source_of(words, directions, target)
    code = directions.find(guess.language)
    if guess.probability == 0 or code == target:
        return _Plan(code or guess.language, guess, _copy(text))
    if code is None or not directions.translates(code, target):
        return _Plan(code or guess.language, guess, _copy(text), Note(0, len(text), "language_not_available"))
    return _Plan(code, guess, None)


def _copy(text: str) -> Translation:
    """The text itself, without a sentence that was translated."""
    return Translation(text, (), (), ((),))


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


async def off_loop_if_long(texts: Sequence[str], work: Callable[[], _Result]) -> _Result:
    """What `work` returns; from a thread if there is much text to look at."""
    return await asyncio.to_thread(work) if sum(map(len, texts)) > THREAD_CHARACTERS else work()
