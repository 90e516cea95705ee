"""What can be translated at one moment: a request keeps the catalogue that it began with, whatever is exchanged."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from service.models.routing import Routes

if TYPE_CHECKING:
    from service.model_names import Canary, ModelName
    from service.models.entry import Entry


class Catalogue:
    """Some models, and the routes through them."""

    def __init__(self, entries: Iterable[Entry], canaries: Sequence[Canary], pivot: str) -> None:
        self.entries: Mapping[ModelName, Entry] = {entry.model: entry for entry in entries}
        self.canaries = {canary.model.name: canary for canary in canaries if canary.model in self.entries}
        self.routes = Routes.over((entry.candidate for entry in self.entries.values()), canaries, pivot)
        self.language_names: dict[str, str] = {}
        for each in reversed(self.routes.candidates):
            self.language_names |= self.entries[each.model].manifest.language_names
        self._requests = 0
        self._released: asyncio.Future[None] | None = None
        self._only: dict[str, Routes | None] = {}

    @property
    def ordered(self) -> list[Entry]:
        """The models, the preferred first."""
        return [self.entries[each.model] for each in self.routes.candidates]

    def only(self, written: str) -> Routes | None:
        """The routes through one model; None if there is none of this name."""
        if written not in self._only:
            if len(self._only) > len(self.entries) * 4:
                self._only.clear()  # names that callers make up
            self._only[written] = self.routes.only(written)
        return self._only[written]

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """A request has begun with it, and needs its models until it ends."""
        self._requests += 1
        try:
            yield
        finally:
            self._requests -= 1
            if not self._requests and self._released is not None and not self._released.done():
                self._released.set_result(None)

    @property
    def is_free(self) -> bool:
        """Whether no request has it now."""
        return not self._requests

    async def released(self) -> None:
        """Wait until no request has it any more; for one that no new request begins with."""
        while self._requests:
            self._released = self._released or asyncio.get_running_loop().create_future()
            await asyncio.shield(self._released)
