"""The address under which a caller reached the service, whatever stands between."""

from starlette.requests import Request

from service.access.addresses import is_trusted
from service.settings import Settings


def base_url(request: Request, settings: Settings) -> str:
    """Scheme, host and path before all of ours, without a slash at the end.

    What a proxy says of the caller's address counts only if it comes from a trusted one.
    """
    headers = request.headers
    scheme, host, root = request.url.scheme, headers.get("host", ""), settings.root_path
    if is_trusted(request.client.host if request.client else None, settings.trusted_proxies):
        scheme = _first(headers.get("x-forwarded-proto")) or scheme
        host = _first(headers.get("x-forwarded-host")) or host
        root = (_first(headers.get("x-forwarded-prefix")) or root).rstrip("/")
    return f"{'https' if scheme == 'https' else 'http'}://{host or f'{settings.host}:{settings.port}'}{root}"


def _first(value: str | None) -> str:
    """Of what several proxies in a row have written, that of the one next to the caller."""
    return (value or "").partition(",")[0].strip()
