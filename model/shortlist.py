"""Which target pieces a sentence may need: far fewer than the vocabulary holds.

A sentence's shortlist is the pieces that translate its own pieces (IBM Model 1, Brown et al. 1993, section 4.4, learned
from the training pairs), the pieces most frequent in the target language, its own pieces (names and numbers are
copied), and the end token. It depends on the sentence alone, so batching changes nothing. The decoder then projects
onto a few hundred columns instead of all, and probabilities are those of the model among the shortlist.

Shapes: V pieces in the vocabulary, P pairs, M most likely translations of a piece.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from model.arrays import Array, loaded_arrays, save_arrays
from model.bundle import OWN_IDS, SpecialIds
from model.errors import BundleError
from model.vocabulary import EOS_ID

if TYPE_CHECKING:
    from model.tokenizers import Tokenizer

IntArray = npt.NDArray[np.int64]
Ids = npt.NDArray[np.unsignedinteger[Any]]
"""Piece ids in the smallest type that holds them: a lexicon has millions."""
Pair = tuple[Sequence[int], Sequence[int]]

SHORTLIST_FILE = "shortlist.npz"
NOTHING = -1
"""What fills a row that is shorter than its neighbours: no token."""
_ROUNDS = 4
_LEAST_PROBABILITY = 1e-5


@dataclasses.dataclass(frozen=True, slots=True)
class Lexicon:
    """What one target language needs."""

    likely: Ids  # [V, M] pieces that translate each piece, in ascending order; the end token where there are fewer
    frequent: Ids  # pieces that every sentence may use


class PackedRows:
    """Rows of ids in about a byte for each: every engine of every bundle keeps them, and as a matrix they take more
    memory than the weights."""

    _CARRY = 255
    """A byte that is no id: the step to the next one goes on in the next byte."""

    def __init__(self, rows: Ids) -> None:
        """`rows` [V, M]: ids, each of which counts once in its row."""
        ordered = np.sort(rows)
        number = ordered.dtype.type
        steps = np.diff(ordered, axis=1, prepend=number(0))
        is_id = steps > 0
        is_id[:, 0] = True
        carries, rest = np.divmod(steps[is_id], number(self._CARRY))
        ends = np.cumsum(carries + 1, dtype=np.int32)
        self._begins = np.concatenate(([np.int32(0)], ends[np.cumsum(is_id.sum(axis=1)) - 1]))
        self._bytes = np.full(ends[-1], self._CARRY, np.uint8)
        self._bytes[ends - 1] = rest

    def __len__(self) -> int:
        return len(self._begins) - 1

    @property
    def nbytes(self) -> int:
        """What they take in memory."""
        return self._begins.nbytes + self._bytes.nbytes

    def save(self, path: Path) -> None:
        """Write their bytes to a file of NumPy's."""
        np.save(path, self._bytes)

    def map(self, path: Path) -> None:
        """Read them from that file from now on, whose memory all share who do so."""
        self._bytes = np.load(path, mmap_mode="r")

    def of(self, rows: IntArray) -> IntArray:
        """The ids in these rows, one row after the other."""
        begins = self._begins[rows]
        lengths = self._begins[rows + 1] - begins
        ends = np.cumsum(lengths)
        starts = ends - lengths
        steps = self._bytes[np.arange(ends[-1]) + np.repeat(begins - starts, lengths)]
        summed = np.cumsum(steps, dtype=np.int64)
        # What was summed up in the rows before is taken away again.
        summed -= np.repeat(summed[starts] - steps[starts], lengths)
        ids: IntArray = summed[steps != self._CARRY]
        return ids


class Shortlist:
    """Shortlists of sentences, by the target-language tag they have; networks of one target language have none."""

    def __init__(
        self,
        lexicons: Mapping[str, Lexicon],
        vocabulary: Tokenizer,
        special: SpecialIds = OWN_IDS,
        suppressed: Sequence[int] = (),
    ) -> None:
        """`suppressed`: ids that are never chosen, whatever their probability."""
        tags = {language: vocabulary.wanted_by(language) for language in lexicons}
        self._likely = {tags[language]: PackedRows(lexicon.likely) for language, lexicon in lexicons.items()}
        self._always = {}
        for language, lexicon in lexicons.items():
            always = np.zeros(len(vocabulary), np.bool_)
            always[lexicon.frequent] = True
            self._always[tags[language]] = always
        self._size = len(vocabulary)
        self._copies = np.array(vocabulary.copies, np.int64)
        self._carriers = np.array(vocabulary.carrier_ids, np.int64)
        never = {special.pad, special.unk, special.bos, *suppressed, *vocabulary.unspoken} - {special.eos}
        self._never = np.array(sorted(place for place in never if place < self._size), np.int64)
        self._end = special.eos

    def save_rows(self, directory: Path) -> None:
        """Write what is large of it to files."""
        for tag, rows in self._likely.items():
            rows.save(directory / f"{tag}.npy")

    def map_rows(self, directory: Path) -> None:
        """Read that from these files from now on: processes that do so share its memory."""
        for tag, rows in self._likely.items():
            rows.map(directory / f"{tag}.npy")

    def of(self, source_ids: Sequence[int]) -> IntArray:
        """The shortlist of one source with all that surrounds its pieces, in ascending order; without a tag that has a
        lexicon, everything."""
        ids = np.array(source_ids)
        tag = next((tag for tag in self._always if tag is None or tag in source_ids), NOTHING)
        if tag in self._always:
            wanted = self._always[tag].copy()
            wanted[self._likely[tag].of(ids)] = True
        else:
            wanted = np.ones(self._size, np.bool_)
        # Carriers are copied, never made up.
        wanted[self._carriers] = False
        copied = self._copies[ids]
        wanted[copied[copied != NOTHING]] = True
        wanted[self._end] = True
        wanted[self._never] = False
        return wanted.nonzero()[0]


