"""What is asked of the translator and what it answers, as plain values."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Literal

from service.errors import ServiceError

if TYPE_CHECKING:
    from service.explain.details import DetailOptions, Inspection

WarningKind = Literal["truncated", "repetition", "repetition_removed"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TranslationOptions:
    """How the texts of one request are translated."""

    beam_size: int = 1
    alternatives: int = 0
    """Further versions wanted of each text; needs `beam_size` > `alternatives`."""
    length_penalty: float = 1.0
    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    min_output_tokens: int = 1
    max_output_tokens: int | None = None
    """Of one sentence; None: twice the source and ten more, within the model's limit."""
    strict: bool = False
    """A text of which a sentence was cut is an error."""
    text_by_text: bool = False
    """A text that fails leaves the others alone."""
    target_prefix: str = ""
    """What the translation of the first sentence of each text begins with; whitespace around it does not count."""
    details: DetailOptions | None = None
    """What is told of each sentence beside its translation; None: nothing."""


@dataclasses.dataclass(frozen=True, slots=True)
class SentenceWarning:
    """Something a caller should know about the sentence at `text[start:end]` of its source, in code points."""

    start: int
    end: int
    warning: WarningKind
    """truncated: cut at its length limit. repetition: goes round in circles, and a second attempt with repetition
    control did too or was not made. repetition_removed: the second attempt was better, and is what was returned."""


@dataclasses.dataclass(frozen=True, slots=True)
class Translation:
    """What became of one text."""

    text: str
    alternatives: tuple[str, ...]
    warnings: tuple[SentenceWarning, ...]
    inspections: tuple[tuple[Inspection, ...], ...] = ()
    """With `TranslationOptions.details`: one for each translated sentence of the text, then of each alternative."""

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
