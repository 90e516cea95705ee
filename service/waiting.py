"""From many futures of the engine's thread to one of the event loop.

`asyncio.wrap_future` for each job costs the loop a callback and a wake-up a sentence: with the 25,000 sentences that
one request may hold it stood still for seconds. Here the engine's thread counts, and wakes the loop once.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Protocol, TypeVar

THREAD_JOBS = 500
"""More jobs than this are submitted off the event loop."""


class HasFuture(Protocol):
    """A job of any kind."""

    @property
    def future(self) -> Future[Any]:
        """Resolves, fails or is cancelled, always."""


_Job = TypeVar("_Job", bound=HasFuture)


class Countdown:
    """Calls `finished` once: when all the jobs are done, or with `fail_fast` as soon as one failed or was cancelled."""

    def __init__(self, jobs: Sequence[HasFuture], finished: Callable[[], None], *, fail_fast: bool) -> None:
        self._left = len(jobs)
        self._finished = finished
        self._fail_fast = fail_fast
        self._lock = threading.Lock()
        self.spoilt: Future[Any] | None = None
        for job in jobs:
            job.future.add_done_callback(self._note)

    def _note(self, future: Future[Any]) -> None:
        spoilt = self._fail_fast and (future.cancelled() or future.exception() is not None)
        with self._lock:
            over = self._left <= 0
            self._left = 0 if spoilt else self._left - 1
            if spoilt and not over:
                self.spoilt = future
        if not over and self._left == 0:
            self._finished()


async def until_done(jobs: Sequence[_Job], submit: Callable[[Sequence[_Job]], None], *, fail_fast: bool = True) -> None:
    """Submit `jobs`; returns once every one is done: with `fail_fast` every one has its result then.

    Raises:
        concurrent.futures.CancelledError: the engine withdrew a job (with `fail_fast`).
        Exception: what the first failing job failed with (with `fail_fast`), or what `submit` raised.
    """
    loop = asyncio.get_running_loop()
    woken = asyncio.Event()

    def begin() -> Countdown:
        countdown = Countdown(jobs, lambda: _wake(loop, woken), fail_fast=fail_fast)
        submit(jobs)
        return countdown

    countdown = await asyncio.to_thread(begin) if len(jobs) > THREAD_JOBS else begin()
    if jobs:
        await woken.wait()
    if countdown.spoilt is not None:
        countdown.spoilt.result()


def _wake(loop: asyncio.AbstractEventLoop, woken: asyncio.Event) -> None:
    # The engine may finish a job after the loop that asked for it has gone.
    if not loop.is_closed():
        loop.call_soon_threadsafe(woken.set)
