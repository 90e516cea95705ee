"""A sentence as a model reads it, and its translation as a reader of it wants it."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from service.text.case import CASELESS_READING, in_case, in_sentence_case
from service.text.edits import Edit, Edited
from service.text.languages import separates_sentences_with_spaces
from service.text.marks import stop_to_read, with_stop
from service.text.numbers import numbers_differ
from service.text.tags import Aside, Words, placed, role_of
from service.text.writing import written

if TYPE_CHECKING:
    from service.text.carrying import Carrier
    from service.text.case import Case
    from service.text.document import Copied, Sentence
    from service.text.edits import Span
    from service.text.reading import Reader
    from service.text.tags import Role


_STOP = re.compile("[.!?。！？]")


@dataclasses.dataclass(frozen=True, slots=True)
class Carried:
    """A part of a sentence on its way through the model."""

    carrier: Carrier
    value: str
    """What stands for it in the translation."""
    touches: tuple[bool, bool]
    """Whether it stands directly behind and before a letter or digit, in a language with spaces."""


@dataclasses.dataclass(frozen=True, slots=True)
class Prepared:
    """A sentence that was made ready for a model."""

    sentence: Sentence
    target: str
    """The language it is translated to."""
    source: str
    read: Edited
    """Of the sentence with its stop: what the model reads."""
    case: Case
    carried: tuple[Carried, ...]
    asides: tuple[Aside, ...]
    """With the spaces that belong to them, by their places in what is read."""
    roles: tuple[Role, ...]
    pieces: tuple[int, ...]
    """Of what is read."""
    source_ids: tuple[int, ...]
    """With what stands before and behind the pieces."""
    stops: tuple[int, ...]
    """Pieces that end its translation; none where a full stop is part of it."""

    @property
    def required(self) -> tuple[tuple[int, ...], ...]:
        """For each carrier the pieces one of which the translation must have."""
        return tuple(each.carrier.ids for each in self.carried)


def prepared(sentence: Sentence, reader: Reader, target: str) -> Prepared:
    """The sentence for a model that reads as `reader` does and translates to the language `target`."""
    base, case = _in_known_letters(sentence, reader)
    if not sentence.spans and not sentence.asides:
        return _plainly_prepared(sentence, reader, target, base, case)
    chosen = reader.carriers.free(_left(sentence), len(sentence.spans)) if sentence.spans else ()
    carried = tuple(
        Carried(
            carrier, value_of(span, sentence, reader.language, target), _touches(span, sentence.text, reader.language)
        )
        for span, carrier in zip(sentence.spans, chosen, strict=False)
    )
    edits = [Edit(span.start, span.end, each.carrier.text) for span, each in zip(sentence.spans, carried, strict=False)]
    removed, asides = _set_aside(sentence) if sentence.asides else ([], [])
    stop = stop_to_read(sentence.stop, reader.language)
    if stop != sentence.stop:
        edits.append(Edit(len(base), len(base) + len(sentence.stop), stop))
    read = Edited.of(base + sentence.stop, [*edits, *removed]) if edits or removed else Edited(base + sentence.stop)
    pieces, (before, behind) = tuple(reader.vocabulary.encode(read.text)), reader.frame(target)
    places = (read.new_span((place, place))[0] for place, _, _ in asides)
    return Prepared(
        sentence, target, reader.language, read, case, carried,
        tuple(Aside(place, text) for place, (_, text, _) in zip(places, asides, strict=True)),
        tuple(role for _, _, role in asides),
        pieces,
        (*before, *pieces, *behind),
        () if _STOP.search(base) else reader.carriers.stops,
    )  # fmt: skip


def _plainly_prepared(sentence: Sentence, reader: Reader, target: str, base: str, case: Case) -> Prepared:
    """A sentence of which nothing is copied or set aside."""
    stop, written = stop_to_read(sentence.stop, reader.language), base + sentence.stop
    read = Edited(written, () if stop == sentence.stop else (Edit(len(base), len(written), stop),))
    pieces, (before, behind) = tuple(reader.vocabulary.encode(read.text)), reader.frame(target)
    stops = () if _STOP.search(base) else reader.carriers.stops
    return Prepared(
        sentence, target, reader.language, read, case, (), (), (), pieces, (*before, *pieces, *behind), stops
    )


def _in_known_letters(sentence: Sentence, reader: Reader) -> tuple[str, Case]:
    """The text in script, characters and case that the model knows; what is copied or set aside does not count."""
    text = reader.as_read(sentence.text)
    if not sentence.spans and not sentence.asides:
        return in_sentence_case(text, reader.language, reader.count_pieces) if reader.folds_case else (text, "sentence")
    parts = sorted((*sentence.spans, *sentence.asides))
    kept: list[str] = []
    end = 0
    for span in parts:
        kept += (text[end : span.start], "\ufffc" * (span.end - span.start))
        end = span.end
    bare = "".join((*kept, text[end:]))
    return in_sentence_case(bare, reader.language, reader.count_pieces) if reader.folds_case else (bare, "sentence")


def _left(sentence: Sentence) -> str:
    """The text without what is copied."""
    end, parts = 0, []
    for span in sentence.spans:
        parts.append(sentence.text[end : span.start])
        end = span.end
    return "".join((*parts, sentence.text[end:]))


def value_of(span: Copied, sentence: Sentence, source: str, target: str) -> str:
    """What stands for a copied part in the translation."""
    if span.kind != "number":
        return span.text
    return written(span.text, sentence.text[: span.start], source, target)


def _touches(span: Copied, text: str, language: str) -> tuple[bool, bool]:
    if not separates_sentences_with_spaces(language):
        return False, False
    return text[: span.start][-1:].isalnum(), text[span.end : span.end + 1].isalnum()


def _set_aside(sentence: Sentence) -> tuple[list[Edit], list[tuple[int, str, Role]]]:
    """What is taken out of the text, and the asides: place in the sentence, text with the spaces taken, what it is."""
    edits: list[Edit] = []
    asides: list[tuple[int, str, Role]] = []
    text = sentence.text
    for run in _runs(sentence):
        start, end = run[0].start, run[-1].end
        # Of the two spaces around it one goes with it.
        spaced = (start == 0 or text[start - 1].isspace()) and (end == len(text) or text[end].isspace())
        before = text[start - 1] if spaced and start else ""
        after = text[end] if spaced and not start and end < len(text) else ""
        edits.append(Edit(start - len(before), end + len(after), ""))
        for index, (aside, following) in enumerate(itertools.zip_longest(run, run[1:])):
            between = text[aside.end : following.start] if following else after
            shown = (before if index == 0 else "") + aside.text + between
            asides.append((end + len(after), shown, role_of(aside.text)))
    return edits, asides


def _runs(sentence: Sentence) -> Iterator[list[Copied]]:
    """Asides in order, those together that only spaces stand between."""
    run: list[Copied] = []
    for aside in sentence.asides:
        if run and sentence.text[run[-1].end : aside.start].strip():
            yield run
            run = []
        run.append(aside)
    if run:
        yield run


@dataclasses.dataclass(frozen=True, slots=True)
class Finished:
    """A translation of a sentence."""

    text: str
    edited: Edited
    """Of what the model wrote, without the whitespace around it."""
    lost: bool
    """Whether something that was to be copied is missing, or is there twice."""
    numbers_differ: bool
    """Whether its numbers are not those of the source."""


_BREAKS = "\t\n\v\f\r\x1c\x1d\x1e\x85\u2028\u2029"
_IN_ONE_LINE = dict.fromkeys((*range(32), *range(127, 160)), "\ufffd") | dict.fromkeys(map(ord, _BREAKS), " ")
"""A model that falls back to bytes may write any character; lines and cells are those of the source all the same."""


def finished(sentence: Prepared, decoded: str, words: Words | None = None) -> Finished:
    """What the model wrote, with what was carried and set aside, and the end, case and numbers of the source.

    Args:
        sentence: what the model read.
        decoded: what it wrote, without whitespace around it.
        words: where what was set aside goes; needed only if something was.
    """
    if not decoded.isprintable():  # hardly ever, and found out faster than each character is looked up
        decoded = decoded.translate(_IN_ONE_LINE)
    text = _begun(decoded if sentence.case == "sentence" else in_case(decoded, sentence.case), sentence)
    if not sentence.carried and not sentence.asides:
        return _plainly_finished(sentence, decoded, text)
    found = [(each, text.find(each.carrier.text)) for each in sentence.carried]
    lost = any(place < 0 or text.count(each.carrier.text) > 1 for each, place in found)
    edits = [_put_back(each, place, text, sentence) for each, place in found if place >= 0]
    end, stop = with_stop(text, sentence.sentence.stop, sentence.target)
    if text[end:] != stop:
        edits.append(Edit(end, len(text), stop))
    if sentence.asides:
        # Nothing is put into a stop that is written anew.
        most = end if text[end:] != stop else len(text)
        insertions = _insertions(sentence, words or by_position(sentence, decoded), text)
        edits += (Edit(min(place, most), min(place, most), aside) for place, aside in insertions)
    edited = Edited.of(text, edits) if edits else Edited(text)
    read, wrote = (_without_carriers(side, sentence) for side in (sentence.read.text, decoded))
    languages = sentence.source, sentence.target
    differ = lost or numbers_differ(read, wrote, languages) or _written_otherwise(sentence, edited.text)
    return Finished(edited.text, edited, lost, differ)


def _written_otherwise(sentence: Prepared, text: str) -> bool:
    """Whether a number that was carried is another one beside the words that the model wrote: "42 千万" is not "42
    million". A caller's term may have numbers of its own."""
    if not sentence.carried or any(span.kind == "term" for span in sentence.sentence.spans):
        return False
    return numbers_differ(sentence.sentence.text, text, (sentence.source, sentence.target))


