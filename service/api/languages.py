"""GET /languages as LibreTranslate has it."""

from fastapi import APIRouter
from pydantic import BaseModel

from service.api.dependencies import State
from service.api.problems import problems
from service.text.languages import language_name

router = APIRouter(tags=["translation"])


class Language(BaseModel):
    """A language that can be translated from, and into what."""

    code: str
    name: str
    targets: list[str]


@router.get("/languages", responses=problems(503))
async def languages(state: State) -> list[Language]:
    """Every language that can be translated from, with the languages it can be translated to."""
    directions = state.model().translator.directions
    return [
        Language(code=code, name=language_name(code), targets=list(directions.targets(code)))
        for code in directions.sources
    ]
