"""Which models a text goes through from one language to another: pure decisions, no model, no clock.

The model with the highest priority that translates the pair takes it, of several versions the highest. Where there is
none, two models do it, through a language that the first translates into and the second from.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from service.model_names import Canary, ModelName
from service.text.languages import Directions, normalise_code

ANY = "*"
"""In the setting: through whatever language there is."""
NONE = "none"
"""In the setting: no pair is translated by two models."""
_USUAL = "en"
"""The language that most models have on one side."""
_VARIANTS = {"zt": "zh", "pb": "pt"}
"""Codes of what is the same language for a reader, in another script or country: no reason to go through a third."""


class Candidate(NamedTuple):
    """A model as far as routing knows it."""

    model: ModelName
    directions: Directions
    priority: int = 0


class Hop(NamedTuple):
    """A model, and the pair as it names it."""

    model: ModelName
    source: str
    target: str


Draw = Callable[[str], ModelName | None]
"""For a model's name the canary that this request is to go to, if it is to."""


def no_canary(name: str) -> ModelName | None:
    """Sends everything to the default version."""
    return None


@dataclasses.dataclass(frozen=True, slots=True)
class Routes:
    """All pairs that some models translate, by themselves or in two hops."""

    directions: Directions
    """The union, direct pairs first."""
    candidates: tuple[Candidate, ...]
    """The preferred first; canaries are behind all others."""
    pivots: tuple[str, ...]
    """Languages that a text may go through, the most wanted first."""

    @classmethod
    def over(cls, candidates: Iterable[Candidate], canaries: Sequence[Canary] = (), pivot: str = NONE) -> Routes:
        """The routes over some models.

        Args:
            candidates: the models.
            canaries: versions that get their share only, as long as their name has another version.
            pivot: codes with commas between them, `*` or `none`.
        """
        ordered = _ordered(list(candidates), {canary.model for canary in canaries})
        direct = list(dict.fromkeys(pair for each in ordered for pair in _in_union_codes(each, ordered)))
        pivots = _pivots(direct, pivot)
        pairs = (*direct, *_pivot_pairs(direct, pivots))
        codes = {normalise_code(code): code for code in dict.fromkeys(code for pair in pairs for code in pair)}
        own_sources = frozenset(source for source, _ in direct)
        return cls(Directions(pairs, own_sources, codes, frozenset(pairs)), ordered, pivots)

    def only(self, written: str) -> Routes | None:
        """Those through one model, by its name alone its default version; None if there is none of this name."""
        named = [each for each in self.candidates if each.model.is_meant_by(written)]
        return Routes.over(named[:1]) if named else None

    def route(self, source: str, target: str, draw: Draw = no_canary) -> tuple[Hop, ...]:
        """The way from one of `directions` to the other: one hop or two; none if there is no way."""
        direct = self._direct(source, target, draw)
        if direct is not None:
            return (direct,)
        if not self.directions.translates(source, target):
            return ()
        for through in self.pivots:
            first = self._direct(source, through, draw)
            second = self._direct(through, target, draw) if first else None
            if first and second:
                return (first, second)
        return ()

    def _direct(self, source: str, target: str, draw: Draw) -> Hop | None:
        default = next((hop for each in self.candidates if (hop := _hop(each, source, target))), None)
        if default is None:
            return None
        canary = draw(default.model.name)
        drawn = next((each for each in self.candidates if each.model == canary), None)
        return (drawn and _hop(drawn, source, target)) or default


def _hop(candidate: Candidate, source: str, target: str) -> Hop | None:
    own = candidate.directions
    pair = own.find(source), own.find(target)
    return Hop(candidate.model, *pair) if own.translates(*pair) else None  # type: ignore[arg-type]


def _ordered(candidates: Sequence[Candidate], canaries: set[ModelName]) -> tuple[Candidate, ...]:
    def is_canary(each: Candidate) -> bool:
        others = (other.model for other in candidates if other.model.name == each.model.name)
        return each.model in canaries and any(other not in canaries for other in others)

    # Sorted by the least important first: Python's sort keeps the order of what is alike.
    found = sorted(candidates, key=lambda each: each.model.name)
    found.sort(key=lambda each: each.model.order, reverse=True)
    found.sort(key=lambda each: each.priority, reverse=True)
    return tuple(sorted(found, key=is_canary))


def _in_union_codes(candidate: Candidate, all_: Sequence[Candidate]) -> Iterator[tuple[str, str]]:
    """Its pairs, each language by the code that the first model has for it."""
    codes: dict[str, str] = {}
    for each in all_:
        for normal, code in each.directions.codes.items():
            codes.setdefault(normal, code)
    for source, target in candidate.directions.pairs:
        yield codes[normalise_code(source)], codes[normalise_code(target)]


def _pivots(direct: Sequence[tuple[str, str]], pivot: str) -> tuple[str, ...]:
    sources, targets = ({pair[side] for pair in direct} for side in (0, 1))
    between = [code for code in dict.fromkeys(code for pair in direct for code in pair) if code in sources & targets]
    if pivot == NONE:
        return ()
    if pivot == ANY:
        return tuple(sorted(between, key=lambda code: code != _USUAL))
    wanted = [normalise_code(code) for code in pivot.split(",")]
    return tuple(sorted((code for code in between if normalise_code(code) in wanted),
                        key=lambda code: wanted.index(normalise_code(code))))  # fmt: skip


def _pivot_pairs(direct: Sequence[tuple[str, str]], pivots: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Pairs that two models translate and none alone."""
    targets: dict[str, dict[str, None]] = {}
    for source, target in direct:
        targets.setdefault(source, {})[target] = None
    for source, own in targets.items():
        further: Mapping[str, None] = {
            target: None for through in pivots if through in own for target in targets.get(through, ())
        }
        yield from ((source, target) for target in further if target not in own and not _is_alike(source, target))


def _is_alike(one: str, other: str) -> bool:
    return _VARIANTS.get(one, one) == _VARIANTS.get(other, other)
