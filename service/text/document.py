"""A text as sentences to translate and everything between them, which comes back untouched."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from model.spans import SET_ASIDE, FoundSpan, find_spans
from service.text.characters import in_plain_characters
from service.text.edits import Edit, Edited
from service.text.languages import separates_sentences_with_spaces
from service.text.lines import blocks, cells, inside, is_plain, masked, spans_between, spans_of
from service.text.marks import tail
from service.text.sentences import cuts_of_long, sentence_spans, trim
from service.text.separators import spaced_marks
from service.text.terms import NO_TERMS

if TYPE_CHECKING:
    from model.spans import Kind
    from service.text.edits import Span
    from service.text.terms import Terms

# Everything str.splitlines() breaks at.
_LINE = re.compile("[^\n\r\v\f\x1c-\x1e\x85\u2028\u2029]+")


class Copied(NamedTuple):
    """What stands at `start` to `end` of a sentence, and the text that is put in its place behind the model."""

    start: int
    end: int
    kind: Kind
    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class Sentence:
    """What is translated as one, in plain characters and without the stop at its end."""

    text: str
    spans: tuple[Copied, ...] = ()
    """What is copied, in order."""
    asides: tuple[Copied, ...] = ()
    """What is set aside, in order."""
    stop: str = ""
    """As written at its end, with the spaces before."""
    continues: bool = False
    """Whether something of the sentence stands before it, so that it begins without a capital."""

    def part(self, start: int, end: int) -> Sentence:
        """text[start:end] as a sentence; it has the stop only if it is the last."""
        spans, asides = (
            tuple(
                span._replace(start=span.start - start, end=span.end - start)
                for span in found
                if start <= span.start and span.end <= end
            )
            for found in (self.spans, self.asides)
        )
        stop = self.stop if end == len(self.text) else tail(self.text[start:end])
        if end < len(self.text) and stop and not any(span.end > end - start - len(stop) for span in (*spans, *asides)):
            end -= len(stop)
        elif end < len(self.text):
            stop = ""
        return Sentence(self.text[start:end], spans, asides, stop, self.continues or start > 0)


CountTokens = Callable[[Sentence], int]


@dataclasses.dataclass(frozen=True, slots=True)
class Segment:
    """A sentence, or a part of one, at `source[start:end]` in code points."""

    start: int
    end: int
    text: str
    place: Span
    """In the plain text."""
    sentence: Sentence | None
    """None where there is nothing to translate: no letter of the language, or only what is copied."""
    copy: str = ""
    """What stands for it in the translation if nothing is translated."""

    @property
    def translatable(self) -> bool:
        """Whether a translation takes its place."""
        return self.sentence is not None

    @property
    def is_address(self) -> bool:
        """Whether it is copied although it has letters."""
        return self.sentence is None and any(map(str.isalpha, self.text))


@dataclasses.dataclass(frozen=True, slots=True)
class Document:
    """A source text with its segments, in order and without overlap; what lies between them is separators.

    Separators are whitespace, marks around lines and sentences, and what is set aside at their ends.
    """

    plain: Edited
    """The source, and what it is read as."""
    segments: tuple[Segment, ...]
    split_sentences: int = 0
    """How many sentences were longer than the limit and became several segments."""

    @classmethod
    def parse(
        cls,
        source: str,
        language: str,
        count_tokens: CountTokens,
        limit: int,
        terms: Terms = NO_TERMS,
        *,
        has_tags: bool = False,
    ) -> Document:
        """Lines, cells, sentences, then parts of at most `limit` tokens.

        Args:
            source: the text.
            language: of the text.
            count_tokens: what a sentence takes of a model.
            limit: the most that it may take.
            terms: what the caller wants copied or replaced.
            has_tags: see `service.text.lines.spans_of`.
        """
        if terms is NO_TERMS and not has_tags and is_plain(source, language):
            sentence, place = _plain_sentence(source), (0, len(source))
            if _surely_fits(sentence, limit):
                return cls(Edited(source), (Segment(*place, source, place, sentence, source),))
            return cls._of(Edited(source), ((place, sentence),), count_tokens, limit)
        plain = in_plain_characters(source)
        return cls._of(plain, _sentences(plain, language, terms, has_tags=has_tags), count_tokens, limit)

    @classmethod
    def _of(
        cls, plain: Edited, sentences: Iterable[tuple[Span, Sentence | None]], count_tokens: CountTokens, limit: int
    ) -> Document:
        segments: list[Segment] = []
        split = 0
        for place, sentence in sentences:
            parts = [place] if sentence is None else list(_parts(sentence, place, count_tokens, limit))
            split += len(parts) > 1
            for part in parts:
                inner = sentence
                if sentence is not None and part != place:
                    first, last = part[0] - place[0], part[1] - place[0]
                    inner = sentence.part(first, min(last, len(sentence.text)))
                segments.append(_segment(plain, part, inner if inner and _has_words(inner) else None))
        return cls(plain, tuple(segments), split)

    @property
    def source(self) -> str:
        """The text as it was sent."""
        return self.plain.old

    @property
    def sentences(self) -> tuple[Sentence, ...]:
        """What needs translating, in order."""
        return tuple(segment.sentence for segment in self.segments if segment.sentence is not None)

    @property
    def translatable(self) -> tuple[Segment, ...]:
        """The segments that need translating, in order."""
        return tuple(segment for segment in self.segments if segment.sentence is not None)

    def replaced(self, parts: Sequence[Sequence[tuple[Span, str | None]]]) -> Document:
        """The same with each translatable segment cut into parts: their places in its sentence, and what is copied for
        those that are not translated."""
        remaining = iter(parts)
        segments: list[Segment] = []
        for segment in self.segments:
            cut = next(remaining) if segment.sentence else []
            if segment.sentence is None or len(cut) < 2:
                segments.append(segment)
                continue
            for (start, end), copy in cut:
                part = segment.sentence.part(start, end) if copy is None else None
                place = segment.place[0] + start, segment.place[0] + end
                if part and end == len(segment.sentence.text):
                    place = place[0], segment.place[1]
                segments.append(_segment(self.plain, place, part, copy))
        return dataclasses.replace(self, segments=tuple(segments))

    def translate(self, targets: Sequence[str], source_language: str, target_language: str) -> str:
        """The document with `targets` in place of its translatable segments.

        Newlines, indentation and runs of spaces stay as they are. Only what belongs to the language and not to the
        layout changes: the one thing between two sentences of a line, which is nothing in Chinese and Japanese and a
        space elsewhere, and the marks between them.
        """
        return self.place(targets, source_language, target_language)[0]

    def place(self, targets: Sequence[str], source_language: str, target_language: str) -> tuple[str, list[Span]]:
        """`translate`, and where each of `targets` stands in the result."""
        if not targets:
            return self.source, []
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
            yield self.separator(before, after, source_spaced, target_spaced), False
            if after:
                yield (next(remaining) if after.translatable else after.copy), after.translatable

    def separator(self, before: Segment | None, after: Segment | None, source_spaced: bool, target_spaced: bool) -> str:
        """What stands in the translation between two segments that follow each other, None at either end of the text,
        for languages with and without spaces between sentences."""
        between = self.plain.text[before.place[1] if before else 0 : after.place[0] if after else None]
        return between if source_spaced == target_spaced else _respaced(between, before, after, target_spaced)


def _respaced(separator: str, before: Segment | None, after: Segment | None, target_spaced: bool) -> str:
    """What stands between the segments, None at either end of the text, in a language that spaces the other way."""
    if target_spaced and separator.strip():
        return _spaced(separator, before is not None, after is not None)
    if before is None or after is None or not (before.translatable or after.translatable):
        return separator
    if target_spaced:
        return separator or " "
    # Next to letters without a space nobody could tell where an address ends.
    return "" if separator == " " and not (before.is_address or after.is_address) else separator


_STANDS_FOR = "\ue000"
"""A character for private use; one in the text is copied, and so it never stands beside what is not."""


def _spaced(separator: str, after_text: bool, before_text: bool) -> str:
    """`spaced_marks`, but of what is copied or set aside, such as a tag or a block of code, nothing changes."""
    spans = blocks(separator)
    for each in find_spans(separator, "zh"):
        if all(each.end <= start or end <= each.start for start, end in spans):
            spans.append((each.start, each.end))
    spans.sort()
    bare = Edited.of(separator, [Edit(*span, _STANDS_FOR) for span in spans]).text if spans else separator
    pieces = spaced_marks(bare, after_text=after_text, before_text=before_text).split(_STANDS_FOR)
    copies = [separator[start:end] for start, end in spans]
    return "".join(piece + copy for piece, copy in zip(pieces, [*copies, ""], strict=True))


def _sentences(plain: Edited, language: str, terms: Terms, *, has_tags: bool) -> Iterator[tuple[Span, Sentence | None]]:
    """Where each sentence stands in the plain text, and what it is, None for one without words to translate."""
    for line_start, line in _lines(plain.text, blocks(plain.text)):
        if terms is NO_TERMS and not has_tags and is_plain(line, language):
            yield (line_start, line_start + len(line)), _plain_sentence(line)
            continue
        spans = spans_of(line, language, terms, has_tags=has_tags)
        mask = masked(line, spans) if spans else line
        for cell in cells(line, mask, spans):
            for start, end in _of_cell(line, mask, cell, spans, language):
                found = [_copied(span, start, line_start, plain, terms) for span in spans_between(spans, start, end)]
                sentence = _sentence(line[start:end], tail(mask[start:end]), found)
                yield (line_start + start, line_start + end), sentence if _has_words(sentence) else None


def _plain_sentence(line: str) -> Sentence:
    body = len(line) - len(tail(line))
    return Sentence(line[:body], stop=line[body:])


def _lines(text: str, whole: Sequence[Span]) -> Iterator[tuple[int, str]]:
    """Lines and where they begin, without the blocks that are copied whole."""
    ends = [*whole, (len(text), len(text))]
    start = 0
    for block in ends:
        for match in _LINE.finditer(text, start, block[0]):
            yield match.start(), match.group()
        start = block[1]


def _of_cell(line: str, mask: str, cell: Span, spans: Sequence[FoundSpan], language: str) -> Iterator[Span]:
    for start, end in sentence_spans(mask[slice(*cell)], language):
        found = inside(line, mask, cell[0] + start, cell[0] + end, spans)
        if found[0] < found[1]:
            yield found


def _copied(span: FoundSpan, start: int, line_start: int, plain: Edited, terms: Terms) -> Copied:
    """A span of a line as one of the sentence that begins at `start` of it, with its text as it was sent; a number is
    written anew, and is what it is read as."""
    place = line_start + span.start, line_start + span.end
    if span.kind == "number":
        text = plain.text[slice(*place)]
    else:
        first, last = plain.old_span(place)
        text = plain.old[first:last]
    return Copied(span.start - start, span.end - start, span.kind, terms.target(text) if span.kind == "term" else text)


def _sentence(text: str, stop: str, found: Sequence[Copied]) -> Sentence:
    body = len(text) - len(stop)
    within = [span for span in found if span.end <= body]
    return Sentence(
        text[:body],
        tuple(span for span in within if span.kind not in SET_ASIDE),
        tuple(span for span in within if span.kind in SET_ASIDE),
        text[body:],
    )


def _has_words(sentence: Sentence) -> bool:
    """Whether a letter of it is neither copied nor set aside."""
    if not sentence.spans and not sentence.asides:
        return any(map(str.isalpha, sentence.text))
    end = 0
    for span in sorted((*sentence.spans, *sentence.asides)):
        if any(map(str.isalpha, sentence.text[end : span.start])):
            return True
        end = span.end
    return any(map(str.isalpha, sentence.text[end:]))


def _parts(sentence: Sentence, place: Span, count_tokens: CountTokens, limit: int) -> Iterator[Span]:
    """The sentence as one, or cut where it hurts least into parts of at most `limit` tokens each."""
    if not sentence.spans and _surely_fits(sentence, limit):
        yield place
        return
    cuts = list(cut_sentence(sentence, lambda part: count_tokens(part) <= limit))
    for index, (start, end) in enumerate(cuts):
        yield place[0] + start, place[1] if index == len(cuts) - 1 else place[0] + end


def _surely_fits(sentence: Sentence, limit: int) -> bool:
    """Whether a sentence of which nothing is copied has at most `limit` tokens, whatever the model."""
    # A token covers at least one byte, the mark of a word's beginning may be one more.
    return len(sentence.text.encode("utf-8", "surrogatepass")) + len(sentence.stop) + 2 < limit


def cut_sentence(sentence: Sentence, fits: Callable[[Sentence], bool]) -> Iterator[Span]:
    """Spans of `sentence.text`, cut near the middle again and again until each part fits."""
    spans = sorted((*sentence.spans, *sentence.asides))
    mask = masked(sentence.text, [FoundSpan(*span[:3]) for span in spans]) if spans else sentence.text

    def parts(start: int, end: int) -> Iterator[Span]:
        if end - start <= 1 or fits(sentence.part(start, end)):
            yield start, end
            return
        cut = start + cuts_of_long(mask[start:end])
        torn = next((span for span in spans if span.start < cut < span.end), None)
        if torn:
            cut = torn.start if torn.start > start else torn.end
        if not start < cut < end:
            yield start, end
            return
        for left, right in (trim(sentence.text, start, cut), trim(sentence.text, cut, end)):
            if left < right:
                yield from parts(left, right)

    yield from parts(0, len(sentence.text))


def _segment(plain: Edited, place: Span, sentence: Sentence | None, copy: str | None = None) -> Segment:
    start, end = plain.old_span(place)
    text = plain.old[start:end]
    return Segment(start, end, text, place, sentence, text if copy is None else copy)
