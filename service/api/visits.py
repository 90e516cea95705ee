"""Which visit a request is: who asks, and what that caller may have."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

from starlette.requests import Request

if TYPE_CHECKING:
    from service.access.guard import Visit

_IN_SCOPE = "attend.visit"


def set_visit(scope: MutableMapping[str, Any], visit: Visit) -> None:
    """Note it where routes find it."""
    scope[_IN_SCOPE] = visit


def visit_of(request: Request) -> Visit:
    """That of a request; whatever came in has one."""
    visit: Visit = request.scope[_IN_SCOPE]
    return visit
