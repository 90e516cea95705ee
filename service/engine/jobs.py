"""What the engine is asked and what it answers, as plain values.

Nothing here knows HTTP, text or the runtime. `Engine` is the seam between the service and whatever decodes: the service
submits jobs and waits for their futures; how jobs share batches is the engine's business alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Literal, Protocol

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

    def __post_init__(self) -> None:
        counts = 1 <= self.num_hypotheses <= self.beam_size and 1 <= self.min_output_tokens <= self.max_output_tokens
        if (
            not counts
            or self.max_output_tokens < 1
            or self.no_repeat_ngram_size < 0
            or not self.repetition_penalty >= 1
        ):
            raise ValueError(f"impossible search: {self}")

    @property
    def is_constrained(self) -> bool:
        """Whether any token's log-probability is ever changed."""
        return self.min_output_tokens > 1 or self.repetition_penalty != 1.0 or self.no_repeat_ngram_size > 0


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


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Job:
    """One sentence to translate; it carries its own answer."""

    source_ids: tuple[int, ...]
    """Target-language tag, pieces, end token."""
    options: SearchOptions
    future: Future[tuple[Hypothesis, ...]] = dataclasses.field(default_factory=Future)
    """Resolves to `num_hypotheses` (or fewer) hypotheses, best first. Cancelling it withdraws the job."""


class Engine(Protocol):
    """Decodes jobs, in its own thread; every method may be called from any thread and returns at once."""

    def submit(self, jobs: Sequence[Job]) -> None:
        """Queue jobs in order; each job's future resolves, fails or is cancelled, always.

        Raises:
            EngineClosedError: the engine was closed.
        """

    def is_alive(self) -> bool:
        """Whether the engine's thread can still make progress."""

    def close(self) -> None:
        """Refuse new jobs, finish those accepted, stop the thread. Blocks until done."""


class EngineClosedError(RuntimeError):
    """A job was submitted to an engine that no longer takes any."""
