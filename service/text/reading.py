"""How a model reads what a caller wrote: in script and characters it was trained on, as pieces of its vocabulary."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable

from model.bundle import TokenizerSpec
from model.errors import DataError
from model.vocabulary import Vocabulary
from service.text.carrying import NO_CARRIERS, Carriers, carriers_of
from service.text.case import in_sentence_case
from service.text.characters import in_known_characters
from service.text.chinese import simplifier
from service.text.languages import SIMPLIFIED, TRADITIONAL, Directions

DEFAULT_TOKENIZER = TokenizerSpec()


@dataclasses.dataclass(frozen=True, slots=True)
class Reader:
    """Reads texts of one source language."""

    language: str
    """As the model's directions name it."""
    vocabulary: Vocabulary
    in_its_script: Callable[[str], str] = str
    """A text in the script that the model knows, of the same length."""
    carriers: Carriers = NO_CARRIERS
    folds_case: bool = True
    """Whether titles and capitals are read as sentences."""

    def direction(self, target: str) -> str:
        """The model's own direction from this language, e.g. `zh-en`."""
        return f"{self.language}-{target}"

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
        """What the encoder reads: target-language tag, pieces, end token."""
        return self.vocabulary.encode_source(self._in_known_case(text), target_language)

    def _in_known_case(self, text: str) -> str:
        read = self.as_read(text)
        return in_sentence_case(read, self.language, self.count_pieces)[0] if self.folds_case else read

    def encode_read(self, text: str, target_language: str) -> list[int]:
        """`encode_source` of a text that is in the characters of training text already."""
        return self.vocabulary.encode_source(text, target_language)

    def count_pieces(self, word: str) -> int:
        """How many pieces a word takes."""
        return len(self.vocabulary.encode(word))


def readers_of(
    directions: Directions, vocabulary: Vocabulary, tokenizer: TokenizerSpec = DEFAULT_TOKENIZER
) -> dict[str, Reader]:
    """A reader for every language that callers may name as the source."""
    carriers = carriers_of(vocabulary, tokenizer.carriers)
    return {code: _reader(code, directions.language(code), vocabulary, carriers) for code in directions.sources}


def reader_for(direction: str, directions: Iterable[str], vocabulary: Vocabulary) -> Reader:
    """What reads the sources of one direction, e.g. `zh-en`, of a model that has these.

    Raises:
        DataError: it does not have that one.
    """
    known = Directions.parse(directions)
    source, _, target = direction.partition("-")
    if (source, target) not in known.pairs:
        raise DataError(f"the bundle has no direction {direction}; it has {', '.join(map('-'.join, known.pairs))}")
    return _reader(source, known.language(source), vocabulary, carriers_of(vocabulary))


def _reader(code: str, language: str, vocabulary: Vocabulary, carriers: Carriers) -> Reader:
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
