"""The meaning of a dictionary's entry that stands for its translation."""

from __future__ import annotations

import pytest

from model.glosses import first_gloss, with_first_gloss


@pytest.mark.parametrize(
    ("glosses", "expected"),
    [
        ("to eat; to consume (food)/to absorb", "to eat"),
        ("(Internet slang) thank you (loanword)", "thank you"),
        ("surname Wang/king or monarch/best or strongest of its type", "king or monarch"),
        ("(old) a certain officer/clerk", "clerk"),
        ("variant of 屄[bi1]", None),
        ("the emergency number for law enforcement in Mainland China", None),
        ("computers, communications, and consumer electronics/abbr. for x", None),
        ("apple/CL:個|个[ge4],顆|颗[ke1]", "apple"),
    ],
)
def test_first_gloss(glosses: str, expected: str | None) -> None:
    assert first_gloss(glosses) == expected


def test_entries_without_a_short_meaning_are_left_out() -> None:
    assert list(with_first_gloss([("吃", "to eat"), ("屄", "variant of 屄[bi1]")])) == [("吃", "to eat")]
