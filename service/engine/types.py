"""What an engine is asked and what it answers, as plain values that can be sent to another process.

Nothing here knows HTTP, text or the runtime.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import operator
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

Device = Literal["auto", "cpu", "cuda"]
FinishReason = Literal["eos", "length"]
Outcome = Literal["eos", "length", "cancelled", "deadline", "error"]
"""How the work on a sentence ended."""
Stage = Literal["queue", "decode"]
"""Where a sentence was when nobody waited for it any more."""


class Lane(enum.IntEnum):
    """Two queues that share the machine."""

    INTERACTIVE = 0
    BULK = 1


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """What is to be run, and on how much of the machine."""

    directory: Path
    """The bundle."""
    device: Device = "auto"
    sessions: int = 0
    """Engines, each with a process, a model and rows of its own. 0: one a core, at most 8; on CUDA one."""
    threads: int = 0
    """Threads of one model run; 0 shares the cores among the engines."""
    max_rows: int = 256
    """Rows that run at once, in all engines together."""
    waiting_tokens: int = sys.maxsize
    """Source tokens that may wait in the interactive lane."""
    bulk_waiting_tokens: int = sys.maxsize
    """Source tokens that may wait in the bulk lane."""
    hang_seconds: float = 10.0
    """Time after which a process that has work, says nothing and uses no processor is taken to hang."""
    cuda_graphs: bool = False
    """On CUDA, decoder steps are recorded and replayed. Reserves memory for the longest texts in every row."""
    prepacked: Path | None = None
    """Directory of weights that processes share, see `service.engine.decoder.prepacked`."""


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
    required: tuple[tuple[int, ...], ...] = ()
    """Of each group of tokens the output has exactly one. While one is missing the end token stands for it, and so do
    `stops`."""
    stops: tuple[int, ...] = ()
    """Tokens that end a sentence, such as a full stop."""
    forbidden: tuple[int, ...] = ()
    """Tokens that the output does not have."""
    silent_prefix: tuple[int, ...] = ()
    """Tokens before that, such as the target language's, which every output has without choice and at no cost. They
    count as tokens wherever tokens are counted, and are no part of a hypothesis."""

    def __post_init__(self) -> None:
        counts = 1 <= self.num_hypotheses <= self.beam_size and 1 <= self.min_output_tokens <= self.max_output_tokens
        if (
            not counts
            or self.no_repeat_ngram_size < 0
            or not self.repetition_penalty >= 1
            or len(self.target_prefix) > self.max_output_tokens
            or len(self.silent_prefix) >= self.max_output_tokens
            or not all(self.required)
            or len(self.required) >= self.max_output_tokens
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
            or bool(self.required)
            or bool(self.forbidden)
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return _search_options, _values_of(self)


_OPTIONS = tuple(field.name for field in dataclasses.fields(SearchOptions))
_values_of: Callable[[SearchOptions], tuple[Any, ...]] = operator.attrgetter(*_OPTIONS)


@functools.lru_cache(maxsize=1024)
def _search_options(*values: Any) -> SearchOptions:
    """Options that came from another process: most requests have the same few."""
    return SearchOptions(**dict(zip(_OPTIONS, values, strict=True)))


class Hypothesis(NamedTuple):
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
    """One for each token, that of the end token last if there is one: what the decoder gave it before the options
    changed anything. Without such changes their sum is `log_prob`, but for rounding."""


@dataclasses.dataclass(frozen=True, slots=True)
class Job:
    """One sentence to translate."""

    source_ids: tuple[int, ...]
    """Target-language tag, pieces, end token."""
    options: SearchOptions
    streams: bool = False
    """Whether what its beams agree on is told while it runs."""

    @property
    def tokens(self) -> int:
        """Tokens that wait for it."""
        return len(self.source_ids)

    @property
    def work(self) -> int:
        """How much there is to do, compared with other jobs."""
        return len(self.source_ids) * self.options.beam_size

    def __reduce__(self) -> tuple[Any, ...]:
        # What dataclasses do by themselves where they are frozen and have slots takes ten times as long.
        return Job, (self.source_ids, self.options, self.streams)


class Request(NamedTuple):
    """Jobs that belong together, for one engine."""

    number: int
    """Numbers rise."""
    lane: Lane
    submitted: float
    """When, in seconds of `time.monotonic`, which all processes of a machine share."""
    deadline: float
    """In seconds of `time.monotonic`; jobs that are not done by then fail."""
    jobs: Sequence[Any]


class Withdraw(NamedTuple):
    """Nobody waits for a request any more: its jobs leave queue and batch before the next step."""

    number: int


class Stop(NamedTuple):
    """No more requests come: the engine finishes what it has, and ends."""


Message = Request | Withdraw | Stop


class Failure(NamedTuple):
    """Why a job has no result."""

    kind: Literal["cancelled", "deadline", "error", "lost", "closed"]
    """lost: the processes that worked on it died. closed: the engines were stopped."""
    message: str = ""
    traceback: str = ""
    """Where it happened, for the log."""
    stage: Stage | None = None
    """Where the job was, if nobody waited for it any more."""


class Times(NamedTuple):
    """When things happened to a job, in seconds of `time.monotonic`; 0 if they did not."""

    submitted: float = 0.0
    started: float = 0.0
    """It left the queue."""
    encoded: float = 0.0
    finished: float = 0.0


class Answer(NamedTuple):
    """What became of a job."""

    number: int
    """The number of its request."""
    place: int
    """Its place among the jobs of the request."""
    result: Any
    """For a `Job` its hypotheses, `num_hypotheses` or fewer, best first; None with a failure."""
    failure: Failure | None
    times: Times


class Partial(NamedTuple):
    """What is certain of a job that runs."""

    number: int
    """The number of its request."""
    place: int
    """Its place among the jobs of the request."""
    target_ids: tuple[int, ...]
    """What all hypotheses that may still be the best begin with."""


class Waiting(NamedTuple):
    """What waits in a lane."""

    lane: Lane
    tokens: int
    pace: float | None
    """Tokens a second that leave while somebody waits; None: not seen yet."""


class EncodeRecord(NamedTuple):
    """One run of the encoder."""

    source_tokens: int
    """Tokens of its sentences, tags and end tokens included, padding not."""
    seconds: float


class StepRecord(NamedTuple):
    """One run of the decoder."""

    rows: int
    """Sentences times beams."""
    seconds: float
    padding: float
    """Share of the source places read by its encoder-decoder attention that hold nothing, 0 to 1."""


class Report(NamedTuple):
    """What an engine did since its last report."""

    encodes: Sequence[EncodeRecord] = ()
    steps: Sequence[StepRecord] = ()
    waits: Sequence[float] = ()
    """Seconds from submission to the start of the work, one entry a job."""
    batches: Sequence[float] = ()
    """Seconds that each batch of the scorer took."""
    running_rows: int = 0
    """Rows that are being decoded now."""
    device_bytes: int | None = None
    """Memory in use on the device; None on the CPU."""


class Update(NamedTuple):
    """What an engine says after a step."""

    seen: int
    """The last request that it has read; `waiting` counts those up to there."""
    waiting: Sequence[Waiting]
    answers: Sequence[Answer] = ()
    report: Report | None = None
    partials: Sequence[Partial] = ()


class EngineKind(enum.Enum):
    """What an engine does."""

    DECODE = "decode"
    """Translates: takes a `Job`."""
    SCORE = "score"
    """Scores and aligns given translations: takes a `ScoringJob` or an `AlignmentJob`."""


class Setup(NamedTuple):
    """What a process is told first."""

    kind: EngineKind
    config: EngineConfig
    log_level: int


class Ready(NamedTuple):
    """What a process says first: the bundle is loaded and has passed its self-tests."""

    provider: str
    """What ONNX Runtime really runs on, e.g. `CPUExecutionProvider`."""
    fallback: str | None = None
    """Why it does not run on CUDA, if that was wanted."""


class Steppable(Protocol):
    """An engine: `core.Engine`, or `scoring.ScoringEngine`."""

    @property
    def busy(self) -> bool:
        """Whether another step would do anything."""

    def add(self, request: Request) -> None:
        """Queue a request."""

    def withdraw(self, number: int) -> None:
        """End the jobs of a request at the next step."""

    def step(self) -> list[Answer]:
        """Work; returns the answers that came of it."""

    def partials(self) -> list[Partial]:
        """What is certain of the jobs that run and are streamed."""

    def waiting(self) -> tuple[Waiting, ...]:
        """What waits in each lane."""

    def report(self) -> Report:
        """What was done since the last report."""


class Observer(Protocol):
    """What is told how things go; publishing it is its business."""

    def observe_report(self, report: Report) -> None:
        """Count what an engine did since its last report."""

    def observe_answer(self, answer: Answer) -> None:
        """Count how a job ended."""

    def count_lost_process(self, *, hung: bool) -> None:
        """Count a process that died, or was killed since it hung."""


@dataclasses.dataclass(frozen=True, slots=True)
class Observers:
    """Who is told how things go with each kind of engine."""

    pool: Observer
    scorer: Observer


class DeviceError(RuntimeError):
    """The device that was asked for cannot run this bundle; the text is one sentence for the operator."""


class EngineClosedError(RuntimeError):
    """The engines take no more jobs, or were stopped before they came to this one."""


class EngineLostError(RuntimeError):
    """The processes that worked on a job died or hung."""


class LoadError(RuntimeError):
    """There is too much to do."""

    def __init__(self, message: str, retry_after_seconds: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds
        """Seconds until what waits now will have started."""


class QueueFullError(LoadError):
    """The tokens of a request do not fit into the queue."""


class DeadlineError(LoadError):
    """A deadline has passed, or could not be met."""


class RemoteError(Exception):
    """The traceback of an error in another process, as the cause of its copy here."""


def error_of(failure: Failure) -> Exception:
    """The exception that says what a failure says."""
    match failure.kind:
        case "deadline":
            return DeadlineError("the deadline has passed")
        case "lost":
            return EngineLostError(failure.message)
        case "closed":
            return EngineClosedError(failure.message)
        case "cancelled":
            return EngineClosedError("nobody waits for it any more")
    error = RuntimeError(failure.message)
    error.__cause__ = RemoteError(f"\n{failure.traceback}") if failure.traceback else None
    return error


def result_of(answer: Answer) -> Any:
    """The result of a job; raises what it failed with."""
    if answer.failure is not None:
        raise error_of(answer.failure)
    return answer.result
