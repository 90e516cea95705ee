"""Fields of a request, whether they come as JSON, as a form of either kind, or in the query string."""

import dataclasses
import json
import sys
from collections.abc import AsyncGenerator, Iterable
from typing import Any
from urllib.parse import parse_qsl

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from service.api.requests import is_json, json_object, media_type, read_body
from service.errors import InvalidRequestError, TextLimitError, UnsupportedMediaTypeError
from service.settings import Settings

_URLENCODED, _MULTIPART, _PLAIN = "application/x-www-form-urlencoded", "multipart/form-data", "text/plain"
_READABLE = f"JSON, {_URLENCODED} or {_MULTIPART}"
_SPARE_FIELDS = 100
"""Fields a form may have beside its texts."""


@dataclasses.dataclass(frozen=True, slots=True)
class Upload:
    """A file of a form."""

    name: str
    content: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class Fields:
    """What a caller sent, by name."""

    values: dict[str, Any]
    """JSON values, or strings; a list of strings where a form names a field several times."""
    is_typed: bool
    """Whether numbers and truth values came as such: a form has only strings."""
    uploads: dict[str, Upload] = dataclasses.field(default_factory=dict)


async def read_fields(request: Request, settings: Settings) -> Fields:
    """The fields of a request.

    JSON is what is declared to be, and what looks like it: `curl -d` declares everything to be a form, and a script of
    another origin may declare only text without asking first.

    Raises:
        UnsupportedMediaTypeError: the body is declared to be something else.
        InvalidRequestError: a form that is damaged or not UTF-8, and what `json_object` raises.
    """
    kind = media_type(request.headers)
    if not (kind in ("", _URLENCODED, _MULTIPART, _PLAIN) or is_json(kind)):
        raise UnsupportedMediaTypeError(request.headers["content-type"], _READABLE)
    body = await read_body(request, settings)
    if is_json(kind) or (kind != _MULTIPART and body.lstrip()[:1] in (b"{", b"[")):
        return Fields(json_object(body, settings), is_typed=True)
    if kind == _PLAIN and body:
        raise UnsupportedMediaTypeError(request.headers["content-type"], _READABLE)
    most = settings.max_texts + _SPARE_FIELDS
    query = _pairs(request.scope["query_string"], most)
    if kind == _MULTIPART:
        form, uploads = await _parts(request, body, most)
        return Fields(_by_name(form) | _by_name(query), False, uploads)
    return Fields(_by_name(_pairs(body, most)) | _by_name(query), is_typed=False)


def _pairs(encoded: bytes, most: int) -> list[tuple[str, str]]:
    try:
        return parse_qsl(
            encoded.decode("ascii" if encoded.isascii() else "utf-8"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=most,
        )
    except UnicodeDecodeError:
        raise InvalidRequestError("Invalid request: the form is not UTF-8") from None
    except ValueError:
        raise TextLimitError(encoded.count(b"&") + 1, most, " fields") from None


class _InMemory(MultiPartParser):
    """The body is in memory already, and there may be no place to write to."""

    spool_max_size = sys.maxsize


async def _parts(request: Request, body: bytes, most: int) -> tuple[list[tuple[str, str]], dict[str, Upload]]:
    async def stream() -> AsyncGenerator[bytes, None]:
        yield body

    try:
        parser = _InMemory(request.headers, stream(), max_files=2, max_fields=most, max_part_size=len(body))
        form = await parser.parse()
    except (MultiPartException, ValueError, LookupError) as error:
        raise InvalidRequestError(f"Invalid request: {getattr(error, 'message', 'damaged multipart form')}") from None
    try:
        texts = [(name, value) for name, value in form.multi_items() if isinstance(value, str)]
        files = [(name, value) for name, value in form.multi_items() if isinstance(value, UploadFile)]
        return texts, {name: Upload(file.filename or "", await file.read()) for name, file in files}
    finally:
        await form.close()


def _by_name(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """A field that occurs several times is a list."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name not in found:
            found[name] = value
        elif isinstance(found[name], list):
            found[name].append(value)
        else:
            found[name] = [found[name], value]
    return found


def typed(value: Any) -> Any:
    """What a form's string means for a field that holds no text: `3`, `true`, `{"kinds": ["cross"]}`."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value.lower() if value.lower() in ("true", "false", "null") else value)
    except (ValueError, RecursionError):
        return value
