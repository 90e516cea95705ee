"""What the checks of a translation say of translations by people, and what the text's code costs: for `fidelity.py`.

*Called wrong*: the numbers of a human translation are doubted, though they are those of the source. `DIFFERENT` names
the pairs of the test sets whose numbers a person has found to be others (feet made metres, a year left out, a typing
error), by a digest of both sides; whatever else is doubted counts as called wrong.
"""

from __future__ import annotations

import dataclasses
import gc
import hashlib
import random
import re
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.model_card import test_pairs
from model.bundle import Manifest
from model.corpus import Pair
from model.lexical import LEXICAL_FILE, lexical_tables
from model.recipe import split_direction
from model.spans import find_spans
from model.tokenizers import Tokenizer
from service.engine.hmm import hmm_evidence
from service.text.acronyms import with_acronyms
from service.text.characters import in_known_characters, in_plain_characters
from service.text.document import Document
from service.text.languages import Directions
from service.text.numbers import numbers_differ
from service.text.prepared import finished, prepared
from service.text.reading import Reader, readers_of
from service.translation.endings import is_left_out, may_be_left_out

HUMAN_SETS = ("tatoeba-test", "flores200-devtest", "newstest2014", "newstest2018", "newstest2019", "pydocs-test")
DIFFERENT = Path(__file__).with_name("different_numbers.txt")
REPEATS = 9
_LAST_CLAUSE = re.compile(r"[;，；：]|[,:](?=\s)")


class Doubt(NamedTuple):
    """A human translation whose numbers are doubted."""

    digest: str
    source: str
    translation: str


def human_pairs(direction: str, root: Path) -> list[Pair]:
    """The pairs of all test sets of a direction, as the service would read them."""
    languages = split_direction(direction)
    found = [pair for name in HUMAN_SETS for pair in test_pairs(direction, name, root) or ()]
    return [(_read(pair[0], languages[0]), _read(pair[1], languages[1])) for pair in found]


def _read(text: str, language: str) -> str:
    return in_known_characters(in_plain_characters(text).text, language)


def digest_of(pair: Pair) -> str:
    """What names a pair, whichever side is the source."""
    return hashlib.sha256("\n".join(sorted(pair)).encode()).hexdigest()[:12]


def doubted(pairs: Sequence[Pair], languages: tuple[str, str], count: int) -> tuple[int, list[Doubt]]:
    """How many pairs with numbers were looked at, at most `count` drawn with a fixed seed, and which are doubted."""
    # Drawn by what names a pair: both directions get the same ones.
    with_numbers = sorted((pair for pair in pairs if re.search(r"[0-9]", "".join(pair))), key=digest_of)
    few = random.Random(1).sample(with_numbers, min(count, len(with_numbers)))
    return len(few), [Doubt(digest_of(pair), *pair) for pair in few if numbers_differ(*pair, languages)]


def really_different(path: Path = DIFFERENT) -> frozenset[str]:
    """Digests of the pairs that a person has read and found to differ in a number."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return frozenset(line.split()[0] for line in lines if line.strip() and not line.startswith("#"))


def human_numbers(direction: str, root: Path, count: int) -> tuple[dict[str, Any], list[Doubt]]:
    """The row of one direction, and the doubts that nobody has confirmed."""
    looked_at, doubts = doubted(human_pairs(direction, root), split_direction(direction), count)
    confirmed = really_different()
    wrong = [doubt for doubt in doubts if doubt.digest not in confirmed]
    right = looked_at - (len(doubts) - len(wrong))
    row = {
        "human translations with numbers": looked_at,
        "their numbers doubted, %": round(100 * len(doubts) / max(looked_at, 1), 1),
        "right ones called wrong, %": round(100 * len(wrong) / max(right, 1), 1),
    }
    return row, wrong


def human_ends(direction: str, root: Path, bundle: Path, manifest: Manifest, vocabulary: Tokenizer) -> dict[str, Any]:
    """How many whole human translations are called incomplete, and how many of those without their last clause.

    Of sentences of several clauses whose translation has several, too; nothing for a direction without a table.
    """
    if LEXICAL_FILE not in manifest.files:
        return {}
    table = dict(lexical_tables(bundle, manifest, vocabulary)).get(direction)
    if table is None:
        return {}
    called = {"whole": 0, "cut": 0}
    pairs = [pair for pair in human_pairs(direction, root) if all(_LAST_CLAUSE.search(side) for side in pair)]
    pairs = random.Random(1).sample(pairs, min(len(pairs), 600))
    for source, whole in pairs:
        *_, last = _LAST_CLAUSE.finditer(whole)
        for kind, translation in (("whole", whole), ("cut", whole[: last.start()])):
            ids = vocabulary.encode(source)
            if may_be_left_out(source, len(ids), translation):
                evidence = hmm_evidence(ids, vocabulary.encode_target(translation), table)
                called[kind] += is_left_out(source, vocabulary.encode_spans(source), evidence)
    return {
        "whole translations called incomplete, %": round(100 * called["whole"] / max(len(pairs), 1), 1),
        "those without their last clause, %": round(100 * called["cut"] / max(len(pairs), 1), 1),
    }


def without_spans(pairs: Sequence[Pair], language: str) -> list[Pair]:
    """The pairs whose source is one sentence with nothing to copy or set aside."""
    return [
        pair
        for pair in pairs
        if not find_spans(pair[0], language)
        and len(Document.parse(pair[0], language, lambda sentence: 1, 250).sentences) == 1
    ]


def microseconds(pairs: Sequence[Pair], direction: str, manifest: Manifest, vocabulary: Tokenizer) -> dict[str, float]:
    """Processor time of a plain sentence, split, read, put together and checked, without the encoding of its pieces."""
    source, target = split_direction(direction)
    shortlisted = manifest.has_shortlist
    readers = readers_of(
        Directions.parse(manifest.directions), vocabulary, manifest.tokenizer, has_shortlist=shortlisted
    )
    plain = without_spans(pairs[:1000], source)
    # As in the service, what is there already is not looked at by every collection of garbage.
    gc.collect()
    gc.freeze()
    # Encoding is slower among other work than in a loop of its own: what it takes cannot be subtracted.
    reader = dataclasses.replace(readers[source], vocabulary=_Known(vocabulary))
    _all_through(plain, reader, target)
    seconds = _median_time(lambda: _all_through(plain, reader, target))
    return {"microseconds a plain sentence": round(seconds / max(len(plain), 1) * 1e6, 1)}


class _Known:
    """A vocabulary that has encoded every text before."""

    def __init__(self, vocabulary: Tokenizer) -> None:
        self._vocabulary = vocabulary
        self._known: dict[str, list[int]] = {}

    def encode(self, text: str) -> list[int]:
        if text not in self._known:
            self._known[text] = self._vocabulary.encode(text)
        return self._known[text]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._vocabulary, name)


def _all_through(pairs: Sequence[Pair], reader: Reader, target: str) -> None:
    for text, reference in pairs:
        for sentence in Document.parse(text, reader.language, lambda sentence: 1, 250).sentences:
            finished(prepared(with_acronyms(sentence, reader.count_pieces), reader, target), reference)


def _median_time(work: Callable[[], object]) -> float:
    """Seconds of processor time, the median of `REPEATS`."""
    times = []
    for _ in range(REPEATS):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return statistics.median(times)
