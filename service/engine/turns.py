"""Whose turn it is among engines that share a process: pure decisions, no model, no clock.

Each engine has a clock of its own that runs while it works. The one whose clock is furthest behind makes the next step:
as long as several have work each gets the same time, however many sentences wait for one of them and however long its
steps are. Who had no work saves nothing up: its clock is put forward to the others' when work comes.
"""

from __future__ import annotations

from collections.abc import Collection


class Turns:
    """Whose turn it is. Engines are known by number."""

    def __init__(self) -> None:
        self._worked: dict[int, float] = {}
        self._busy: frozenset[int] = frozenset()
        self._now = 0.0

    def next(self, busy: Collection[int]) -> int | None:
        """The one of those with work whose step is next; None if there is none."""
        if not busy:
            self._busy = frozenset()
            return None
        for number in busy:
            if number not in self._busy:
                self._worked[number] = max(self._worked.get(number, 0.0), self._now)
        self._busy = frozenset(busy)
        chosen = min(busy, key=lambda number: (self._worked[number], number))
        self._now = self._worked[chosen]
        return chosen

    def note(self, number: int, seconds: float) -> None:
        """It has worked for so long."""
        self._worked[number] = self._worked.get(number, self._now) + seconds

    def forget(self, number: int) -> None:
        """It is there no more."""
        self._worked.pop(number, None)
        self._busy -= {number}
