"""What happens to every request whatever its path: CORS headers, a body limit, a count, and always an answer."""

import time
from collections.abc import Callable
from http import HTTPStatus

from starlette.datastructures import MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import BodyTooLargeError, ClientGoneError
from service.metrics import Endpoint, Metrics, Outcome

_CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Headers": "Authorization, Content-Type",
    "Access-Control-Expose-Headers": "Authorization",
    "Access-Control-Allow-Methods": "GET, POST",
    "Access-Control-Allow-Credentials": "true",
    "Access-Control-Max-Age": "1728000",
}
_ENDPOINTS: dict[str, Endpoint] = {
    "translate": "translate",
    "languages": "languages",
    "health": "health",
    "metrics": "metrics",
    "docs": "docs",
    "openapi.json": "docs",
}


class Boundary:
    """The outermost layer of the app."""

    def __init__(
        self, app: ASGIApp, *, metrics: Metrics, max_body_bytes: int, answer_to: Callable[[Exception], Response]
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._max_body_bytes = max_body_bytes
        self._answer_to = answer_to

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "http":
            await self._serve(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.monotonic()
        reply = _Reply(send)
        try:
            await self._answer(scope, _limited(scope, receive, self._max_body_bytes), reply)
        finally:
            # Without a status the request was cancelled before anything was sent.
            outcome = _outcome(reply.status or ClientGoneError.status)
            self._metrics.observe_request(_endpoint(scope["path"]), outcome, time.monotonic() - began)

    async def _answer(self, scope: Scope, receive: Receive, reply: "_Reply") -> None:
        try:
            if scope["method"] == "OPTIONS":
                await Response(status_code=HTTPStatus.NO_CONTENT)(scope, receive, reply)
            elif _declared_length(scope) > self._max_body_bytes:
                raise BodyTooLargeError(self._max_body_bytes)
            else:
                await self._app(scope, receive, reply)
        except Exception as error:
            if reply.status is not None:
                raise
            await self._answer_to(error)(scope, receive, reply)


class _Reply:
    """Sends on, adding the headers every reply has; remembers the status."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status: int | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            MutableHeaders(scope=message).update(_CORS)
        await self._send(message)


def _limited(scope: Scope, receive: Receive, limit: int) -> Receive:
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


def _declared_length(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0


def _endpoint(path: str) -> Endpoint:
    return _ENDPOINTS.get(path.split("/", 2)[1] if "/" in path else path, "other")


def _outcome(status: int) -> Outcome:
    if status == ClientGoneError.status:
        return "cancelled"
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return "server_error"
    return "client_error" if status >= HTTPStatus.BAD_REQUEST else "ok"
