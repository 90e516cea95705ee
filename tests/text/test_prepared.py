"""A sentence made ready for the shipped model, and what is seen of a translation of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.bundle import read_manifest
from model.tokenizers import load_tokenizer
from service.text.document import Document
from service.text.languages import Directions
from service.text.prepared import finished, prepared
from service.text.reading import readers_of

SHIPPED_BUNDLE = Path(__file__).resolve().parents[2] / "bundles" / "attend-zh-fr-en-int8"


@pytest.mark.parametrize("translation", ["{} people came.", "{} million people came.", "{} people and cats came."])
def test_a_number_that_was_carried_is_compared_beside_the_words_around_it(translation: str) -> None:
    manifest = read_manifest(SHIPPED_BUNDLE)
    vocabulary = load_tokenizer(SHIPPED_BUNDLE, manifest)
    reader = readers_of(Directions.parse(manifest.directions), vocabulary, manifest.tokenizer)["zh"]
    (sentence,) = Document.parse("1999 千万人来了。", "zh", lambda sentence: 1, 90).sentences
    ready = prepared(sentence, reader, "en")
    (carried,) = ready.carried
    done = finished(ready, translation.format(carried.carrier.text))
    assert "1999" in done.text.replace(",", "")
    assert (done.lost, done.numbers_differ) == (False, True)
    (plain,) = Document.parse("1999 个人来了。", "zh", lambda sentence: 1, 90).sentences
    ready = prepared(plain, reader, "en")
    assert not finished(ready, f"{ready.carried[0].carrier.text} people came.").numbers_differ
