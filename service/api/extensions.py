"""What browser extensions and desktop tools speak: Immersive Translate, kiss-translator, DeepLX, MTranServer."""

import secrets
import time
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.requests import Request as AnyRequest

from service.api import shapes
from service.api.core import Answers, Wish, admitted, answered, default_options
from service.api.dependencies import State
from service.api.fields import read_fields, typed
from service.api.problems import described_fields, problems, problems_of
from service.api.texts import text_of, texts_of_field
from service.settings import Settings
from service.state import Model
from service.text.languages import AUTO
from service.text.markup.formats import FormatOptions

router = APIRouter(tags=["browser extensions"])

_WRITTEN = {"zh": "zh-CN", "zt": "zh-TW", "pb": "pt-BR"}
"""Codes as browsers have them."""
_STATUSES = (400, 408, 413, 415, 500, 503, 504)


class DeeplxProblem(BaseModel):
    """What went wrong, in one sentence."""

    code: int
    message: str


class Sent(BaseModel):
    """The texts of a request, by the names its contract has for them."""

    texts: tuple[str, ...]
    source: str
    target: str


@router.post(
    "/imme",
    responses=problems(*_STATUSES),
    openapi_extra=described_fields(
        {"source_lang": "auto", "target_lang": "en", "text_list": ["Le chat dort.", "Bonjour {0} !"]},
        required=("target_lang", "text_list"),
    ),
)
async def immersive(request: Request, state: State) -> dict[str, Any]:
    """Immersive Translate's custom interface: the texts of a web page."""
    began = time.monotonic()
    with admitted(request, state) as model:
        values = (await read_fields(request, state.settings)).values
        texts = values.get("text_list")
        if texts == []:
            return {"translations": []}
        sent = Sent(
            texts=texts_of_field(values, "text_list"),
            source=text_of(values, "source_lang", AUTO),
            target=text_of(values, "target_lang"),
        )
        done = await _translated(request, state.settings, model, sent, began)
    translations = [{"detected_source_lang": code, "text": text} for text, code in _pairs(done)]
    return {"translations": translations}


@router.post(
    "/kiss",
    responses=problems(*_STATUSES),
    openapi_extra=described_fields({"from": "auto", "to": "en", "text": "Le chat dort."}, required=("to",)),
)
async def kiss(request: Request, state: State) -> dict[str, Any]:
    """kiss-translator's custom interface: one text, or `texts`."""
    began = time.monotonic()
    with admitted(request, state) as model:
        values = (await read_fields(request, state.settings)).values
        name = "texts" if "texts" in values else "text"
        sent = Sent(
            texts=texts_of_field(values, name), source=text_of(values, "from", AUTO), target=text_of(values, "to")
        )
        done = await _translated(request, state.settings, model, sent, began)
    replies = [{"text": text, "src": code} for text, code in _pairs(done)]
    return {"translations": replies} if name == "texts" else replies[0]


@router.post(
    "/deeplx/translate",
    responses=problems_of(DeeplxProblem, *_STATUSES),
    openapi_extra=described_fields(
        {"text": "Le chat dort.", "source_lang": "FR", "target_lang": "EN"}, required=("text", "target_lang")
    ),
)
async def deeplx_translate(request: Request, state: State) -> dict[str, Any]:
    """DeepLX's interface."""
    began = time.monotonic()
    with admitted(request, state) as model:
        values = (await read_fields(request, state.settings)).values
        return await deeplx(request, state.settings, model, values, began)


def is_deeplx(values: dict[str, Any]) -> bool:
    """Whether a body of /translate is DeepLX's and not LibreTranslate's."""
    return "q" not in values and "text" in values and "target_lang" in values


async def deeplx(
    request: AnyRequest, settings: Settings, model: Model, values: dict[str, Any], began: float
) -> dict[str, Any]:
    """The reply to a body of DeepLX."""
    shapes.set_shape(request, shapes.deeplx)
    target = text_of(values, "target_lang")
    sent = Sent(texts=(text_of(values, "text"),), source=text_of(values, "source_lang", AUTO), target=target)
    done = await _translated(request, settings, model, sent, began)
    text, code = _pairs(done)[0]
    return {
        "code": 200,
        "id": secrets.randbelow(10**10),
        "data": text,
        "alternatives": [],
        "source_lang": code.partition("-")[0].upper(),
        "target_lang": target.upper(),
        "method": "Free",
    }


def is_mtran(values: dict[str, Any]) -> bool:
    """Whether a body of /translate is MTranServer's and not LibreTranslate's."""
    return "q" not in values and {"from", "to", "text"} <= values.keys()


async def mtran(
    request: AnyRequest, settings: Settings, model: Model, values: dict[str, Any], began: float
) -> dict[str, Any]:
    """The reply to a body of MTranServer."""
    return {"result": (await _of_mtran(request, settings, model, values, began))[0]}


@router.post(
    "/translate/batch",
    responses=problems(*_STATUSES),
    openapi_extra=described_fields(
        {"from": "fr", "to": "en", "texts": ["Le chat dort."]}, required=("from", "to", "texts")
    ),
)
async def mtran_batch(request: Request, state: State) -> dict[str, Any]:
    """MTranServer's interface for several texts."""
    began = time.monotonic()
    with admitted(request, state) as model:
        values = (await read_fields(request, state.settings)).values
        return {"results": await _of_mtran(request, state.settings, model, values, began)}


async def _of_mtran(
    request: AnyRequest, settings: Settings, model: Model, values: dict[str, Any], began: float
) -> list[str]:
    texts = texts_of_field(values, "texts" if "texts" in values else "text")
    sent = Sent(texts=texts, source=text_of(values, "from"), target=text_of(values, "to"))
    is_html = typed(values.get("html")) not in (None, False, "", 0)
    done = await _translated(request, settings, model, sent, began, is_html=is_html)
    return [text for text, _ in _pairs(done)]


async def _translated(
    request: AnyRequest, settings: Settings, model: Model, sent: Sent, began: float, *, is_html: bool = False
) -> Answers:
    wish = Wish(
        texts=sent.texts,
        source=sent.source,
        target=sent.target,
        options=default_options(settings),
        format=FormatOptions(name="html" if is_html else "text"),
    )
    return await answered(request, settings, model, wish, began)


def _pairs(done: Answers) -> list[tuple[str, str]]:
    """Translations, and the languages they are from."""
    return [(each.text, _WRITTEN.get(each.source, each.source)) for each in done.texts]
