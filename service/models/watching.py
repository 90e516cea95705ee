"""Serves what a directory has whenever it changes."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from service.errors import BundleRefusedError
from service.models.finding import Fingerprint, fingerprint

if TYPE_CHECKING:
    from service.models.registry import Registry

_log = logging.getLogger("attend")


class Watcher:
    """Looks at a directory of bundles; what is being copied there is left alone until it changes no more."""

    def __init__(self, directory: Path, registry: Registry) -> None:
        self._directory = directory
        self._registry = registry
        self._served: Fingerprint | None = None
        self._seen: Fingerprint | None = None

    async def watch(self, seconds: float) -> None:
        """Look every so many seconds, for ever."""
        while True:
            await self.look()
            await asyncio.sleep(seconds)

    async def look(self) -> bool:
        """One look; returns whether the registry was told to look too, since all is as it was at the last look but not
        as it was at the one before."""
        try:
            now = await asyncio.to_thread(fingerprint, self._directory)
        except OSError as error:
            _log.warning("cannot look at the bundles: %s", error)
            return False
        is_settled, self._seen = now == self._seen, now
        if self._served is None:  # what was found at the start
            self._served = now
        if not is_settled or now == self._served:
            return False
        self._served = now
        try:
            _log.info("the directory of bundles has changed: %s", await self._registry.reload())
        except BundleRefusedError as error:
            _log.error("the directory of bundles has changed: %s", error)
        return True
