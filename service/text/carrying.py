"""What carries the copied parts of a sentence through a model: pieces that it was trained to carry, or digits."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from model.tokenizers import Tokenizer

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

    digits: tuple[Carrier, ...] = ()
    """All of them, if digits carry."""
    stops: tuple[int, ...] = ()
    """Pieces that end a sentence."""
    are_shortlisted: bool = False
    """Whether the model is offered only those that it reads (`model.shortlist`), so that none need be forbidden."""

    def forbidden(self, read: str, required: Sequence[tuple[int, ...]], *, is_begun: bool = False) -> tuple[int, ...]:
        """Pieces that no translation of what was read may have: carriers that it was not given; if digits carry
        something, digits that it has not.

        `is_begun`: a caller wrote its beginning, and what stands there is offered too.
        """
        if self.are_trained and self.are_shortlisted and not is_begun:
            return ()
        if self.are_trained:
            others = [carrier for carrier in self.all if carrier.ids not in required]
        else:
            others = [digit for digit in self.digits if required and digit.text not in read]
        return tuple(piece for carrier in others for piece in carrier.ids)

    def free(self, text: str, count: int) -> Sequence[Carrier]:
        """The first `count` that do not stand in `text`; fewer if there are not so many."""
        return [carrier for carrier in self.all if carrier.text not in text][:count]


NO_CARRIERS = Carriers((), are_trained=False)


def carriers_of(vocabulary: Tokenizer, trained_ids: Sequence[int] = (), *, are_shortlisted: bool = False) -> Carriers:
    """Those that the model was trained on, by their pieces; else digits that are pieces by themselves."""
    stops = tuple({vocabulary.encode_target(f"a{stop}")[-1]: True for stop in ".!?。！？…"})
    if trained_ids:
        trained = tuple(Carrier(vocabulary.decode([piece]).strip(), (piece,)) for piece in trained_ids)
        return Carriers(trained, are_trained=True, stops=stops, are_shortlisted=are_shortlisted)
    digits = tuple(Carrier(digit, ids) for digit in "0123456789" if (ids := _ids_of(digit, vocabulary)))
    stand_ins = tuple(digit for digit in digits if digit.text in STAND_INS)
    return Carriers(stand_ins, are_trained=False, digits=digits, stops=stops)


def _ids_of(digit: str, vocabulary: Tokenizer) -> tuple[int, ...]:
    """The pieces that are this digit wherever it stands; none if it is written otherwise."""
    ids = {vocabulary.encode_target(text)[-1]: True for text in (digit, f"a {digit}", f"a{digit}")}
    return tuple(ids) if all(vocabulary.decode([piece]).strip() == digit for piece in ids) else ()
