"""POST /translate as LibreTranslate has it, with fields of our own; two others share the path."""

import time

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from service.api import extensions
from service.api.bodies import described_body
from service.api.core import admitted, answered
from service.api.dependencies import State
from service.api.fields import read_fields
from service.api.problems import problems
from service.api.translating import TranslateReply, asked_of, reply_to
from service.api.wishes import TranslateRequest

router = APIRouter(tags=["translation"])


@router.post(
    "/translate",
    response_model=TranslateReply,
    responses=problems(400, 408, 413, 415, 422, 500, 503, 504),
    openapi_extra=described_body(TranslateRequest),
)
async def translate(request: Request, state: State) -> JSONResponse:
    """Translate a text or an array of texts."""
    began = time.monotonic()
    with admitted(request, state) as model:
        fields = await read_fields(request, state.settings)
        for is_theirs, reply in _OTHER_CONTRACTS:
            if is_theirs(fields.values):
                return JSONResponse(await reply(request, state.settings, model, fields.values, began))
        asked = await asked_of(request, state, model, fields, TranslateRequest)
        return await reply_to(asked, await answered(request, state.settings, model, asked.wish, began))


_OTHER_CONTRACTS = ((extensions.is_deeplx, extensions.deeplx), (extensions.is_mtran, extensions.mtran))
"""Those that have this path too: whether a body is theirs, and what they answer."""
