"""POST /internals/search and /internals: what happens inside the network for one sentence, for the page `/learn`."""

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field, StrictBool, StrictInt

from service.api.bodies import (
    MODEL_FIELD,
    WHOLE,
    ModelField,
    PairRequest,
    Text,
    check_texts,
    described_body,
    language_pair,
    validate,
)
from service.api.dependencies import State
from service.api.details import DetailedResponse
from service.api.problems import problems
from service.api.requests import read_json_object, unless_disconnected
from service.api.visits import visit_of
from service.arrays import Array
from service.engine.internals import Fate, Internals, InternalsJob, SearchRecord
from service.engine.scores import AttentionKind
from service.engine.types import FinishReason
from service.errors import ForbiddenError, InvalidFieldError
from service.explain.attention import attention_stacks
from service.internals import Inside, Wanted
from service.settings import variable

router = APIRouter(tags=["translation"])

_DECIMALS = 5
_OWN_FIELDS = {
    "q": "one sentence, a string that is not empty",
    "beam_size": "an integer from 1 to 8",
    "target_ids": "an array of token numbers, as /internals/search tells them",
    "kind": "encoder, decoder or cross",
    "layer": "a number from 0",
    "head": "a number from 0",
    "embedding": "true or false",
    "model": MODEL_FIELD,
}
_PROBLEMS = problems(400, 403, 404, 408, 413, 415, 422, 500, 503, 504)
_Index = Annotated[StrictInt, Field(ge=0), WHOLE]


class SearchRequest(PairRequest):
    """One sentence to translate, every step of the search told."""

    q: Text = Field(min_length=1, description="One sentence, of at most 48 tokens.", examples=["我爱你"])
    beam_size: Annotated[StrictInt, Field(ge=1, le=8), WHOLE] | None = Field(
        None, description="Beams; default: the setting `ATTEND_BEAM_SIZE`."
    )
    model: ModelField = None


class InternalsRequest(PairRequest):
    """One sentence, its translation as token numbers, and the head that is looked at."""

    q: Text = Field(min_length=1, description="One sentence, of at most 48 tokens.", examples=["我爱你"])
    target_ids: tuple[_Index, ...] = Field(description="As /internals/search tells them; a beginning of them will do.")
    kind: AttentionKind = Field("cross", description="Which of the three attentions.")
    layer: _Index | None = Field(None, description="From 0; default: the last.")
    head: _Index = Field(0, description="From 0.")
    embedding: StrictBool = Field(False, description="Whether the vectors of tokens and positions are told too.")
    model: ModelField = None


class Candidate(BaseModel):
    """A continuation that a step of the search ranked."""

    beam: int = Field(description="What it continues: the number of a candidate `kept` in the step before, from 0.")
    token: str
    token_log_prob: float
    log_prob: float = Field(description="Of the whole hypothesis: a sum of natural logarithms.")
    fate: Fate


class Found(BaseModel):
    """A translation that the search ended."""

    target_ids: list[int]
    tokens: list[str]
    text: str
    log_prob: float
    score: float = Field(description="By which they are ranked: `log_prob` by the number of tokens.")
    finish_reason: FinishReason


class SearchReply(BaseModel):
    """How the sentence was found."""

    source_tokens: list[str]
    beam_size: int
    stacks: dict[AttentionKind, tuple[int, int]] = Field(description="Layers, and heads in each, that look so.")
    steps: list[list[Candidate]]
    hypotheses: list[Found] = Field(description="Best first.")


class Next(BaseModel):
    """A token that could stand at a place, and its natural logarithm of a probability."""

    token: str
    log_prob: float


Matrix = list[list[float]]


class InternalsReply(BaseModel):
    """What one head does: queries by keys, scaled, softmax, and the values that are mixed so."""

    kind: AttentionKind
    layer: int
    head: int
    source_tokens: list[str]
    target_tokens: list[str] = Field(description="As they are predicted, the end token last.")
    rows: list[str] = Field(description="Whose queries these are: what the layer reads at each place.")
    columns: list[str] = Field(description="Whose keys and values these are.")
    query: Matrix
    key: Matrix
    value: Matrix
    products: Matrix = Field(description="Each query by each key.")
    scores: Matrix = Field(description="The products by the root of the head's width, before the mask.")
    weights: Matrix = Field(description="The softmax of the scores: each row sums to 1.")
    heads: list[Matrix] = Field(description="The weights of every head of the layer.")
    token_log_probs: list[float | None] = Field(
        description="Of `target_tokens`, shared among the whole vocabulary; null: the model can never write it."
    )
    next: list[list[Next]] = Field(description="The likeliest tokens for each place, best first.")
    embedding: (
        dict[Literal["source_tokens", "source_positions", "target_tokens", "target_positions"], Matrix] | None
    ) = Field(None, description="Vectors that are added up and read by the first layers.")


@router.post(
    "/internals/search", response_model=SearchReply, responses=_PROBLEMS, openapi_extra=described_body(SearchRequest)
)
async def search(request: Request, state: State) -> JSONResponse:
    """Translate one sentence and tell every step of the beam search. Off unless `ATTEND_INTERNALS` is set."""
    async with _inside(request, state, SearchRequest) as (inside, _, deadline):
        record = await unless_disconnected(request, inside.search(deadline))
        return await asyncio.to_thread(_search_reply, inside, record)


