"""Which language a text is in: fastText's model of 176 languages, and what the script of its letters tells.

The model file is fastText's `lid.176.ftz` (Joulin et al. 2016, CC-BY-SA 3.0). Figures: docs/quality.md.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import unicodedata
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import fasttext
from langcodes import Language

from model.spans import find_spans
from service.text.chinese import simplifier
from service.text.languages import SIMPLIFIED, TRADITIONAL

if TYPE_CHECKING:
    from service.text.languages import Directions

MODEL = Path(__file__).with_name("lid.176.ftz")
MOST_CHARACTERS = 4000
"""The beginning of a text that is looked at: after a few sentences nothing changes any more."""
NOTHING = "en"
"""What LibreTranslate names, with a confidence of 0, for a text that has no letters."""
UNKNOWN_SCRIPT = "und"
"""The language of letters that no known language is written in."""
SURE = 0.7
"""A language that the model does not translate is believed from this probability on. Below it the text is taken to be
in one that the model does translate, if that is at least a `LEAST_SHARE` as probable."""
LEAST_SHARE = 0.2
FEWEST_WORDS, SURELY = 4, 0.95
"""What a text must have to be taken for one in the target language though the caller names another as its source."""
_UNSPACED = re.compile("[\u3040-\u9fff]+")
_UNSPACED_WORD = 2
"""Characters of a word where no spaces stand between words."""

_SCRIPTS = {
    "LATIN": "Latn", "CYRILLIC": "Cyrl", "GREEK": "Grek", "ARABIC": "Arab", "HEBREW": "Hebr", "HANGUL": "Kore",
    "HIRAGANA": "Jpan", "KATAKANA": "Jpan", "CJK": "Hani", "THAI": "Thai", "DEVANAGARI": "Deva", "BENGALI": "Beng",
    "TAMIL": "Taml", "TELUGU": "Telu", "GEORGIAN": "Geor", "ARMENIAN": "Armn", "GUJARATI": "Gujr",
    "GURMUKHI": "Guru", "KANNADA": "Knda", "MALAYALAM": "Mlym", "SINHALA": "Sinh", "LAO": "Laoo", "KHMER": "Khmr",
    "MYANMAR": "Mymr", "ETHIOPIC": "Ethi", "TIBETAN": "Tibt", "ORIYA": "Orya", "THAANA": "Thaa", "SYRIAC": "Syrc",
}  # fmt: skip
"""The first word of a letter's name in Unicode, and the script it belongs to."""
_MARKUP = re.compile(r"<[^<>]{1,1000}>|\{[^{}]{0,100}\}|%\(?[\w$]{1,30}\)?[sdf]?\b|&[a-z]{2,8};")
_NO_WORD = re.compile("(?:(?!['’¿¡-])[\\W\\d_](?<![\u0300-\u036f\u0900-\u0dff\u0e31-\u0eff\u1000-\u109f]))+")
"""Everything but letters, their marks, and signs that belong to a language."""
_LATIN_LETTERS = 2
"""Letters of other scripts that weigh as much as a Chinese character in a text of both."""


_ALL = -1
"""As many languages as there are."""
_OTHERWISE = {"als": "gsw", "wuu": SIMPLIFIED}
"""Codes of Wikipedia, whose text the model was trained on, that mean something else or are written the same."""


@dataclasses.dataclass(frozen=True, slots=True)
class Guess:
    """A language a text may be in."""

    language: str
    probability: float

    @property
    def confidence(self) -> float:
        """From 0 to 100, as LibreTranslate says it."""
        return round(100 * min(self.probability, 1.0), 1)


class Detector:
    """Tells languages apart; may be used by any number of threads."""

    def __init__(self) -> None:
        self._model = fasttext.load_model(str(MODEL))
        labels, _ = self._predicted("", _ALL)
        self._scripts = {label: Language.get(label).maximize().script for label in labels}

    def guesses(self, text: str) -> list[Guess]:
        """The languages `text` may be in, the likeliest first; at least one."""
        return self._guesses(text, _ALL)

    def best(self, text: str) -> Guess:
        """The likeliest language of all."""
        # Six times as fast as to ask for all, and nearly always enough.
        found = self._guesses(text, 1)[0]
        return found if found.language != UNKNOWN_SCRIPT else self._guesses(text, _ALL)[0]

    def _guesses(self, text: str, most: int) -> list[Guess]:
        plain = _plain(text)
        scripts = _scripts_in(plain)
        if not scripts:
            return [Guess(NOTHING, 0.0)]
        script = _main_script(scripts)
        if script == "Hani":
            return _of_han_characters(scripts["Hani"])
        labels, probabilities = self._predicted(plain.lower() if plain.isupper() else plain, most)
        found = [
            Guess(_OTHERWISE.get(label, label), probability)
            for label, probability in zip(labels, probabilities, strict=True)
            if self._scripts[label] == script
        ]
        return found or [Guess(UNKNOWN_SCRIPT, 0.0)]

    def _predicted(self, line: str, most: int) -> tuple[list[str], list[float]]:
        """Labels with their probabilities, the likeliest first."""
        labels, probabilities = self._model.predict(line, k=most, threshold=-1.0)
        return [label.removeprefix("__label__") for label in labels], [float(each) for each in probabilities]


