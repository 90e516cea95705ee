"""How often the language of a text is found, by its length, with ours and with other detectors that are installed.

    python -m benchmarks.detection --root DATA

DATA is laid out as model/recipes/README.md says. Prints Markdown; the last line is one JSON object. Others take part if
they are there: `pip install py3langid pycld2 langdetect lingua-language-detector`.
"""

from __future__ import annotations

import argparse
import gzip
import importlib
import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from service.text.detection import NOTHING, detector, is_in_target_already, source_of
from service.text.languages import Directions

Detect = Callable[[str], str]

TEXTS = 500
SOURCES = {
    "en": "fr-en/test/tatoeba-test.en.gz", "fr": "fr-en/test/tatoeba-test.fr.gz", "zh": "zh-en/test/tatoeba-test.zh.gz",
    "de": "de-en/test/tatoeba-test.de.gz", "es": "es-en/test/tatoeba-test.es.gz",
}  # fmt: skip
NEWS = {code: path.replace("tatoeba-test", "flores200-devtest") for code, path in SOURCES.items()}
SERVED = Directions.parse(["zh-en", "en-zh", "fr-en", "en-fr"])
NAMES = [
    "Marie Curie", "John Smith", "Paris", "Charles de Gaulle", "Google", "Anna Schmidt", "Microsoft Windows",
    "New York", "Pierre", "Tom", "Mary", "Boston", "Karl Marx", "Angela Merkel", "Emmanuel Macron", "Toyota", "Berlin",
    "Victor Hugo", "Jean-Paul Sartre", "London", "Barack Obama", "Sofia", "Carlos", "Maria Garcia", "Tokyo",
    "Samsung Galaxy", "Linux", "Python", "Sarah Connor", "Peter Parker",
]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True)
    root: Path = parser.parse_args().root
    lengths = _by_length({code: _lines(root / path)[:TEXTS] for code, path in SOURCES.items()})
    lengths["news"] = {code: _lines(root / path)[:TEXTS] for code, path in NEWS.items()}
    found = {name: _rates(detect, lengths) for name, detect in _detectors()}
    table = _table(found, lengths)
    print(table)
    print(
        json.dumps(
            {"rates": found, "mapped": _mapped(lengths), "mixed": _mixed(lengths["sentence"]), "names": _names()}
        )
    )


def _lines(path: Path) -> list[str]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        lines = [line.strip() for line in file]
    random.Random(1).shuffle(lines)
    return lines


def _by_length(sentences: dict[str, list[str]]) -> dict[str, dict[str, list[str]]]:
    """The same sentences cut to a word and to three words in a row; of Chinese two characters and five."""
    chance = random.Random(1)
    return {
        "1 word": {code: [_words(text, code, 1, chance) for text in texts] for code, texts in sentences.items()},
        "3 words": {code: [_words(text, code, 3, chance) for text in texts] for code, texts in sentences.items()},
        "sentence": sentences,
    }


def _words(text: str, code: str, count: int, chance: random.Random) -> str:
    if code == "zh":
        size = {1: 2, 3: 5}[count]
        start = chance.randrange(max(1, len(text) - size))
        return text[start : start + size]
    words = text.split()
    if count == 1:
        return chance.choice([word.strip('.,!?"«»;:()') for word in words if len(word) > 3] or words)
    start = chance.randrange(max(1, len(words) - count + 1))
    return " ".join(words[start : start + count])


def _detectors() -> Iterator[tuple[str, Detect]]:
    yield "ours", lambda text: detector().best(text).language
    yield "fastText alone", _fasttext
    for name, make in (
        ("py3langid", _py3langid),
        ("pycld2", _pycld2),
        ("langdetect", _langdetect),
        ("lingua", _lingua),
    ):
        try:
            yield name, make(importlib.import_module(name))
        except ImportError:
            print(f"{name} is not installed")


def _fasttext(text: str) -> str:
    label: str = detector()._model.predict(text.replace("\n", " "), k=1)[0][0]
    return label.removeprefix("__label__")


def _py3langid(module: object) -> Detect:
    return lambda text: str(module.classify(text)[0])  # type: ignore[attr-defined]


