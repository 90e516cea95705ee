"""Reading a body, however it was packed, and giving up when its sender has."""

import asyncio
import json
import zlib
from collections.abc import Coroutine, Iterable
from typing import Any, NoReturn, TypeVar

from fastapi import Request
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect

from service.errors import (
    BodyTooLargeError,
    ClientGoneError,
    InvalidRequestError,
    NotJsonError,
    SlowBodyError,
    TextLimitError,
    UnsupportedMediaTypeError,
)
from service.settings import Settings

_SPARE_VALUES = 100
"""Values a body may hold beside its texts."""
_GZIP, _RAW = 16 + zlib.MAX_WBITS, -zlib.MAX_WBITS

_Result = TypeVar("_Result")


async def read_json_object(request: Request, settings: Settings) -> dict[str, Any]:
    """The JSON object in the body. A body without a content type is taken for JSON, some clients send it so.

    Raises:
        UnsupportedMediaTypeError: the body is declared to be something else.
        SlowBodyError: it does not arrive in time.
        ClientGoneError: its sender hung up.
        NotJsonError: it is not JSON, not an object, or holds NaN or Infinity.
        InvalidRequestError: it is nested deeper than allowed.
        TextLimitError: it holds more values than allowed.
    """
    kind = media_type(request.headers)
    if kind and not is_json(kind):
        raise UnsupportedMediaTypeError(request.headers["content-type"])
    return json_object(await read_body(request, settings), settings)


def media_type(headers: Headers) -> str:
    """What the body is declared to be, without parameters; empty if it is not."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def is_json(kind: str) -> bool:
    """Whether a media type is JSON's or one of those built upon it."""
    return kind == "application/json" or kind.endswith("+json")


def json_object(body: bytes, settings: Settings) -> dict[str, Any]:
    """The JSON object in a body; raises what `read_json_object` does."""
    _check_values(body, settings.max_texts + settings.max_characters + _SPARE_VALUES)
    try:
        # On the event loop: the parser never lets go of the interpreter, so from a thread it stops the loop as long.
        value = json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        # ValueError: syntax, encoding, or an integer of more digits than Python converts.
        raise NotJsonError from None
    if not isinstance(value, dict):
        raise NotJsonError
    if _is_deeper_than(settings.max_json_depth, value):
        raise InvalidRequestError(f"Invalid request: the body is nested deeper than {settings.max_json_depth} levels")
    return value


def declared_length(headers: Headers) -> int | None:
    """Bytes of the body as its sender announces them; None if it does not."""
    length = headers.get("content-length", "")
    return int(length) if length.isdecimal() and length.isascii() else None


async def read_body(request: Request, settings: Settings) -> bytes:
    """The body, unpacked if it was packed.

    Raises:
        SlowBodyError: it does not arrive in time.
        ClientGoneError: its sender hung up.
        UnsupportedMediaTypeError: it was packed in another way than gzip or deflate.
        BodyTooLargeError: it is too long, packed or not.
        InvalidRequestError: it cannot be unpacked.
    """
    try:
        async with asyncio.timeout(settings.body_timeout_ms / 1000):
            body = await request.body()
    except TimeoutError:
        raise SlowBodyError(settings.body_timeout_ms) from None
    except ClientDisconnect:
        raise ClientGoneError from None
    encoding = request.headers.get("content-encoding", "").strip().lower()
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise UnsupportedMediaTypeError(f"Content-Encoding: {encoding}", "the body as it is, or gzip or deflate")
    return await asyncio.to_thread(_unpacked, body, encoding, settings.max_body_bytes)


def _unpacked(body: bytes, encoding: str, limit: int) -> bytes:
    """A compressed body. No more than the limit is ever unpacked."""
    if encoding == "deflate":
        # With zlib's header, as RFC 9110 says, or without, as some send it.
        kinds = (zlib.MAX_WBITS, _RAW) if body[:1] and body[0] & 0x0F == 8 else (_RAW,)
    else:
        kinds = (_GZIP,)
    for kind in kinds:
        try:
            return _inflated(body, kind, limit)
        except zlib.error:
            continue
    raise InvalidRequestError(f"Invalid request: the body is not {encoding}, as its Content-Encoding says")


def _inflated(body: bytes, kind: int, limit: int) -> bytes:
    """Raises `zlib.error` if it is damaged or ends too early; gzip may have several members."""
    parts, left = [], limit
    while True:
        stream = zlib.decompressobj(kind)
        parts.append(stream.decompress(body, left + 1))
        left -= len(parts[-1])
        if left < 0:
            raise BodyTooLargeError(limit)
        if not stream.eof:
            raise zlib.error("the end is missing")
        body = stream.unused_data
        if kind != _GZIP or not body:
            return b"".join(parts)


def _check_values(body: bytes, limit: int) -> None:
    """Parsing time grows with the number of values more than with bytes: 2 MB take 10 ms as texts, 400 as small arrays.

    Every value but the first of its kind has a comma before it. More commas than there may be characters and texts
    are too many texts, too many characters, or fields nobody knows.
    """
    commas = body.count(b",")
    if commas > limit:
        raise TextLimitError(commas, limit, " values")


def _is_deeper_than(limit: int, value: object) -> bool:
    level: list[Any] = [value]
    for _ in range(limit):
        level = [inner for outer in level for inner in _contents(outer) if isinstance(inner, dict | list)]
        if not level:
            return False
    return True


def _contents(container: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return container.values() if isinstance(container, dict) else container


async def unless_disconnected(request: Request, work: Coroutine[Any, Any, _Result]) -> _Result:
    """The result of `work`, which is cancelled when the client closes the connection. The body must have been read.

    Raises:
        ClientGoneError: the client was first.
    """
    # The caller's own task does the work: a second one, and a wait for either, cost a twentieth of a short request.
    caller = asyncio.current_task()
    assert caller is not None
    has_gone = is_over = False

    def give_up(_: asyncio.Future[None]) -> None:
        nonlocal has_gone
        if not is_over:
            has_gone = True
            caller.cancel()

    gone = asyncio.ensure_future(_disconnected(request))
    gone.add_done_callback(give_up)
    try:
        return await work
    except asyncio.CancelledError:
        if has_gone and caller.cancelling() == 1:
            raise ClientGoneError from None
        raise  # something else has cancelled the caller
    finally:
        is_over = True
        gone.cancel()
        if has_gone:
            caller.uncancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)
