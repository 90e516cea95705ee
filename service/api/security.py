"""Headers that keep a browser from doing more with a reply than was meant, whatever the reply is."""

from __future__ import annotations

from collections.abc import Iterable

_ALWAYS = ((b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer"))
_UNLESS_GIVEN = (
    # A reply of the API is no page: nothing in it runs, and no page frames it.
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    # Translations are somebody's.
    (b"cache-control", b"no-store"),
)
SECURITY_HEADERS = (*_ALWAYS, *_UNLESS_GIVEN)
"""Of a reply that says nothing of these itself."""


def security_headers(given: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """What a reply with these headers lacks; names are in lower case."""
    names = {name for name, _ in given}
    return [pair for pair in SECURITY_HEADERS if pair[0] not in names]
