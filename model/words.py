"""Words as lines of their own: mined from parallel text, and numbers written out.

Training text consists of sentences, so a model of it knows words in company only; people begin with single ones.
"""

from __future__ import annotations

import gzip
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import cn2an
import numpy as np
from num2words import num2words

from model.arrays import Array
from model.corpus import Pair
from model.errors import DataError
from model.lexical import learn_table

_WORD = re.compile(r"[^\W\d_]+(?:[-'’][^\W\d_]+)*")
_ELIDED = re.compile(r"^(?:[cdjlmnst]|qu|jusqu|lorsqu|puisqu)['’]")
_HAN = re.compile(r"[\u4e00-\u9fff]+")
_LEAST_PAIRS = 5
"""Sentence pairs in which both words must stand: fewer are chance too often."""
_LEAST_PROBABILITY = 0.35
"""Of each word given the other."""


class Words:
    """Cuts text of one language into words, as translations of words are looked up."""

    def __init__(self, language: str, dictionary: Iterable[str] = ()) -> None:
        """`dictionary`: words of a language that puts no space between them; the longest that fits is taken."""
        self._language = language
        self._dictionary = frozenset(dictionary)
        self._longest = max(map(len, self._dictionary), default=1)

    def of(self, text: str) -> list[str]:
        """Lower-cased words in order, French ones without what is elided before them, e.g. `l'`."""
        if self._language == "zh":
            return [word for run in _HAN.findall(text) for word in self._cut(run)]
        words = (word.lower() for word in _WORD.findall(text))
        return [_ELIDED.sub("", word) for word in words] if self._language == "fr" else list(words)

    def _cut(self, run: str) -> Iterator[str]:
        start = 0
        while start < len(run):
            ends = range(min(len(run), start + self._longest), start, -1)
            end = next((end for end in ends if run[start:end] in self._dictionary), start + 1)
            yield run[start:end]
            start = end


def mine_words(pairs: Sequence[Pair], source_words: Words, target_words: Words) -> list[Pair]:
    """Pairs of words that are each other's likeliest translation in `pairs`, the most frequent first."""
    numbers: dict[tuple[str, str], int] = {}

    def numbered(side: str, words: Iterable[str]) -> list[int]:
        return [numbers.setdefault((side, word), len(numbers)) for word in words]

    texts = [
        (numbered("source", source_words.of(source)), numbered("target", target_words.of(target)))
        for source, target in pairs
    ]
    size = len(numbers)
    table = learn_table(texts, size)
    together = Counter(s * size + t for source, target in texts for s in set(source) for t in set(target))
    sources, targets = np.divmod(table.keys, size)
    probabilities = np.minimum(table.target_given_source, table.source_given_target)
    likely = probabilities >= _LEAST_PROBABILITY
    best = _is_best(table.target_given_source, sources) & _is_best(table.source_given_target, targets)
    words = [word for _, word in numbers]
    found = [
        (-count, words[sources[place]], words[targets[place]])
        for place in np.flatnonzero(likely & best)
        if (count := together[int(table.keys[place])]) >= _LEAST_PAIRS
    ]
    return [(source, target) for _, source, target in sorted(found)]


def _is_best(probabilities: Array, groups: Array) -> Array:
    """[E] bool: whether an entry has the highest probability of its group."""
    highest = np.zeros(groups.max(initial=0) + 1, probabilities.dtype)
    np.maximum.at(highest, groups, probabilities)
    return np.asarray(probabilities >= highest[groups])


def number_words(source: str, target: str) -> list[Pair]:
    """Numbers written out in two of en, fr and zh: all to a hundred, then round ones.

    Raises:
        DataError: a language has no number words here.
    """
    numbers = [*range(101), *range(110, 1000, 10), *range(1000, 10_001, 500), 20_000, 50_000, 100_000, 1_000_000]
    return [(_written_out(number, source), _written_out(number, target)) for number in numbers]


def _written_out(number: int, language: str) -> str:
    if language == "zh":
        return str(cn2an.an2cn(number))
    if language not in ("en", "fr"):
        raise DataError(f"no number words for language {language!r}, only for en, fr and zh")
    return str(num2words(number, lang=language))


def with_capitals(pairs: Iterable[Pair]) -> Iterator[Pair]:
    """Each pair, and once more begun with a capital where both languages have them: `Kitchen` is `Cuisine`."""
    for source, target in pairs:
        yield source, target
        capitals = source[0].upper() + source[1:], target[0].upper() + target[1:]
        if capitals[0] != source and capitals[1] != target:
            yield capitals


def write_words(path: Path, pairs: Iterable[Pair]) -> None:
    """Write tab-separated pairs, gzipped, as a recipe's [[data]] reads them; the file appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f"{path.name}.partial")
    text = "".join(f"{source}\t{target}\n" for source, target in pairs)
    scratch.write_bytes(gzip.compress(text.encode("utf-8"), mtime=0))
    scratch.replace(path)
