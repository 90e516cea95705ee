"""POST /score: how likely the model finds a translation from anywhere, token by token, and where it looks."""

import asyncio
import time
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from service.api.bodies import (
    MODEL_FIELD,
    ModelField,
    PairRequest,
    Texts,
    TimeoutMs,
    check_texts,
    check_timeout,
    described_body,
    language_pair,
    texts_of,
    validate,
)
from service.api.boundary import server_timing
from service.api.dependencies import State
from service.api.details import (
    WANTED_FIELDS,
    AlignmentFlag,
    AttentionField,
    DetailedResponse,
    Segment,
    segments_of,
    wanted,
)
from service.api.problems import problems
from service.api.requests import read_json_object, unless_disconnected
from service.api.visits import visit_of
from service.errors import InvalidRequestError
from service.explain.details import DetailOptions, Inspection
from service.explain.inspector import Inspector
from service.text.reading import Reader

router = APIRouter(tags=["translation"])

_OWN_FIELDS = {"timeout_ms": "a positive integer", "model": MODEL_FIELD, **WANTED_FIELDS}


class ScoreRequest(PairRequest):
    """A text and its translation, or arrays of as many of both. Each text is one sentence for the model."""

    translation: Texts = Field(description="What is scored; an array if `q` is one.", examples=["I love you"])
    alignment: AlignmentFlag = None
    attention: AttentionField = None
    timeout_ms: TimeoutMs = None
    model: ModelField = None

    @property
    def translations(self) -> tuple[str, ...]:
        """`translation` as a sequence, whichever shape it came in."""
        return texts_of(self.translation)


class ScoreReply(BaseModel):
    """As `segments` of /translate: for a string a list with one segment, for an array a list of such lists."""

    segments: list[Segment] | list[list[Segment]]


@router.post(
    "/score",
    response_model=ScoreReply,
    responses=problems(400, 408, 413, 415, 422, 500, 503, 504),
    openapi_extra=described_body(ScoreRequest),
)
async def score(request: Request, state: State) -> JSONResponse:
    """Log-probabilities of a given translation. They are the model's own: shared among the whole vocabulary, divided
    by the number of tokens for `score`."""
    began = time.monotonic()
    with state.admission, state.held() as model:
        model.translator.check_room_to_score()
        body = validate(ScoreRequest, await read_json_object(request, state.settings), _OWN_FIELDS)
        _check_shapes(body)
        check_texts((*body.texts, *body.translations), state.settings)
        check_timeout(body.timeout_ms, state.settings)
        translator = model.translator.only(body.model)
        source, target = language_pair(body.source, body.target, translator.directions)
        visit = visit_of(request)
        await visit.scoring(sum(map(len, (*body.texts, *body.translations))))
        deadline = began + (body.timeout_ms or state.settings.max_timeout_ms) / 1000
        async with (
            visit.running(len(body.texts)),
            translator.scoring(source, target, deadline) as (inspector, reader, own_target),
        ):
            work = _scored(inspector, body, reader, own_target, deadline)
            inspections, seconds = await unless_disconnected(request, work)
        return await asyncio.to_thread(_reply, body, inspections, seconds)


def _check_shapes(body: ScoreRequest) -> None:
    same = isinstance(body.q, str) == isinstance(body.translation, str)
    if not same or len(body.texts) != len(body.translations):
        raise InvalidRequestError(
            "Invalid request: q and translation parameters must be two strings or equally long arrays"
        )


async def _scored(
    inspector: Inspector, body: ScoreRequest, reader: Reader, target: str, deadline: float
) -> tuple[list[Inspection], float]:
    """What was asked for, done, and the seconds the scorer took."""
    inspections = await asyncio.to_thread(
        _inspections, inspector, body, reader, target, wanted(body.alignment, body.attention)
    )
    scoring = time.monotonic()
    return await inspector.run(inspections, deadline), time.monotonic() - scoring


def _inspections(
    inspector: Inspector, body: ScoreRequest, reader: Reader, target: str, wish: DetailOptions
) -> list[Inspection]:
    pairs = zip(body.texts, body.translations, strict=True)
    return [inspector.of_pair(text, translation, reader, target, wish) for text, translation in pairs]


def _reply(body: ScoreRequest, inspections: list[Inspection], seconds: float) -> JSONResponse:
    segments: list[Any] = segments_of([each] for each in inspections)
    reply = {"segments": segments[0] if isinstance(body.q, str) else segments}
    return DetailedResponse(reply, headers={"Server-Timing": server_timing(score=seconds)})
