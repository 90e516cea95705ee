"""What a translation repeats letter for letter: URLs, e-mail addresses, emoji; and a line cut at them.

Linear in the length of the line: every quantifier is possessive or has a bound.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

from service.text.languages import separates_sentences_with_spaces

Span = tuple[int, int]

# Of scripts that put spaces between words: in Chinese or Japanese an address ends where the next word begins.
_ALNUM = "0-9A-Za-z\u00c0-\u1fff"
_UNSPACED_LETTERS = "\u3040-\u9fff\uac00-\ud7a3\uf900-\ufaff"
# Without a path only these end a domain: in "fini.de" and "ok.it" a space may be missing.
_TOP_LEVEL = "(?:com?|org|net|gov|edu|ac)[.][a-z]{2}|com|org|net|edu|gov|info|io|dev|app|eu|fr|ch|uk|cn|jp|hk|tw"
_NO_MORE = f"(?![{_ALNUM}-])"
_HOST = f"(?:[{_ALNUM}_-]{{1,63}}+[.]){{1,8}}"
_MAIL = f"(?:mailto:)?(?=[{_ALNUM}_])[{_ALNUM}_.%+-]{{1,64}}+@{_HOST}(?:[a-z]{{2,24}}|[A-Z]{{2,24}}){_NO_MORE}"

_PICTURES = (
    "\u231a\u231b\u23cf\u23e9-\u23f3\u23f8-\u23fa\u25fd\u25fe\u2600-\u27bf\u2b05-\u2b07\u2b1b\u2b1c\u2b50\u2b55"
    "\U0001f000-\U0001faff"
)
# A sign that is a picture only with variation selector 16 behind it, and a keycap.
_MADE_PICTURES = "[\u00a9\u00ae\u203c-\u3299]\ufe0f|[0-9#*]\ufe0f?\u20e3"
# After a joiner even signs without their selector.
_EMOJI = (
    f"(?:[{_PICTURES}]|{_MADE_PICTURES})"
    f"(?:[{_PICTURES}\ufe0e\ufe0f\u20e3\U000e0020-\U000e007f]|\u200d[\u2190-\u2bff]?+|{_MADE_PICTURES})*+"
)


def _pattern(letters: str) -> re.Pattern[str]:
    """Everything copied, where paths have `letters`.

    What ends a URL is as GitHub Flavored Markdown has it: marks at its end and a bracket that it did not open are not
    its own.
    """
    inner = rf"{letters}_/=&#%@+$\-"
    marks = ".,;:!?'*~"
    rest = (
        rf"(?:[{inner}]++|[{marks}]++(?=[{inner}])|\([{inner}{marks}]*+\)|\[[{inner}{marks}]*+\])*+"
    )  # fmt: skip
    begun = rf"(?:[A-Za-z][A-Za-z0-9+]{{1,15}}+://|[Ww]{{3}}[0-9]?[.])(?=[\[{inner}]){rest}"
    bare = (
        f"(?<![.@/-]){_HOST}(?:(?:{_TOP_LEVEL}){_NO_MORE}(?![.][a-z0-9])|[a-z]{{2,24}}(?=/[A-Za-z0-9]))"
        f"(?:(?=[/?#]|:[0-9]){rest})?"
    )
    return re.compile(f"(?<![{_ALNUM}])(?:{_MAIL}|{begun}|{bare})|{_EMOJI}")


_SPACED = _pattern(_ALNUM + _UNSPACED_LETTERS)
_UNSPACED = _pattern(_ALNUM)
# What every match has in it: most lines need no more than the search for it.
_HINT = re.compile(f"[.@:\ufe0f\u20e3{_PICTURES}](?:(?<![.@:])|(?<!:)(?=[{_ALNUM}_\\-])|(?<=:)(?=//))")

_CLOSING = dict(zip(")]}>»”’）】》」』", "([{<«“‘（【《「『", strict=True))
_OPENING = frozenset(_CLOSING.values())
# Marks that stand on both sides of what is quoted or set off.
_EITHER = frozenset("\"'`*_~")
_PLAIN = str.maketrans("、，。！？；：（）【】", ",,.!?;:()[]")
_NEEDS_SPACE = re.compile(r"(?<=[^\s(\[“])(?=[(\[“])|(?<=[,.;:!?)\]”])(?=[^\s,.;:!?)\]”])")
_AFTER = "".join(_CLOSING) + ".,;:!?…-–—、。，！？；：" + " \t\u00a0\u202f\u3000"


def verbatim_spans(line: str, language: str) -> list[Span]:
    """Where URLs, e-mail addresses and runs of emoji stand in `line`, in order."""
    if not _HINT.search(line):
        return []
    pattern = _SPACED if separates_sentences_with_spaces(language) else _UNSPACED
    return [match.span() for match in pattern.finditer(line)]


def stretches(line: str, language: str) -> Iterator[tuple[Span, bool]]:
    """Spans of `line` in order, each with whether it is copied; the others are to be read as sentences.

    Brackets and quotes around what is copied, and marks that follow it, are in no span: a model makes nothing of them.
    """
    copied = verbatim_spans(line, language)
    if not copied:
        yield (0, len(line)), False
        return
    end = 0
    cuts = [(span, True) for span in copied] + [(span, False) for span in _around(line, copied)]
    for span, is_copied in sorted(cuts):
        if end < span[0]:
            yield (_without_marks(line, end, span[0]), span[0]), False
        if is_copied:
            yield span, True
        end = max(end, span[1])
    yield (_without_marks(line, end, len(line)), len(line)), False


def _without_marks(line: str, start: int, end: int) -> int:
    """Where text begins in a stretch that something copied, or a bracket around it, stands before."""
    return start if start == 0 else end - len(line[start:end].lstrip(_AFTER))


def _around(line: str, copied: Sequence[Span]) -> Iterator[Span]:
    """The brackets that have something copied between them, and the same mark directly on both sides of it."""
    opened: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    end = 0
    for seen, (start, next_end) in enumerate((*copied, (len(line), len(line)))):
        for place in range(end, start):
            character = line[place]
            if character in _OPENING:
                opened[character].append((place, seen))
            elif opened[_CLOSING.get(character, "")]:
                opening, seen_then = opened[_CLOSING[character]].pop()
                if seen_then < seen:
                    yield (opening, opening + 1)
                    yield (place, place + 1)
        end = next_end
    for start, end in copied:
        width = _same_marks(line, start, end)
        if width:
            yield (start - width, start)
            yield (end, end + width)


def _same_marks(line: str, start: int, end: int) -> int:
    """How many marks stand before `start` as they stand, mirrored, after `end`."""
    width = 0
    for before, after in zip(range(start - 1, -1, -1), range(end, len(line)), strict=False):
        if line[before] != line[after] or line[before] not in _EITHER:
            break
        width += 1
    return width


def spaced_marks(marks: str, *, after_text: bool, before_text: bool) -> str:
    """Marks of a language without spaces as one with spaces has them: "，" is ", " and "（" is " (".

    Args:
        after_text: something stands directly before them.
        before_text: something stands directly after them.
    """
    around = "x" * after_text + marks.translate(_PLAIN) + "x" * before_text
    spaced = _NEEDS_SPACE.sub(" ", around)
    return spaced[after_text : len(spaced) - before_text]
