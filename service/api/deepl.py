"""DeepL's API, version 2: /v2/translate, /v2/languages, /v2/usage."""

import time
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from service.api.core import Answer, Wish, admitted, answered, default_options
from service.api.dependencies import State
from service.api.fields import read_fields, typed
from service.api.problems import described_fields, problems_of
from service.api.texts import text_of, texts_of_field
from service.api.visits import visit_of
from service.errors import InvalidRequestError
from service.text.languages import AUTO, language_name
from service.text.markup.formats import Format, FormatOptions

router = APIRouter(tags=["DeepL"])

_NEITHER: tuple[Any, ...] = (None, "", [], False, "0", 0, "default", "prefer_more", "prefer_less")
"""Values of fields that ask for nothing."""
_UNSUPPORTED = (
    "glossary_id", "style_id", "style_rule_list_id", "custom_instructions", "translation_memory_id", "formality",
)  # fmt: skip
_CODES = {"zt": "ZH-HANT", "pb": "PT-BR"}


_KINDS = ("source", "target")
_Kind = Annotated[str, Query(json_schema_extra={"enum": list(_KINDS)})]
"""Not an enumeration for FastAPI, whose refusal has another shape."""


class DeeplProblem(BaseModel):
    """What went wrong, in one sentence."""

    message: str


class DeeplTranslation(BaseModel):
    """A text and the language it was in."""

    detected_source_language: str
    text: str
    billed_characters: int | None = Field(None, description="Only with `show_billed_characters`.")


class DeeplReply(BaseModel):
    """Translations in the order of `text`."""

    translations: list[DeeplTranslation]


class DeeplLanguage(BaseModel):
    """A language that is translated from, or into."""

    language: str
    name: str
    supports_formality: bool | None = None


class DeeplUsage(BaseModel):
    """What has been translated for a key in this month (UTC), and the most that may be; a very large number if there is
    no limit, and 0 for who has no key."""

    character_count: int
    character_limit: int


@router.post(
    "/v2/translate",
    response_model_exclude_none=True,
    responses=problems_of(DeeplProblem, 400, 403, 408, 413, 415, 429, 456, 500, 503, 504),
    openapi_extra=described_fields(
        {"text": ["The cat sleeps."], "source_lang": "EN", "target_lang": "FR"}, required=("text", "target_lang")
    ),
)
async def translate(request: Request, state: State) -> DeeplReply:
    """Translate texts, each by itself; without `source_lang` each from the language it is in."""
    began = time.monotonic()
    with admitted(request, state) as model:
        values = (await read_fields(request, state.settings)).values
        _refuse_unsupported(values)
        wish = Wish(
            texts=texts_of_field(values, "text"),
            source=text_of(values, "source_lang", AUTO),
            target=text_of(values, "target_lang"),
            options=default_options(state.settings),
            format=_format(values),
        )
        done = await answered(request, state.settings, model, wish, began)
    billed = typed(values.get("show_billed_characters")) in (True, 1)
    pairs = zip(wish.texts, done.texts, strict=True)
    return DeeplReply(translations=[_translation(text, each, billed=billed) for text, each in pairs])


def _format(values: dict[str, Any]) -> FormatOptions:
    """What `tag_handling` and the fields that belong to it ask for.

    Raises:
        InvalidRequestError: it is neither `xml` nor `html`, or a list of tags is none.
    """
    handling = text_of(values, "tag_handling", "")
    if handling not in ("", "xml", "html"):
        raise InvalidRequestError("tag_handling must be xml or html")
    splitting, ignored = (_tags(values, name) for name in ("splitting_tags", "ignore_tags"))
    name: Format = "xml" if handling == "xml" else "html" if handling == "html" else "text"
    return FormatOptions(name=name, splitting_tags=splitting, ignored_tags=ignored)


def _tags(values: dict[str, Any], name: str) -> tuple[str, ...]:
    """Names of tags: an array, or a string with commas between them."""
    sent = values.get(name) or []
    names = sent.split(",") if isinstance(sent, str) else sent
    if not isinstance(names, list) or not all(isinstance(each, str) for each in names):
        raise InvalidRequestError(f"{name} must be an array of names of tags")
    return tuple(each.strip() for each in names if each.strip())


def _refuse_unsupported(values: dict[str, Any]) -> None:
    for name in _UNSUPPORTED:
        if values.get(name) not in _NEITHER:
            raise InvalidRequestError(f"{name} is not supported by this service")


def _translation(text: str, answer: Answer, *, billed: bool) -> DeeplTranslation:
    return DeeplTranslation(
        detected_source_language=_code(answer.source),
        text=answer.text,
        billed_characters=len(text) if billed else None,
    )


@router.get(
    "/v2/languages",
    response_model_exclude_none=True,
    responses=problems_of(DeeplProblem, 400, 503),
)
async def languages(state: State, type: _Kind = "source") -> list[DeeplLanguage]:
    """The languages that are translated from, or with the type `target` into."""
    if type not in _KINDS:
        raise InvalidRequestError("type must be 'source' or 'target'")
    directions = state.model().translator.directions
    if type == "source":
        return [DeeplLanguage(language=_code(code), name=language_name(code)) for code in directions.sources]
    targets = dict.fromkeys(target for _, target in directions.pairs)
    return [DeeplLanguage(language=_code(each), name=language_name(each), supports_formality=False) for each in targets]


@router.get("/v2/usage", responses=problems_of(DeeplProblem, 403, 429, 503))
async def usage(request: Request) -> DeeplUsage:
    """What has been translated for this key."""
    used, most = await visit_of(request).used()
    return DeeplUsage(character_count=used, character_limit=most)


def _code(code: str) -> str:
    return _CODES.get(code, code.upper())
