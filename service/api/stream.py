"""POST /translate/stream: the same as /translate, told sentence by sentence as server-sent events."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from typing import Any

from fastapi import APIRouter, Request
from pydantic import Field, StrictBool
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service.api.bodies import described_body
from service.api.core import admitted, answered
from service.api.dependencies import State
from service.api.fields import read_fields
from service.api.problems import problems
from service.api.shapes import plain
from service.api.telling import Telling
from service.api.translating import asked_of, reply_to
from service.api.wishes import TranslateRequest
from service.errors import ClientGoneError, InternalError, ServiceError
from service.logs import request_id
from service.metrics import Metrics
from service.state import ServiceState

_log = logging.getLogger("attend")

router = APIRouter(tags=["translation"])

QUIET_SECONDS = 15.0
"""After so long without an event a comment is sent, or proxies would take the connection for dead."""
_HEADERS = {
    # No proxy keeps it, packs it, or waits for more of it: nginx looks at the last one.
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
}


class StreamRequest(TranslateRequest):
    """What to translate and how, and whether to tell of sentences that are not done."""

    partial: StrictBool | None = Field(
        None,
        description="If true, events `partial` tell what is certain of the next sentence: with a beam, what all its "
        "hypotheses begin with.",
    )


class Events:
    """Events as they happen, until the work they tell of is done."""

    def __init__(self, metrics: Metrics, began: float) -> None:
        self._metrics = metrics
        self._began = began
        self._known: set[str] = set()
        self._queue: asyncio.Queue[bytes] = asyncio.Queue()

    def tell(self, name: str, said: dict[str, Any]) -> None:
        """Note an event."""
        if name in ("sentence", "partial") and name not in self._known:
            self._known.add(name)
            self._metrics.observe_first(name, time.monotonic() - self._began)
        self._queue.put_nowait(_event(name, json.dumps(said, ensure_ascii=False).encode()))

    def ready(self) -> bytes:
        """All that has happened since the last look."""
        found = []
        while not self._queue.empty():
            found.append(self._queue.get_nowait())
        return b"".join(found)

    async def wait(self, work: asyncio.Future[Any], seconds: float | None = None) -> None:
        """Return when there is an event, the work is done, or the time is over."""
        if not self._queue.empty() or work.done():
            return
        first = asyncio.ensure_future(self._queue.get())
        try:
            await asyncio.wait((first, work), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if first.done() and not first.cancelled():
                # Put back where it was: before all others.
                rest = [first.result(), *iter(self.ready, b"")]
                self._queue.put_nowait(b"".join(rest))
            first.cancel()


class EventStream(Response):
    """Sends events as they come; the work is given up when the client is gone."""

    def __init__(self, events: Events, work: asyncio.Task[bytes]) -> None:
        super().__init__(media_type="text/event-stream", headers=_HEADERS)
        del self.headers["content-length"]
        self._events = events
        self._work = work

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve it."""
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            while not self._work.done():
                await self._events.wait(self._work, QUIET_SECONDS)
                data = self._events.ready() or (b"" if self._work.done() else b":\n\n")
                if data:
                    await send({"type": "http.response.body", "body": data, "more_body": True})
            last = self._events.ready() + _ending(self._work)
            await send({"type": "http.response.body", "body": last, "more_body": False})
        finally:
            self._work.cancel()


_EVENT = {
    "type": "object",
    "description": "Each event.",
    "properties": {
        "event": {"enum": ["sentence", "partial", "end", "error"]},
        "data": {"type": "string", "contentMediaType": "application/json"},
    },
    "required": ["event", "data"],
}


@router.post(
    "/translate/stream",
    response_class=Response,
    responses={
        200: {
            "description": "`sentence` `{index, sentence, text, source_span}`: the next sentence of a text, checked "
            "and final; the `text` of all of them in a row is the translation. `partial` `{index, sentence, text}`, if "
            "asked for: the whole of what is certain of that sentence, in place of what was said of it before. `end`: "
            "what /translate answers. `error` `{error}` instead: what it would have answered, after a beginning.",
            "content": {"text/event-stream": {"schema": _EVENT}},
        },
        **problems(400, 408, 413, 415, 422, 500, 503, 504),
    },
    openapi_extra=described_body(StreamRequest),
)
async def translate_stream(request: Request, state: State) -> Response:
    """Translate, and tell each sentence when it is done: server-sent events."""
    began = time.monotonic()
    events = Events(state.metrics, began)
    work = asyncio.ensure_future(_translated(request, state, events, began))
    try:
        await events.wait(work)
        if work.done():
            work.result()  # what fails before anything was told is answered as any error
    except BaseException:
        work.cancel()
        raise
    return EventStream(events, work)


async def _translated(request: Request, state: ServiceState, events: Events, began: float) -> bytes:
    """The body that /translate would answer."""
    with admitted(request, state) as model:
        fields = await read_fields(request, state.settings)
        asked = await asked_of(request, state, model, fields, StreamRequest)
        telling = Telling(events.tell, partials=bool(asked.body.partial))
        done = await answered(request, state.settings, model, asked.wish, began, telling)
        return bytes((await reply_to(asked, done)).body)


def _ending(work: asyncio.Task[bytes]) -> bytes:
    """The last event."""
    try:
        return _event("end", work.result())
    except ClientGoneError:
        return b""
    except ServiceError as error:
        problem: ServiceError = error
    except Exception as error:
        _log.error("request %s failed", request_id.get(), exc_info=error)
        problem = InternalError(request_id.get())
    return _event("error", json.dumps(plain(problem), ensure_ascii=False).encode())


def _event(name: str, data: bytes) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), data)
