"""How many requests may be under way at once, and that none is admitted any more when the service stops."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from service.errors import RejectedError


class Admission:
    """Counts the requests under way. Only the event loop calls it."""

    def __init__(self, most: int) -> None:
        self.under_way = 0
        self._most = most
        self._closed = False

    @property
    def is_closed(self) -> bool:
        """Whether the service is stopping."""
        return self._closed

    def close(self) -> None:
        """Admit nothing any more; what is under way goes on."""
        self._closed = True

    @contextlib.contextmanager
    def admit(self) -> Iterator[None]:
        """One request, from its headers to its answer.

        Raises:
            RejectedError: the service is stopping, or full.
        """
        if self._closed:
            raise RejectedError("the service is shutting down", "draining")
        if self.under_way >= self._most:
            raise RejectedError(f"{self._most} requests are under way already", "too_many_requests")
        self.under_way += 1
        try:
            yield
        finally:
            self.under_way -= 1
