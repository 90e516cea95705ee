"""Google Cloud Translation, version 2 (Basic): translate, detect, languages."""

import time
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel

from service.api.bodies import check_texts
from service.api.core import Wish, admitted, answered, default_options
from service.api.dependencies import State
from service.api.fields import read_fields
from service.api.problems import described_fields, problems_of
from service.api.texts import text_of, texts_of_field
from service.errors import UnsupportedFormatError
from service.text.detection import source_of
from service.text.languages import AUTO, chosen_locale, language_name
from service.text.markup.formats import FormatOptions

router = APIRouter(tags=["Google"])

_PATHS = ("/language/translate/v2", "/google/language/translate/v2")
_CODES = {"zh": "zh-CN", "zt": "zh-TW", "pb": "pt-BR"}
_FORMATS = ("text", "html")
_GOOGLES_MODELS = ("", "base", "nmt")
"""Names of Google's own, which clients send without a wish: whichever model there is translates."""
_RELIABLE = 0.7
_STATUSES = (400, 408, 413, 415, 500, 503, 504)


class GoogleError(BaseModel):
    """What went wrong."""

    code: int
    message: str
    status: str


class GoogleProblem(BaseModel):
    """Google's shape of an error."""

    error: GoogleError


_PROBLEMS = problems_of(GoogleProblem, *_STATUSES)
_BODY = described_fields(
    {"q": ["Le chat dort."], "source": "fr", "target": "en", "format": "text"}, ("q", "target"), {"format": _FORMATS}
)


async def translate(request: Request, state: State) -> dict[str, Any]:
    """Translate texts. Their format is HTML unless it is said to be text: see docs/compatibility.md."""
    began = time.monotonic()
    with admitted(request, state) as model:
        values = (await read_fields(request, state.settings)).values
        texts, source = texts_of_field(values, "q"), text_of(values, "source", AUTO)
        is_html = _is_html(text_of(values, "format", "html"))
        named = text_of(values, "model", "")
        wish = Wish(
            texts=texts,
            source=source,
            target=text_of(values, "target"),
            options=default_options(state.settings),
            format=FormatOptions(name="html" if is_html else "text", quotes=True),
            model=None if named in _GOOGLES_MODELS else named,
        )
        done = await answered(request, state.settings, model, wish, began)
    translations = []
    for answer in done.texts:
        text = answer.text
        # As Google writes it.
        text = text.replace("&#x27;", "&#39;") if is_html else text
        detected = {"detectedSourceLanguage": _code(answer.source)} if answer.guess else {}
        translations.append({"translatedText": text, **detected, **({"model": named} if named else {})})
    return {"data": {"translations": translations}}


def _is_html(name: str) -> bool:
    """Whether texts and answers are HTML.

    Raises:
        UnsupportedFormatError: the format is unknown.
    """
    if name not in _FORMATS:
        raise UnsupportedFormatError(name)
    return name == "html"


async def detect(request: Request, state: State) -> dict[str, Any]:
    """The likeliest language of each text."""
    with admitted(request, state) as model:
        texts = texts_of_field((await read_fields(request, state.settings)).values, "q")
        check_texts(texts, state.settings)
        directions, text_work = model.translator.directions, model.translator.text_work
        guesses = await text_work.run(sum(map(len, texts)), lambda: [source_of(text, directions) for text in texts])
    detections = [
        [
            {
                "language": _code(each.language),
                "confidence": round(each.confidence / 100, 3),
                "isReliable": each.probability >= _RELIABLE,
            }
        ]
        for each in guesses
    ]
    return {"data": {"detections": detections}}


async def languages(request: Request, state: State) -> dict[str, Any]:
    """Every language; with `target` named in that language, and only those that are translated into it."""
    directions = state.model().translator.directions
    values = (await read_fields(request, state.settings)).values
    target = text_of(values, "target", "")
    if not target:
        codes = dict.fromkeys(code for pair in directions.pairs for code in pair)
        return {"data": {"languages": [{"language": _code(code)} for code in codes]}}
    locale, known = chosen_locale([target]), directions.find(target)
    codes = dict.fromkeys(code for pair in directions.pairs for code in pair if known in (None, code, pair[1]))
    listed = [{"language": _code(code), "name": language_name(code, locale)} for code in codes]
    return {"data": {"languages": listed}}


def _code(code: str) -> str:
    return _CODES.get(code, code)


_BODIES = {"": _BODY, "/detect": described_fields({"q": ["Le chat dort."]}, ("q",)), "/languages": None}

for _path in _PATHS:
    for _tail, _route in (("", translate), ("/detect", detect), ("/languages", languages)):
        for _method in ("GET", "POST"):
            router.add_api_route(
                f"{_path}{_tail}",
                _route,
                methods=[_method],
                responses=_PROBLEMS,
                openapi_extra=_BODIES[_tail] if _method == "POST" else None,
                include_in_schema=_method == "POST" and _path == _PATHS[0],
            )
