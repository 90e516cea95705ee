"""What a pool needs of its jobs, and of those who wait for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from service.engine.types import Answer


class PoolJob(Protocol):
    """A job of any kind."""

    @property
    def tokens(self) -> int:
        """Tokens that wait for it."""

    @property
    def work(self) -> int:
        """How much there is to do, compared with other jobs."""


class Watcher(Protocol):
    """Who is told of the jobs of a request, by their places, while it is under way."""

    def note_answer(self, place: int, answer: Answer) -> None:
        """A job has been answered, which happens once."""

    def note_partial(self, place: int, target_ids: Sequence[int]) -> None:
        """What is certain of a job that is streamed; after a move to another engine less may be for a while."""
