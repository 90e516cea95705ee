"""POST /translate as LibreTranslate has it, with three fields of our own."""

from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictInt,
    StrictStr,
    ValidationError,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from service.api.dependencies import State
from service.api.problems import problems
from service.api.requests import read_json_object, unless_disconnected
from service.errors import (
    InvalidFieldError,
    InvalidRequestError,
    MissingFieldError,
    ServiceError,
    TextLimitError,
    UnsupportedPairError,
    shown,
)
from service.settings import Settings
from service.state import Model
from service.text.languages import Directions, language_name, normalise_code
from service.translator import Translation, TranslationOptions

router = APIRouter(tags=["translation"])

_Value = TypeVar("_Value")

_OWN_FIELDS = {
    "beam_size": "an integer from 1 to 8",
    "length_penalty": "a number from 0 to 5",
    "max_output_tokens": "a positive integer",
}


def _empty_to_zero(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("a truth value is not a number")
    return 0 if value is None else value


def _require_unicode(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        # JSON can spell half a surrogate pair; pydantic looks for it in some strings only.
        raise PydanticCustomError("string_unicode", "not text") from None
    return text


_Text = Annotated[StrictStr, AfterValidator(_require_unicode)]


class TranslateRequest(BaseModel):
    """What to translate and how."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    q: Annotated[_Text, Field(min_length=1)] | Annotated[list[_Text], Field(min_length=1)] = Field(
        description="A text, or an array of texts. Line breaks and spacing come back as they were.", examples=["我爱你"]
    )
    source: _Text = Field(min_length=1, description="Language code of `q`.", examples=["zh"])
    target: _Text = Field(min_length=1, description="Language code to translate into.", examples=["en"])
    format: StrictStr | None = Field(None, description="Only `text`; null and empty mean the same.")
    alternatives: Annotated[int, BeforeValidator(_empty_to_zero)] = Field(
        0,
        description="Further translations wanted of each text, at most 7; fewer may come, duplicates are left out. "
        "The beam is at least one wider than this. A text of several sentences is varied in one sentence at a time, "
        "the one the model was least sure of first.",
    )
    api_key: StrictStr | None = Field(None, description="Accepted for compatibility and ignored.")
    secret: StrictStr | None = Field(None, description="Accepted for compatibility and ignored.")
    beam_size: StrictInt | None = Field(None, ge=1, le=8, description="Translations considered at once; 1 is greedy.")
    length_penalty: Annotated[float, Field(ge=0, le=5, strict=True)] | None = Field(
        None,
        description="Translations are ranked by score = log_prob / n^length_penalty, where log_prob is the natural "
        "logarithm of the probability of all tokens and n is their number, both with the end token. Default 1.",
    )
    max_output_tokens: StrictInt | None = Field(
        None,
        ge=1,
        description="Most tokens of one translated sentence. Default: twice its source tokens and ten more, within "
        "the model's limit.",
    )

    @property
    def texts(self) -> tuple[str, ...]:
        """`q` as a sequence, whichever shape it came in."""
        return (self.q,) if isinstance(self.q, str) else tuple(self.q)


class TranslateReply(BaseModel):
    """Translations in the shape of `q`: strings for a string, arrays in its order for an array."""

    translatedText: str | list[str]
    alternatives: list[str] | list[list[str]] | None = Field(None, description="Only if some were asked for.")
    truncated: bool | list[bool] | None = Field(
        None, description="Only if some sentence was cut at its length limit: which texts it happened to."
    )


@router.post(
    "/translate",
    response_model=TranslateReply,
    responses=problems(400, 413, 415, 422, 500, 503),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": TranslateRequest.model_json_schema()}},
        }
    },
)
async def translate(request: Request, state: State) -> JSONResponse:
    """Translate a text or an array of texts."""
    model = state.model()
    body = _validate(await read_json_object(request))
    _check_limits(body, state.settings)
    source, target = _pair(body, model.translator.directions)
    options = _options(body, state.settings, model)
    work = model.translator.translate(body.texts, source, target, options)
    return JSONResponse(_reply(body, await unless_disconnected(request, work)))


def _validate(value: dict[str, Any]) -> TranslateRequest:
    try:
        body = TranslateRequest.model_validate(value)
    except ValidationError as error:
        # In the order of the fields; unknown ones come last.
        raise _refusal(error.errors(include_url=False, include_context=False)) from None
    if body.format not in (None, "", "text"):
        raise InvalidRequestError(f"{shown(body.format)} format is not supported")
    return body


def _refusal(details: list[ErrorDetails]) -> ServiceError:
    """The first thing wrong with a body, in LibreTranslate's words where it has some."""
    detail, value = details[0], details[0]["input"]
    # Without a location it is the name itself that is no text.
    field = shown(detail["loc"][0] if detail["loc"] else value)
    if detail["type"] == "extra_forbidden" or not detail["loc"]:
        return InvalidFieldError(f"unknown field '{field}'; the fields are {', '.join(TranslateRequest.model_fields)}")
    if field in _OWN_FIELDS:
        return InvalidFieldError(f"{field} must be {_OWN_FIELDS[field]}")
    if field == "alternatives":
        return InvalidRequestError("Invalid request: alternatives parameter is not a number")
    if field == "format":
        return InvalidRequestError(f"{shown(value)} format is not supported")
    if field in ("q", "source", "target") and (detail["type"] == "missing" or value in (None, "", [])):
        return MissingFieldError(field)
    # One value has several entries where several shapes are allowed.
    if any(other["type"] == "string_unicode" and other["loc"][:1] == detail["loc"][:1] for other in details):
        return InvalidRequestError(f"Invalid request: {field} parameter holds half a surrogate pair, which is no text")
    kind = "a string or an array of strings" if field == "q" else "a string"
    return InvalidRequestError(f"Invalid request: {field} parameter must be {kind}")


def _check_limits(body: TranslateRequest, settings: Settings) -> None:
    if body.alternatives > settings.max_alternatives:
        raise InvalidRequestError(f"Invalid request: alternatives parameter must be <= {settings.max_alternatives}")
    characters = sum(map(len, body.texts))
    for size, limit in ((len(body.texts), settings.max_texts), (characters, settings.max_characters)):
        if size > limit:
            raise TextLimitError(size, limit)


def _pair(body: TranslateRequest, directions: Directions) -> tuple[str, str]:
    source, target = normalise_code(body.source), normalise_code(body.target)
    if source == "auto":
        raise InvalidRequestError(
            f"detecting the source language is not available yet; name it, one of: {', '.join(directions.sources)}"
        )
    for code, written in ((source, body.source), (target, body.target)):
        if not directions.knows(code):
            raise UnsupportedPairError(f"{shown(written)} is not supported", directions.pairs)
    if (source, target) not in directions.pairs:
        sentence = (
            f"{language_name(target)} ({target}) is not available as a target language "
            f"from {language_name(source)} ({source})"
        )
        raise UnsupportedPairError(sentence, directions.pairs)
    return source, target


def _options(body: TranslateRequest, settings: Settings, model: Model) -> TranslationOptions:
    limit = model.manifest.limits.target_tokens
    if body.max_output_tokens is not None and body.max_output_tokens > limit:
        raise InvalidFieldError(f"max_output_tokens must be at most {limit}, the limit of this model")
    alternatives = max(body.alternatives, 0)
    return TranslationOptions(
        beam_size=max(body.beam_size or settings.beam_size, alternatives + 1),
        alternatives=alternatives,
        length_penalty=1.0 if body.length_penalty is None else body.length_penalty,
        max_output_tokens=body.max_output_tokens,
    )


def _reply(body: TranslateRequest, translations: tuple[Translation, ...]) -> dict[str, Any]:
    single = isinstance(body.q, str)

    def shaped(values: list[_Value]) -> _Value | list[_Value]:
        return values[0] if single else values

    reply: dict[str, Any] = {"translatedText": shaped([translation.text for translation in translations])}
    if body.alternatives > 0:
        reply["alternatives"] = shaped([list(translation.alternatives) for translation in translations])
    truncated = [translation.truncated for translation in translations]
    if any(truncated):
        reply["truncated"] = shaped(truncated)
    return reply
