"""How a model reads what a caller wrote: in script and characters it was trained on, as pieces of its vocabulary."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from model.bundle import TokenizerSpec
from model.errors import DataError
from service.text.carrying import NO_CARRIERS, carriers_of
from service.text.case import in_sentence_case
from service.text.characters import in_known_characters
from service.text.chinese import simplifier
from service.text.languages import SIMPLIFIED, TRADITIONAL, Directions

if TYPE_CHECKING:
    from model.tokenizers import Frame, Tokenizer
    from service.text.carrying import Carriers

DEFAULT_TOKENIZER = TokenizerSpec()


@dataclasses.dataclass(frozen=True, slots=True)
class Reader:
    """Reads texts of one source language."""

    language: str
    """As the model's directions name it."""
    vocabulary: Tokenizer
    in_its_script: Callable[[str], str] = str
    """A text in the script that the model knows, of the same length."""
    carriers: Carriers = NO_CARRIERS
    folds_case: bool = True
    """Whether titles and capitals are read as sentences."""

    def pair(self, target: str) -> tuple[str, str]:
        """The model's own pair from this language."""
        return self.language, target

    def as_read(self, text: str) -> str:
        """`text` in as many code points, so that what stands where in one stands there in the other."""
        return in_known_characters(self.in_its_script(text), self.language)

    def encode(self, text: str) -> list[int]:
        """Pieces of `text`, one sentence, without any special token."""
        return self.vocabulary.encode(self._in_known_case(text))

    def encode_spans(self, text: str) -> list[tuple[int, int]]:
        """Where each piece of `encode(text)` stands in `text`, see `Vocabulary.encode_spans`."""
        return self.vocabulary.encode_spans(self._in_known_case(text))

    def encode_source(self, text: str, target_language: str) -> list[int]:
        """What the encoder reads: the pieces, and what stands before and behind them."""
        before, behind = self.frame(target_language)
        return [*before, *self.encode(text), *behind]

    def _in_known_case(self, text: str) -> str:
        read = self.as_read(text)
        return in_sentence_case(read, self.language, self.count_pieces)[0] if self.folds_case else read

    def frame(self, target_language: str) -> Frame:
        """Ids before and behind the pieces of a source that is wanted in this language."""
        return self.vocabulary.source_frame(self.language, target_language)

    def count_pieces(self, word: str) -> int:
        """How many pieces a word takes."""
        return len(self.vocabulary.encode(word))


def readers_of(
    directions: Directions,
    vocabulary: Tokenizer,
    tokenizer: TokenizerSpec = DEFAULT_TOKENIZER,
    *,
    has_shortlist: bool = False,
) -> dict[str, Reader]:
    """A reader for every language that callers may name as the source; `has_shortlist` as the manifest says."""
    carriers = carriers_of(vocabulary, tokenizer.carriers, are_shortlisted=has_shortlist)
    return {code: _reader(code, directions.language(code), vocabulary, carriers) for code in directions.sources}


def reader_for(direction: str, directions: Iterable[str | tuple[str, str]], vocabulary: Tokenizer) -> Reader:
    """What reads the sources of one direction, e.g. `zh-en`, of a model that has these.

    Raises:
        DataError: it does not have that one.
    """
    known = Directions.parse(directions)
    source, target = next((pair for pair in known.pairs if "-".join(pair) == direction), direction.partition("-")[::2])
    if (source, target) not in known.pairs:
        raise DataError(f"the bundle has no direction {direction}; it has {', '.join(map('-'.join, known.pairs))}")
    return _reader(source, known.language(source), vocabulary, carriers_of(vocabulary))


def _reader(code: str, language: str, vocabulary: Tokenizer, carriers: Carriers) -> Reader:
    if language != SIMPLIFIED:
        return Reader(language, vocabulary, carriers=carriers)
    # Whoever says that it is Traditional need not have it told by a character.
    chinese = simplifier()
    return Reader(
        language,
        vocabulary,
        chinese.simplified if code == TRADITIONAL else chinese.simplified_if_traditional,
        carriers,
    )
