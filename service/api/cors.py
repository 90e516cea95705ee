"""Which pages of other origins may call the service, and what they may send and read."""

from collections.abc import Sequence

HeaderPairs = Sequence[tuple[bytes, bytes]]

_ALLOWED = (
    (b"access-control-allow-headers", b"Authorization, Content-Type, X-Request-ID, Inference-Header-Content-Length"),
    (
        b"access-control-expose-headers",
        b"Authorization, X-Request-ID, Retry-After, Server-Timing, Inference-Header-Content-Length",
    ),
    (b"access-control-allow-methods", b"GET, HEAD, POST"),
    (b"access-control-max-age", b"1728000"),
)


class Cors:
    """The headers of replies to pages, by their origin."""

    def __init__(self, origins: str) -> None:
        """`origins` as the setting has them: `*`, `none`, or some separated by commas."""
        named = {origin.strip().rstrip("/").lower() for origin in origins.split(",")}
        self._all = "*" in named
        self._named = frozenset(named - {"none", ""})

    def headers(self, origin: str | None) -> HeaderPairs:
        """Of a reply to a page of `origin`; None: to no page, or one of our own."""
        if self._all:
            return ((b"access-control-allow-origin", b"*"), *_ALLOWED)
        if not self._named:
            return ()
        vary = (b"vary", b"Origin")
        if origin is None or origin.lower() not in self._named:
            return (vary,)
        allowed = (b"access-control-allow-origin", origin.encode("latin-1"))
        return (allowed, (b"access-control-allow-credentials", b"true"), vary, *_ALLOWED)
