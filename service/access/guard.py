"""The one check that every request passes: whose it is, whether that key may do this, and how much of it."""

from __future__ import annotations

import base64
import binascii
import contextlib
import dataclasses
import datetime
import logging
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import parse_qsl

from service.access.addresses import caller_address
from service.access.config import AccessConfig
from service.access.counters import Counters, MemoryCounters
from service.access.key_file import check_rates, read_keys
from service.access.keys import Key, KeyRing, UnusableKeysError, parse_keys
from service.access.rate import Rate
from service.access.rates import Counted, count
from service.access.rights import Need, allows, needed
from service.access.usage import FileUsage, MemoryUsage, Usage, UsageError, this_month
from service.errors import (
    ForbiddenError,
    KeyMissingError,
    KeyRefusedError,
    NotFoundError,
    QuotaExceededError,
    RateExceededError,
    UnavailableError,
)
from service.tracing import Stretch

_log = logging.getLogger("attend")

LOOK_SECONDS = 1.0
"""Time between two looks whether the file of keys has changed."""
IN_FIELDS = ("/translate", "/translate/stream", "/detect", "/translate_file")
"""Paths whose fields may have the key: it is looked for there if no header and no address has one."""
_GOOGLES = ("/language/", "/google/")
NO_LIMIT = 1_000_000_000_000
"""What is said where there is none."""


@dataclasses.dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and what rates are this caller's."""

    name: str
    """`key:NAME` or `address:NETWORK`; no log and no metric has it."""
    key: Key | None
    requests: Rate
    characters: Rate
    sentences: int | None
    quota: int | None


class Guard:
    """Keys, rates and usage of one service. Only the event loop uses it."""

    def __init__(self, settings: AccessConfig) -> None:
        """Raises `UnusableKeysError` or `UsageError` if what the settings name cannot be used."""
        self._settings = settings
        self._from_variable = parse_keys(settings.keys)
        self._ring = KeyRing()
        self.private_ports: set[int] = set()
        """Ports of `ATTEND_PRIVATE_PORT`, once somebody listens there."""
        self._stamp: object = None
        self._look_at = 0.0
        self._read_keys()
        self.counters, self.usage = _stores(settings)
        self._check_quotas()
        self._rates = {
            "key": (Rate.parse(settings.rate_key_requests), Rate.parse(settings.rate_key_characters)),
            "address": (Rate.parse(settings.rate_address_requests), Rate.parse(settings.rate_address_characters)),
        }

    @property
    def has_keys(self) -> bool:
        """Whether there are keys at all."""
        self._look()
        return bool(self._ring) or self._settings.keys_file is not None

    @property
    def needs_key(self) -> bool:
        """Whether nobody may translate without one."""
        return self.has_keys and self._settings.key_required

    def _look(self) -> None:
        """Read the file of keys again if it has changed; a damaged one changes nothing."""
        now = time.monotonic()
        if self._settings.keys_file is None or now < self._look_at:
            return
        self._look_at = now + LOOK_SECONDS
        if _stamp_of(self._settings.keys_file) == self._stamp:
            return
        try:
            self._read_keys()
            self._check_quotas()
            _log.info("keys were read again: there are %d", len(self._ring.keys))
        except UnusableKeysError as error:
            _log.error("the keys from before go on: %s", error)

    def _read_keys(self) -> None:
        path = self._settings.keys_file
        found = list(self._from_variable)
        if path is not None:
            self._stamp = _stamp_of(path)
            self._look_at = time.monotonic() + LOOK_SECONDS
            found += map(check_rates, read_keys(path))
        self._ring = KeyRing(found)

    def _check_quotas(self) -> None:
        named = next((key.name for key in self._ring.keys if key.quota is not None), None)
        if named is not None and self._settings.redis == "" and self._settings.usage_file is None:
            raise UnusableKeysError(
                f"the key '{named}' has a quota, which needs ATTEND_REDIS or ATTEND_USAGE_FILE, to be counted where a "
                "restart finds it"
            )

    def visit(self, path: str, headers: Headers, query: bytes, peer: str | None, *, is_private: bool) -> Visit:
        """A request that has come; `is_private`: on the port for what is served there alone."""
        return Visit(self, path, headers, query, peer, is_private=is_private)

    def find(self, presented: str) -> Key | None:
        """The key of what was presented."""
        self._look()
        return self._ring.find(presented)

    def need(self, path: str, *, is_private: bool) -> Need | None:
        """What a path asks for in this service.

        Raises:
            NotFoundError: it is served on the private port alone.
        """
        need = needed(path)
        access = {"metrics": self._settings.metrics_access, "page": self._settings.pages_access}.get(need or "")
        if access is None:
            return need
        if access == "port" and not is_private:
            raise NotFoundError(f"{path} is not served here")
        return need if access == "key" else None

    def by_key(self, key: Key) -> Caller:
        """The caller who has this key."""
        requests, characters = self._rates["key"]
        quota = self._settings.quota_characters if key.quota is None else key.quota
        return Caller(
            f"key:{key.name}",
            key,
            requests if key.requests is None else Rate.parse(key.requests),
            characters if key.characters is None else Rate.parse(key.characters),
            self._settings.rate_key_sentences if key.sentences is None else key.sentences,
            quota,
        )

    def by_address(self, peer: str | None, forwarded_for: str) -> Caller:
        """The caller who has no key."""
        address = caller_address(peer, forwarded_for, self._settings.trusted_proxies)
        return Caller(f"address:{address}", None, *self._rates["address"], self._settings.rate_address_sentences, None)

    async def close(self) -> None:
        """Nobody comes any more."""
        await self.counters.close()
        await self.usage.close()


