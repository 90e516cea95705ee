"""What the engine is asked and what it answers, as plain values.

Nothing here knows HTTP, text or the runtime. `Engine` is the seam between the service and whatever decodes: the service
submits jobs and waits for their futures; how jobs share batches is the engine's business alone.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Literal, Protocol

from model.vocabulary import BOS_ID, EOS_ID, PAD_ID, UNK_ID

FinishReason = Literal["eos", "length"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SearchOptions:
    """How one sentence is searched. `beam_size` 1 is greedy."""

    beam_size: int = 1
    num_hypotheses: int = 1
    """Results wanted, at most `beam_size`."""
    length_penalty: float = 1.0
    """score = log_prob / n^length_penalty; n counts the end token."""
    max_output_tokens: int = 256
    min_output_tokens: int = 1
    """The end token is impossible before so many tokens."""
    repetition_penalty: float = 1.0
    """At least 1: log-probabilities of tokens the output already has are multiplied by this."""
    no_repeat_ngram_size: int = 0
    """No run of so many tokens occurs twice; 0 allows it."""
    target_prefix: tuple[int, ...] = ()
    """What the output begins with; its log-probability counts."""

    def __post_init__(self) -> None:
        counts = 1 <= self.num_hypotheses <= self.beam_size and 1 <= self.min_output_tokens <= self.max_output_tokens
        if (
            not counts
            or self.max_output_tokens < 1
            or self.no_repeat_ngram_size < 0
            or not self.repetition_penalty >= 1
            or len(self.target_prefix) > self.max_output_tokens
            or not set(self.target_prefix).isdisjoint((PAD_ID, UNK_ID, BOS_ID, EOS_ID))
        ):
            raise ValueError(f"impossible search: {self}")

    @property
    def is_constrained(self) -> bool:
        """Whether any token's log-probability is ever changed."""
        return (
            self.min_output_tokens > 1
            or self.repetition_penalty != 1.0
            or self.no_repeat_ngram_size > 0
            or bool(self.target_prefix)
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Hypothesis:
    """One translation of one sentence."""

    target_ids: tuple[int, ...]
    """Without the end token."""
    log_prob: float
    """Natural logarithm, summed over the tokens, the end token included."""
    score: float
    """What hypotheses are ranked by, see `SearchOptions.length_penalty`."""
    finish_reason: FinishReason
    """`eos`: the model ended the sentence. `length`: it was cut at `max_output_tokens`."""
    token_log_probs: tuple[float, ...]
    """Of each token, that of the end token last if there is one: what the decoder gave it before `options` changed
    anything. Without such changes their sum is `log_prob`, but for rounding."""


@dataclasses.dataclass(slots=True)
class JobTimes:
    """When things happened to a job, in seconds of `time.monotonic`; 0 before they did. The engine writes it."""

    submitted: float = 0.0
    started: float = 0.0
    """It left the queue."""
    encoded: float = 0.0
    finished: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Job:
    """One sentence to translate; it carries its own answer."""

    source_ids: tuple[int, ...]
    """Target-language tag, pieces, end token."""
    options: SearchOptions
    future: Future[tuple[Hypothesis, ...]] = dataclasses.field(default_factory=Future)
    """Resolves to `num_hypotheses` (or fewer) hypotheses, best first."""
    times: JobTimes = dataclasses.field(default_factory=JobTimes)


@dataclasses.dataclass(slots=True, eq=False)
class Ticket:
    """What the jobs of one request have in common: how long anybody waits for them."""

    deadline: float = math.inf
    """In seconds of `time.monotonic`; jobs that are not done by then fail with `DeadlineError`."""
    queued: bool = False
    """The engine has taken jobs for it."""
    withdrawn: bool = False
    """Nobody waits any more; `Engine.withdraw` sets it."""


class Engine(Protocol):
    """Decodes jobs, somewhere else; every method may be called from any thread, all but `close` return at once."""

    def submit(self, jobs: Sequence[Job], ticket: Ticket | None = None, *, bounded: bool = True) -> None:
        """Queue the jobs of a request in order; each job's future resolves, fails or is cancelled, always.

        Args:
            jobs: all of them are taken, or none.
            ticket: shared by everything that is submitted for the request; None: they are wanted for ever.
            bounded: False for further jobs of a request that was accepted before: they find room in any queue.

        Raises:
            QueueFullError: too many tokens wait already.
            DeadlineError: the deadline has passed, or the queue is too long to meet it.
            EngineClosedError: the engine was closed.
        """

    def check_room(self, fewest_tokens: int, most_tokens: int) -> None:
        """Whether it is worth reading a request of which only this is known; costs nothing.

        Raises:
            QueueFullError: whatever its size in this range, `submit` would refuse it.
        """

    def withdraw(self, ticket: Ticket) -> None:
        """Forget the jobs of this request: they leave queue and batch before the next step, and are cancelled."""

    def waiting_tokens(self) -> int:
        """Source tokens in the queue."""

    def is_alive(self) -> bool:
        """Whether it can still make progress."""

    def close(self) -> None:
        """Refuse new jobs, finish those accepted, stop. Blocks until done."""

    def abort(self) -> None:
        """Refuse new jobs, fail those accepted with `EngineClosedError`, stop."""


class EngineClosedError(RuntimeError):
    """The engine takes no more jobs, or was stopped before it came to this one."""


class _LoadError(RuntimeError):
    """There is too much to do."""

    def __init__(self, message: str, retry_after_seconds: float) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds
        """Until what waits now will have started."""


class QueueFullError(_LoadError):
    """The tokens of a request do not fit into the queue."""


class DeadlineError(_LoadError):
    """A deadline has passed, or could not be met."""
