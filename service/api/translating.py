"""What /translate and /translate/stream have in common: LibreTranslate's fields and our own, and the reply."""

import asyncio
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Generic, Literal, TypeVar

from fastapi import Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StrictInt, StrictStr

from service.api.bodies import MODEL_FIELD, WHOLE, ModelField, PairRequest, Text, TimeoutMs, validate
from service.api.boundary import server_timing
from service.api.core import Answer, Answers, Wish
from service.api.details import (
    WANTED_FIELDS,
    AlignmentFlag,
    AttentionField,
    DetailedResponse,
    Routed,
    Segment,
    routes_of,
    segments_of,
    wanted,
)
from service.api.fields import Fields, typed
from service.api.problems import Problem
from service.api.texts import unusable_items
from service.api.units import NoteKind
from service.api.unknown import UnknownField, unknown_fields
from service.api.visits import visit_of
from service.errors import InvalidFieldError, InvalidRequestError, ServiceError, UnsupportedFormatError
from service.settings import Settings
from service.state import Model, ServiceState
from service.text.detection import Guess
from service.text.languages import AUTO
from service.text.markup.formats import FORMATS, Format, FormatOptions
from service.text.terms import NO_TERMS, Terms
from service.translation.options import TranslationOptions
from service.translation.results import Translation

_Value = TypeVar("_Value")

OWN_FIELDS = {
    "beam_size": "an integer from 1 to 8",
    "length_penalty": "a number from 0 to 5",
    "repetition_penalty": "a number from 1 to 10",
    "no_repeat_ngram_size": "an integer from 0 to 100",
    "min_output_tokens": "a positive integer",
    "max_output_tokens": "a positive integer",
    "strict": "true or false",
    "strict_fields": "true or false",
    "on_error": "'fail' or 'item'",
    "timeout_ms": "a positive integer",
    "target_prefix": "a string of at most 1000 characters",
    "html_attributes": "true or false",
    "glossary": "an array of at most 1000 {source, target} of at most 200 characters each, or a name",
    "do_not_translate": "an array of at most 1000 strings of at most 200 characters",
    "details": "true or false",
    "partial": "true or false",
    "model": MODEL_FIELD,
    **WANTED_FIELDS,
}
"""What their values may be; limits that the settings lower are checked later."""


