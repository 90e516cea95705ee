"""POST /detect as LibreTranslate has it."""

from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from service.api.bodies import check_texts, described_body
from service.api.core import admitted
from service.api.dependencies import State
from service.api.fields import read_fields
from service.api.problems import problems
from service.api.visits import visit_of
from service.errors import InvalidRequestError, MissingFieldError
from service.text.detection import Guess, detector, in_its_script, source_of
from service.text.languages import Directions

router = APIRouter(tags=["translation"])

_MOST_GUESSES, _LEAST_CONFIDENCE = 3, 5.0
"""LibreTranslate tells three; what is less probable than that is no guess worth telling."""


class DetectRequest(BaseModel):
    """A text in some language. What else LibreTranslate's clients send is ignored."""

    q: str = Field(min_length=1, description="The text.", examples=["Bonjour tout le monde"])


class Detection(BaseModel):
    """A language the text may be in."""

    confidence: float = Field(description="0 to 100; 0 where the text has no letters.")
    language: str


@router.post("/detect", responses=problems(400, 408, 413, 415, 503), openapi_extra=described_body(DetectRequest))
async def detect(request: Request, state: State) -> list[Detection]:
    """The languages a text may be in, the one that `auto` takes first, at most three."""
    with admitted(request, state) as model:
        values = (await read_fields(request, state.settings)).values
        await visit_of(request).identify(values.get("api_key"))
        text = _text(values.get("q"))
        check_texts([text], state.settings)
        directions = model.translator.directions
        told = await model.translator.text_work.run(len(text), lambda: _guesses(text, directions))
        return [
            Detection(confidence=each.confidence, language=directions.find(each.language) or each.language)
            for each in told
        ]


def _guesses(text: str, directions: Directions) -> list[Guess]:
    """The one that `auto` would take, then others that are likely."""
    best = source_of(text, directions)
    others = (in_its_script(each, text, directions) for each in detector().guesses(text)[:_MOST_GUESSES])
    likely = [each for each in others if each.language != best.language and each.confidence >= _LEAST_CONFIDENCE]
    return [best, *likely][:_MOST_GUESSES]


def _text(value: Any) -> str:
    if value in (None, "", []):
        raise MissingFieldError("q")
    if not isinstance(value, str):
        raise InvalidRequestError("Invalid request: q parameter must be a string")
    return value
