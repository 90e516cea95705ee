"""GET /docs: Swagger UI from files in this repository, nothing from a CDN."""

from pathlib import Path

from fastapi import APIRouter
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

VENDORED = Path(__file__).resolve().parents[1] / "web" / "vendor" / "swagger-ui"

router = APIRouter()


def vendored_files() -> StaticFiles:
    """The files the page asks for below `/docs/`."""
    return StaticFiles(directory=VENDORED)


@router.get("/docs", include_in_schema=False)
async def docs() -> HTMLResponse:
    """The page; its addresses are relative, so it works behind a proxy that adds a path."""
    return get_swagger_ui_html(
        openapi_url="openapi.json",
        title="Attend",
        swagger_js_url="docs/swagger-ui-bundle.js",
        swagger_css_url="docs/swagger-ui.css",
        swagger_favicon_url="docs/favicon-32x32.png",
        swagger_ui_parameters={"validatorUrl": None},
    )
