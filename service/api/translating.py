"""What /translate and /translate/stream have in common: LibreTranslate's fields and our own, and the reply."""

import asyncio
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Generic, Literal, TypeVar

from fastapi import Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from service.api.bodies import validate
from service.api.boundary import server_timing
from service.api.core import Answer, Answers, Wish
from service.api.details import (
    DetailedResponse,
    Routed,
    Segment,
    routes_of,
    segments_of,
)
from service.api.fields import Fields, typed
from service.api.problems import Problem
from service.api.texts import unusable_items
from service.api.units import NoteKind
from service.api.unknown import UnknownField, unknown_fields
from service.api.visits import visit_of
from service.api.wishes import OWN_FIELDS, TranslateRequest, check_limits, format_of, options_of
from service.errors import ServiceError
from service.models.router import Router
from service.settings import Settings
from service.state import Model, ServiceState
from service.text.detection import Guess
from service.text.languages import AUTO
from service.text.markup.formats import FormatOptions
from service.translation.results import Translation

_Value = TypeVar("_Value")

_Body = TypeVar("_Body", bound=TranslateRequest, covariant=True)


class TextNote(BaseModel):
    """Something to know about a text or a sentence of it."""

    index: int = Field(description="The text, in the order of `q`.")
    start: int = Field(description="Where what it is about begins in that text, in code points.")
    end: int
    warning: NoteKind = Field(
        description="`truncated`: cut at its length limit. `repetition`: goes round in circles. `repetition_removed`: "
        "did so at first; this is a further attempt, which did not. `numbers_differ`: a number of the source is "
        "missing, or there is another. `placeholder_lost`: something that should have been copied is missing, or is "
        "there twice. `incomplete`: something was probably left out, for it is very short or nothing of it comes from "
        "the end of the source. `already_in_target`: came back as it was, for it surely is in the target language. "
        "`language_not_available`: came back as it was, for it is in a language that is not translated into the target."
    )


class FieldNote(BaseModel):
    """A field that was ignored and is nearly one of ours."""

    warning: Literal["unknown_field"] = "unknown_field"
    field: str
    nearest: str


class DetectedLanguage(BaseModel):
    """The language of a text as it was detected."""

    confidence: float = Field(description="0 to 100; 0 where the text has no letters.")
    language: str


class TextError(Problem):
    """Why a text has no translation."""

    index: int = Field(description="The text, in the order of `q`.")


class TranslateReply(Routed):
    """Translations in the shape of `q`: strings for a string, arrays in its order for an array."""

    translatedText: str | list[str | None] | None = Field(description="Null only with `on_error: item`.")
    alternatives: list[str] | list[list[str]] | None = Field(None, description="Only if some were asked for.")
    truncated: bool | list[bool] | None = Field(
        None, description="Only if some sentence was cut at its length limit: which texts it happened to."
    )
    detectedLanguage: DetectedLanguage | list[DetectedLanguage] | None = Field(
        None, description="Only with the source `auto`: of each text."
    )
    warnings: list[TextNote | FieldNote] | None = Field(None, description="Only if there are any.")
    segments: list[Segment] | list[list[Segment]] | None = Field(
        None,
        description="Only with `details`, `alignment` or `attention`: the sentences of each text, without those that "
        "have no letter and were copied.",
    )
    alternative_segments: list[list[Segment]] | list[list[list[Segment]]] | None = Field(
        None, description="The same for each of `alternatives`, in their order."
    )
    errors: list[TextError] | None = Field(None, description="Only with `on_error: item`, and if there are any.")


@dataclasses.dataclass(frozen=True, slots=True)
class Asked(Generic[_Body]):
    """A request that has been read and found to be one."""

    body: _Body
    wish: Wish
    unknown: Sequence[UnknownField]


async def asked_of(
    request: Request, state: ServiceState, model: Model, fields: Fields, schema: type[_Body]
) -> Asked[_Body]:
    """What the fields ask for; raises what is wrong with them."""
    await visit_of(request).identify(fields.values.get("api_key"))
    values = fields.values if fields.is_typed else _typed(fields, schema)
    unknown = unknown_fields(values, schema.model_fields, strict=_is_strict(values, state.settings))
    values, unusable = _without_unusable(values)
    body = validate(schema, values, OWN_FIELDS)
    wish = wish_of(body, state.settings, model.translator, state.glossary)
    return Asked(body, dataclasses.replace(wish, unusable=unusable), unknown)


