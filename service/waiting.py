"""From many futures of the engine's thread to one of the event loop.

`asyncio.wrap_future` for each job costs the loop a callback and a wake-up a sentence: with the 25,000 sentences that
one request may hold it stood still for seconds. Here the engine's thread counts, and wakes the loop once.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from service.engine.jobs import Job

THREAD_JOBS = 500
"""More jobs than this are submitted off the event loop."""


class Countdown:
    """Calls `finished` once: when all the jobs are done, or as soon as one failed or was cancelled."""

    def __init__(self, jobs: Sequence[Job], finished: Callable[[], None]) -> None:
        self._left = len(jobs)
        self._finished = finished
        self._lock = threading.Lock()
        self.spoilt: Future[Any] | None = None
        for job in jobs:
            job.future.add_done_callback(self._note)

    def _note(self, future: Future[Any]) -> None:
        spoilt = future.cancelled() or future.exception() is not None
        with self._lock:
            over = self._left <= 0
            self._left = 0 if spoilt else self._left - 1
            if spoilt and not over:
                self.spoilt = future
        if not over and self._left == 0:
            self._finished()


async def until_done(jobs: Sequence[Job], submit: Callable[[Sequence[Job]], None]) -> None:
    """Submit `jobs`; returns once every one has its result. Otherwise cancels those that have none.

    Raises:
        concurrent.futures.CancelledError: the engine withdrew a job.
        Exception: what the first failing job failed with.
    """
    loop = asyncio.get_running_loop()
    woken = asyncio.Event()

    def begin() -> Countdown:
        countdown = Countdown(jobs, lambda: _wake(loop, woken))
        submit(jobs)
        return countdown

    try:
        countdown = await asyncio.to_thread(begin) if len(jobs) > THREAD_JOBS else begin()
        if jobs:
            await woken.wait()
        if countdown.spoilt is not None:
            countdown.spoilt.result()
    except BaseException:
        for job in jobs:
            job.future.cancel()
        raise


def _wake(loop: asyncio.AbstractEventLoop, woken: asyncio.Event) -> None:
    # The engine may finish a job after the loop that asked for it has gone.
    if not loop.is_closed():
        loop.call_soon_threadsafe(woken.set)
