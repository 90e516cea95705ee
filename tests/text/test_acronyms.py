"""Abbreviations in capitals: those that the shipped vocabulary does not know are copied."""

from __future__ import annotations

import pytest

from model.vocabulary import Vocabulary
from service.text.acronyms import with_acronyms
from service.text.document import Document
from tests.bundles import PRETRAINED

VOCABULARY = Vocabulary.load(PRETRAINED / "vocabulary.spm")


@pytest.mark.parametrize(
    ("text", "copied"),
    [
        ("NASA is here.", ["NASA"]),
        ("We saw NASA's dog in the EU.", ["NASA", "EU"]),
        ("My DOG is BIG and it IS open.", []),
        ("THE NASA IS HERE.", []),
        ("I DON'T know the ABC-XYZ.", []),
        ("Write `NASA` to NASA now.", ["`NASA`", "NASA"]),
    ],
)
def test_what_is_copied(text: str, copied: list[str]) -> None:
    (sentence,) = Document.parse(text, "en", lambda sentence: 1, 90).sentences
    found = with_acronyms(sentence, lambda word: len(VOCABULARY.encode(word)))
    assert [span.text for span in found.spans] == copied
    assert all(found.text[span.start : span.end] == span.text for span in found.spans)