@router.post(
    "/internals", response_model=InternalsReply, responses=_PROBLEMS, openapi_extra=described_body(InternalsRequest)
)
async def internals(request: Request, state: State) -> JSONResponse:
    """The numbers of one attention head for a sentence and its translation. Off unless `ATTEND_INTERNALS` is set; 404
    for a bundle without the graph that it needs."""
    async with _inside(request, state, InternalsRequest) as (inside, body, deadline):
        wanted = Wanted(**{name: getattr(body, name) for name in ("target_ids", "kind", "layer", "head", "embedding")})
        job, found = await unless_disconnected(request, inside.look(wanted, deadline))
        return await asyncio.to_thread(_internals_reply, inside, job, found)


_Body = TypeVar("_Body", SearchRequest, InternalsRequest)


@contextlib.asynccontextmanager
async def _inside(request: Request, state: State, schema: type[_Body]) -> AsyncIterator[tuple[Inside, _Body, float]]:
    """The sentence of a request, admitted and counted, what else it says, and until when it is to be answered."""
    began = time.monotonic()
    if not state.settings.internals:
        raise ForbiddenError(f"this service cannot be looked into; {variable('internals')}=true allows it")
    with state.admission, state.held() as model:
        model.translator.check_room_to_score()
        body = validate(schema, await read_json_object(request, state.settings), _OWN_FIELDS)
        check_texts([body.q], state.settings)
        translator = model.translator.only(body.model)
        source, target = language_pair(body.source, body.target, translator.directions)
        beam_size = _beam_size(body, state)
        visit = visit_of(request)
        await visit.scoring(len(body.q))
        deadline = began + state.settings.max_timeout_ms / 1000
        async with visit.running(1), translator.by_itself(source, target, deadline, "shows") as (one, hop):
            yield await asyncio.to_thread(Inside.of, one, body.q, hop.source, hop.target, beam_size), body, deadline


def _beam_size(body: SearchRequest | InternalsRequest, state: State) -> int:
    asked = getattr(body, "beam_size", None) or state.settings.usual_beam_size
    if asked > state.settings.max_beam_size:
        raise InvalidFieldError(f"beam_size must be at most {state.settings.max_beam_size}, the limit of this service")
    return int(asked)


def _search_reply(inside: Inside, record: SearchRecord) -> JSONResponse:
    steps = []
    for step in record.steps:
        columns = (step.origins, inside.tokens(step.token_ids), step.token_log_probs, step.log_probs, step.fates)
        names = ("beam", "token", "token_log_prob", "log_prob", "fate")
        steps.append([dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)])
    eos = inside.manifest.special_ids.eos
    hypotheses = [
        {
            "target_ids": each.target_ids,
            "tokens": inside.tokens((*each.target_ids, *([eos] if each.finish_reason == "eos" else []))),
            "text": inside.translator.vocabulary.decode(each.target_ids).strip(),
            "log_prob": each.log_prob,
            "score": each.score,
            "finish_reason": each.finish_reason,
        }
        for each in record.hypotheses
    ]
    return DetailedResponse(
        {
            "source_tokens": inside.source_tokens,
            "beam_size": inside.job.options.beam_size,
            "stacks": attention_stacks(inside.manifest),
            "steps": steps,
            "hypotheses": hypotheses,
        }
    )


def _internals_reply(inside: Inside, job: InternalsJob, found: Internals) -> JSONResponse:
    special = inside.manifest.special_ids
    source = inside.source_tokens
    target = inside.tokens((*job.target_ids, special.eos))
    read = inside.tokens((special.bos, *job.target_ids))
    rows, columns = {"encoder": (source, source), "decoder": (read, read), "cross": (read, source)}[job.kind]
    likeliest = zip(found.next_ids.tolist(), found.next_log_probs.tolist(), strict=True)
    reply: dict[str, Any] = {
        "kind": job.kind,
        "layer": job.layer,
        "head": job.head,
        "source_tokens": source,
        "target_tokens": target,
        "rows": rows,
        "columns": columns,
        **_rounded(found.parts),
        "heads": [_matrix(each) for each in found.heads],
        "token_log_probs": [
            round(each, _DECIMALS) if math.isfinite(each) else None for each in found.token_log_probs.tolist()
        ],
        "next": [
            [
                {"token": token, "log_prob": round(log_prob, _DECIMALS)}
                for token, log_prob in zip(inside.tokens(ids), log_probs, strict=True)
            ]
            for ids, log_probs in likeliest
        ],
    }
    if job.embedding:
        reply["embedding"] = _rounded(found.embedding)
    return DetailedResponse(reply)


def _rounded(arrays: Mapping[str, Array]) -> dict[str, Any]:
    return {name: _matrix(array) for name, array in arrays.items()}


def _matrix(array: Array) -> Any:
    return np.round(array.astype(np.float64), _DECIMALS).tolist()
