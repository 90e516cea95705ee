"""What `hosting` and `host` tell each other of an engine, beside what every engine is told and says."""

from __future__ import annotations

from typing import NamedTuple


class Ended(NamedTuple):
    """An engine is gone; what it held is free."""

    how: str


class Drop(NamedTuple):
    """End an engine now, whatever it has to do."""
