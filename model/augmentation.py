"""What a reading of a pair may change in it: marks, case, typos, numbers, neighbours, spans under carriers.

Every reading draws anew, so that no two epochs hold the same copies.
"""

from __future__ import annotations

import dataclasses
import random
import re
from collections.abc import Callable, Sequence

from model.carriers import put_carriers_on_both
from model.corpus import Pair, sentence_separator

_FINAL_MARKS = {".": ".", "。": ".", "!": "", "！": "", "?": "", "？": ""}
"""Marks a writer may leave out, and the mark the other side may then lose too (a question keeps its mark)."""
_NUMBER = re.compile(r"[0-9]+")
_LONG_WORD = re.compile(r"[A-Za-zÀ-ɏ]{4,}")
"""Of letters that are typed one by one, and long enough to be known in spite of a typo."""
_WORD = re.compile(r"[A-Za-zÀ-ɏ][A-Za-zÀ-ɏ'’]*")


@dataclasses.dataclass(frozen=True, slots=True)
class Shares:
    """Shares of the readings of a text, 0 to 1 each, that are changed in some way; one may be changed in several."""

    concatenated: float = 0.0
    """Joined with one to three further pairs of the same text."""
    renumbered: float = 0.0
    unmarked: float = 0.0
    lowered: float = 0.0
    titled: float = 0.0
    capitals: float = 0.0
    misspelt: float = 0.0
    carried: float = 0.0


UNCHANGED = Shares()


def read_pairs_anew(
    pairs: Sequence[Pair], rows: Sequence[int], languages: tuple[str, str], shares: Shares, rng: random.Random
) -> list[Pair]:
    """The pairs at `rows`, each changed as `shares` says.

    Args:
        pairs: (source, target), of `languages`.
        rows: indices into `pairs`, in the order of the result.
        rng: what is drawn from.
    """
    separators = sentence_separator(languages[0]), sentence_separator(languages[1])
    changes: tuple[tuple[float, Callable[[Pair], Pair | None]], ...] = (
        (shares.renumbered, lambda pair: with_other_numbers(pair, rng)),
        (shares.unmarked, without_final_mark),
        (shares.lowered, lower_cased),
        (shares.titled, title_cased),
        (shares.capitals, in_capitals),
        (shares.misspelt, lambda pair: with_typo(pair, rng)),
        (shares.carried, lambda pair: put_carriers_on_both(*pair, languages[0], rng)),
    )
    wanted = [(share, change) for share, change in changes if share]
    read = []
    for row in rows:
        pair = pairs[row]
        if shares.concatenated and rng.random() < shares.concatenated:
            pair = joined([pair, *rng.choices(pairs, k=rng.choice((1, 1, 2, 3)))], *separators)
        for share, change in wanted:
            if rng.random() < share:
                pair = change(pair) or pair
        read.append(pair)
    return read


def without_final_mark(pair: Pair) -> Pair | None:
    """The pair as a hurried writer would type it, without its closing mark; None where there is none to leave out."""
    source, target = pair
    mark = _FINAL_MARKS.get(source[-1])
    if mark is None or len(source) < 2:
        return None
    if mark and target[-1] in ".。":
        target = target[:-1]
    return (source[:-1].rstrip(), target) if target and source[:-1].strip() else None


def lower_cased(pair: Pair) -> Pair | None:
    """The pair with its source in small letters, the target as it should be; None if the source is."""
    small = pair[0].lower()
    return None if small == pair[0] else (small, pair[1])


def title_cased(pair: Pair) -> Pair | None:
    """The pair with each word of the source begun with a capital, the target as it should be; None if they are."""
    title = _WORD.sub(lambda match: match.group()[0].upper() + match.group()[1:], pair[0])
    return None if title == pair[0] else (title, pair[1])


def in_capitals(pair: Pair) -> Pair | None:
    """The pair in capitals, on both sides where both have letters with case; None if the source is or has none."""
    capitals = pair[0].upper()
    return None if capitals == pair[0] else (capitals, pair[1].upper())


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
