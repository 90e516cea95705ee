"""POST /translate_file and GET /download_file as LibreTranslate has them."""

import asyncio
import time
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from service.api.core import Wish, admitted, answered, default_options
from service.api.dependencies import State
from service.api.fields import Fields, read_fields
from service.api.origin import base_url
from service.api.problems import problems
from service.api.visits import visit_of
from service.errors import ForbiddenError, InvalidRequestError, MissingFieldError
from service.files.formats import FORMATS, translated_by
from service.files.store import FileStore

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
    },
    "required": ["file", "source", "target"],
}


@router.post(
    "/translate_file",
    responses=problems(400, 403, 408, 413, 415, 500, 503, 504),
    openapi_extra={"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _FORM}}}},
)
async def translate_file(request: Request, state: State, store: Store) -> TranslatedFile:
    """Translate a file: its texts; everything else in it stays as it is."""
    began = time.monotonic()
    if not store.is_open:
        raise ForbiddenError("Files translation are disabled on this server.")
    with admitted(request, state) as model:
        fields = await read_fields(request, state.settings)
        await visit_of(request).identify(fields.values.get("api_key"))
        name, content, source, target = _checked(fields)
        parsed, encoded = await asyncio.to_thread(translated_by, name, content)
        wish = Wish(
            texts=parsed.texts,
            source=source,
            target=target,
            options=default_options(state.settings),
            is_one_text=True,
            format=parsed.format,
        )
        done = await answered(request, state.settings, model, wish, began)
        written = await asyncio.to_thread(
            lambda: encoded(parsed.written([each.text for each in done.texts], done.target))
        )
        stored = await store.keep(name, written)
    return TranslatedFile(translatedFileUrl=f"{base_url(request, state.settings)}/download_file/{quote(stored)}")


def _checked(fields: Fields) -> tuple[str, bytes, str, str]:
    """Name and content of the file, source and target."""
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
    return upload.name, upload.content, languages[0], languages[1]


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
