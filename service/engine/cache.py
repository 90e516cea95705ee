"""Answers that are kept.

The same sentence with the same options has the same bits in any company, so it need not be decoded twice. A cache
belongs to one pool, and so to one bundle. It is bounded in bytes, in memory alone, and has token ids, no text.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import contextvars
import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

from service.engine.jobs import PoolJob, Watcher
from service.engine.types import Answer, Job, Times

sharing: contextvars.ContextVar[str] = contextvars.ContextVar("sharing", default="")
"""Whose answers a request may be given: what others asked for it must not learn, not even from how long it takes."""

Outcome = Literal["hit", "joined", "miss"]
Key = tuple[str, Job]

_ENTRY_BYTES, _TOKEN_BYTES = 900, 76
"""Of an entry and of a token with its probability, in CPython: estimates."""


class Runner(Protocol):
    """What decodes: a pool."""

    async def run(
        self,
        jobs: Sequence[PoolJob],
        *,
        deadline: float = math.inf,
        is_further: bool = False,
        fail_fast: bool = True,
        watcher: Watcher | None = None,
    ) -> list[Answer]:
        """See `Pool.run`."""


@dataclasses.dataclass(slots=True)
class _Entry:
    result: Any
    size: int
    verdicts: tuple[tuple[str, bool], ...] = ()
    """What was found out about the first hypothesis, by whom it was asked for."""


class Cache:
    """In front of a pool. Only the event loop calls it."""

    def __init__(self, pool: Runner, most_bytes: int, count: Callable[[Outcome, int], None]) -> None:
        """`count` is told how many sentences were found, joined to one under way, or decoded."""
        self._pool = pool
        self._most_bytes = most_bytes
        self._count = count
        self._kept: collections.OrderedDict[Key, _Entry] = collections.OrderedDict()
        self._under_way: dict[Key, asyncio.Future[Any]] = {}
        self.bytes = 0

    async def run(
        self,
        jobs: Sequence[Job],
        *,
        deadline: float = math.inf,
        is_further: bool = False,
        fail_fast: bool = True,
        watcher: Watcher | None = None,
    ) -> list[Answer]:
        """See `Pool.run`; what is kept needs no room there."""
        answers: list[Answer | None] = [None] * len(jobs)
        keys = [_key(job) for job in jobs]
        missing = list(range(len(jobs)))
        while missing:
            own: list[int] = []
            joined: list[int] = []
            mine: set[Key] = set()
            for place in missing:
                key = keys[place]
                if key in self._kept:
                    answers[place] = self._found(key, place, watcher)
                elif key in self._under_way or key in mine:
                    joined.append(place)
                else:
                    own.append(place)
                    mine.add(key)
            self._count("hit", len(missing) - len(own) - len(joined))
            self._count("joined", len(joined))
            self._count("miss", len(own))
            if own:
                how = _How(deadline, is_further, fail_fast)
                await self._decode([jobs[place] for place in own], keys, own, how, watcher, answers)
                is_further = True  # the request has been accepted
            missing = await self._join(joined, keys, deadline, watcher, answers)
        return [answer for answer in answers if answer is not None]

    def _found(self, key: Key, place: int, watcher: Watcher | None) -> Answer:
        self._kept.move_to_end(key)
        return _answered(place, self._kept[key].result, watcher)

    async def _decode(
        self,
        jobs: Sequence[Job],
        keys: Sequence[Key],
        places: Sequence[int],
        how: _How,
        watcher: Watcher | None,
        answers: list[Answer | None],
    ) -> None:
        """Have these jobs done; others may wait for each of them."""
        futures = {keys[place]: asyncio.get_running_loop().create_future() for place in places}
        self._under_way |= futures
        collecting = _Collecting(self, keys, places, futures, watcher)
        try:
            found = await self._pool.run(
                jobs,
                deadline=how.deadline,
                is_further=how.is_further,
                fail_fast=how.fail_fast,
                watcher=collecting,
            )
            for place, answer in zip(places, found, strict=True):
                answers[place] = answer
        finally:
            for key, future in futures.items():
                self._under_way.pop(key, None)
                if not future.done():
                    future.cancel()  # who waits for it does it himself

    async def _join(
        self,
        places: Sequence[int],
        keys: Sequence[Key],
        deadline: float,
        watcher: Watcher | None,
        answers: list[Answer | None],
    ) -> list[int]:
        """Wait for what others have done; returns the places of what has to be tried again."""
        again = []
        for place in places:
            future = self._under_way.get(keys[place])
            if future is None:
                again.append(place)
                continue
            # It ends in time by its own deadline or by ours: then we ask the pool, which refuses what is too late.
            left = None if deadline == math.inf else max(0.0, deadline - time.monotonic())
            done, _ = await asyncio.wait([future], timeout=left)
            if done and not future.cancelled():
                answers[place] = _answered(place, future.result(), watcher)
            else:
                again.append(place)
                if not done:
                    self._under_way.pop(keys[place], None)
        return again

    def keep(self, key: Key, result: Any) -> None:
        """Keep an answer, and forget those that were not asked for longest where there is no room."""
        size = size_of(key, result)
        if key in self._kept or size > self._most_bytes:
            return
        self._kept[key] = _Entry(result, size)
        self.bytes += size
        while self.bytes > self._most_bytes:
            _, freed = self._kept.popitem(last=False)
            self.bytes -= freed.size

    def verdict(self, job: Job, direction: str) -> bool | None:
        """What `note` was told of the answer to a job; None if nothing, or the answer is not kept."""
        entry = self._kept.get(_key(job))
        return None if entry is None else dict(entry.verdicts).get(direction)

    def note(self, job: Job, direction: str, verdict: bool) -> None:
        """Keep what was found out about the answer to a job, as long as the answer.

        `direction`: a text may be read in two languages, with another aligner for each.
        """
        entry = self._kept.get(_key(job))
        if entry is not None:
            entry.verdicts = tuple({**dict(entry.verdicts), direction: verdict}.items())


@dataclasses.dataclass(frozen=True, slots=True)
class _How:
    deadline: float
    is_further: bool
    fail_fast: bool


class _Collecting:
    """A `Watcher` that keeps what it hears of, and tells who waits."""

    def __init__(
        self,
        cache: Cache,
        keys: Sequence[Key],
        places: Sequence[int],
        futures: dict[Key, asyncio.Future[Any]],
        watcher: Watcher | None,
    ) -> None:
        self._cache = cache
        self._keys = keys
        self._places = places
        self._futures = futures
        self._watcher = watcher

    def note_answer(self, place: int, answer: Answer) -> None:
        """See `Watcher`."""
        of_request = self._places[place]
        key = self._keys[of_request]
        if answer.failure is None:
            self._cache.keep(key, answer.result)
            with contextlib.suppress(asyncio.InvalidStateError):
                self._futures[key].set_result(answer.result)
        if self._watcher is not None:
            self._watcher.note_answer(of_request, answer)

    def note_partial(self, place: int, target_ids: Sequence[int]) -> None:
        """See `Watcher`."""
        if self._watcher is not None:
            self._watcher.note_partial(self._places[place], target_ids)


def _key(job: Job) -> Key:
    return sharing.get(), dataclasses.replace(job, streams=False)


def _answered(place: int, result: Any, watcher: Watcher | None) -> Answer:
    now = time.monotonic()
    answer = Answer(0, place, result, None, Times(now, now, now, now))
    if watcher is not None:
        watcher.note_answer(place, answer)
    return answer


def size_of(key: Key, result: Any) -> int:
    """Bytes that an entry takes, about."""
    tokens = len(key[1].source_ids) + sum(len(hypothesis.target_ids) for hypothesis in result)
    return _ENTRY_BYTES * (1 + len(result)) + _TOKEN_BYTES * tokens
