"""What happens to every request whatever its path: an id, CORS headers, HEAD, a body limit, compression, a count, a
line in the log, and always an answer."""

import logging
import random
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.access.guard import Guard, Visit
from service.api.cors import Cors, HeaderPairs
from service.api.requests import declared_length
from service.api.security import security_headers
from service.api.visits import set_visit
from service.errors import (
    BodyTooLargeError,
    ClientGoneError,
    DeadlineExceededError,
    InvalidRequestError,
    UnavailableError,
)
from service.logs import request_id, trace_id
from service.metrics import Endpoint, Metrics, Outcome
from service.settings import Settings
from service.tracing import Tracer

_log = logging.getLogger("attend.requests")

ARRIVED = "attend.arrived"
"""Where a scope says when the request's headers came, in seconds of `time.monotonic`; a server need not say it."""

REFUSED = "attend.refused"
"""Where a scope says that the request is no HTTP behind its headers, and what is wrong with it."""

SMALLEST_PACKED = 1024
"""Bytes of a reply from which on it is compressed for who takes that."""
_PACKING_LEVEL = 5
"""Of 9: half the time of the highest, 2 % more bytes of JSON."""
_ENDPOINTS: dict[str, Endpoint] = {
    "translate": "translate",
    "detect": "detect",
    "score": "score",
    "internals": "internals",
    "translate_file": "file",
    "download_file": "file",
    "v2": "infer",
    "v2/translate": "deepl",
    "v2/languages": "deepl",
    "v2/usage": "deepl",
    "language": "google",
    "google": "google",
    "imme": "extension",
    "kiss": "extension",
    "deeplx": "extension",
    "languages": "languages",
    "health": "health",
    "metrics": "metrics",
    "docs": "docs",
    "openapi.json": "docs",
    "spec": "docs",
    "": "page",
    "learn": "page",
    "status": "page",
    "web": "page",
    "frontend": "page",
}
_OUTCOMES: dict[int, Outcome] = {
    ClientGoneError.status: "cancelled",
    UnavailableError.status: "refused",
    DeadlineExceededError.status: "deadline",
}
# Asked for by machines every few seconds.
_QUIET: tuple[Endpoint, ...] = ("health", "metrics")
# What a caller may name its request: nothing that could be mistaken for something else in a log or a header.
_CALLERS_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


Handler = Callable[[Request], Awaitable[Response]]