Headers = Mapping[str, str]


class Visit:
    """One request: whose it is, and what it takes."""

    def __init__(
        self, guard: Guard, path: str, headers: Headers, query: bytes, peer: str | None, *, is_private: bool
    ) -> None:
        self._guard = guard
        self._path = path
        self._headers = headers
        self._query = query
        self._peer = peer
        self._is_private = is_private
        self._need: Need | None = None
        self._caller: Caller | None = None
        self._runs = False
        self.parts: Mapping[str, float] = {}
        """Seconds that each part of the work took, once it is done."""
        self.stretches: Sequence[Stretch] = ()
        """When each part was."""
        self.headers: dict[str, str] = {}
        """What the reply tells of rates."""

    @property
    def caller(self) -> Caller:
        """Who asks.

        Raises:
            KeyMissingError: nobody knows, and nobody may.
        """
        if self._caller is None:
            raise KeyMissingError
        return self._caller

    async def enter(self) -> None:
        """See whether this request may come in; where its fields may have the key, that is seen by `identify`.

        Raises:
            KeyMissingError, KeyRefusedError, ForbiddenError: it may not.
            RateExceededError: there were too many.
            NotFoundError: it is not served on this port.
        """
        self._need = self._guard.need(self._path, is_private=self._is_private)
        if self._need is None:
            self._caller = self._by_address()
            return
        presented = _presented(self._path, self._headers, self._query, self._need)
        if presented is None and self._path in IN_FIELDS and self._guard.has_keys:
            return
        await self._identify(presented)

    async def identify(self, api_key: object) -> None:
        """The same for a request whose fields have been read: `api_key` is what stands there."""
        if self._caller is None:
            await self._identify(api_key if isinstance(api_key, str) and api_key else None)

    async def _identify(self, presented: str | None) -> None:
        if presented is not None and self._guard.has_keys:
            key = self._guard.find(presented)
            if key is None:
                await self._count("requests", self._by_address(), 1)  # or keys could be tried without end
                raise KeyRefusedError
            if self._need is not None and not allows(key.rights, self._need):
                raise ForbiddenError(f"this key has not the right '{self._need}'")
            caller = self._guard.by_key(key)
        elif self._is_refused_without():
            raise self._missing()
        else:
            caller = self._by_address()
        if self._need == "translate":
            await self._count("requests", caller, 1)
        self._caller = caller

    def _is_refused_without(self) -> bool:
        """Whether a request without a key is."""
        if self._need == "admin":
            return self._guard.has_keys
        return self._guard.needs_key or self._need in ("metrics", "page")

    def _missing(self) -> KeyMissingError:
        error = KeyMissingError()
        if self._need in ("metrics", "page"):
            error.headers["WWW-Authenticate"] = 'Basic realm="Attend: any name, and a key as the password"'
        return error

    def _by_address(self) -> Caller:
        return self._guard.by_address(self._peer, self._headers.get("x-forwarded-for", ""))

    async def _count(self, counted: Counted, caller: Caller, cost: int) -> None:
        rate = caller.requests if counted == "requests" else caller.characters
        if rate:
            standing = await count(self._guard.counters, rate, counted, caller.name, cost)
            if standing is not None and counted == "requests":
                self.headers = standing.headers()

    async def scoring(self, characters: int) -> None:
        """Count characters that are read and not translated.

        Raises:
            RateExceededError, TextLimitError: they are too many for a while.
        """
        await self._count("characters", self.caller, characters)

    @contextlib.asynccontextmanager
    async def spending(self, characters: int) -> AsyncIterator[None]:
        """While entered, so many characters are translated; if that fails they were not spent.

        Raises:
            RateExceededError, TextLimitError: they are too many for a while.
            QuotaExceededError: they are too many for this month.
            UnavailableError: they cannot be counted.
        """
        caller = self.caller
        await self._count("characters", caller, characters)
        if caller.key is None:
            yield
            return
        month = this_month()
        with _told():
            spent = await self._guard.usage.spend(caller.key.name, month, characters, caller.quota)
        if not spent:
            raise QuotaExceededError(caller.quota or 0, _seconds_left())
        try:
            yield
        except BaseException:
            with contextlib.suppress(UsageError):
                await self._guard.usage.give_back(caller.key.name, month, characters)
            raise

    @contextlib.asynccontextmanager
    async def running(self, sentences: int) -> AsyncIterator[None]:
        """While entered, so many sentences run or wait.

        Raises:
            RateExceededError: they are too many at once.
        """
        caller = self.caller
        if caller.sentences is None or not sentences:
            yield
            return
        # What belongs to a request that has begun is not refused, but it counts.
        most = None if self._runs else caller.sentences
        self._runs = True
        async with self._guard.counters.sentences(caller.name, sentences, most) as admitted:
            if not admitted:
                raise RateExceededError(f"Slowdown: {caller.sentences} sentences at once", 1)
            yield

    async def used(self) -> tuple[int, int]:
        """Characters of this month, and the most there may be.

        Raises:
            UnavailableError: nobody knows now.
        """
        caller = self.caller
        if caller.key is None:
            return 0, NO_LIMIT
        with _told():
            spent = await self._guard.usage.spent(caller.key.name, this_month())
        return spent, NO_LIMIT if caller.quota is None else caller.quota


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except UsageError as error:
        _log.error("%s", error)
        raise UnavailableError("what is used cannot be counted now") from None


