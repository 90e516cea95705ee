"""The attempts at sentences, each judged when it is answered and not when all are."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from service.engine.jobs import Watcher
    from service.engine.types import Answer, Job
    from service.translation.attempts import Trials
    from service.translation.progress import Progress


class Run(Protocol):
    """Has jobs done: the pool's `run`, with the deadline of the request."""

    def __call__(
        self, jobs: Sequence[Job], *, is_further: bool = False, watcher: Watcher | None = None
    ) -> Awaitable[list[Answer]]:
        """See `Pool.run`."""


Judge = Callable[[Sequence["Trials"], Iterator["Answer"]], Awaitable[list["Trials"]]]
"""Takes answers of the newest attempts; returns the sentences of which another is to be made."""
Finish = Callable[[int, "Trials"], Awaitable[None]]
"""Is called once with the number of each sentence that nothing is left to try of."""


@dataclasses.dataclass(slots=True)
class _Place:
    """Where a job belongs."""

    sentence: int
    missing: int
    """First jobs of the sentence without an answer."""
    answers: list[Answer]


class Streaming:
    """The sentences of one call; a `Watcher` of their first attempts."""

    def __init__(
        self, trials: Sequence[Trials], progress: Sequence[tuple[Progress, int]], run: Run, judge: Judge, finish: Finish
    ) -> None:
        """`progress`: of each sentence its text, and its number there."""
        self._trials = trials
        self._progress = progress
        self._run = run
        self._judge = judge
        self._finish = finish
        self._parts = [(number, part) for number, each in enumerate(trials) for part in each.open_parts]
        self._places = [_Place(number, len(each.open_parts), []) for number, each in enumerate(trials)]
        self._tasks: list[asyncio.Task[list[Answer]]] = []

    async def answers(self) -> list[Answer]:
        """Attempt each sentence until nothing is wrong with it, or nothing is left to try. Returns all answers."""
        jobs = [dataclasses.replace(part.job, streams=True) for _, part in self._parts if part.job is not None]
        try:
            first = await self._run(jobs, watcher=self)
            further = await asyncio.gather(*self._tasks)
        finally:
            for task in self._tasks:
                task.cancel()
        return [*first, *(answer for each in further for answer in each)]

    def note_answer(self, place: int, answer: Answer) -> None:
        """See `Watcher`."""
        sentence = self._places[self._parts[place][0]]
        sentence.answers.append(answer)
        sentence.missing -= 1
        if not sentence.missing:
            self._tasks.append(asyncio.ensure_future(self._settled(sentence)))

    def note_partial(self, place: int, target_ids: Sequence[int]) -> None:
        """See `Watcher`."""
        number, part = self._parts[place]
        if part.prepared is not None and not self._places[number].answers:
            progress, of_text = self._progress[number]
            progress.note_partial(of_text, part.prepared, target_ids)

    async def _settled(self, place: _Place) -> list[Answer]:
        """Further attempts at one sentence; returns their answers."""
        trials = self._trials[place.sentence]
        answers: list[Answer] = []
        again = await self._judge([trials], iter(place.answers))
        while again:
            jobs = [part.job for each in again for part in each.open_parts if part.job is not None]
            new = await self._run(jobs, is_further=True)
            answers += new
            again = await self._judge(again, iter(new))
        await self._finish(place.sentence, trials)
        return answers