def _empty_to_zero(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("a truth value is not a number")
    return 0 if value is None else value


class GlossaryEntry(BaseModel):
    """A term, and what it is translated as."""

    source: Annotated[Text, Field(min_length=1, max_length=200)]
    target: Annotated[Text, Field(max_length=200)]


GlossaryField = Annotated[list[GlossaryEntry], Field(max_length=1000)] | Annotated[Text, Field(max_length=200)] | None


class TranslateRequest(PairRequest):
    """What to translate and how."""

    # What LibreTranslate ignores is ignored; see `strict_fields`.
    model_config = ConfigDict(extra="ignore", frozen=True)

    format: StrictStr | None = Field(
        None,
        description="`text`; null and empty mean the same. `html`: tags, entities, attributes and nesting come back, "
        "inline tags around the words that are theirs; `code`, `pre`, scripts, comments and what is marked "
        "`translate=no` untouched. `xml` and `markdown` likewise.",
        json_schema_extra={"enum": ["text", "html", "xml", "markdown", "", None]},
    )
    alternatives: Annotated[int, BeforeValidator(_empty_to_zero)] = Field(
        0,
        description="Further translations wanted of each text, at most 7; fewer may come, duplicates are left out. "
        "The beam is at least one wider than this. A text of several sentences is varied in one sentence at a time, "
        "the one the model was least sure of first.",
    )
    api_key: Any = Field(
        None, description="A key of this service, if it asks for one and no header has it; else ignored."
    )
    secret: Any = Field(None, description="Accepted for compatibility and ignored.")
    beam_size: Annotated[StrictInt, Field(ge=1, le=8), WHOLE] | None = Field(
        None, description="Translations considered at once; 1 is greedy."
    )
    length_penalty: Annotated[float, Field(ge=0, le=5, strict=True)] | None = Field(
        None,
        description="Translations are ranked by score = log_prob / n^length_penalty, where log_prob is the natural "
        "logarithm of the probability of all tokens and n is their number, both with the end token. Default 1.",
    )
    repetition_penalty: Annotated[float, Field(ge=1, le=10, strict=True)] | None = Field(
        None,
        description="Log-probabilities of tokens that a translation already has are multiplied by this. Default 1.",
    )
    no_repeat_ngram_size: Annotated[StrictInt, Field(ge=0, le=100), WHOLE] | None = Field(
        None,
        description="No run of so many tokens occurs twice in a sentence; 0, the default, allows it.",
    )
    min_output_tokens: Annotated[StrictInt, Field(ge=1), WHOLE] | None = Field(
        None, description="Fewest tokens of one translated sentence. Default 1."
    )
    max_output_tokens: Annotated[StrictInt, Field(ge=1), WHOLE] | None = Field(
        None,
        description="Most tokens of one translated sentence. Default: twice its source tokens and ten more, within "
        "the model's limit.",
    )
    strict: StrictBool | None = Field(
        None, description="If true, a text of which a sentence reached `max_output_tokens` is an error."
    )
    strict_fields: StrictBool | None = Field(
        None,
        description="If true, an unknown field is an error. Else it is ignored, as LibreTranslate does; one that is "
        "nearly a field of ours is named in `warnings`. Default: the setting `ATTEND_STRICT_FIELDS`.",
    )
    on_error: Literal["fail", "item"] | None = Field(
        None,
        description="`fail`, the default: an error in one text is an error of the request. `item`: that text is null, "
        "the others are translated, and `errors` says what happened.",
    )
    timeout_ms: TimeoutMs = None
    target_prefix: Annotated[Text, Field(max_length=1000)] | None = Field(
        None,
        description="What the translation of the first sentence of each text begins with; the rest is translated to "
        "follow it. Whitespace around it does not count.",
    )
    html_attributes: StrictBool | None = Field(
        None, description="With format `html`: `alt`, `title`, `placeholder` and `aria-label` are translated too."
    )
    glossary: GlossaryField = Field(
        None,
        description="Terms and how they are translated, longest first; a term in small letters is found in any case. "
        "Or the name of a glossary of this service.",
    )
    do_not_translate: Annotated[list[Annotated[Text, Field(max_length=200)]], Field(max_length=1000)] | None = Field(
        None, description="Terms that come back as they are. In a text `<dnt>` and `</dnt>` around a part say the same."
    )
    model: ModelField = None
    details: StrictBool | None = Field(None, description="Tell how each sentence was translated: `segments`.")
    alignment: AlignmentFlag = None
    attention: AttentionField = None


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
    _check_limits(body, state.settings)
    wish = Wish(
        texts=body.texts,
        source=body.source,
        target=body.target,
        options=_options(body, state, model),
        timeout_ms=body.timeout_ms,
        unusable=unusable,
        format=FormatOptions(name=_format(body), attributes=bool(body.html_attributes)),
        model=body.model,
    )
    return Asked(body, wish, unknown)


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


def _check_limits(body: TranslateRequest, settings: Settings) -> None:
    if body.format not in (None, "", *FORMATS):
        raise UnsupportedFormatError(body.format)
    if body.alternatives > settings.max_alternatives:
        raise InvalidRequestError(f"Invalid request: alternatives parameter must be <= {settings.max_alternatives}")
    if (body.beam_size or 1) > settings.max_beam_size:
        raise InvalidFieldError(f"beam_size must be at most {settings.max_beam_size}, the limit of this service")


def _format(body: TranslateRequest) -> Format:
    return next((each for each in FORMATS if each == body.format), "text")


def _options(body: TranslateRequest, state: ServiceState, model: Model) -> TranslationOptions:
    settings = state.settings
    _check_lengths(body, model.translator.only(body.model).limits.target_tokens)
    alternatives = max(body.alternatives, 0)
    return TranslationOptions(
        beam_size=max(body.beam_size or settings.usual_beam_size, alternatives + 1),
        alternatives=alternatives,
        length_penalty=1.0 if body.length_penalty is None else body.length_penalty,
        repetition_penalty=body.repetition_penalty or 1.0,
        no_repeat_ngram_size=body.no_repeat_ngram_size or 0,
        min_output_tokens=body.min_output_tokens or 1,
        max_output_tokens=body.max_output_tokens,
        strict=bool(body.strict),
        text_by_text=body.on_error == "item",
        target_prefix=body.target_prefix or "",
        terms=_terms(body, state),
        details=wanted(body.alignment, body.attention) if body.details or body.alignment or body.attention else None,
    )


def _terms(body: TranslateRequest, state: ServiceState) -> Terms:
    """What is translated in one way, or not at all.

    Raises:
        InvalidFieldError: there is no glossary of the name.
    """
    if not body.glossary and not body.do_not_translate:
        return NO_TERMS
    targets: dict[str, str | None] = dict.fromkeys(body.do_not_translate or ())
    if isinstance(body.glossary, str):
        targets |= state.glossary(body.glossary)
    else:
        targets |= {entry.source: entry.target for entry in body.glossary or ()}
    return Terms(targets)


def _check_lengths(body: TranslateRequest, limit: int) -> None:
    for name in ("min_output_tokens", "max_output_tokens"):
        if (getattr(body, name) or 0) > limit:
            raise InvalidFieldError(f"{name} must be at most {limit}, the limit of this model")
    if body.max_output_tokens is not None and body.max_output_tokens < (body.min_output_tokens or 1):
        raise InvalidFieldError("min_output_tokens must not be larger than max_output_tokens")


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
