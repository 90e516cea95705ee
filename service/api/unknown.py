"""Fields nobody knows: ignored, as LibreTranslate does, unless they are nearly ours."""

import dataclasses
from collections.abc import Collection, Iterable

from service.errors import InvalidFieldError, shown

# LibreTranslate's, then what its clients send beside them.
_OF_OTHERS = frozenset(("q", "source", "target", "format", "alternatives", "api_key", "secret")) | frozenset(
    ("apiKey", "apikey", "from", "to", "text", "html", "key", "token", "batch", "mode", "engine", "model")
)
_MOST_NAMED = 10
_SHORTEST = 5
"""Of a field that one with one letter more or less may mean: between short words one letter is much."""


@dataclasses.dataclass(frozen=True, slots=True)
class UnknownField:
    """A field that was ignored and is nearly one of ours."""

    field: str
    nearest: str
    warning: str = "unknown_field"


def unknown_fields(sent: Iterable[str], known: Collection[str], *, strict: bool) -> list[UnknownField]:
    """Those of the fields sent that are nearly known ones, at most ten.

    Raises:
        InvalidFieldError: with `strict`: there is one that is not known, nearly or not.
    """
    unknown = [name for name in sent if name not in known]
    if strict and unknown:
        raise InvalidFieldError(f"unknown field '{shown(unknown[0])}'; the fields are {', '.join(known)}")
    found = ((name, _nearest(name, known)) for name in unknown if name not in _OF_OTHERS)
    return [UnknownField(shown(name), nearest) for name, nearest in found if nearest][:_MOST_NAMED]


def _nearest(name: str, known: Iterable[str]) -> str | None:
    plain = _plain(name)
    return next((each for each in known if each not in _OF_OTHERS and is_one_edit_away(plain, _plain(each))), None)


def _plain(name: str) -> str:
    """`beamSize`, `beam-size` and `BEAM_SIZE` are one name to a person."""
    return name.lower().replace("_", "").replace("-", "")


def is_one_edit_away(left: str, right: str) -> bool:
    """Whether one letter too many, too few or another is all that differs, or two that have changed places."""
    if min(len(left), len(right)) < _SHORTEST:
        return left == right
    ours, theirs = _without_same_end(*_without_same_start(left, right))
    exchanged = len(ours) == 2 and ours == theirs[::-1]
    return exchanged or (len(ours) <= 1 and len(theirs) <= 1)


def _without_same_start(left: str, right: str) -> tuple[str, str]:
    pairs = enumerate(zip(left, right, strict=False))
    same = next((place for place, (ours, theirs) in pairs if ours != theirs), min(len(left), len(right)))
    return left[same:], right[same:]


def _without_same_end(left: str, right: str) -> tuple[str, str]:
    ours, theirs = _without_same_start(left[::-1], right[::-1])
    return ours[::-1], theirs[::-1]
