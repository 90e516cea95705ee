"""Reading a JSON body, and giving up when its sender has."""

import asyncio
import json
from collections.abc import Coroutine, Iterable
from typing import Any, NoReturn, TypeVar

from fastapi import Request
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect

from service.errors import (
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
    content_type = request.headers.get("content-type", "")
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type not in ("", "application/json") and not media_type.endswith("+json"):
        raise UnsupportedMediaTypeError(content_type)
    body = await _read_body(request, settings.body_timeout_ms)
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


async def _read_body(request: Request, timeout_ms: int) -> bytes:
    try:
        async with asyncio.timeout(timeout_ms / 1000):
            return await request.body()
    except TimeoutError:
        raise SlowBodyError(timeout_ms) from None
    except ClientDisconnect:
        raise ClientGoneError from None


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
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGoneError
        return task.result()
    finally:
        gone.cancel()
        task.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)
