"""A text as segments to translate and everything between them, which comes back untouched."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterator, Sequence

from service.text.languages import separates_sentences_with_spaces
from service.text.sentences import CountTokens, Span, sentence_spans, split_long
from service.text.verbatim import spaced_marks, stretches

# Everything str.splitlines() breaks at.
_LINE = re.compile("[^\n\r\v\f\x1c-\x1e\x85\u2028\u2029]+")


@dataclasses.dataclass(frozen=True, slots=True)
class Segment:
    """A sentence, or a part of one, at `source[start:end]` in code points."""

    start: int
    end: int
    text: str
    translatable: bool
    """False where there is nothing to translate: no letter in any script, or an address or emoji, which are copied."""

    @property
    def is_address(self) -> bool:
        """Whether it is copied although it has letters."""
        return not self.translatable and _has_letter(self.text)


@dataclasses.dataclass(frozen=True, slots=True)
class Document:
    """A source text with its segments, in order and without overlap; what lies between them is separators.

    Separators are whitespace, and beside what is copied (`service.text.verbatim`) its brackets, quotes and marks.
    """

    source: str
    segments: tuple[Segment, ...]
    split_sentences: int
    """How many sentences were longer than the limit and became several segments."""

    @classmethod
    def parse(cls, source: str, language: str, count_tokens: CountTokens, limit: int) -> Document:
        """Lines, cut at what is copied, then sentences, then parts of at most `limit` tokens."""
        segments: list[Segment] = []
        split_sentences = 0
        for whole in _wholes(source, language):
            spans = list(split_long(source, whole.start, whole.end, count_tokens, limit)) if whole.translatable else []
            split_sentences += len(spans) > 1
            segments.extend([_segment(source, span) for span in spans] if len(spans) > 1 else [whole])
        return cls(source, tuple(segments), split_sentences)

    @property
    def translatable(self) -> tuple[str, ...]:
        """The texts that need translating, in order."""
        return tuple(segment.text for segment in self.segments if segment.translatable)

    def restore(self) -> str:
        """The source again, put together from its parts."""
        return "".join(part for part, _ in self._parts(self.translatable, True, True))

    def translate(self, targets: Sequence[str], source_language: str, target_language: str) -> str:
        """The document with `targets` in place of its translatable segments.

        Newlines, indentation and runs of spaces stay as they are. Only what belongs to the language and not to the
        layout changes: the one thing between two sentences of a line, which is nothing in Chinese and Japanese and a
        space elsewhere, and the marks beside what is copied.
        """
        return self.place(targets, source_language, target_language)[0]

    def place(self, targets: Sequence[str], source_language: str, target_language: str) -> tuple[str, list[Span]]:
        """`translate`, and where each of `targets` stands in the result."""
        source_spaced = separates_sentences_with_spaces(source_language)
        target_spaced = separates_sentences_with_spaces(target_language)
        parts = list(self._parts(targets, source_spaced, target_spaced))
        spans, end = [], 0
        for part, is_target in parts:
            if is_target:
                spans.append((end, end + len(part)))
            end += len(part)
        return "".join(part for part, _ in parts), spans

    def _parts(self, targets: Sequence[str], source_spaced: bool, target_spaced: bool) -> Iterator[tuple[str, bool]]:
        """What the document is made of with `targets` put in, and whether it is one of them."""
        remaining = iter(targets)
        for before, after in itertools.pairwise((None, *self.segments, None)):
            separator = self.source[before.end if before else 0 : after.start if after else None]
            if source_spaced != target_spaced:
                separator = _respaced(separator, before, after, target_spaced)
            yield separator, False
            if after:
                yield (next(remaining) if after.translatable else after.text), after.translatable


def _respaced(separator: str, before: Segment | None, after: Segment | None, target_spaced: bool) -> str:
    """What stands between the segments, None at either end of the text, in a language that spaces the other way."""
    if target_spaced and separator.strip():
        return spaced_marks(separator, after_text=before is not None, before_text=after is not None)
    if before is None or after is None or not (before.translatable or after.translatable):
        return separator
    if target_spaced:
        return separator or " "
    # Next to letters without a space nobody could tell where an address ends.
    return "" if separator == " " and not (before.is_address or after.is_address) else separator


def _wholes(source: str, language: str) -> Iterator[Segment]:
    """Sentences, and what stands between them and is copied."""
    for line in _LINE.finditer(source):
        for (start, end), is_copied in stretches(line.group(), language):
            first = line.start() + start
            if is_copied:
                yield Segment(first, line.start() + end, source[first : line.start() + end], translatable=False)
                continue
            for sentence in sentence_spans(source[first : line.start() + end], language):
                yield _segment(source, (first + sentence[0], first + sentence[1]))


def _segment(source: str, span: Span) -> Segment:
    text = source[span[0] : span[1]]
    return Segment(span[0], span[1], text, _has_letter(text))


def _has_letter(text: str) -> bool:
    return any(map(str.isalpha, text))