def _presented(path: str, headers: Headers, query: bytes, need: Need) -> str | None:
    """The key that a request has in its headers or its address."""
    scheme, _, rest = headers.get("authorization", "").partition(" ")
    match scheme.lower():
        case "bearer" | "deepl-auth-key":
            return rest.strip()
        # Browsers send it with whatever they ask of this service, also for pages of others: for reading alone.
        case "basic" if need in ("page", "metrics"):
            return _password(rest)
    named = headers.get("x-goog-api-key") if path.startswith(_GOOGLES) else None
    if named or not query:
        return named
    names = ("token", "key") if path.startswith(_GOOGLES) else ("token",)
    pairs = dict(parse_qsl(query.decode("latin-1"), errors="replace"))
    return next((pairs[name] for name in names if pairs.get(name)), None)


def _password(encoded: str) -> str:
    try:
        return base64.b64decode(encoded.strip(), validate=True).decode("utf-8", "replace").partition(":")[2]
    except (binascii.Error, ValueError):
        return ""


def _stamp_of(path: Path) -> object:
    """Something that changes when the file does."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _seconds_left() -> float:
    """Of this month."""
    now = datetime.datetime.now(datetime.UTC)
    following = (now.replace(day=1) + datetime.timedelta(days=32)).replace(day=1, hour=0, minute=0, second=0)
    return (following - now).total_seconds()


def _stores(settings: AccessConfig) -> tuple[Counters, Usage]:
    """Where is counted."""
    if not settings.redis:
        return MemoryCounters(), FileUsage(settings.usage_file) if settings.usage_file else MemoryUsage()
    try:
        from service.access.replicas import RedisCounters, RedisUsage, check_url
    except ModuleNotFoundError:
        raise UsageError("ATTEND_REDIS needs the package redis: pip install 'attend[redis]'") from None
    try:
        check_url(settings.redis)
    except ValueError as error:
        raise UsageError(f"ATTEND_REDIS: {error}") from None
    lease = settings.max_timeout_ms // 1000 + 10
    return RedisCounters(settings.redis, lease), RedisUsage(settings.redis)
