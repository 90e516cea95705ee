"""The pages for people, `/`, `/learn`, `/status`, `/docs`, and their files below `/web/`; all of it is served here."""

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

WEB = Path(__file__).resolve().parents[1] / "web"

_PLOT_STYLE = "sha256-+TfQir1nvDucAdvE6XUQBt4ayUjpAWkbw2kCdSfekHM="
"""The style element that the vendored Observable Plot puts into each picture; the browser tests fail if it changes."""
_COMMON = (
    "default-src 'none'; script-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
CONTENT_SECURITY_POLICY = (
    # blob: and data: are pictures the page itself has drawn, on their way into a canvas or a file.
    f"{_COMMON}; style-src 'self' '{_PLOT_STYLE}'; img-src 'self' blob: data:; require-trusted-types-for 'script'"
)
DOCS_CONTENT_SECURITY_POLICY = f"{_COMMON}; style-src 'self'; img-src 'self' data:"
"""Swagger UI writes markup, so without trusted types."""

router = APIRouter()


@router.get("/", include_in_schema=False)
async def translate_page() -> FileResponse:
    """Translate, and see how it was translated."""
    return _page("index.html", CONTENT_SECURITY_POLICY)


@router.get("/learn", include_in_schema=False)
async def learn_page() -> FileResponse:
    """What a Transformer does, on the reader's own sentence."""
    return _page("learn.html", CONTENT_SECURITY_POLICY)


@router.get("/status", include_in_schema=False)
async def status_page() -> FileResponse:
    """What the service is doing now."""
    return _page("status.html", CONTENT_SECURITY_POLICY)


@router.get("/docs", include_in_schema=False)
async def docs_page() -> FileResponse:
    """The description of the API."""
    return _page("docs.html", DOCS_CONTENT_SECURITY_POLICY)


def _page(name: str, policy: str) -> FileResponse:
    return FileResponse(
        WEB / name,
        headers={
            "Content-Security-Policy": policy,
            "Cache-Control": "no-cache",
            "Cross-Origin-Opener-Policy": "same-origin",
        },
    )


class PageFiles(StaticFiles):
    """What the pages load.

    The name of a vendored folder has a version in it, so its files never change; of the others a browser asks every
    time whether they have.
    """

    def __init__(self) -> None:
        super().__init__(directory=WEB)

    async def get_response(self, path: str, scope: Scope) -> Response:
        """The file, with how long it may be kept."""
        response = await super().get_response(path, scope)
        vendored = Path(path).parts[:1] == ("vendor",)
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable" if vendored else "no-cache"
        return response
