"""Words from a dictionary whose entries list several meanings, as CC-CEDICT's do."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

_REMARK = re.compile(r"\s*\([^()]*\)\s*")
_REFERENCE = re.compile(
    r"[\[\]|]|\b(?:variant|surname|CL:|abbr\.?|see|used in|also written|classifier|radical|same as|pr\.|Kangxi|prefix"
    r"|suffix|particle|refers to|one of|lit\.|fig\.|idiom|county|district|prefecture|township|dynasty|old name)"
)
"""What is about the word and not a translation of it, or names a place that hardly anyone asks for."""
_RARE = re.compile(r"\((?:old|archaic|literary|classical|dialect|Tw|slang|vulgar|bound form)\b")
_MOST_WORDS = 4


def first_gloss(glosses: str) -> str | None:
    """The first meaning of an entry, `to eat; to consume (food)/to absorb`, that translates it shortly: `to eat`.

    None where a remark says that the word is rare in this meaning, or where no meaning is short.
    """
    for gloss in re.split("[/;]", glosses):
        bare = _REMARK.sub(" ", gloss).strip(" ,.")
        if bare and not _REFERENCE.search(gloss) and not _RARE.search(gloss) and len(bare.split()) <= _MOST_WORDS:
            return bare
    return None


def with_first_gloss(entries: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """(word, glosses) -> (word, first gloss), without the entries that have none."""
    for word, glosses in entries:
        gloss = first_gloss(glosses)
        if gloss is not None:
            yield word, gloss