def _plain(text: str) -> str:
    """The words of a text in one line, without addresses, mark-up, placeholders, digits and most punctuation: the model
    was trained on words that have a space before their full stop."""
    lines = unicodedata.normalize("NFKC", text[:MOST_CHARACTERS]).encode("utf-8", "replace").decode().splitlines()
    words = _MARKUP.sub(" ", " ".join(map(_without_addresses, lines)))
    return " ".join(_NO_WORD.sub(" ", words).split())


def _without_addresses(line: str) -> str:
    end, parts = 0, []
    for start, stop, kind in find_spans(line, NOTHING):
        if kind in ("address", "emoji", "code", "placeholder"):
            parts.append(line[end:start])
            end = stop
    return " ".join((*parts, line[end:]))


def _scripts_in(plain: str) -> Counter[str]:
    """How many letters there are of each script."""
    if plain.isascii():
        letters = sum(map(str.isalpha, plain))
        return Counter({"Latn": letters} if letters else {})
    return Counter(_script(letter) for letter in plain if letter.isalpha())


@functools.lru_cache(maxsize=10_000)
def _script(letter: str) -> str:
    return _SCRIPTS.get(unicodedata.name(letter, "").split(" ")[0], UNKNOWN_SCRIPT)


def _main_script(scripts: Counter[str]) -> str:
    """The script that most words are in. Chinese characters among kana or Hangul are of that language."""
    if scripts["Jpan"]:
        scripts["Jpan"] += scripts.pop("Hani", 0)
    if "Hani" in scripts and scripts["Kore"]:
        scripts["Kore"] += scripts.pop("Hani")
    weights = {each: count * (_LATIN_LETTERS if each == "Hani" else 1) for each, count in scripts.items()}
    return max(weights, key=lambda script: weights[script])


def _of_han_characters(count: int) -> list[Guess]:
    """Chinese, and the surer the more characters there are: Japanese can do without kana only for a few words."""
    japanese = 1 / (2 * (count + 1))
    return [Guess(SIMPLIFIED, 1 - japanese), Guess("ja", japanese)]


@functools.cache
def detector() -> Detector:
    """The one of this process."""
    return Detector()


def in_its_script(guess: Guess, text: str, directions: Directions) -> Guess:
    """Traditional Chinese by its own code where the model has one."""
    if guess.language == SIMPLIFIED and TRADITIONAL in directions.codes and simplifier().is_traditional(text):
        return dataclasses.replace(guess, language=TRADITIONAL)
    return guess


def source_of(text: str, directions: Directions, target: str | None = None) -> Guess:
    """The language to translate `text` from into `target`, or into any: the likeliest of all, which the model may not
    translate.

    Where that is not sure and one that the model translates is nearly as likely, it is that one. If it is the target's
    the text is there already.
    """
    best = detector().best(text)
    if best.probability < SURE:
        likely = (each for each in detector().guesses(text) if each.probability >= LEAST_SHARE * best.probability)
        best = next((each for each in likely if _is_served(each, directions, target)), best)
    return in_its_script(best, text, directions)


def _is_served(guess: Guess, directions: Directions, target: str | None) -> bool:
    code = directions.find(guess.language)
    if code is None or target is None:
        return code is not None
    return code == target or directions.translates(code, target)


def is_in_target_already(text: str, directions: Directions, target: str) -> bool:
    """Whether `text`, said to be in another language, is surely in the target's: each of its lines that is long
    enough, and together they are."""
    if not has_enough_words(text):
        return False
    lines = [line for line in text.splitlines() if has_enough_words(line)]
    return all(_is_surely(each, directions, target) for each in dict.fromkeys((text, *lines)))


def _is_surely(text: str, directions: Directions, target: str) -> bool:
    best = detector().best(text)
    return best.probability >= SURELY and directions.find(best.language) == target


def has_enough_words(text: str) -> bool:
    """Whether it can be told surely which language it is in."""
    return _words(text) >= FEWEST_WORDS


def _words(text: str) -> int:
    spaced = len(text.split())
    if text.isascii():
        return spaced
    return spaced + sum(map(len, _UNSPACED.findall(text))) // _UNSPACED_WORD
