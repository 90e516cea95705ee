"""How the texts of one request are translated."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from service.engine.types import SearchOptions
from service.errors import InvalidFieldError
from service.text.terms import NO_TERMS

if TYPE_CHECKING:
    from model.bundle import Limits
    from service.explain.details import DetailOptions
    from service.text.terms import Terms


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
    terms: Terms = NO_TERMS
    """What is translated in one way, or not at all."""
    has_tags: bool = False
    """Characters of a private plane stand for tags, see `service.text.lines.spans_of`."""

    @property
    def controls_repetition(self) -> bool:
        """Whether the caller does, so that the service does not."""
        return self.repetition_penalty != 1.0 or self.no_repeat_ngram_size > 0

    def search(
        self,
        source_tokens: int,
        limits: Limits,
        prefix: tuple[int, ...] = (),
        silent: tuple[int, ...] = (),
    ) -> SearchOptions:
        """How a sentence of so many tokens is searched; `silent` is what an output begins with before its text.

        Raises:
            InvalidFieldError: `target_prefix` leaves no room.
        """
        limit = limits.target_tokens - len(silent)
        usual = max(limits.output_tokens(source_tokens), self.min_output_tokens)
        most = min(self.max_output_tokens or usual + len(prefix), limit)
        if len(prefix) >= most:
            raise InvalidFieldError(
                f"target_prefix has {len(prefix)} tokens, which leaves none of the {most} that a sentence may have"
            )
        return SearchOptions(
            beam_size=self.beam_size,
            num_hypotheses=self.alternatives + 1,
            length_penalty=self.length_penalty,
            repetition_penalty=self.repetition_penalty,
            no_repeat_ngram_size=self.no_repeat_ngram_size,
            # Callers count the text's tokens only; one there is always.
            min_output_tokens=self.min_output_tokens + (len(silent) if self.min_output_tokens > 1 else 0),
            max_output_tokens=most + len(silent),
            target_prefix=prefix,
            silent_prefix=silent,
        )
