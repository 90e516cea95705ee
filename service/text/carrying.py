"""What carries the copied parts of a sentence through a model: pieces that it was trained to carry, or single digits."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from model.vocabulary import Vocabulary

STAND_INS = "2345678"
"""For a model without carriers: it was trained on small numbers and writes them as they are. One is often a word."""


@dataclasses.dataclass(frozen=True, slots=True)
class Carrier:
    """One that can stand for a part of a sentence."""

    text: str
    """One character."""
    ids: tuple[int, ...]
    """The pieces that write it: one, or with and without the space before it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Carriers:
    """All that a model has."""

    all: tuple[Carrier, ...]
    are_trained: bool
    """Whether they are pieces for nothing else."""

    @property
    def ids(self) -> tuple[int, ...]:
        """Pieces that no translation has that was not given them."""
        return tuple(piece for carrier in self.all for piece in carrier.ids) if self.are_trained else ()

    def free(self, text: str, count: int) -> Sequence[Carrier]:
        """The first `count` that do not stand in `text`; fewer if there are not so many."""
        return [carrier for carrier in self.all if carrier.text not in text][:count]


def carriers_of(vocabulary: Vocabulary) -> Carriers:
    """Those that the vocabulary has, else digits that are pieces by themselves."""
    trained = _trained(vocabulary)
    if trained:
        return Carriers(trained, are_trained=True)
    found = ((digit, _ids_of(digit, vocabulary)) for digit in STAND_INS)
    return Carriers(tuple(Carrier(digit, ids) for digit, ids in found if ids), are_trained=False)


def _trained(vocabulary: Vocabulary) -> tuple[Carrier, ...]:
    ids: Sequence[int] = getattr(vocabulary, "carrier_ids", ())
    return tuple(Carrier(vocabulary.decode([piece]).strip(), (piece,)) for piece in ids)


def _ids_of(digit: str, vocabulary: Vocabulary) -> tuple[int, ...]:
    """The pieces that are this digit wherever it stands; none if it is written otherwise."""
    ids = {ids[-1]: True for text in (digit, f"a {digit}", f"a{digit}") if (ids := vocabulary.encode(text))}
    return tuple(ids) if all(vocabulary.decode([piece]).strip() == digit for piece in ids) else ()
