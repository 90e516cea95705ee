"""The shape of an error is that of the contract that was called."""

from collections.abc import Callable
from typing import Any

from starlette.requests import Request

from service.errors import ServiceError

Shape = Callable[[ServiceError], dict[str, Any]]
"""From an error to the body of its reply."""

_IN_SCOPE = "attend.error_shape"


def plain(problem: ServiceError) -> dict[str, Any]:
    """LibreTranslate's, which the Open Inference Protocol and this service have too."""
    return {"error": str(problem), **problem.fields}


def deepl(problem: ServiceError) -> dict[str, Any]:
    """DeepL's."""
    return {"message": str(problem)}


def deeplx(problem: ServiceError) -> dict[str, Any]:
    """DeepLX's."""
    return {"code": problem.status, "message": str(problem)}


_GOOGLE_STATUS = {
    400: "INVALID_ARGUMENT", 404: "NOT_FOUND", 405: "UNIMPLEMENTED", 408: "DEADLINE_EXCEEDED", 413: "INVALID_ARGUMENT",
    415: "INVALID_ARGUMENT", 422: "INVALID_ARGUMENT", 499: "CANCELLED", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED",
}  # fmt: skip


def google(problem: ServiceError) -> dict[str, Any]:
    """Google's."""
    status = _GOOGLE_STATUS.get(problem.status, "INTERNAL")
    return {"error": {"code": problem.status, "message": str(problem), "status": status}}


_BY_PREFIX: tuple[tuple[str, Shape], ...] = (
    ("/v2/translate", deepl),
    ("/v2/languages", deepl),
    ("/v2/usage", deepl),
    ("/deeplx", deeplx),
    ("/language/translate", google),
    ("/google", google),
)


def set_shape(request: Request, shape: Shape) -> None:
    """For a path that several contracts share: errors from now on have this shape."""
    request.scope[_IN_SCOPE] = shape


def shape_of(request: Request) -> Shape:
    """The shape of the errors of this request."""
    chosen: Shape | None = request.scope.get(_IN_SCOPE)
    if chosen is not None:
        return chosen
    path: str = request.scope["path"]
    return next((shape for prefix, shape in _BY_PREFIX if path.startswith(prefix)), plain)
