"""Keys: made, hashed, compared.

A key is 32 random bytes. It is stored as its SHA-256: a slow hash makes up for passwords that can be guessed, and
nobody guesses one of 2^256 values, so it would only cost every request its time. A presented key is hashed, looked up
by the first half of the hash, and compared by the whole of it in constant time; what a search could learn of a hash
does not help to find a key that has it.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable

from service.access.rights import Right, parse_rights

PREFIX = "attend_"
"""What keys begin with, so that scanners for leaked secrets know them."""
NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


class UnusableKeysError(ValueError):
    """Keys that cannot be used; the text is one sentence for the operator, and holds no key."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """What is known of a key; not the key itself."""

    name: str
    """Whose it is; names are unique."""
    digest: str
    """SHA-256 of the key, in hexadecimal."""
    rights: tuple[Right, ...] = ("translate",)
    created: str = ""
    """The day, in ISO form; empty if nobody noted it."""
    requests: str | None = None
    """A rate of its own, see `service.access.rates`; None: that of the settings."""
    characters: str | None = None
    sentences: int | None = None
    quota: int | None = None
    """Characters a month; None: that of the settings."""


def new_key() -> str:
    """A key that nobody else has."""
    return PREFIX + secrets.token_urlsafe(32)


def digest_of(key: str) -> str:
    """What is stored of a key."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def check(key: Key) -> Key:
    """The key, if it is one.

    Raises:
        UnusableKeysError: a part of it is impossible.
    """
    if not NAME.fullmatch(key.name):
        raise UnusableKeysError("a key's name has 1 to 64 letters, digits and . _ @ -")
    if not _DIGEST.fullmatch(key.digest):
        raise UnusableKeysError(f"the key '{key.name}' needs the SHA-256 of a key, 64 hexadecimal digits")
    if not key.rights:
        raise UnusableKeysError(f"the key '{key.name}' has no right")
    return key


class KeyRing:
    """Keys to be found by what a caller presents."""

    def __init__(self, keys: Iterable[Key] = ()) -> None:
        """Raises `UnusableKeysError` if two have a name or a digest in common."""
        self.keys = tuple(keys)
        names = collections.Counter(key.name for key in self.keys)
        twice = next((name for name, times in names.items() if times > 1), None)
        if twice is not None:
            raise UnusableKeysError(f"there are two keys of the name '{twice}'")
        self._by_half = {key.digest[:32]: key for key in self.keys}
        if len(self._by_half) < len(self.keys):
            raise UnusableKeysError("two names have the same key")

    def __bool__(self) -> bool:
        return bool(self.keys)

    def find(self, presented: str) -> Key | None:
        """The key that was presented, if it is one of these."""
        digest = digest_of(presented)
        key = self._by_half.get(digest[:32])
        # Compared even if there is none, so that both take as long.
        same = hmac.compare_digest(digest, key.digest if key else digest[::-1])
        return key if same else None


def parse_keys(text: str) -> list[Key]:
    """Keys of a variable: `NAME:RIGHTS:SHA-256`, separated by spaces or commas; rights have `+` between them.

    Raises:
        UnusableKeysError: one is not of this form.
    """
    entries = filter(None, re.split(r"[\s,]+", text))
    try:
        return [_parse_key(number, entry) for number, entry in enumerate(entries, 1)]
    except ValueError as error:
        raise UnusableKeysError(f"ATTEND_KEYS: {error}") from None


def _parse_key(number: int, entry: str) -> Key:
    name, first, rest = entry.partition(":")
    rights, second, digest = rest.partition(":")
    if not (first and second and NAME.fullmatch(name)):
        raise UnusableKeysError(f"entry {number} is not NAME:RIGHTS:HASH, as `python -m service keys add` prints it")
    return check(Key(name=name, digest=digest.lower(), rights=parse_rights(rights)))
