"""Which pages of other origins may call the service, and what they may send and read."""

from collections.abc import Sequence

from starlette.datastructures import Headers

HeaderPairs = Sequence[tuple[bytes, bytes]]

_ALLOWED = (
    (b"access-control-allow-headers", b"Authorization, Content-Type, X-Request-ID, Inference-Header-Content-Length"),
    (
        b"access-control-expose-headers",
        b"Authorization, X-Request-ID, Retry-After, RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset, "
        b"Server-Timing, Inference-Header-Content-Length",
    ),
    (b"access-control-allow-methods", b"GET, HEAD, POST"),
    (b"access-control-max-age", b"1728000"),
)


class Cors:
    """The headers of replies to pages, by their origin."""

    def __init__(self, origins: str) -> None:
        """`origins` as the setting has them: `*`, `none`, or some separated by commas."""
        named = {origin.strip().rstrip("/").lower() for origin in origins.split(",")}
        self._for_all = ((b"access-control-allow-origin", b"*"), *_ALLOWED) if "*" in named else None
        self._named = frozenset(named - {"none", ""})

    def headers(self, request: Headers) -> HeaderPairs:
        """Of the reply to a request with these headers."""
        if self._for_all is not None:
            return self._for_all
        if not self._named:
            return ()
        origin, vary = request.get("origin"), (b"vary", b"Origin")
        if origin is None or origin.lower() not in self._named:
            return (vary,)
        allowed = (b"access-control-allow-origin", origin.encode("latin-1"))
        return (allowed, (b"access-control-allow-credentials", b"true"), vary, *_ALLOWED)
