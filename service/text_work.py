"""Work on texts that takes a while, so that nobody else waits long for the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

_Result = TypeVar("_Result")

SINGLE_CHARACTERS = 200
"""Of longer texts than this only one is worked on in a round of the event loop. When an engine has come back, dozens of
requests may be ready at once, and together they would keep it from all others."""
THREAD_CHARACTERS = 2000
"""Longer texts than this are worked on in a thread."""


class TextWork:
    """Lets texts have their turn. Only the event loop calls it."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()

    async def run(self, characters: int, work: Callable[[], _Result]) -> _Result:
        """What `work` on a text of so many characters returns."""
        if characters > THREAD_CHARACTERS:
            return await asyncio.to_thread(work)
        if characters <= SINGLE_CHARACTERS:
            return work()
        await self._turn.acquire()
        try:
            return work()
        finally:
            # In the next round: until then all others who are ready have had their turn.
            asyncio.get_running_loop().call_soon(self._turn.release)
