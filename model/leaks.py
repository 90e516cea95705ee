"""Sentences of held-out texts that a training text has too: they would be scored from memory. Torch-free."""

from __future__ import annotations

import dataclasses
import re
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

from opencc import OpenCC

from model.corpus import Pair
from model.recipe import ParallelFiles, Recipe, read_pairs, split_direction

_TO_SIMPLIFIED = OpenCC("t2s").convert
_NO_LETTER = re.compile(r"[\W_]+")


@dataclasses.dataclass(frozen=True, slots=True)
class Leak:
    """Lines of one test set, from 1, of which a side stands in one training text as a whole."""

    test: str
    text: str
    lines: tuple[int, ...]


def sentence_key(sentence: str, language: str) -> str:
    """What two sentences have in common that differ in case, punctuation, spaces or the script of Chinese only."""
    if language == "zh":
        sentence = _TO_SIMPLIFIED(sentence)
    return _NO_LETTER.sub("", unicodedata.normalize("NFKC", sentence).casefold())


def held_out_sentences(recipe: Recipe, root: Path) -> frozenset[str]:
    """The keys of every sentence that the recipe validates or tests with."""
    held_out = (*recipe.validation, *recipe.test)
    return frozenset(key for files in held_out for keys in _keys(files, files.directions, root) for key in keys)


def trained_held_out_sentences(recipe: Recipe, root: Path) -> frozenset[str]:
    """The keys of every sentence of the texts that `keep_held_out`: lines of a test set that are not to be scored."""
    texts = [files for files in recipe.data if files.keep_held_out]
    return frozenset(key for files in texts for keys in _keys(files, files.directions, root) for key in keys)


def without_leaks(pairs: Sequence[Pair], languages: tuple[str, str], held_out: frozenset[str]) -> list[Pair]:
    """The pairs of which neither side is held out, be it as a sentence of another pair of languages."""
    return [pair for pair in pairs if held_out.isdisjoint(map(sentence_key, pair, languages))]


def find_leaks(recipe: Recipe, root: Path) -> Iterator[Leak]:
    """Every pairing of a held-out text and a file of training text that share sentences.

    Raises:
        DataError: a file or line cannot be used.
    """
    tests = [(files, _keys(files, files.directions, root)) for files in (*recipe.validation, *recipe.test)]
    for text in {text.name: text for text in recipe.data}.values():
        trained = {key for keys in _keys(text, text.directions, root) for key in keys}
        for files, lines in tests:
            found = tuple(number for number, keys in enumerate(lines, start=1) if not trained.isdisjoint(keys))
            if found:
                yield Leak(files.name, text.name, found)


def _keys(files: ParallelFiles, directions: Sequence[str], root: Path) -> list[list[str]]:
    """The keys of the sides of each line, in all languages of `directions`."""
    both = [[[*map(sentence_key, pair, split_direction(direction))] for pair in read_pairs(files, direction, root)]
            for direction in directions]  # fmt: skip
    return [[key for keys in line for key in keys if key] for line in zip(*both, strict=True)]
