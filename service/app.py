"""Puts the parts together. Nothing here decides anything but how an error looks on the wire."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from service import __version__
from service.access.guard import Guard
from service.api import (
    deepl,
    detect,
    extensions,
    files,
    frontend,
    google,
    health,
    internals,
    languages,
    metrics,
    open_inference,
    pages,
    score,
    stream,
    translate,
)
from service.api.boundary import Boundary
from service.api.openapi import describe, operation_id
from service.api.shapes import shape_of, status_of
from service.assembly import assembled
from service.engine.loading import load_engine
from service.errors import InternalError, InvalidRequestError, MethodNotAllowedError, NotFoundError, ServiceError, shown
from service.files.store import FileStore
from service.logs import request_id
from service.models.making import EngineFactory
from service.models.watching import Watcher
from service.settings import Settings
from service.state import ServiceState
from service.tracing import Tracer, open_tracer

_log = logging.getLogger("attend")


def create_app(
    settings: Settings, engine_factory: EngineFactory = load_engine, on_failure: Callable[[], None] = lambda: None
) -> FastAPI:
    """The service for one bundle or many; `on_failure` is called if none can be loaded, or the engines of the last one
    not be started again.

    Its `state.service` is the `ServiceState`, for whoever runs the app.
    """
    state = _state(settings, engine_factory, on_failure)
    tracer = open_tracer(settings.otlp_endpoint, __version__)
    app = FastAPI(
        title="Attend",
        version=__version__,
        description='Machine translation over REST. Errors are `{"error": "..."}`, whatever the status.',
        docs_url=None,
        redoc_url=None,
        lifespan=_lifespan(state, tracer),
        servers=[{"url": "."}],
        generate_unique_id_function=operation_id,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.service = state
    app.state.file_progress = {}
    app.state.files = FileStore(settings.files, settings.max_files_bytes, settings.files_timeout_ms / 1000)
    contracts = (
        translate, detect, languages, files, frontend, score, internals, deepl, open_inference, google, extensions
    )  # fmt: skip
    for module in (*contracts, stream, health, metrics, pages):
        app.include_router(module.router)
    app.mount("/web", pages.PageFiles())
    app.add_exception_handler(HTTPException, _handle)

    async def translate_at_once(request: Request) -> Response:
        return await translate.translate(request, state)

    app.openapi = describe(app, state)  # type: ignore[method-assign]
    app.add_middleware(
        Boundary,
        metrics=state.metrics,
        settings=settings,
        guard=state.guard,
        tracer=tracer,
        answer_to=_answer_to,
        # Its route stays, for the description of the API. On the way to it a third of the time of a short request went.
        handlers={("POST", "/translate"): translate_at_once},
    )
    return app


def _state(settings: Settings, engine_factory: EngineFactory, on_failure: Callable[[], None]) -> ServiceState:
    state = ServiceState(settings, on_failure, Guard(settings.access_config()))
    state.models, close = assembled(settings, state.metrics, state.note_loaded, state.note_empty, engine_factory)
    state.closing.append(close)
    return state


def _lifespan(state: ServiceState, tracer: Tracer) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # In the background, so that /health/live answers meanwhile.
        loading = asyncio.create_task(state.load())
        await app.state.files.sweep()
        watching = asyncio.create_task(_watch(state, loading))
        yield
        watching.cancel()
        if not state.is_started:
            loading.cancel()
        await asyncio.gather(loading, return_exceptions=True)
        await state.close()
        app.state.files.close()
        await asyncio.to_thread(tracer.close)

    return lifespan


async def _watch(state: ServiceState, loading: asyncio.Task[None]) -> None:
    settings = state.settings
    if settings.models is not None and settings.watch_ms:
        await asyncio.wait([loading])
        await Watcher(settings.models, state.models).watch(settings.watch_ms / 1000)


async def _handle(request: Request, error: Exception) -> JSONResponse:
    return _answer_to(error, request)


def _answer_to(error: Exception, request: Request) -> JSONResponse:
    """The one place where an exception becomes a reply."""
    problem = _problem(error, request)
    if problem.rejection is not None:
        request.app.state.service.metrics.count_rejection(problem.rejection)
    return JSONResponse(shape_of(request)(problem), status_of(request, problem), problem.headers)


def _problem(error: Exception, request: Request) -> ServiceError:
    if isinstance(error, ServiceError):
        return error
    if isinstance(error, HTTPException):
        where = f"{request.method} {shown(request.url.path)}"
        headers = dict(error.headers or {})
        if error.status_code == NotFoundError.status:
            return NotFoundError(f"{where}: no such endpoint; /docs describes those there are", headers)
        if error.status_code == MethodNotAllowedError.status:
            allowed = headers.get("Allow", "another method")
            return MethodNotAllowedError(f"{where}: this endpoint takes {allowed}", headers)
        return InvalidRequestError(shown(error.detail), headers)
    _log.error("request %s failed", request_id.get(), exc_info=error)
    return InternalError(request_id.get())
