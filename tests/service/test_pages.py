"""The pages for people as HTTP sees them: files, headers, and that nothing comes from elsewhere."""

from __future__ import annotations

import asyncio
import hashlib
import re
from pathlib import Path

import pytest
from fastapi import FastAPI

from service.api.pages import WEB
from service.files.formats import FORMATS
from tests.service.fakes import FakeLoader, ask, make_app, running, samples

PAGES = ["/", "/learn", "/status", "/docs"]
VENDOR = WEB / "vendor"
OWN = sorted(path for path in WEB.rglob("*") if path.is_file() and VENDOR not in path.parents)
# Namespaces are names, not places.
ADDRESS = re.compile(r"(?:https?:)?//(?!www\.w3\.org/)[\w.-]+\.\w+")


@pytest.mark.parametrize("path", PAGES)
def test_a_page_may_load_its_own_files_and_nothing_else(app: FastAPI, path: str) -> None:
    reply = ask(app, "GET", path)
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(part.strip().partition(" ")[::2] for part in reply.headers["content-security-policy"].split(";"))
    assert (policy["default-src"], policy["script-src"], policy["connect-src"]) == ("'none'", "'self'", "'self'")
    assert policy["base-uri"] == policy["form-action"] == policy["frame-ancestors"] == "'none'"
    assert not re.search(r"unsafe|\*|https?:", reply.headers["content-security-policy"])
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["referrer-policy"] == "no-referrer"
    assert reply.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("path", PAGES)
def test_what_a_page_names_is_there_and_no_script_stands_in_it(app: FastAPI, path: str) -> None:
    page = ask(app, "GET", path).text
    named = re.findall(r'(?:src|href)="(web/[^"]+)"', page)
    assert len(named) >= 4
    for file in named:
        assert ask(app, "GET", f"/{file}").status_code == 200, file
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\son\w+=|\sstyle=|javascript:", page)


@pytest.mark.parametrize("path", OWN, ids=lambda path: str(path.relative_to(WEB)))
def test_nothing_of_ours_asks_for_anything_outside(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not ADDRESS.search(text)
    assert "innerHTML" not in text


def test_modules_import_files_that_exist(app: FastAPI) -> None:
    for module in sorted((WEB / "js").glob("*.js")):
        for name in re.findall(r'(?:from|import) "(\./[^"]+)"', module.read_text(encoding="utf-8")):
            assert (module.parent / name).is_file(), f"{module.name} imports {name}"


def test_vendored_files_are_those_that_are_noted() -> None:
    table = re.findall(r"\| `([^`]+)` \| .* \| `([0-9a-f]{64})` \|", (VENDOR / "README.md").read_text(encoding="utf-8"))
    noted = dict(table)
    found = {
        path.relative_to(VENDOR).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in VENDOR.rglob("*")
        if path.suffix in (".js", ".css")
    }
    assert found == noted
    for name in noted:
        assert (VENDOR / name).with_name("LICENSE").is_file()


def test_a_browser_keeps_vendored_files_and_asks_after_the_others(app: FastAPI) -> None:
    kept = ask(app, "GET", "/web/vendor/d3-7.9.2/d3.min.js")
    assert kept.headers["cache-control"] == "public, max-age=31536000, immutable"
    asked = ask(app, "GET", "/web/js/main.js")
    assert asked.headers["cache-control"] == "no-cache"
    assert asked.headers["content-type"].startswith("text/javascript")
    again = ask(app, "GET", "/web/js/main.js", headers={"If-None-Match": asked.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    "path", ["/web", "/web/nothing.js", "/web/../api/pages.py", "/web/%2e%2e/app.py", "/docs/x.js"]
)
def test_nothing_else_is_served(app: FastAPI, path: str) -> None:
    assert ask(app, "GET", path).status_code == 404


def test_the_page_learns_the_limits(loader: FakeLoader) -> None:
    app = make_app(loader, max_characters=123, max_alternatives=4)
    assert ask(app, "GET", "/frontend/settings").json() == {
        "charLimit": 123,
        "frontendTimeout": 500,
        "apiKeys": False,
        "keyRequired": False,
        "suggestions": False,
        "filesTranslation": True,
        "supportedFilesFormat": list(FORMATS),
        "language": {
            "source": {"code": "auto", "name": "Auto Detect"},
            "target": {"code": "en", "name": "English"},
        },
        "maxAlternatives": 4,
    }


def test_pages_are_counted_apart(app: FastAPI) -> None:
    async def scenario() -> dict[str, float]:
        async with running(app) as client:
            for path in ("/", "/status", "/web/js/main.js", "/docs"):
                await client.get(path)
            return samples((await client.get("/metrics")).text)

    counted = asyncio.run(scenario())
    assert counted['attend_requests_total{endpoint="page",outcome="ok"}'] == 3
    assert counted['attend_requests_total{endpoint="docs",outcome="ok"}'] == 1
