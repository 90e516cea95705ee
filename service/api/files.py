"""POST /translate_file and GET /download_file as LibreTranslate has them."""

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from service.api.core import Wish, admitted, default_options, document_answered
from service.api.dependencies import State
from service.api.fields import Fields, read_fields, typed
from service.api.origin import base_url
from service.api.problems import problems
from service.errors import ForbiddenError, InvalidFieldError, InvalidRequestError, MissingFieldError, NotFoundError
from service.files.formats import FORMATS, FileOptions, read_file
from service.files.store import FileStore
from service.logs import request_id

router = APIRouter(tags=["files"])


async def _store_of(request: Request) -> FileStore:
    store: FileStore = request.app.state.files
    return store


Store = Annotated[FileStore, Depends(_store_of)]


class TranslatedFile(BaseModel):
    """Where a translated file is."""

    translatedFileUrl: str = Field(description="To be fetched with GET, for a time: `ATTEND_FILES_TIMEOUT_MS`.")


_FORM = {
    "type": "object",
    "properties": {
        "file": {"type": "string", "format": "binary", "description": f"A file of one of {', '.join(FORMATS)}."},
        "source": {"type": "string", "description": "Language code of the file, or `auto`."},
        "target": {"type": "string", "description": "Language code to translate into."},
        "alt_texts": {
            "type": "boolean",
            "description": "What pictures of an office file or book are said to show is translated too; default: no.",
        },
    },
    "required": ["file", "source", "target"],
}


class Progress(BaseModel):
    """How far a file is."""

    done: int = Field(description="Characters that are translated.")
    total: int


@router.post(
    "/translate_file",
    responses=problems(400, 403, 408, 413, 415, 422, 500, 503, 504),
    openapi_extra={"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _FORM}}}},
)
async def translate_file(request: Request, state: State, store: Store) -> TranslatedFile:
    """Translate a file: its texts; everything else in it stays as it is."""
    began = time.monotonic()
    if not store.is_open:
        raise ForbiddenError("Files translation are disabled on this server.")
    with admitted(request, state, is_file=True) as model:
        sent = _checked(await read_fields(request, state.settings))
        options = FileOptions(sent.alt_texts, state.settings.max_unpacked_bytes)
        file = await asyncio.to_thread(read_file, sent.name, sent.content, options)
        wish = Wish(
            texts=file.texts,
            source=sent.source,
            target=sent.target,
            options=default_options(state.settings),
            is_one_text=True,
            format=file.format,
        )
        with _watched(request, sum(map(len, file.texts))) as note:
            done = await document_answered(request, state.settings, model, wish, began, note)
        written = await asyncio.to_thread(file.written, [each.text for each in done.texts], done.target)
        stored = await store.keep(sent.name, written)
    return TranslatedFile(translatedFileUrl=f"{base_url(request, state.settings)}/download_file/{quote(stored)}")


@contextlib.contextmanager
def _watched(request: Request, total: int) -> Iterator[Callable[[int], None]]:
    """Tells how far a file is, by the id of its request, while it is translated."""
    known: dict[str, Progress] = request.app.state.file_progress
    key = request_id.get()

    def note(done: int) -> None:
        known[key] = Progress(done=done, total=total)

    note(0)
    try:
        yield note
    finally:
        known.pop(key, None)


@router.get("/translate_file/{id}", responses=problems(404))
async def file_progress(request: Request, id: str) -> Progress:
    """How far the file is that is being translated with this `X-Request-ID`, which its sender chose."""
    progress: Progress | None = request.app.state.file_progress.get(id)
    if progress is None:
        raise NotFoundError("no file is being translated with this id, or not yet, or no longer")
    return progress


@dataclasses.dataclass(frozen=True, slots=True)
class _Sent:
    """What a form holds."""

    name: str
    content: bytes
    source: str
    target: str
    alt_texts: bool


def _checked(fields: Fields) -> _Sent:
    upload = fields.uploads.get("file")
    if upload is None:
        raise MissingFieldError("file")
    if not upload.name:
        raise InvalidRequestError("Invalid request: empty file")
    languages = []
    for name in ("source", "target"):
        value: Any = fields.values.get(name)
        if not value:
            raise MissingFieldError(name)
        if not isinstance(value, str):
            raise InvalidRequestError(f"Invalid request: {name} parameter must be a string")
        languages.append(value)
    alt_texts = typed(fields.values.get("alt_texts") or False)
    if not isinstance(alt_texts, bool):
        raise InvalidFieldError("alt_texts must be true or false")
    return _Sent(upload.name, upload.content, languages[0], languages[1], alt_texts)


@router.get(
    "/download_file/{name}",
    response_class=Response,
    responses={200: {"content": {"application/octet-stream": {}}}, **problems(404)},
)
async def download_file(name: str, store: Store) -> Response:
    """A translated file, under the name it was sent with."""
    original, content = await store.fetch(name)
    return Response(
        content,
        media_type="application/octet-stream",
        headers={
            "Content-Disposition": f"attachment; filename*=UTF-8''{quote(original)}",
            "Cache-Control": "private, no-store",
            "X-Content-Type-Options": "nosniff",
        },
    )