def wish_of(
    body: TranslateRequest, settings: Settings, translator: Router, glossary: Callable[[str], Mapping[str, str]]
) -> Wish:
    """What the fields of a body ask of this translator; `glossary` has the terms of one by its name.

    Raises:
        ServiceError: it is more than the settings or the model allow.
    """
    check_limits(body, settings)
    return Wish(
        texts=body.texts,
        source=body.source,
        target=body.target,
        options=options_of(body, settings, translator, glossary),
        timeout_ms=body.timeout_ms,
        format=FormatOptions(name=format_of(body), attributes=bool(body.html_attributes)),
        model=body.model,
    )


async def reply_to(asked: Asked[TranslateRequest], done: Answers) -> JSONResponse:
    """The reply that tells what became of it."""
    if asked.wish.options.details is None:
        return _reply(asked.body, done, asked.unknown)
    # Alignments and attention take long to put together and to write.
    return await asyncio.to_thread(_reply, asked.body, done, asked.unknown)


_TEXTUAL = ("q", "source", "target", "format", "api_key", "secret", "on_error", "target_prefix")


def _typed(fields: Fields, schema: type[TranslateRequest]) -> dict[str, Any]:
    """A form's strings as JSON would have them; what is empty and not required is not there."""
    required = ("q", "source", "target")
    named = {name: value for name, value in fields.values.items() if value != "" or name in required}
    return {
        name: value if name in _TEXTUAL or name not in schema.model_fields else typed(value)
        for name, value in named.items()
    }


def _is_strict(values: Mapping[str, Any], settings: Settings) -> bool:
    wish = values.get("strict_fields")
    return wish if isinstance(wish, bool) else settings.strict_fields


def _without_unusable(values: dict[str, Any]) -> tuple[dict[str, Any], dict[int, ServiceError]]:
    """The body with empty texts in place of those that are none, and what is wrong with them.

    Raises:
        InvalidRequestError: there is one, and the caller did not ask for `on_error: item`.
    """
    texts = values.get("q")
    unusable = dict(unusable_items("q", texts)) if isinstance(texts, list) else {}
    if not unusable:
        return values, {}
    if values.get("on_error") != "item":
        raise next(iter(unusable.values()))
    usable = ["" if index in unusable else text for index, text in enumerate(texts or ())]
    return values | {"q": usable}, unusable


def _reply(body: TranslateRequest, done: Answers, unknown: Sequence[UnknownField]) -> JSONResponse:
    def shaped(values: list[_Value]) -> _Value | list[_Value]:
        return values[0] if isinstance(body.q, str) else values

    good = [each.translation if isinstance(each.translation, Translation) else None for each in done.texts]
    reply: dict[str, Any] = {"translatedText": shaped([text and text.text for text in good])}
    if body.source.strip().lower() == AUTO:
        reply["detectedLanguage"] = shaped([_detected(each) for each in done.texts])
    if body.alternatives > 0:
        reply["alternatives"] = shaped([list(text.alternatives) if text else [] for text in good])
    truncated = [text is not None and text.truncated for text in good]
    if any(truncated):
        reply["truncated"] = shaped(truncated)
    if warnings := [*_warnings(done.texts), *map(dataclasses.asdict, unknown)]:
        reply["warnings"] = warnings
    if body.details or body.alignment or body.attention:
        versions: list[list[Any]] = [segments_of(text.inspections) or [[]] if text else [[]] for text in good]
        reply["segments"] = shaped([best for best, *_ in versions])
        if body.alternatives > 0:
            reply["alternative_segments"] = shaped([others for _, *others in versions])
        told = routes_of([text.hops if text else () for text in good])
        reply |= {name: shaped(values) for name, values in told.items()}
    if errors := list(_errors(done.texts)):
        reply["errors"] = errors
    timing = done.timing.parts()
    return DetailedResponse(reply, headers={"Server-Timing": server_timing(**timing)})


def _detected(answer: Answer) -> dict[str, Any]:
    guess = answer.guess or Guess(answer.source, 0.0)
    return {"confidence": guess.confidence, "language": answer.source}


def _warnings(texts: Sequence[Answer]) -> Iterator[dict[str, Any]]:
    for index, text in enumerate(texts):
        yield from ({"index": index, **dataclasses.asdict(note)} for note in text.notes)


def _errors(texts: Sequence[Answer]) -> Iterator[dict[str, Any]]:
    for index, text in enumerate(texts):
        if isinstance(text.translation, ServiceError):
            yield {"index": index, "error": str(text.translation)}
