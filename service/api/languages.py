"""GET /languages as LibreTranslate has it."""

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from service.api.dependencies import State
from service.api.problems import problems
from service.text.languages import chosen_locale, language_name

router = APIRouter(tags=["translation"])


class Language(BaseModel):
    """A language that can be translated from, and into what."""

    code: str
    name: str = Field(description="In the language that `Accept-Language` asks for.")
    targets: list[str]


@router.get("/languages", responses=problems(503))
async def languages(request: Request, state: State) -> list[Language]:
    """Every language that can be translated from, with the languages it can be translated to. One that is only
    translated to is there too, with itself: clients choose their target among the codes of this list."""
    targets: dict[str, list[str]] = {}
    pairs = state.model().translator.directions.pairs
    for source, target in pairs:
        targets.setdefault(source, []).append(target)
    for _, target in pairs:
        targets.setdefault(target, [target])
    locale = chosen_locale(_accepted(request.headers.get("accept-language", "")))
    return [
        Language(code=code, name=language_name(code, locale), targets=its_targets)
        for code, its_targets in targets.items()
    ]


def _accepted(header: str) -> list[str]:
    """Codes of an `Accept-Language`, the most wanted first; those of weight 0 are not wanted."""
    weighted = [_weighted(part) for part in header[:1000].split(",")]
    return [code for weight, code in sorted(weighted, key=lambda pair: -pair[0]) if weight > 0]


def _weighted(part: str) -> tuple[float, str]:
    code, _, weight = part.partition(";")
    try:
        return float(weight.strip().removeprefix("q=") or 1), code.strip()
    except ValueError:
        return 0.0, code.strip()
