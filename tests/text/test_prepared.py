"""A sentence made ready for the shipped model, and what is seen of a translation of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.bundle import read_manifest
from model.tokenizers import load_tokenizer
from service.text.document import Document
from service.text.languages import Directions
from service.text.prepared import Prepared, finished, prepared
from service.text.reading import readers_of

SHIPPED_BUNDLE = Path(__file__).resolve().parents[2] / "bundles" / "attend-zh-fr-en-int8"


@pytest.fixture(scope="module")
def ready_from_chinese() -> Callable[[str], Prepared]:
    """What makes a Chinese sentence ready for English."""
    manifest = read_manifest(SHIPPED_BUNDLE)
    vocabulary = load_tokenizer(SHIPPED_BUNDLE, manifest)
    reader = readers_of(Directions.parse(manifest.directions), vocabulary, manifest.tokenizer)["zh"]

    def ready(text: str) -> Prepared:
        (sentence,) = Document.parse(text, "zh", lambda sentence: 1, 90).sentences
        return prepared(sentence, reader, "en")

    return ready


@pytest.mark.parametrize("translation", ["{} people came.", "{} million people came.", "{} people and cats came."])
def test_a_number_that_was_carried_is_compared_beside_the_words_around_it(
    translation: str, ready_from_chinese: Callable[[str], Prepared]
) -> None:
    ready = ready_from_chinese("1999 千万人来了。")
    (carried,) = ready.carried
    done = finished(ready, translation.format(carried.carrier.text))
    assert "1999" in done.text.replace(",", "")
    assert (done.lost, done.numbers_differ) == (False, True)
    ready = ready_from_chinese("1999 个人来了。")
    assert not finished(ready, f"{ready.carried[0].carrier.text} people came.").numbers_differ


@given(st.text(alphabet="a b\t\n\r\v\f\x00\x1b\x1c\x85\u2028\u2029", max_size=20).map(str.strip))
def test_what_a_model_writes_stays_in_one_line_and_cell(
    ready_from_chinese: Callable[[str], Prepared], decoded: str
) -> None:
    done = finished(ready_from_chinese("我来了。"), decoded)
    assert not re.search("[\x00-\x1f\x7f-\x9f\u2028\u2029]", done.text)
    assert len(done.edited.old) == len(decoded)