class Boundary:
    """The outermost layer of the app."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        metrics: Metrics,
        settings: Settings,
        guard: Guard,
        tracer: Tracer,
        answer_to: Callable[[Exception, Request], Response],
        handlers: Mapping[tuple[str, str], Handler],
    ) -> None:
        """`handlers`, by method and path, are called without the way through the app's routes."""
        self._app = app
        self._handlers = handlers
        self._metrics = metrics
        self._guard = guard
        self._tracer = tracer
        self._slow_seconds = settings.slow_request_ms / 1000
        self._max_body_bytes = settings.max_body_bytes
        self._max_file_bytes = settings.max_file_bytes
        self._cors = Cors(settings.cors_origins)
        self._root_path = settings.root_path
        self._answer_to = answer_to
        self._packing = GZipMiddleware(self._dispatch, SMALLEST_PACKED, _PACKING_LEVEL)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "http":
            await self._serve(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = scope.get(ARRIVED, time.monotonic())
        # A copy: the server goes on to read its own.
        scope = {**scope, "path": _plain_path(scope["path"], self._root_path)}
        headers = Headers(scope=scope)
        cors = self._cors.headers(headers)
        reply = _Reply(send, began, cors, without_body=scope["method"] == "HEAD")
        known = request_id.set(_request_id(scope))
        trace = self._tracer.begin(headers, began)
        traced = trace_id.set(trace.id)
        try:
            await self._answer(scope, _limited(receive, self._limit(scope)), reply)
        finally:
            # Without a status the request was cancelled before anything was sent.
            status = reply.status or ClientGoneError.status
            self._note(scope, status, time.monotonic() - began, reply.visit.parts if reply.visit else {})
            stretches = reply.visit.stretches if reply.visit else ()
            trace.end(f"{scope['method']} {_endpoint(scope['path'])}", status, stretches, _attributes(scope))
            trace_id.reset(traced)
            request_id.reset(known)

    def _limit(self, scope: Scope) -> int:
        """Bytes of a body."""
        return self._max_file_bytes if scope["path"] == "/translate_file" else self._max_body_bytes

    async def _answer(self, scope: Scope, receive: Receive, reply: "_Reply") -> None:
        inner = scope
        try:
            if REFUSED in scope:
                raise InvalidRequestError(scope[REFUSED], {"Connection": "close"})
            if scope["method"] == "OPTIONS":
                await Response(status_code=HTTPStatus.NO_CONTENT)(scope, receive, reply)
                return
            if (declared_length(Headers(scope=scope)) or 0) > self._limit(scope):
                raise BodyTooLargeError(self._limit(scope))
            reply.visit = visit = self._visit(scope)
            set_visit(scope, visit)
            await visit.enter()
            if scope["method"] == "HEAD":
                inner = {**scope, "method": "GET"}
            # Only what can be kept by others must say that it differs for who cannot unpack it.
            packs = inner["method"] == "GET" or _takes_gzip(scope)
            await (self._packing if packs else self._dispatch)(inner, receive, reply)
        except Exception as error:
            if reply.status is not None:
                raise
            await self._answer_to(error, Request(inner))(scope, receive, reply)

    def _visit(self, scope: Scope) -> Visit:
        """Who comes, for what, on which port."""
        client, server = scope.get("client"), scope.get("server")
        is_private = server is not None and server[1] in self._guard.private_ports
        headers = Headers(scope=scope)
        return self._guard.visit(
            scope["path"], headers, scope["query_string"], client[0] if client else None, is_private=is_private
        )

    async def _dispatch(self, scope: Scope, receive: Receive, send: Send) -> None:
        handler = self._handlers.get((scope["method"], scope["path"]))
        if handler is None:
            await self._app(scope, receive, send)
            return
        response = await handler(Request(scope, receive))
        await response(scope, receive, send)

    def _note(self, scope: Scope, status: int, seconds: float, parts: Mapping[str, float]) -> None:
        endpoint, outcome = _endpoint(scope["path"]), _outcome(status)
        self._metrics.observe_request(endpoint, outcome, seconds)
        # Under overload a line for each refusal would cost a quarter of what refusing costs; the metrics count them.
        level = logging.DEBUG if endpoint in _QUIET or outcome == "refused" else logging.INFO
        if _log.isEnabledFor(level):
            fields = {
                "endpoint": endpoint,
                "method": scope["method"],
                "status": status,
                "outcome": outcome,
                "duration_ms": round(1000 * seconds, 2),
            }
            _log.log(level, "request", extra={"fields": fields})
        if self._slow_seconds and seconds >= self._slow_seconds:
            told = {f"{name}_ms": round(1000 * part, 2) for name, part in parts.items()}
            fields = {"endpoint": endpoint, "status": status, "duration_ms": round(1000 * seconds, 2), **told}
            _log.warning("slow request", extra={"fields": fields})


def _attributes(scope: Scope) -> dict[str, str]:
    """What a span says of a request; never its path, which may have a key behind it, and never an address."""
    return {"http.request.method": scope["method"], "attend.request_id": request_id.get()}


class _Reply:
    """Sends on, adding the headers every reply has; remembers the status."""

    def __init__(self, send: Send, began: float, cors: HeaderPairs, *, without_body: bool) -> None:
        self._send = send
        self._began = began
        self._cors = cors
        self._without_body = without_body
        self.status: int | None = None
        self.visit: Visit | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            rates = self.visit.headers if self.visit else {}
            # Plain pairs: starlette's headers look for each name among all the others.
            given = list(message.get("headers", ()))
            message["headers"] = [
                *given,
                *security_headers(given),
                *self._cors,
                *((name.lower().encode(), value.encode()) for name, value in rates.items()),
                (b"x-request-id", request_id.get().encode()),
                (b"server-timing", server_timing(total=time.monotonic() - self._began).encode()),
            ]
        elif self._without_body and message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await self._send(message)


def server_timing(**seconds: float) -> str:
    """A value of the header of this name: `total;dur=12.34`, in milliseconds."""
    return ", ".join(f"{name};dur={1000 * value:.2f}" for name, value in seconds.items())


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        text: str = value.decode("latin-1")
        if name == b"x-request-id" and _CALLERS_ID.fullmatch(text):
            return text
    return f"{random.getrandbits(128):032x}"  # unique, not secret: the system's randomness costs ten times as much


def _limited(receive: Receive, limit: int) -> Receive:
    """`receive` that stops at a body longer than it may be, for senders that declare no length."""
    received = 0

    async def counted() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > limit:
            raise BodyTooLargeError(limit)
        return message

    return counted


def _plain_path(path: str, root: str) -> str:
    """The path as routes have it: below the root, without a slash too many."""
    if "//" in path or path[-1:] == "/":
        path = "/" + "/".join(part for part in path.split("/") if part)
    if root and (path == root or path.startswith(root + "/")):
        return path[len(root) :] or "/"
    return path


def _takes_gzip(scope: Scope) -> bool:
    return any(name == b"accept-encoding" and b"gzip" in value for name, value in scope["headers"])


def _endpoint(path: str) -> Endpoint:
    parts = path.split("/", 3)[1:3]
    return _ENDPOINTS.get("/".join(parts)) or _ENDPOINTS.get(parts[0] if parts else path, "other")


def _outcome(status: int) -> Outcome:
    if status in _OUTCOMES:
        return _OUTCOMES[status]
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return "server_error"
    return "client_error" if status >= HTTPStatus.BAD_REQUEST else "ok"
