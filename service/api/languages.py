"""GET /languages as LibreTranslate has it."""

import functools

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field, TypeAdapter

from service.api.dependencies import State
from service.api.problems import problems
from service.text.languages import chosen_locale, language_name

router = APIRouter(tags=["translation"])


class Language(BaseModel):
    """A language that can be translated from, and into what."""

    code: str
    name: str = Field(description="In the language that `Accept-Language` asks for.")
    targets: list[str]


@router.get("/languages", response_model=list[Language], responses=problems(503))
async def languages(request: Request, state: State) -> Response:
    """Every language that can be translated from, with the languages it can be translated to. One that is only
    translated to is there too, with itself: clients choose their target among the codes of this list."""
    model = state.model()
    locale = chosen_locale(_accepted(request.headers.get("accept-language", "")))
    pairs, names = model.translator.directions.pairs, tuple(sorted(model.translator.language_names.items()))
    return Response(_listed(pairs, names, locale), media_type="application/json")


@functools.lru_cache(maxsize=32)
def _listed(pairs: tuple[tuple[str, str], ...], names: tuple[tuple[str, str], ...], locale: str) -> bytes:
    """The reply, made once: of 200 languages there are 40,000 pairs. `names` are the bundle's, for languages that our
    table has not."""
    targets: dict[str, list[str]] = {}
    for source, target in pairs:
        targets.setdefault(source, []).append(target)
    for _, target in pairs:
        targets.setdefault(target, [target])
    own = dict(names)

    def name(code: str) -> str:
        known = language_name(code, locale)
        return own.get(code, known) if known == code else known

    listed = [Language(code=code, name=name(code), targets=its_targets) for code, its_targets in targets.items()]
    return TypeAdapter(list[Language]).dump_json(listed)


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
