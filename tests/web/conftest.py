"""The service with the shipped model in a process of its own, and a real browser."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, Request, sync_playwright

from tests.processes import serving_process
from tests.web.opening import Open

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    with serving_process(internals="true") as address:
        yield address


# Not for the session: while it is there, no other test of the same process can run an event loop.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not CHROMIUM.exists() and "CI" not in os.environ:
        pytest.skip("no browser: install Debian's package chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Browser, address: str) -> Iterator[Open]:
    """Open a page; at the end nothing may have been complained of, or asked of another host."""
    contexts, complaints = [], []

    def go(path: str = "/", *, before: Callable[[Page], None] = lambda page: None, **how: Any) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1200, "height": 900}, "locale": "en-US", **how})
        context.set_default_timeout(15_000)
        context.grant_permissions(["clipboard-read", "clipboard-write"], origin=address)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(message.text) if "Policy" in message.text else None)
        page.on("request", lambda request: complaints.append(request.url) if _elsewhere(request, address) else None)
        before(page)
        page.goto(address + path)
        return page

    yield go
    for context in contexts:
        context.close()
    assert complaints == []


def _elsewhere(request: Request, address: str) -> bool:
    parts = urlsplit(request.url)
    return parts.scheme in ("http", "https") and f"{parts.scheme}://{parts.netloc}" != address
