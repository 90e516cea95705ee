"""The attempts at the sentences of a text to the text in the other language, its warnings and its details."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from service.alternatives import ranked_versions
from service.errors import TruncatedError
from service.explain.details import Side
from service.text.prepared import finished
from service.translation.results import SentenceWarning, Translation, WarningKind

if TYPE_CHECKING:
    from model.tokenizers import Tokenizer
    from service.engine.types import Hypothesis
    from service.explain.details import DetailOptions, Inspection
    from service.explain.inspector import Inspector
    from service.text.document import Document, Segment
    from service.text.edits import Span
    from service.text.prepared import Finished, Prepared
    from service.text.tags import Words
    from service.translation.attempts import Part, Trials
    from service.translation.options import TranslationOptions


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """A text, and the attempts at each of its sentences."""

    document: Document
    trials: tuple[Trials, ...]

    def parts(self) -> list[Part]:
        """Those of the best attempts, in order, that were translated."""
        return [part for each in self.trials for part in each.best.parts if part.prepared is not None]

    def cut_document(self) -> Document:
        """The document with a segment for each part."""
        if all(len(each.best.parts) == 1 for each in self.trials):
            return self.document
        return self.document.replaced([[(part.place, part.copy) for part in each.best.parts] for each in self.trials])


def warnings_of(plan: Plan) -> tuple[SentenceWarning, ...]:
    """Those of each sentence, in order."""
    found: list[SentenceWarning] = []
    for segment, trials in zip(plan.document.translatable, plan.trials, strict=True):
        found += (SentenceWarning(segment.start, segment.end, kind) for kind in _kinds(trials))
    return tuple(found)


def _kinds(trials: Trials) -> Iterator[WarningKind]:
    left = trials.left
    if left.cut:
        yield "truncated"
    if left.loops:
        yield "repetition"
    elif trials.looped:
        yield "repetition_removed"
    if left.lost:
        yield "placeholder_lost"
    if left.numbers:
        yield "numbers_differ"
    if left.short:
        yield "incomplete"


def refuse_cut(plan: Plan, index: int | None) -> None:
    """With `strict`: a text of which a sentence was cut is an error."""
    for segment, trials in zip(plan.document.translatable, plan.trials, strict=True):
        if trials.left.cut:
            raise TruncatedError(segment.start, segment.end, index)


@dataclasses.dataclass(frozen=True, slots=True)
class Version:
    """One translation of a part."""

    finished: Finished
    hypothesis: Hypothesis


def versions_of(part: Part, vocabulary: Tokenizer, words: Words | None) -> dict[str, Version]:
    """The translations of a part by their text, best first, each once: many token sequences spell the same.

    What a version lost, only the best may: it is warned of.
    """
    found: dict[str, Version] = {}
    assert part.prepared is not None
    for rank, hypothesis in enumerate(part.hypotheses):
        done = part.best if rank == 0 and words is None else None
        if done is None:
            decoded = vocabulary.decode(hypothesis.target_ids).strip()
            done = finished(part.prepared, decoded, words if rank == 0 else None)
        if rank == 0 or not done.lost:
            found.setdefault(done.text, Version(done, hypothesis))
    return found


@dataclasses.dataclass(frozen=True, slots=True)
class Assembler:
    """Puts texts together; one for each request."""

    vocabulary: Tokenizer
    inspector: Inspector
    source: str
    target: str
    pair: tuple[str, str]
    """The model's own."""
    options: TranslationOptions

    def translation(self, plan: Plan, words: Mapping[int, Words]) -> Translation:
        """The text; `words` are those of parts of which something was set aside, by `id`."""
        document, parts = plan.cut_document(), plan.parts()
        sentences = [versions_of(part, self.vocabulary, words.get(id(part))) for part in parts]
        scored = [[(text, version.hypothesis.score) for text, version in each.items()] for each in sentences]
        versions: dict[str, tuple[list[str], list[Span]]] = {}
        for version in ranked_versions(scored, self.options.alternatives):
            text, spans = document.place(version, self.source, self.target)
            versions.setdefault(text, (version, spans))
        text, *others = versions
        warnings = warnings_of(plan)
        spans = versions[text][1]
        starts = [(segment.start, segment.end) for segment in document.translatable]
        places = tuple(zip(starts, spans, strict=True))
        if self.options.details is None:
            return Translation(text, tuple(others), warnings, places=places)
        prepared = [part.prepared for part in parts if part.prepared is not None]
        inspections = self._inspections(document, prepared, sentences, self.options.details, versions.values())
        return Translation(text, tuple(others), warnings, tuple(inspections), places)

    def _inspections(
        self,
        document: Document,
        prepared: Sequence[Prepared],
        sentences: Sequence[Mapping[str, Version]],
        wanted: DetailOptions,
        versions: Iterable[tuple[Sequence[str], Sequence[Span]]],
    ) -> Iterator[tuple[Inspection, ...]]:
        """Those of each version; versions share all sentences but one, and what they share is inspected once."""
        sources = [
            source_side(segment, document, each, self.vocabulary)
            for segment, each in zip(document.translatable, prepared, strict=True)
        ]
        known: dict[tuple[int, str], Inspection] = {}
        for texts, spans in versions:
            version = []
            for index, (text, (start, _)) in enumerate(zip(texts, spans, strict=True)):
                if (index, text) not in known:
                    one = sentences[index][text]
                    side = target_side(one, start, self.vocabulary)
                    known[index, text] = self.inspector.of_sides(
                        sources[index], side, one.hypothesis, self.pair, wanted
                    )
                version.append(known[index, text].at(start))
            yield tuple(version)


def source_side(segment: Segment, document: Document, prepared: Prepared, vocabulary: Tokenizer) -> Side:
    """A sentence as its author wrote it, in the pieces that the model read."""
    first = segment.place[0]
    spans = []
    for start, end in vocabulary.encode_spans(prepared.read.text):
        old = prepared.read.old_span(_bare(prepared.read.text, start, end))
        sent = document.plain.old_span((first + old[0], first + old[1]))
        inside = _within(sent[0] - segment.start, sent[1] - segment.start, len(segment.text))
        spans.append(_bare(segment.text, *inside))
    return Side(segment.text, segment.start, prepared.pieces, tuple(spans))


def target_side(version: Version, start: int, vocabulary: Tokenizer) -> Side:
    """A sentence as it stands in the translation, in the pieces that the model wrote."""
    ids, edited = version.hypothesis.target_ids, version.finished.edited
    decoded = vocabulary.decode(ids)
    offset = len(decoded) - len(decoded.lstrip())
    spans = []
    for first, last in vocabulary.decode_spans(ids):
        first, last = _bare(decoded, first, last)
        old = _within(first - offset, last - offset, len(edited.old))
        spans.append(_within(*_bare(edited.text, *edited.new_span(old)), len(edited.text)))
    return Side(edited.text, start, tuple(ids), tuple(spans))


def _bare(text: str, start: int, end: int) -> Span:
    """Without the whitespace at its ends."""
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end


def _within(start: int, end: int, length: int) -> Span:
    return min(max(start, 0), length), min(max(end, 0), length)