def _pycld2(module: object) -> Detect:
    def detect(text: str) -> str:
        return str(module.detect(text, bestEffort=True)[2][0][1])[:2]  # type: ignore[attr-defined]

    return detect


def _langdetect(module: object) -> Detect:
    module.DetectorFactory.seed = 0  # type: ignore[attr-defined]

    def detect(text: str) -> str:
        try:
            return str(module.detect(text))[:2]  # type: ignore[attr-defined]
        except module.LangDetectException:  # type: ignore[attr-defined]
            return "?"

    return detect


def _lingua(module: object) -> Detect:
    built = module.LanguageDetectorBuilder.from_all_languages().build()  # type: ignore[attr-defined]

    def detect(text: str) -> str:
        found = built.detect_language_of(text)
        return found.iso_code_639_1.name.lower() if found else "?"

    return detect


def _rates(detect: Detect, lengths: dict[str, dict[str, list[str]]]) -> dict[str, dict[str, float]]:
    detect("warm up")
    began = time.perf_counter()
    rates = {
        length: {code: _share([detect(text) == code for text in texts]) for code, texts in texts_of.items()}
        for length, texts_of in lengths.items()
    }
    count = sum(len(texts) for texts_of in lengths.values() for texts in texts_of.values())
    return {**rates, "microseconds": {"each": round(1e6 * (time.perf_counter() - began) / count, 1)}}


def _share(right: Sequence[bool]) -> float:
    return round(100 * sum(right) / len(right), 1)


def _mapped(lengths: dict[str, dict[str, list[str]]]) -> dict[str, dict[str, float]]:
    """As `auto` decides with our model: right for its languages, and taken for one of them though they are others."""
    ours = ("en", "fr", "zh", "zt")
    rows = {}
    for length, texts_of in lengths.items():
        found = {code: [source_of(text, SERVED, "en").language for text in texts] for code, texts in texts_of.items()}
        rows[length] = {
            **{code: _share([each.replace("zt", "zh") == code for each in found[code]]) for code in ("en", "fr", "zh")},
            **{f"{code} taken for ours": _share([each in ours for each in found[code]]) for code in ("de", "es")},
            **{
                f"{code} already in {target}": _share(
                    [is_in_target_already(text, SERVED, target) for text in texts_of[code]]
                )
                for code, target in (("en", "fr"), ("fr", "en"), ("en", "en"), ("fr", "fr"), ("zh", "zh"), ("zh", "en"))
            },
        }
    return rows


def _mixed(sentences: dict[str, list[str]]) -> dict[str, float]:
    """A French and an English sentence in one text: how often one of the two is named, and how sure that is."""
    texts = [f"{fr} {en}" for fr, en in zip(sentences["fr"], sentences["en"], strict=True)]
    guesses = [detector().best(text) for text in texts]
    return {
        "one of the two": _share([each.language in ("fr", "en") for each in guesses]),
        "mean confidence": round(sum(each.confidence for each in guesses) / len(guesses), 1),
        "already in en": _share([is_in_target_already(text, SERVED, "en") for text in texts]),
    }


def _names() -> dict[str, float]:
    """Names alone are in no language: how sure the detector is nevertheless."""
    guesses = [detector().best(name) for name in NAMES]
    return {
        "mean confidence": round(sum(each.confidence for each in guesses) / len(guesses), 1),
        "above 70": _share([each.confidence > 70 for each in guesses]),
        "said to be none": _share([each.language == NOTHING and each.confidence == 0 for each in guesses]),
    }


def _table(found: dict[str, dict[str, dict[str, float]]], lengths: dict[str, dict[str, list[str]]]) -> str:
    lines = [
        "| detector | length | " + " | ".join(SOURCES) + " | µs |",
        "| --- | --- |" + " ---: |" * (len(SOURCES) + 1),
    ]
    for name, rates in found.items():
        for length in lengths:
            cells = " | ".join(f"{rates[length][code]:.1f}" for code in SOURCES)
            lines.append(f"| {name} | {length} | {cells} | {rates['microseconds']['each']:.0f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
