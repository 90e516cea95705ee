"""Is the process alive, can it translate?"""

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from service.api.dependencies import State
from service.api.problems import problems
from service.errors import UnavailableError
from service.state import device_of

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


@router.get("/health/ready", responses=problems(404, 503))
async def ready(state: State, model: str | None = None) -> Ready:
    """200 while requests are answered: a model is loaded, checked and warmed up, and the service is not stopping. Says
    which model and what it really runs on. `?model=` asks for one of several, `name` or `name@version`."""
    if state.admission.is_closed:
        raise UnavailableError("the service is shutting down")
    seen = state.model()
    entry = seen.default if model is None else seen.translator.entry(model)
    if entry.memory is None or not entry.is_ready:
        raise UnavailableError(f"the model {entry.model} is {entry.state}")
    return Ready(
        bundle=entry.manifest.name,
        version=entry.manifest.version,
        precision=entry.manifest.precision,
        device=device_of(entry),
        provider=entry.memory.engine.ready.provider,
        fallback=entry.memory.engine.ready.fallback,
    )