def _plainly_finished(sentence: Prepared, decoded: str, text: str) -> Finished:
    """What needs nothing but its stop."""
    end, stop = with_stop(text, sentence.sentence.stop, sentence.target)
    edited = Edited(text, () if text[end:] == stop else (Edit(end, len(text), stop),))
    differ = numbers_differ(sentence.read.text, decoded, (sentence.source, sentence.target))
    return Finished(edited.text, edited, False, differ)


def _begun(text: str, sentence: Prepared) -> str:
    """Without a capital where the translation goes on with what was begun."""
    if not sentence.sentence.continues:
        return text
    begins = sentence.sentence.text[:1].islower() and sentence.target not in CASELESS_READING
    is_capitalised = text[:1].isupper() and text[1:2].islower()
    return text[0].lower() + text[1:] if begins and is_capitalised else text


def _without_carriers(text: str, sentence: Prepared) -> str:
    for each in sentence.carried:
        text = text.replace(each.carrier.text, "\ufffc")
    return text


def _put_back(each: Carried, place: int, text: str, sentence: Prepared) -> Edit:
    """The value for its carrier; with a space where two words would become one."""
    value = each.value
    carriers = {other.carrier.text for other in sentence.carried}
    before, after = text[:place][-1:], text[place + 1 : place + 2]
    if separates_sentences_with_spaces(sentence.target):
        if before.isalnum() and _is_word(value[:1]) and not each.touches[0]:
            value = " " + value
        if after.isalnum() and after not in carriers and _is_word(value[-1:]) and not each.touches[1]:
            value += " "
    if before in carriers and value[:1] != " " and not each.touches[0]:
        value = " " + value
    return Edit(place, place + 1, value)


