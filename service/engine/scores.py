"""What is asked of the engine that scores and aligns, and what it answers, as plain values.

Shapes: S source tokens, T target tokens (the end token is the last), Le encoder layers, L decoder layers, H heads, I
source pieces, J target pieces.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from service.arrays import Array

AttentionKind = Literal["encoder", "decoder", "cross"]
"""encoder: source tokens at source tokens. decoder: target tokens at those before them and themselves. cross: target
tokens at source tokens."""
KINDS: tuple[AttentionKind, ...] = ("encoder", "decoder", "cross")


@dataclasses.dataclass(frozen=True, slots=True)
class Score:
    """What the model thinks of one target."""

    token_log_probs: Array
    """[T], natural logarithms."""
    attention: Mapping[AttentionKind, Array]
    """The kinds that were asked for: encoder [Le, H, S, S], decoder [L, H, T, T], cross [L, H, T, S]. Row t of the
    last two is the one that predicts token t."""


@dataclasses.dataclass(frozen=True, slots=True)
class ScoringJob:
    """One target to score; the result is a `Score`."""

    source_ids: tuple[int, ...]
    """Target-language tag, pieces, end token."""
    target_ids: tuple[int, ...]
    """Without the end token, which is always scored."""
    hidden: tuple[int, ...] = ()
    """Places of the source that no token may look at, as if they were padding."""
    is_shortlisted: bool = False
    """Whether the probability is shared among the sentence's shortlist, as when it was decoded, and not among the whole
    vocabulary."""
    attention: tuple[AttentionKind, ...] = ()
    silent_prefix: tuple[int, ...] = ()
    """Tokens before the target, such as its language's, which are read and not scored."""

    @property
    def tokens(self) -> int:
        """Source and target tokens."""
        return len(self.source_ids) + self.target_length

    @property
    def target_length(self) -> int:
        """Target tokens, with the end token and what stands before the target."""
        return len(self.silent_prefix) + len(self.target_ids) + 1

    @property
    def work(self) -> int:
        """How much there is to do, compared with other jobs."""
        return self.tokens


@dataclasses.dataclass(frozen=True, slots=True)
class AlignmentJob:
    """Two sentences to align by what the bundle knows of its pieces; the result is [J, I], see `hmm_evidence`."""

    source_ids: tuple[int, ...]
    """Without tag and end token."""
    target_ids: tuple[int, ...]
    direction: str

    @property
    def tokens(self) -> int:
        """Source and target tokens."""
        return len(self.source_ids) + len(self.target_ids)

    @property
    def work(self) -> int:
        """How much there is to do, compared with other jobs."""
        return self.tokens


AnyScoringJob = ScoringJob | AlignmentJob
