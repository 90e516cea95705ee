"""What operators ask: /admin/models and /admin/reload. An app of its own, for a port that only this machine reaches."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from service.errors import ForbiddenError, ServiceError, UnavailableError

if TYPE_CHECKING:
    from service.models.registry import Changes
    from service.state import ServiceState

_LOCAL = ("127.0.0.1", "localhost", "[::1]")


def create_admin(state: ServiceState) -> Starlette:
    """The app; replies are what has changed, errors `{"error": "..."}`."""

    async def models(request: Request) -> JSONResponse:
        await _admit(request, state)
        return JSONResponse({"models": [_told(entry) for entry in state.models.entries.values()]})

    async def load(request: Request) -> JSONResponse:
        return _reply(await (await _ready(request, state)).models.load(request.path_params["name"]))

    async def unload(request: Request) -> JSONResponse:
        return _reply(await (await _ready(request, state)).models.unload(request.path_params["name"]))

    async def reload(request: Request) -> JSONResponse:
        changes = await (await _ready(request, state)).models.reload()
        return _reply(changes, 422 if changes.refused else 200)

    return Starlette(
        routes=[
            Route("/admin/models", models, methods=["GET"]),
            Route("/admin/models/{name}/load", load, methods=["POST"]),
            Route("/admin/models/{name}/unload", unload, methods=["POST"]),
            Route("/admin/reload", reload, methods=["POST"]),
        ],
        exception_handlers={ServiceError: _told_error, HTTPException: _told_error},
    )


def _told(entry: Any) -> dict[str, Any]:
    return {
        "name": entry.model.name,
        "version": entry.model.version,
        "state": entry.state,
        "reason": entry.failure or "",
        "directory": str(entry.directory),
        "bytes": entry.size,
        "users": entry.users,
    }


def _check_origin(request: Request) -> None:
    """Pages in a browser on this machine can reach the port too, by its address or by a name that they give it."""
    host = request.headers.get("host", "").rpartition(":")[0] or request.headers.get("host", "")
    if "origin" in request.headers or host not in _LOCAL:
        raise ForbiddenError("this port is not for web pages")


async def _admit(request: Request, state: ServiceState) -> None:
    """Raises what keeps the request out: it comes from a web page, or keys are asked for and it has none for this."""
    _check_origin(request)
    client, query = request.client, request.scope["query_string"]
    peer = client.host if client else None
    await state.guard.visit(request.url.path, request.headers, query, peer, is_private=True).enter()


async def _ready(request: Request, state: ServiceState) -> ServiceState:
    await _admit(request, state)
    if not state.is_started or state.admission.is_closed:
        raise UnavailableError("the service is starting or stopping")
    return state


def _reply(changes: Changes, status: int = 200) -> JSONResponse:
    return JSONResponse(dataclasses.asdict(changes), status)


async def _told_error(request: Request, error: Exception) -> JSONResponse:
    if isinstance(error, HTTPException):
        return JSONResponse({"error": f"{request.method} {request.url.path}: {error.detail}"}, error.status_code)
    assert isinstance(error, ServiceError)
    return JSONResponse({"error": str(error)}, error.status, error.headers)
