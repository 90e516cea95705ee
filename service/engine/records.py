"""What the engine reports about its work, as plain values; publishing them is somebody else's business."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal

FinishedAs = Literal["eos", "length", "cancelled", "error"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BatchRecord:
    """One batch that went through the engine."""

    rows: int
    """Sentences times beams."""
    source_tokens: int
    """Tokens of all sentences, tags and end tokens included, padding not."""
    padded_tokens: int
    """What the encoder computed: sentences times the longest of them."""
    steps: int
    """Decoder steps."""
    encode_seconds: float
    decode_seconds: float
    """All steps together."""
    queue_wait_seconds: tuple[float, ...]
    """From submission to the start of encoding, one entry a job."""
    finished: Mapping[FinishedAs, int]
    """How the jobs of this batch ended; reasons that did not occur may be absent."""
