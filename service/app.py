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
from service.engine.cache import Cache
from service.engine.loading import LoadedEngine, load_engine
from service.errors import InternalError, InvalidRequestError, MethodNotAllowedError, NotFoundError, ServiceError, shown
from service.explain.inspector import Inspector
from service.files.store import FileStore
from service.logs import request_id
from service.metrics import Metrics
from service.settings import Settings
from service.state import EngineFactory, ServiceState
from service.text.detection import detector
from service.text.languages import Directions
from service.text.reading import readers_of
from service.tracing import Tracer, open_tracer
from service.translator import Translator

_log = logging.getLogger("attend")


def make_translator(loaded: LoadedEngine, settings: Settings, metrics: Metrics) -> Translator:
    """The translator on top of loaded engines."""
    manifest = loaded.manifest
    detector()  # read now, and not under the first request
    cache = None
    if settings.cache_bytes:
        cache = Cache(loaded.pool, settings.cache_bytes, metrics.count_cached)
        metrics.watch_cache(lambda: cache.bytes)
    directions = Directions.parse(manifest.pairs())
    return Translator(
        pool=loaded.pool,
        vocabulary=loaded.vocabulary,
        directions=directions,
        readers=readers_of(directions, loaded.vocabulary, manifest.tokenizer),
        limits=manifest.limits,
        metrics=metrics,
        max_tokens=settings.max_tokens,
        inspector=Inspector(loaded.scorer, manifest, loaded.vocabulary),
        cache=cache,
    )


def create_app(
    settings: Settings, engine_factory: EngineFactory = load_engine, on_failure: Callable[[], None] = lambda: None
) -> FastAPI:
    """The service for one bundle; `on_failure` is called if it cannot be loaded, or its engines not be started again.

    Its `state.service` is the `ServiceState`, for whoever runs the app.
    """
    state = ServiceState(settings, engine_factory, make_translator, on_failure, Guard(settings.access_config()))
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
    contracts = (translate, detect, languages, files, frontend, score, deepl, open_inference, google, extensions)
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


def _lifespan(state: ServiceState, tracer: Tracer) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # In the background, so that /health/live answers meanwhile.
        loading = asyncio.create_task(state.load())
        await app.state.files.sweep()
        yield
        if not state.is_started:
            loading.cancel()
        await asyncio.gather(loading, return_exceptions=True)
        await state.close()
        app.state.files.close()
        await asyncio.to_thread(tracer.close)

    return lifespan


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
