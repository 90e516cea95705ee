"""What LibreTranslate's own page and its clients ask for beside translations: /frontend/settings, /suggest, /spec."""

from typing import Any, NoReturn

from fastapi import APIRouter, Request
from pydantic import BaseModel

from service.api.dependencies import State
from service.api.problems import problems
from service.errors import ForbiddenError
from service.files.formats import FORMATS
from service.text.languages import AUTO, language_name

router = APIRouter(tags=["translation"])


class NamedLanguage(BaseModel):
    """A language to begin with."""

    code: str
    name: str


class FirstLanguages(BaseModel):
    """The languages a page begins with."""

    source: NamedLanguage
    target: NamedLanguage


class FrontendSettings(BaseModel):
    """What a page must know of the service beside its languages, as LibreTranslate says it, and `maxAlternatives`."""

    charLimit: int
    frontendTimeout: int = 500
    """Milliseconds without a key after which LibreTranslate's page translates."""
    apiKeys: bool
    keyRequired: bool
    suggestions: bool = False
    filesTranslation: bool
    supportedFilesFormat: list[str]
    language: FirstLanguages
    maxAlternatives: int


@router.get("/frontend/settings", responses=problems(503))
async def frontend_settings(request: Request, state: State) -> FrontendSettings:
    """The limits of one request and what is switched on."""
    _, target = state.model().translator.directions.pairs[0]
    files: bool = request.app.state.files.is_open
    return FrontendSettings(
        charLimit=state.settings.max_characters,
        apiKeys=state.guard.has_keys,
        keyRequired=state.guard.needs_key,
        filesTranslation=files,
        supportedFilesFormat=list(FORMATS) if files else [],
        language=FirstLanguages(
            source=NamedLanguage(code=AUTO, name="Auto Detect"),
            target=NamedLanguage(code=target, name=language_name(target)),
        ),
        maxAlternatives=state.settings.max_alternatives,
    )


@router.post("/suggest", response_model=None, responses=problems(403))
async def suggest() -> NoReturn:
    """Always 403, as LibreTranslate where suggestions are switched off: this service keeps no text."""
    raise ForbiddenError("Suggestions are disabled on this server.")


@router.get("/spec", include_in_schema=False)
async def spec(request: Request) -> dict[str, Any]:
    """The description of the API, where LibreTranslate has its own."""
    described: dict[str, Any] = request.app.openapi()
    return described
