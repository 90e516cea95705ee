"""A text as segments to translate and everything between them, which comes back untouched."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence

from service.text.languages import separates_sentences_with_spaces
from service.text.sentences import CountTokens, Span, sentence_spans, split_long

# Everything str.splitlines() breaks at.
_LINE = re.compile("[^\n\r\v\f\x1c-\x1e\x85\u2028\u2029]+")


@dataclasses.dataclass(frozen=True, slots=True)
class Segment:
    """A sentence, or a part of one, at `source[start:end]` in code points."""

    start: int
    end: int
    text: str
    translatable: bool
    """False where there is nothing to translate: no letter in any script."""


@dataclasses.dataclass(frozen=True, slots=True)
class Document:
    """A source text with its segments, in order and without overlap; what lies between them is separators."""

    source: str
    segments: tuple[Segment, ...]
    split_sentences: int
    """How many sentences were longer than the limit and became several segments."""

    @classmethod
    def parse(cls, source: str, language: str, count_tokens: CountTokens, limit: int) -> Document:
        """Lines, then sentences, then parts of at most `limit` tokens."""
        segments: list[Segment] = []
        split_sentences = 0
        for start, end in _sentences(source, language):
            whole = _segment(source, (start, end))
            spans = list(split_long(source, start, end, count_tokens, limit)) if whole.translatable else []
            split_sentences += len(spans) > 1
            segments.extend([_segment(source, span) for span in spans] if len(spans) > 1 else [whole])
        return cls(source, tuple(segments), split_sentences)

    @property
    def translatable(self) -> tuple[str, ...]:
        """The texts that need translating, in order."""
        return tuple(segment.text for segment in self.segments if segment.translatable)

    def restore(self) -> str:
        """The source again, put together from its parts."""
        return "".join(part for part, _ in self._parts(self.translatable, "", ""))

    def translate(self, targets: Sequence[str], source_language: str, target_language: str) -> str:
        """The document with `targets` in place of its translatable segments.

        Newlines, indentation and runs of spaces stay as they are. Only the one thing between two sentences of a line
        that belongs to the language and not to the layout changes: nothing in Chinese and Japanese, a space elsewhere.
        """
        return self.place(targets, source_language, target_language)[0]

    def place(self, targets: Sequence[str], source_language: str, target_language: str) -> tuple[str, list[Span]]:
        """`translate`, and where each of `targets` stands in the result."""
        source_spaced = separates_sentences_with_spaces(source_language)
        target_spaced = separates_sentences_with_spaces(target_language)
        old, new = "", ""
        if source_spaced != target_spaced:
            old, new = (" ", "") if source_spaced else ("", " ")
        parts = list(self._parts(targets, old, new))
        spans, end = [], 0
        for part, is_target in parts:
            if is_target:
                spans.append((end, end + len(part)))
            end += len(part)
        return "".join(part for part, _ in parts), spans

    def _parts(self, targets: Sequence[str], old: str, new: str) -> Iterator[tuple[str, bool]]:
        """What the document is made of with `targets` put in, and whether it is one of them.

        A separator that is exactly `old` between two segments becomes `new`.
        """
        end, after_text = 0, False
        remaining = iter(targets)
        for index, segment in enumerate(self.segments):
            separator = self.source[end : segment.start]
            between_text = index > 0 and (after_text or segment.translatable)
            yield (new if between_text and separator == old else separator), False
            yield (next(remaining) if segment.translatable else segment.text), segment.translatable
            end, after_text = segment.end, segment.translatable
        yield self.source[end:], False


def _sentences(source: str, language: str) -> Iterator[Span]:
    for line in _LINE.finditer(source):
        for start, end in sentence_spans(line.group(), language):
            yield line.start() + start, line.start() + end


def _segment(source: str, span: Span) -> Segment:
    text = source[span[0] : span[1]]
    return Segment(span[0], span[1], text, any(map(str.isalpha, text)))
