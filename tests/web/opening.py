"""What opens a page."""

from collections.abc import Callable

from playwright.sync_api import Page

Open = Callable[..., Page]
