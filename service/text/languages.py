"""Language codes: what callers write, what the bundle says, what people read."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

_ALIASES = {"zh-hans": "zh", "zh-hant": "zt", "pt-br": "pb"}
_NAMES = {
    "ar": "Arabic", "cs": "Czech", "de": "German", "el": "Greek", "en": "English", "es": "Spanish", "fi": "Finnish",
    "fr": "French", "he": "Hebrew", "hi": "Hindi", "id": "Indonesian", "it": "Italian", "ja": "Japanese",
    "ko": "Korean", "nl": "Dutch", "pb": "Portuguese (Brazil)", "pl": "Polish", "pt": "Portuguese", "ro": "Romanian",
    "ru": "Russian", "sv": "Swedish", "th": "Thai", "tr": "Turkish", "uk": "Ukrainian", "vi": "Vietnamese",
    "zh": "Chinese", "zt": "Chinese (traditional)",
}  # fmt: skip
_WITHOUT_SPACES = frozenset({"ja", "zh", "zt"})


def normalise_code(code: str) -> str:
    """The code this service uses for what a caller wrote: `ZH-Hans` is `zh`."""
    lowered = code.strip().lower().replace("_", "-")
    return _ALIASES.get(lowered, lowered)


def language_name(code: str) -> str:
    """English name, or the code itself where there is none in the table."""
    return _NAMES.get(code, code)


def separates_sentences_with_spaces(code: str) -> bool:
    """Whether a space stands between two sentences of this language."""
    return code not in _WITHOUT_SPACES


@dataclasses.dataclass(frozen=True, slots=True)
class Directions:
    """The pairs a model translates, in the order of its manifest."""

    pairs: tuple[tuple[str, str], ...]

    @classmethod
    def parse(cls, directions: Iterable[str]) -> Directions:
        """From the manifest's form, `zh-en`."""
        split = (direction.partition("-") for direction in directions)
        return cls(tuple((source, target) for source, _, target in split))

    @property
    def sources(self) -> tuple[str, ...]:
        """Languages that can be translated from, each once."""
        return tuple(dict.fromkeys(source for source, _ in self.pairs))

    def targets(self, source: str) -> tuple[str, ...]:
        """Languages that `source` can be translated to."""
        return tuple(target for known, target in self.pairs if known == source)

    def knows(self, code: str) -> bool:
        """Whether any pair has this language on either side."""
        return any(code in pair for pair in self.pairs)
