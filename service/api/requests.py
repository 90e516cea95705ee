"""Reading a JSON body, and giving up when its sender has."""

import asyncio
import json
from collections.abc import Coroutine
from typing import Any, NoReturn, TypeVar

from fastapi import Request

from service.errors import ClientGoneError, NotJsonError, UnsupportedMediaTypeError

_Result = TypeVar("_Result")


async def read_json_object(request: Request) -> dict[str, Any]:
    """The JSON object in the body. A body without a content type is taken for JSON, some clients send it so.

    Raises:
        UnsupportedMediaTypeError: the body is declared to be something else.
        NotJsonError: it is not JSON, not an object, or holds NaN or Infinity.
    """
    content_type = request.headers.get("content-type", "")
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type not in ("", "application/json") and not media_type.endswith("+json"):
        raise UnsupportedMediaTypeError(content_type)
    try:
        value = json.loads(await request.body(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        # ValueError: syntax, encoding, or an integer of more digits than Python converts.
        raise NotJsonError from None
    if not isinstance(value, dict):
        raise NotJsonError
    return value


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
