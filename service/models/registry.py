"""The models of a service: found in a directory, served together, exchanged while requests go on.

A new bundle is tried and loaded beside the one it replaces. Then new requests go to it; those under way keep the
catalogue that they began with, and when the last of them has ended the old one is freed. A bundle that fails changes
nothing.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from service.errors import BundleRefusedError, NotFoundError, UnavailableError, shown
from service.model_metrics import Standing
from service.models.catalogue import Catalogue
from service.models.entry import Entry
from service.models.router import Router

if TYPE_CHECKING:
    from pathlib import Path

    from service.engine.loading import LoadedEngine
    from service.metrics import Metrics
    from service.model_names import Canary, ModelName
    from service.models.finding import Found, FoundBundle
    from service.models.loads import Loads

_log = logging.getLogger("attend")

Try = Callable[["Path"], Awaitable[None]]
"""Loads a bundle apart from those that are served, translates its self-test and ends; raises what is wrong with it."""


@dataclasses.dataclass(slots=True)
class Changes:
    """What a look at the directory has changed; models by name and version, problems by directory."""

    loaded: list[str] = dataclasses.field(default_factory=list)
    replaced: list[str] = dataclasses.field(default_factory=list)
    removed: list[str] = dataclasses.field(default_factory=list)
    refused: dict[str, str] = dataclasses.field(default_factory=dict)


class Registry:
    """All models. Only the event loop calls it."""

    def __init__(
        self,
        find: Callable[[], Found],
        try_bundle: Try | None,
        metrics: Metrics,
        canaries: Sequence[Canary],
        pivot: str,
        on_empty: Callable[[Entry], None],
    ) -> None:
        """`find` is called in a thread. `loads` must be set before anything else is done. `on_empty` is called with
        the last of the models when it fails."""
        self._find = find
        self._try = try_bundle
        self._metrics = metrics
        self._canaries, self._pivot = tuple(canaries), pivot
        self._on_empty = on_empty
        self.loads: Loads
        self.entries: dict[ModelName, Entry] = {}
        """The newest of each name and version, those included that failed or were unloaded."""
        self._served: set[Entry] = set()
        self.catalogue: Catalogue | None = None
        self._old: list[Catalogue] = []
        self._changing = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self.generation = 0
        """Rises whenever another catalogue is published."""

    async def start(self, *, lazy: bool) -> None:
        """Find the bundles and load the preferred one; with `lazy` the others when they are wanted, else one after
        another while requests are served.

        Raises:
            Exception: why none of them can be served.
        """
        found = await asyncio.to_thread(self._find)
        self._warn(found.problems)
        waiting = [Entry(bundle) for bundle in found.bundles]
        failure: Exception = BundleRefusedError(next(iter(found.problems.values()), "there is no bundle"))
        while waiting:
            entry = Catalogue(waiting, self._canaries, self._pivot).ordered[0]
            try:
                await self.loads.load(entry)
                break
            except Exception as error:
                failure = error
                self._log_refusal(entry.model, error)
                self.entries[entry.model] = entry
                waiting.remove(entry)
        else:
            raise failure
        for entry in waiting:
            self._add(entry)
        self._publish()
        if not lazy:
            self._in_background(self._load_the_others())

    async def _load_the_others(self) -> None:
        assert self.catalogue is not None
        for entry in self.catalogue.ordered[1:]:
            if entry.state != "unloaded" or entry.is_retired or not self.loads.has_room(entry):
                continue
            try:
                await self.loads.load(entry)
            except Exception as error:
                if not entry.is_retired:
                    self._log_refusal(entry.model, error)

    def _log_refusal(self, model: ModelName, error: Exception) -> None:
        _log.error("%s is not served: %s", model, error, exc_info=_log.isEnabledFor(logging.DEBUG))

    def note_failure(self, entry: Entry) -> None:
        """A model cannot be loaded, or its engines not be started again: nothing more is sent to it."""
        if entry.state != "failed":
            entry.fail("the engines cannot be started again")
        if entry in self._served:
            self._withdraw([entry])
            if not self._served:
                self._on_empty(entry)

    def _add(self, entry: Entry) -> None:
        self.entries[entry.model] = entry
        self._served.add(entry)

    def _publish(self) -> None:
        """From now on requests begin with what is served now."""
        if self.catalogue is not None:
            self._old = [each for each in (*self._old, self.catalogue) if not each.is_free]
        self.catalogue = Catalogue(self._served, self._canaries, self._pivot) if self._served else None
        self.generation += 1

    def current(self) -> Catalogue:
        """What requests begin with now.

        Raises:
            UnavailableError: nothing is served.
        """
        if self.catalogue is None:
            raise UnavailableError("no model is loaded")
        return self.catalogue

    def router(self) -> Router:
        """What a request that begins now sees."""
        return Router(self.current(), self.loads, self._metrics)

    def engines(self) -> list[LoadedEngine]:
        """All that are in memory."""
        return [entry.memory.engine for entry in self.loads.residents if entry.memory is not None]

    def standings(self) -> list[Standing]:
        """How it stands with each model."""
        return [
            Standing(entry.model, entry.state, entry.size if entry.is_in_memory else 0)
            for entry in self.entries.values()
        ]

    async def _look(self) -> Found:
        """What the directory has now.

        Raises:
            BundleRefusedError: it cannot be read, or has nothing, as when its disk is not there.
        """
        try:
            found = await asyncio.to_thread(self._find)
        except OSError as error:
            raise BundleRefusedError(f"the bundles cannot be looked at: {error}") from error
        if not found.bundles and not found.problems:
            raise BundleRefusedError("there is no bundle; what was served still is, until it is unloaded")
        return found

    async def reload(self) -> Changes:
        """Serve what the directory has now.

        Raises:
            BundleRefusedError: nobody knows what it has; nothing has changed.
        """
        async with self._changing:
            found = await self._look()
            self._warn(found.problems)
            changes = Changes(refused={str(path): why for path, why in found.problems.items()})
            for bundle in found.bundles:
                try:
                    await self._serve(bundle, changes)
                except Exception as error:
                    changes.refused[str(bundle.directory)] = str(error)
            kept = {bundle.model for bundle in found.bundles}
            occupied = set(found.problems) | {
                bundle.directory for bundle in found.bundles if str(bundle.directory) in changes.refused
            }
            gone = [entry for entry in self._served if entry.model not in kept and entry.directory not in occupied]
            self._withdraw(gone)
            changes.removed = [str(entry.model) for entry in gone]
            for entry in list(self.entries.values()):
                if entry.model not in kept and entry not in self._served:
                    self._metrics.models.forget(self.entries.pop(entry.model).model)
            return changes

    async def load(self, written: str) -> Changes:
        """Serve a model that the directory has: one version of it, or by the name alone all.

        Raises:
            NotFoundError: there is none.
            BundleRefusedError: it cannot be served; what was served before still is.
        """
        async with self._changing:
            found = await self._look()
            changes = Changes()
            wanted = [bundle for bundle in found.bundles if bundle.model.is_meant_by(written)]
            if not wanted:
                known = ", ".join(str(bundle.model) for bundle in found.bundles) or "none"
                raise NotFoundError(f"no such model: {shown(written)}; there is {known}")
            for bundle in wanted:
                try:
                    await self._serve(bundle, changes)
                    await self.loads.load(self.entries[bundle.model])
                except Exception as error:
                    raise BundleRefusedError(str(error)) from error
            return changes

    async def unload(self, written: str) -> Changes:
        """Send nothing more to a model, let it finish what it has, and free it.

        Raises:
            NotFoundError: no such model is served.
        """
        async with self._changing:
            named = [entry for entry in self._served if entry.model.is_meant_by(written)]
            if not named:
                raise NotFoundError(f"no such model is served: {shown(written)}")
            await asyncio.gather(*self._withdraw(named))
            return Changes(removed=[str(entry.model) for entry in named])

    async def _serve(self, bundle: FoundBundle, changes: Changes) -> None:
        """Serve a bundle; one that is new or has changed is tried and loaded first."""
        old = self.entries.get(bundle.model)
        if old is not None and old in self._served and old.found.digest == bundle.digest:
            return
        new = Entry(bundle)
        replaced = [old] if old is not None and old in self._served else []
        try:
            if self._try is not None:
                await self._try(bundle.directory)
            await self.loads.load(new, replaced)
        except Exception as error:
            self._log_refusal(new.model, error)
            if not replaced:
                new.fail(str(error))
                self.entries[new.model] = new
            raise
        self._add(new)
        self._withdraw(replaced)
        (changes.replaced if replaced else changes.loaded).append(str(new.model))

    def _withdraw(self, entries: Iterable[Entry]) -> list[asyncio.Task[None]]:
        """Serve without these from now on, and free them when nobody uses them any more."""
        leaving = list(entries)
        for entry in leaving:
            entry.is_retired = True
        self._served.difference_update(leaving)
        self._publish()
        return [self._in_background(self._retire(entry)) for entry in leaving]

    async def _retire(self, entry: Entry) -> None:
        for catalogue in [each for each in self._old if entry in each.entries.values()]:
            await catalogue.released()
        await self.loads.free(entry)
        if self.entries.get(entry.model) in (None, entry):
            self._metrics.models.forget(entry.model)

    def _in_background(self, work: Awaitable[None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _warn(self, problems: dict[Path, str]) -> None:
        for problem in problems.values():
            _log.error("a bundle is not served: %s", problem)

    async def close(self) -> None:
        """Let the engines finish what they accepted and end them."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.loads.close()
        self.entries, self.catalogue, self._old = {}, None, []
        self._served.clear()
