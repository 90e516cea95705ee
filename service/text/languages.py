"""Language codes: what callers write, what the bundle says, what people read."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from langcodes import Language, closest_match
from langcodes.tag_parser import LanguageTagError

SIMPLIFIED, TRADITIONAL = "zh", "zt"
"""Chinese by its script, as LibreTranslate names it."""
AUTO = "auto"
"""What callers write instead of a source language that is to be detected."""

NAMES = Path(__file__).with_name("language_names.json")
"""Names of languages in languages, from Unicode's CLDR; `tests/service/test_languages.py` says how it is made."""

_TAGS = {TRADITIONAL: "zh-Hant", "pb": "pt-BR"}
"""LibreTranslate's own codes as language tags."""
_IN_PLACE_OF = {"pb": "pt", "pt": "pb", "nb": "no", "no": "nb"}
"""A code that serves where the model lacks the other."""
_WITHOUT_SPACES = frozenset({"ja", "yue", "zh", "zt"})
_MOST_DISTANCE = 25
"""CLDR's distance between languages: what readers of one may understand."""
_LONGEST_TAG = 35
"""RFC 5646 recommends that readers of tags take as much; what is longer is no code."""


def normalise_code(code: str) -> str:
    """The code this service uses for what a caller wrote: `ZH-Hans` and `cmn` are `zh`, `zh_TW` is `zt`, `en-US` `en`.

    What is no language tag stays as it is, in small letters.
    """
    return _normalised(code.strip().lower().replace("_", "-")[: _LONGEST_TAG + 1])


@functools.lru_cache(maxsize=1000)
def _normalised(lowered: str) -> str:
    if lowered in _TAGS or lowered == AUTO:
        return lowered
    try:
        tag = Language.get(lowered).prefer_macrolanguage()
    except LanguageTagError:
        return lowered
    language = tag.language
    # Without a language, such as `x-mine`, or with letters left over, it is no code that anybody serves.
    if language is None or len(lowered) > _LONGEST_TAG:
        return lowered
    script = tag.maximize().script
    if language == "zh":
        return TRADITIONAL if script == "Hant" else SIMPLIFIED
    if (language, tag.territory) == ("pt", "BR"):
        return "pb"
    usual = Language.get(language).maximize().script
    return language if script == usual else f"{language}-{script}".lower()


def language_name(code: str, locale: str = "en") -> str:
    """Name of a language in another, in English where the table has none, or the code itself."""
    names = _names()
    return names.get(locale, {}).get(code) or names["en"].get(code, code)


def chosen_locale(accepted: Iterable[str]) -> str:
    """The first of the languages a caller accepts that the table of names has, English otherwise."""
    return next((code for code in map(normalise_code, accepted) if code in _names()), "en")


@functools.cache
def _names() -> Mapping[str, Mapping[str, str]]:
    table: dict[str, dict[str, str]] = json.loads(NAMES.read_text(encoding="utf-8"))
    return table


def nearest_code(written: str, codes: Iterable[str]) -> str | None:
    """Which of `codes` a caller may have meant: by its name, by its country, by likeness, or a language near to it."""
    known = dict.fromkeys(codes)
    lowered = written.strip().lower()
    by_name = {language_name(code).lower(): code for code in known}
    if lowered in by_name:
        return by_name[lowered]
    in_country = _near_tag(f"und-{lowered}", known, 0) if len(lowered) == 2 else None
    if in_country is not None:
        return in_country
    alike = difflib.get_close_matches(lowered, [*known, *by_name], 1, 0.75)
    if alike:
        return by_name.get(alike[0], alike[0])
    return _near_tag(lowered, known, _MOST_DISTANCE)


def _near_tag(tag: str, codes: Iterable[str], distance: int) -> str | None:
    by_tag = {_TAGS.get(code, code): code for code in codes}
    try:
        found, _ = closest_match(tag, list(by_tag), max_distance=distance)
    except LanguageTagError:
        return None
    return by_tag.get(found)


def separates_sentences_with_spaces(code: str) -> bool:
    """Whether a space stands between two sentences of this language."""
    return code.partition("-")[0] not in _WITHOUT_SPACES


@dataclasses.dataclass(frozen=True, slots=True)
class Directions:
    """The pairs a model translates, in the order of its manifest."""

    pairs: tuple[tuple[str, str], ...]
    own_sources: frozenset[str]
    """Without Traditional Chinese where the model reads it as Simplified."""
    codes: Mapping[str, str]
    """Normalised codes to the manifest's."""
    _pairs: frozenset[tuple[str, str]]
    """The same, for looking up: there may be 40,000."""

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
        codes = {normalise_code(code): code for code in dict.fromkeys(code for pair in pairs for code in pair)}
        return cls(tuple(pairs), own_sources, codes, frozenset(pairs))

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

    def translates(self, source: str, target: str) -> bool:
        """Whether it translates this pair."""
        return (source, target) in self._pairs

    def knows(self, code: str) -> bool:
        """Whether any pair has this language on either side."""
        return any(code in pair for pair in self.pairs)

    def find(self, written: str) -> str | None:
        """The model's code for what a caller wrote; None if it knows no such language."""
        code = normalise_code(written)
        return self.codes.get(code) or self.codes.get(_IN_PLACE_OF.get(code, ""))
