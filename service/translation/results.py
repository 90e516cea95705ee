"""What becomes of the texts of a request: values, which every contract can import without the translator."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Literal

from service.tracing import Stretch

if TYPE_CHECKING:
    from service.errors import ServiceError
    from service.explain.details import Inspection
    from service.text.edits import Span

WarningKind = Literal[
    "truncated", "repetition", "repetition_removed", "numbers_differ", "placeholder_lost", "incomplete"
]


@dataclasses.dataclass(frozen=True, slots=True)
class Piece:
    """What comes next of a text: with all pieces before it, what the translation begins with."""

    text: str
    span: Span
    """Of the sentence in the source; of all the rest where there is none any more."""
    is_last: bool


@dataclasses.dataclass(frozen=True, slots=True)
class SentenceWarning:
    """Something a caller should know about the sentence at `text[start:end]` of its source, in code points."""

    start: int
    end: int
    warning: WarningKind
    """truncated: cut at its length limit. repetition: goes round in circles, and further attempts did too or were not
    made. repetition_removed: a further attempt was better, and is what was returned. numbers_differ: a number of the
    source is missing, or there is one that the source has not. placeholder_lost: something that should have been copied
    is missing. incomplete: something was probably left out, for it is very short or nothing of it
    comes from the end of the source."""


@dataclasses.dataclass(frozen=True, slots=True)
class Hop:
    """What one model did with a text."""

    model: str
    """Name and version."""
    source: str
    target: str
    text: str
    """What it made of it."""
    inspections: tuple[tuple[Inspection, ...], ...] = ()
    """As those of a `Translation`."""


@dataclasses.dataclass(frozen=True, slots=True)
class Translation:
    """What became of one text."""

    text: str
    alternatives: tuple[str, ...]
    warnings: tuple[SentenceWarning, ...]
    inspections: tuple[tuple[Inspection, ...], ...] = ()
    """With `TranslationOptions.details`: one for each translated sentence of the text, then of each alternative. None
    where two models made the text: `hops` has them."""
    places: tuple[tuple[Span, Span], ...] = ()
    """For each translated sentence where it stands in the source and where in the translation."""
    hops: tuple[Hop, ...] = ()
    """The models that the text went through, where that is known."""

    @property
    def truncated(self) -> bool:
        """Whether a sentence of it reached its length limit before the model ended it."""
        return any(warning.warning == "truncated" for warning in self.warnings)


@dataclasses.dataclass(frozen=True, slots=True)
class Timing:
    """Where the time of a request went, in seconds; queue to decode of the sentence that was done last."""

    tokenize: float = 0.0
    queue: float = 0.0
    encode: float = 0.0
    decode: float = 0.0
    score: float | None = None
    """With `TranslationOptions.details`."""
    submitted: float = 0.0
    """When the sentence that was done last went to the engines, in seconds of `time.monotonic`; 0 if none did."""

    def stretches(self) -> list[Stretch]:
        """When each part was, as far as it is known; `text` is what is done before the engines."""
        if not self.submitted:
            return []
        started = self.submitted + self.queue
        encoded = started + self.encode
        return [
            Stretch("text", self.submitted - self.tokenize, self.submitted),
            Stretch("queue", self.submitted, started),
            Stretch("encode", started, encoded),
            Stretch("decode", encoded, encoded + self.decode),
        ]

    def parts(self) -> dict[str, float]:
        """The seconds by name, without what was not done."""
        found = {"tokenize": self.tokenize, "queue": self.queue, "encode": self.encode, "decode": self.decode}
        return found if self.score is None else {**found, "score": self.score}


@dataclasses.dataclass(frozen=True, slots=True)
class TranslatedTexts:
    """The answer to one request, text by text, and what it took."""

    texts: tuple[Translation | ServiceError, ...]
    """Errors only with `TranslationOptions.text_by_text`."""
    timing: Timing
