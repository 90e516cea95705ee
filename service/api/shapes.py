"""The shape of an error is that of the contract that was called."""

from collections.abc import Callable
from typing import Any

from starlette.requests import Request

from service.errors import InvalidFieldError, KeyMissingError, KeyRefusedError, QuotaExceededError, ServiceError

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
    400: "INVALID_ARGUMENT", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 405: "UNIMPLEMENTED",
    408: "DEADLINE_EXCEEDED", 413: "INVALID_ARGUMENT", 415: "INVALID_ARGUMENT", 422: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED", 499: "CANCELLED", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED",
}  # fmt: skip


def google(problem: ServiceError) -> dict[str, Any]:
    """Google's."""
    code = _OWN_STATUSES.get((google, type(problem)), problem.status)
    return {"error": {"code": code, "message": str(problem), "status": _GOOGLE_STATUS.get(code, "INTERNAL")}}


_LIBRETRANSLATE = ("/translate", "/detect", "/translate_file")
_OWN_STATUSES: dict[tuple[Shape, type[ServiceError]], int] = {
    (deepl, KeyMissingError): 403,
    (deepl, KeyRefusedError): 403,
    (deepl, QuotaExceededError): 456,
    (google, KeyMissingError): 403,
    (google, KeyRefusedError): 403,
    (google, InvalidFieldError): 400,
}
"""What others' clients know an error by, where it is not the status that HTTP has for it."""
_LIBRETRANSLATES_STATUSES: dict[type[ServiceError], int] = {
    KeyMissingError: 400,
    KeyRefusedError: 403,
    QuotaExceededError: 403,
}

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


def status_of(request: Request, problem: ServiceError) -> int:
    """The status of the reply that tells of a problem."""
    shape = shape_of(request)
    if shape is plain and request.scope["path"] in _LIBRETRANSLATE:
        return _LIBRETRANSLATES_STATUSES.get(type(problem), problem.status)
    return _OWN_STATUSES.get((shape, type(problem)), problem.status)