def build_lexicon(
    pairs: Sequence[Pair], vocabulary_size: int, *, most: int, frequent: int, end: int = EOS_ID
) -> Lexicon:
    """Learn from (source pieces, target pieces): `most` translations a piece, and the `frequent` target pieces.

    `vocabulary_size`: of the larger vocabulary if there are two; `end`: the end token, which every list has anyway.
    """
    links, probabilities = _model_1(pairs, vocabulary_size)
    source, target = np.divmod(links, vocabulary_size)
    kept = probabilities > _LEAST_PROBABILITY
    source, target, probabilities = source[kept], target[kept], probabilities[kept]
    order = np.lexsort((-probabilities, source))
    source, target = source[order], target[order]
    rank = np.arange(len(source)) - np.searchsorted(source, source)
    likely = np.full((vocabulary_size, most), end, np.min_scalar_type(vocabulary_size))
    likely[source[rank < most], rank[rank < most]] = target[rank < most]
    counts = np.bincount(np.concatenate([np.asarray(t, np.int64) for _, t in pairs]), minlength=vocabulary_size)
    by_count = np.argsort(-counts, kind="stable")[:frequent]
    return Lexicon(np.sort(likely), np.sort(by_count[counts[by_count] > 0]).astype(likely.dtype))


def _model_1(pairs: Sequence[Pair], vocabulary_size: int) -> tuple[IntArray, npt.NDArray[np.float64]]:
    """Translation probabilities of IBM Model 1 by expectation maximisation.

    Returns:
        Links as source * V + target, ascending, and the probability of the target given the source.
    """
    together, tokens, seen = [], [], 0
    for source, target in pairs:
        pieces, written = np.unique(np.asarray(source, np.int64)), np.asarray(target, np.int64)
        together.append((pieces[None, :] * vocabulary_size + written[:, None]).ravel())
        tokens.append(np.repeat(np.arange(seen, seen + len(written)), len(pieces)))
        seen += len(written)
    links, of_link = np.unique(np.concatenate(together), return_inverse=True)
    of_token, source_of = np.concatenate(tokens), links // vocabulary_size
    probabilities = 1.0 / np.bincount(source_of, minlength=vocabulary_size)[source_of]
    for _ in range(_ROUNDS):
        expected = probabilities[of_link]
        expected /= np.bincount(of_token, expected, minlength=seen)[of_token]
        counts = np.bincount(of_link, expected, minlength=len(links))
        probabilities = counts / np.bincount(source_of, counts, minlength=vocabulary_size)[source_of]
    return links, probabilities


def save_lexicons(path: Path, lexicons: Mapping[str, Lexicon]) -> None:
    """Write one file; it appears whole or not at all."""
    arrays: dict[str, Array] = {}
    for language, lexicon in lexicons.items():
        # Steps between ascending ids compress to half of what the ids do.
        arrays[f"{language}.likely_steps"] = np.diff(lexicon.likely, axis=1, prepend=lexicon.likely.dtype.type(0))
        arrays[f"{language}.frequent"] = lexicon.frequent
    save_arrays(path, arrays)


def _summed(steps: Ids) -> Ids:
    return np.cumsum(steps, axis=1, dtype=steps.dtype)


def load_shortlist(
    path: Path, vocabulary: Tokenizer, special: SpecialIds = OWN_IDS, suppressed: Sequence[int] = ()
) -> Shortlist:
    """Read what `save_lexicons` wrote.

    Raises:
        BundleError: missing, damaged, or made for another vocabulary.
    """
    with loaded_arrays(path, "not a shortlist") as values:
        lexicons = {
            language: Lexicon(_summed(values[f"{language}.likely_steps"]), values[f"{language}.frequent"])
            for language in sorted({name.rpartition(".")[0] for name in values})
        }
    size = max(vocabulary.source_size, len(vocabulary))
    if any(len(lexicon.likely) != size for lexicon in lexicons.values()):
        raise BundleError(f"{path}: made for another vocabulary")
    return Shortlist(lexicons, vocabulary, special, suppressed)
