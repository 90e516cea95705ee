"""Further pairs made of those of a training text: as people type, longer, with other numbers."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence

from model.corpus import Pair

_FINAL_MARKS = {".": ".", "。": ".", "!": "", "！": "", "?": "", "？": ""}
"""Marks a writer may leave out, and the mark the other side may then lose too (a question keeps its mark)."""
_NUMBER = re.compile(r"[0-9]+")
_LONG_WORD = re.compile(r"[A-Za-zÀ-ɏ]{4,}")
"""Of letters that are typed one by one, and long enough to be known in spite of a typo."""


def augmented(
    pairs: list[Pair],
    *,
    unmarked: float = 0.0,
    concatenated: float = 0.0,
    lowered: float = 0.0,
    misspelt: float = 0.0,
    renumbered: float = 0.0,
    separators: tuple[str, str],
    seed: int,
) -> list[Pair]:
    """`pairs`, then copies of some of them, changed; the same for the same seed.

    Args:
        pairs: (source, target).
        unmarked: share of `pairs` copied `without_final_mark`.
        concatenated: number of pairs made of 2-4 `joined` ones, as a share of `pairs`.
        lowered: share of `pairs` copied with their source in small letters.
        misspelt: share of `pairs` copied `with_typo`.
        renumbered: how often the pairs that can be are copied `with_other_numbers`.
        separators: what stands between two joined sources, and targets.
    """
    rng = random.Random(seed)
    extra = list(_some(pairs, unmarked, without_final_mark, rng))
    for _ in range(int(concatenated * len(pairs))):
        extra.append(joined(rng.choices(pairs, k=rng.choice((2, 2, 3, 4))), *separators))
    extra += _some(pairs, lowered, lower_cased, rng)
    extra += _some(pairs, misspelt, lambda pair: with_typo(pair, rng), rng)
    extra += _some(pairs, renumbered, lambda pair: with_other_numbers(pair, rng), rng)
    return pairs + extra


def _some(
    pairs: Sequence[Pair], share: float, change: Callable[[Pair], Pair | None], rng: random.Random
) -> Iterator[Pair]:
    """Copies of a share of `pairs`, which may be more than 1, as far as `change` has something to change in them."""
    whole = int(share)
    indices = [*range(len(pairs))] * whole + rng.sample(range(len(pairs)), int((share - whole) * len(pairs)))
    for index in indices:
        changed = change(pairs[index])
        if changed is not None:
            yield changed


def without_final_mark(pair: Pair) -> Pair | None:
    """The pair as a hurried writer would type it, without its closing mark; None where there is none to leave out."""
    source, target = pair
    mark = _FINAL_MARKS.get(source[-1])
    if mark is None or len(source) < 2:
        return None
    if mark and target[-1] in ".。":
        target = target[:-1]
    return (source[:-1], target) if target else None


def lower_cased(pair: Pair) -> Pair | None:
    """The pair with its source in small letters, the target as it should be; None if the source is."""
    small = pair[0].lower()
    return None if small == pair[0] else (small, pair[1])


def with_typo(pair: Pair, rng: random.Random) -> Pair | None:
    """The pair with two letters of one word of the source swapped, or one dropped or doubled (Belinkov and Bisk 2018).

    The first letter stays. None if no word is long enough.
    """
    source, target = pair
    words = list(_LONG_WORD.finditer(source))
    if not words:
        return None
    word = rng.choice(words)
    place = rng.randrange(word.start() + 1, word.end() - 1)
    here, following = source[place], source[place + 1]
    possible = (following + here, following, here + here + following)
    instead = rng.choice([letters for letters in possible if letters != here + following])
    return source[:place] + instead + source[place + 2 :], target


def with_other_numbers(pair: Pair, rng: random.Random) -> Pair | None:
    """The pair with each number replaced by another of as many digits, the same on both sides, so that numbers are
    learnt to be copied; None where the sides have different numbers, or nothing changes.

    0 and 1 stay, for what they count has another form.
    """
    numbers = [sorted(_NUMBER.findall(side)) for side in pair]
    if numbers[0] != numbers[1]:
        return None
    others: dict[str, str] = {}

    def other(match: re.Match[str]) -> str:
        return others.setdefault(match.group(), _other_number(match.group(), rng))

    source, target = (_NUMBER.sub(other, side) for side in pair)
    return None if source == pair[0] else (source, target)


def _other_number(number: str, rng: random.Random) -> str:
    if number in ("0", "1"):
        return number
    first = rng.choice("23456789") if number[0] != "0" else "0"
    return first + "".join(rng.choices("0123456789", k=len(number) - 1))


def joined(pairs: Sequence[Pair], source_separator: str, target_separator: str) -> Pair:
    """Several pairs as one longer pair (Kondo et al. 2021): short corpora then teach long inputs too."""
    return source_separator.join(p[0] for p in pairs), target_separator.join(p[1] for p in pairs)
