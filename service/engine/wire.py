"""What a fleet and its engines say to each other: plain values, which can be pickled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from service.engine.jobs import Hypothesis, SearchOptions
from service.engine.records import EngineReport
from service.engine.scheduler import Lane


class Submission(NamedTuple):
    """Jobs of one request."""

    number: int
    """Numbers rise."""
    lane: Lane
    submitted: float
    """When, in seconds of `time.monotonic`, which all processes of a machine share."""
    deadline: float
    jobs: tuple[tuple[tuple[int, ...], SearchOptions], ...]
    """Of each its source ids and how it is searched."""


class Withdrawal(NamedTuple):
    """Nobody waits for a submission any more."""

    number: int


class Stop(NamedTuple):
    """Take nothing more; finish what was accepted, or give it up."""

    at_once: bool


Message = Submission | Withdrawal | Stop


class Failure(NamedTuple):
    """Why there is no translation."""

    kind: Literal["cancelled", "deadline", "closed", "error"]
    message: str


class Answer(NamedTuple):
    """What became of a job."""

    number: int
    """Of its submission."""
    place: int
    """In the submission."""
    result: tuple[Hypothesis, ...] | Failure
    started: float
    encoded: float
    finished: float


class Waiting(NamedTuple):
    """What waits in a lane."""

    lane: Lane
    tokens: int
    pace: float | None
    """Tokens a second that leave while somebody waits; None: not seen yet."""


class News(NamedTuple):
    """What an engine says, and how it stands."""

    seen: int
    """The last submission that it has taken; `waiting` counts those up to there."""
    waiting: tuple[Waiting, ...]
    has_failed: bool
    """It has stopped for good."""
    answers: Sequence[Answer] = ()
    report: EngineReport | None = None
    device_bytes: int | None = None
    """In use on the device; comes with reports, None on the CPU."""