def _is_word(character: str) -> bool:
    """Whether it would become one word with a letter beside it."""
    return character.isalnum() or character in "{<%$€£¥₹@#_([`&"


def _insertions(sentence: Prepared, words: Words, text: str) -> Iterator[tuple[int, str]]:
    spaced = separates_sentences_with_spaces(sentence.target) and not separates_sentences_with_spaces(sentence.source)
    for index, place in placed(sentence.asides, sentence.roles, words):
        aside = sentence.asides[index].text
        if spaced and sentence.roles[index][0] == "mark":
            # What touches Chinese words stands between words.
            aside = " " * text[:place][-1:].isalnum() + aside + " " * text[place : place + 1].isalnum()
        yield place, aside


def by_position(sentence: Prepared, decoded: str) -> Words:
    """Words that are linked by where they stand, for a model that says nothing of its alignments."""
    sources, targets = (tuple(_spaced_words(text)) for text in (sentence.read.text, decoded))
    links = [round((index + 0.5) / len(targets) * len(sources) - 0.5) for index in range(len(targets))]
    return Words(sources, targets, [min(max(link, 0), len(sources) - 1) for link in links])


def _spaced_words(text: str) -> Iterator[Span]:
    """Runs of letters and digits; of a script without spaces each character."""
    start = None
    for place, character in enumerate(text + " "):
        is_unspaced = "\u2e80" <= character <= "\u9fff" or "\u3040" <= character <= "\u30ff"
        if start is not None and (is_unspaced or not (character.isalnum() or character in "'’-")):
            yield start, place
            start = None
        if is_unspaced:
            yield place, place + 1
        elif start is None and character.isalnum():
            start = place
