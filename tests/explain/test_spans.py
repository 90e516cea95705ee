"""Where pieces and words stand in a text: inside it, in order, nothing left out."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from model.vocabulary import BOS_ID, EOS_ID, PAD_ID, Vocabulary
from service.explain.details import Side
from service.text.case import in_sentence_case
from service.text.reading import Reader
from service.text.tags import STAND_INS
from service.text.words import word_spans
from tests.bundles import PRETRAINED

VOCABULARY = Vocabulary.load(PRETRAINED / "vocabulary.spm")
READER = Reader("fr", VOCABULARY)
# Words, pieces, marks, bytes, spaces of all widths, and what combines with its neighbour.
AWKWARD = st.text(
    st.sampled_from("Je suis étudiant 我爱你，。今天3.5%…'’-«»\u00a0\u3000\t\u0301ー한🎉👩\u200d🚀ก็\u2581ﬁ½Ａ")
)
ANY_TEXT = st.one_of(AWKWARD, st.text(st.characters(exclude_categories=["Cs"])))


def visible(text: str) -> list[int]:
    return [place for place, character in enumerate(text) if not character.isspace() and not STAND_INS.match(character)]


def covered(spans: Sequence[tuple[int, int]]) -> set[int]:
    return {place for span in spans for place in range(*span)}


def words_of(text: str) -> list[str]:
    return [text[start:end] for start, end in Side.of_source(text, 0, READER).words()]


@settings(max_examples=300, deadline=None)
@given(text=ANY_TEXT)
@example(text="我 爱\u3000你")
@example(text=" 🎉 ")
@example(text="a\u2581b")
def test_pieces_of_a_source_are_inside_in_order_and_cover_it(text: str) -> None:
    side = Side.of_source(text, 0, READER)
    read, _ = in_sentence_case(READER.as_read(text), READER.language, READER.count_pieces)
    assert side.ids == tuple(VOCABULARY.encode(read))
    assert len(side.spans) == len(side.ids)
    assert all(0 <= start <= end <= len(text) for start, end in side.spans)
    assert all(a[0] <= b[0] and a[1] <= b[1] for a, b in itertools.pairwise(side.spans))
    assert set(visible(text)) <= covered(side.spans)
    for span in side.spans:
        part = text[slice(*span)]
        assert part == part.strip()


@settings(max_examples=300, deadline=None)
@given(ids=st.lists(st.integers(0, len(VOCABULARY) - 1), max_size=30))
@example(ids=[4, 263, 246, 165, 148, 143, PAD_ID, BOS_ID, 1, EOS_ID])
@example(ids=[246, 165])
def test_pieces_of_a_target_are_inside_in_order_and_cover_it(ids: list[int]) -> None:
    """Whatever a model writes, bytes that are no character included."""
    side = Side.of_target(ids, 7, VOCABULARY)
    assert side.text == VOCABULARY.decode(ids).strip()
    assert side.span == (7, 7 + len(side.text))
    assert len(side.spans) == len(ids)
    assert all(0 <= start <= end <= len(side.text) for start, end in side.spans)
    assert all(a[0] <= b[0] and a[1] <= b[1] for a, b in itertools.pairwise(side.spans))
    assert set(visible(side.text)) <= covered(side.spans)


@settings(max_examples=300, deadline=None)
@given(text=ANY_TEXT)
@example(text="你好world，你")
def test_words_are_in_order_apart_and_exactly_what_is_visible(text: str) -> None:
    spans = Side.of_source(text, 0, READER).words()
    assert all(start < end for start, end in spans)
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(spans))
    assert sorted(covered(spans)) == visible(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Je suis étudiant.", ["Je", "suis", "étudiant", "."]),
        ("«\u202fOui, l'auberge\u202f»", ["«", "Oui", ",", "l'auberge", "»"]),
        ("well-known (3,000.5%)…", ["well-known", "(", "3,000.5", "%", ")", "…"]),
        ("...", [".", ".", "."]),
        ("", []),
    ],
)
def test_words_between_spaces(text: str, words: list[str]) -> None:
    assert words_of(text) == words


def test_where_a_script_has_no_spaces_pieces_are_words() -> None:
    assert words_of("今天我爱你。") == ["今天", "我", "爱", "你", "。"]
    assert words_of("I like 今天") == ["I", "like", "今天"]


def test_the_bytes_of_one_character_are_one_word() -> None:
    text = "我𝔘"
    side = Side.of_source(text, 0, READER)
    assert side.spans.count((1, 2)) == 4
    assert word_spans(text, side.spans) == [(0, 1), (1, 2)]
