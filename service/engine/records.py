"""What the engine reports about its work, as plain values; publishing them is somebody else's business."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal

FinishedAs = Literal["eos", "length", "cancelled", "deadline", "error"]
Stage = Literal["queue", "decode"]


@dataclasses.dataclass(frozen=True, slots=True)
class EncodeRecord:
    """One run of the encoder."""

    source_tokens: int
    """Tokens of its sentences, tags and end tokens included, padding not."""
    seconds: float


@dataclasses.dataclass(frozen=True, slots=True)
class StepRecord:
    """One run of the decoder."""

    rows: int
    """Sentences times beams."""
    seconds: float
    padding: float
    """Share of the source places read by its encoder-decoder attention that hold nothing, 0 to 1."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class EngineReport:
    """What the engine did since its last report."""

    encodes: tuple[EncodeRecord, ...] = ()
    steps: tuple[StepRecord, ...] = ()
    queue_wait_seconds: tuple[float, ...] = ()
    """From submission to the start of encoding, one entry a job."""
    finished: Mapping[FinishedAs, int] = dataclasses.field(default_factory=dict)
    """How jobs ended; reasons that did not occur may be absent."""
    cancelled: Mapping[Stage, int] = dataclasses.field(default_factory=dict)
    """Where those were that ended as `cancelled`; stages that did not occur may be absent."""
    running_rows: int
    """Rows that are being decoded now."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ScorerReport:
    """What the scorer did since its last report: at most one batch."""

    batch_seconds: tuple[float, ...] = ()
    """How long a batch took, those that failed too."""
    queue_wait_seconds: tuple[float, ...] = ()
    """From submission to the start of the batch, one entry a job."""
    scored: int = 0
    failed: int = 0
    cancelled: int = 0
    """Jobs nobody waited for any more; they had not begun."""
