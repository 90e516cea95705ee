"""A text that is told piece by piece while it is translated: its sentences in order, each once it is final."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from service.text.languages import separates_sentences_with_spaces
from service.text.prepared import finished
from service.translation.assemble import versions_of
from service.translation.results import Piece

if TYPE_CHECKING:
    from model.tokenizers import Tokenizer
    from service.text.document import Segment
    from service.text.prepared import Prepared
    from service.text.tags import Words
    from service.translation.assemble import Plan
    from service.translation.attempts import Trials


class Listener(Protocol):
    """Who is told of the texts of one call, by their places."""

    def note_piece(self, place: int, piece: Piece) -> None:
        """A sentence is final, and all before it are."""

    def note_partial(self, place: int, text: str) -> None:
        """All that is certain of the next piece; takes the place of what was said of it before."""


class Progress:
    """One text: takes sentences in any order, tells them in that of the text."""

    def __init__(
        self, place: int, plan: Plan, vocabulary: Tokenizer, languages: tuple[str, str], listener: Listener
    ) -> None:
        """`languages`: source and target."""
        self._place = place
        self._plan = plan
        self._vocabulary = vocabulary
        self._spaced = tuple(map(separates_sentences_with_spaces, languages))
        self._listener = listener
        self._segments = plan.document.segments
        self._sentences = [index for index, segment in enumerate(self._segments) if segment.translatable]
        self._before: Segment | None = None
        self._next = 0
        self._head = 0
        self._done: dict[int, list[tuple[Segment, str]]] = {}
        self._partials: dict[int, tuple[Prepared, Sequence[int]]] = {}
        """What is certain of running sentences; written out only for the one that is told next."""
        self._told = ""
        self._is_broken = False
        if not self._sentences:
            source = plan.document.source
            listener.note_piece(place, Piece(source, (0, len(source)), True))

    def note_done(self, number: int, trials: Trials, words: Mapping[int, Words]) -> None:
        """A sentence is final; `words` are those of its parts, by `id`. After one that failed nothing more is told."""
        if any(part.answer is not None and part.answer.failure is not None for part in trials.best.parts):
            self._is_broken = True
            return
        self._done[number] = list(self._written(number, trials, words))
        while not self._is_broken and self._head in self._done:
            self._tell(self._done.pop(self._head))
        self._tell_partial()

    def note_partial(self, number: int, prepared: Prepared, target_ids: Sequence[int]) -> None:
        """More of a sentence is certain."""
        self._partials[number] = prepared, target_ids
        if number == self._head:
            self._tell_partial()

    def _written(self, number: int, trials: Trials, words: Mapping[int, Words]) -> Iterator[tuple[Segment, str]]:
        """The segments of a sentence, which may have been cut, each with what is written for it."""
        segment = self._segments[self._sentences[number]]
        alone = dataclasses.replace(self._plan.document, segments=(segment,))
        cut = alone.replaced([[(part.place, part.copy) for part in trials.best.parts]]).segments
        parts = iter([part for part in trials.best.parts if part.prepared is not None])
        for each in cut:
            if each.translatable:
                part = next(parts)
                yield each, next(iter(versions_of(part, self._vocabulary, words.get(id(part)))))
            else:
                yield each, each.copy

    def _tell(self, written: Sequence[tuple[Segment, str]]) -> None:
        """The next sentence, after what is copied before it and, if it is the last, before the end."""
        index = self._sentences[self._head]
        self._head += 1
        is_last = self._head == len(self._sentences)
        copied = [(segment, segment.copy) for segment in self._segments[self._next : index]]
        rest = [(segment, segment.copy) for segment in self._segments[index + 1 :]] if is_last else []
        text, self._before = self._joined([*copied, *written, *rest])
        if is_last:
            text += self._plan.document.separator(self._before, None, *self._spaced)
        self._next = index + 1
        self._told = ""
        segment = self._segments[index]
        self._listener.note_piece(self._place, Piece(text, (segment.start, segment.end), is_last))

    def _tell_partial(self) -> None:
        if self._is_broken or self._head not in self._partials:
            return
        text = self._certain(*self._partials[self._head])
        if not text:
            return
        index = self._sentences[self._head]
        copied = [(segment, segment.copy) for segment in self._segments[self._next : index]]
        text, _ = self._joined([*copied, (self._segments[index], text)])
        # A request that has moved to another engine begins again: what was told need not be told twice.
        if not self._told.startswith(text):
            self._told = text
            self._listener.note_partial(self._place, text)

    def _certain(self, prepared: Prepared, target_ids: Sequence[int]) -> str:
        # Its stop is certain only with its end, and where tags go once they are aligned.
        bare = dataclasses.replace(prepared, sentence=dataclasses.replace(prepared.sentence, stop=""), asides=())
        return finished(bare, self._vocabulary.decode(target_ids).strip()).text

    def _joined(self, segments: Sequence[tuple[Segment, str]]) -> tuple[str, Segment | None]:
        """What these segments are with the separators before them, and the last of them."""
        parts, before = [], self._before
        for segment, text in segments:
            parts += [self._plan.document.separator(before, segment, *self._spaced), text]
            before = segment
        return "".join(parts), before
