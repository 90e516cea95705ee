"""Is the process alive, can it translate?"""

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from service.api.dependencies import State
from service.api.problems import problems
from service.errors import UnavailableError

router = APIRouter(tags=["operation"])


class Health(BaseModel):
    """LibreTranslate's answer."""

    status: Literal["ok"] = "ok"


class Live(BaseModel):
    """The process answers and no restart is needed."""

    live: Literal[True] = True


class Started(BaseModel):
    """Loading is over."""

    started: Literal[True] = True


class Ready(BaseModel):
    """What is being served."""

    ready: Literal[True] = True
    bundle: str
    version: str
    precision: str
    device: str
    provider: str
    fallback: str | None
    """Why the device is not the one that was wanted."""


@router.get("/health")
async def health() -> Health:
    """Whether the server answers, as LibreTranslate says it."""
    return Health()


@router.get("/health/live", responses=problems(503))
async def live(state: State) -> Live:
    """200 while the process is fine, also while the model loads; 503 when only a restart helps."""
    if not state.is_alive:
        raise UnavailableError(state.failure or "the engine has stopped")
    return Live()


@router.get("/health/startup", responses=problems(503))
async def startup(state: State) -> Started:
    """200 once the model has been loaded, whatever happens later; until then 503."""
    if not state.is_started:
        raise UnavailableError(state.failure or "the model is still loading")
    return Started()


@router.get("/health/ready", responses=problems(503))
async def ready(state: State) -> Ready:
    """200 while requests are answered: the model is loaded, checked and warmed up, and the service is not stopping.
    Says which model and what it really runs on."""
    if state.admission.is_closed:
        raise UnavailableError("the service is shutting down")
    model = state.model()
    manifest = model.manifest
    return Ready(
        bundle=manifest.name,
        version=manifest.version,
        precision=manifest.precision,
        device=model.device,
        provider=model.provider,
        fallback=model.fallback,
    )
