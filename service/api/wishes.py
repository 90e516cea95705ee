"""The fields of /translate, LibreTranslate's and our own, and what they ask for."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StrictInt, StrictStr

from service.api.bodies import MODEL_FIELD, WHOLE, ModelField, PairRequest, Text, TimeoutMs
from service.api.details import WANTED_FIELDS, AlignmentFlag, AttentionField, wanted
from service.errors import InvalidFieldError, InvalidRequestError, UnsupportedFormatError
from service.models.router import Router
from service.settings import Settings
from service.text.markup.formats import FORMATS, Format
from service.text.terms import NO_TERMS, Terms
from service.translation.options import TranslationOptions

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


def check_limits(body: TranslateRequest, settings: Settings) -> None:
    """Refuse more than the settings allow; raises `ServiceError`."""
    if body.format not in (None, "", *FORMATS):
        raise UnsupportedFormatError(body.format)
    if body.alternatives > settings.max_alternatives:
        raise InvalidRequestError(f"Invalid request: alternatives parameter must be <= {settings.max_alternatives}")
    if (body.beam_size or 1) > settings.max_beam_size:
        raise InvalidFieldError(f"beam_size must be at most {settings.max_beam_size}, the limit of this service")


def format_of(body: TranslateRequest) -> Format:
    """The format of the texts."""
    return next((each for each in FORMATS if each == body.format), "text")


def options_of(
    body: TranslateRequest, settings: Settings, translator: Router, glossary: Callable[[str], Mapping[str, str]]
) -> TranslationOptions:
    """How the fields ask for texts to be translated.

    Raises:
        InvalidFieldError: it is more than the model allows, or there is no such glossary.
    """
    _check_lengths(body, translator.only(body.model).limits.target_tokens)
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
        terms=_terms(body, glossary),
        details=wanted(body.alignment, body.attention) if body.details or body.alignment or body.attention else None,
    )


def _terms(body: TranslateRequest, glossary: Callable[[str], Mapping[str, str]]) -> Terms:
    """What is translated in one way, or not at all.

    Raises:
        InvalidFieldError: there is no glossary of the name.
    """
    if not body.glossary and not body.do_not_translate:
        return NO_TERMS
    targets: dict[str, str | None] = dict.fromkeys(body.do_not_translate or ())
    if isinstance(body.glossary, str):
        targets |= glossary(body.glossary)
    else:
        targets |= {entry.source: entry.target for entry in body.glossary or ()}
    return Terms(targets)


def _check_lengths(body: TranslateRequest, limit: int) -> None:
    for name in ("min_output_tokens", "max_output_tokens"):
        if (getattr(body, name) or 0) > limit:
            raise InvalidFieldError(f"{name} must be at most {limit}, the limit of this model")
    if body.max_output_tokens is not None and body.max_output_tokens < (body.min_output_tokens or 1):
        raise InvalidFieldError("min_output_tokens must not be larger than max_output_tokens")
