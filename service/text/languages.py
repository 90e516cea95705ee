"""Language codes: what callers write, what the bundle says, what people read."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

SIMPLIFIED, TRADITIONAL = "zh", "zt"
"""Chinese by its script, as LibreTranslate names it."""

_ALIASES = {
    "pt-br": "pb",
    **{f"zh-{each}": SIMPLIFIED for each in ("hans", "cn", "sg", "hans-cn", "hans-sg")},
    **{f"zh-{each}": TRADITIONAL for each in ("hant", "tw", "hk", "mo", "hant-tw", "hant-hk", "hant-mo")},
}
_NAMES = {
    "ar": "Arabic", "cs": "Czech", "de": "German", "el": "Greek", "en": "English", "es": "Spanish", "fi": "Finnish",
    "fr": "French", "he": "Hebrew", "hi": "Hindi", "id": "Indonesian", "it": "Italian", "ja": "Japanese",
    "ko": "Korean", "nl": "Dutch", "pb": "Portuguese (Brazil)", "pl": "Polish", "pt": "Portuguese", "ro": "Romanian",
    "ru": "Russian", "sv": "Swedish", "th": "Thai", "tr": "Turkish", "uk": "Ukrainian", "vi": "Vietnamese",
    "zh": "Chinese", "zt": "Chinese (traditional)",
}  # fmt: skip
_WITHOUT_SPACES = frozenset({"ja", "zh", "zt"})


def normalise_code(code: str) -> str:
    """The code this service uses for what a caller wrote: `ZH-Hans` is `zh`, `zh_TW` is `zt`."""
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
    own_sources: frozenset[str]
    """Without Traditional Chinese where the model reads it as Simplified."""

    @classmethod
    def parse(cls, directions: Iterable[str | tuple[str, str]]) -> Directions:
        """From pairs of codes, or `zh-en`.

        A model of Simplified Chinese reads Traditional too: beside `zh-en` is `zt-en`, unless it has directions of its
        own from `zt`.
        """
        split = [each.partition("-")[::2] if isinstance(each, str) else each for each in directions]
        own_sources = frozenset(source for source, _ in split)
        pairs: list[tuple[str, str]] = []
        for source, target in split:
            pairs.append((source, target))
            if source == SIMPLIFIED and TRADITIONAL not in {*own_sources, target}:
                pairs.append((TRADITIONAL, target))
        return cls(tuple(pairs), own_sources)

    @property
    def sources(self) -> tuple[str, ...]:
        """Languages that can be translated from, each once."""
        return tuple(dict.fromkeys(source for source, _ in self.pairs))

    def language(self, source: str) -> str:
        """The language of the model's own directions that reads texts in `source`."""
        return source if source in self.own_sources else SIMPLIFIED

    def targets(self, source: str) -> tuple[str, ...]:
        """Languages that `source` can be translated to."""
        return tuple(target for known, target in self.pairs if known == source)

    def knows(self, code: str) -> bool:
        """Whether any pair has this language on either side."""
        return any(code in pair for pair in self.pairs)
