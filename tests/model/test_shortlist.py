"""Shortlists: what is learned from pairs, and what a sentence gets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import BundleError
from model.shortlist import Lexicon, PackedRows, Shortlist, build_lexicon, load_shortlist, save_lexicons
from model.vocabulary import BOS_ID, EOS_ID, PAD_ID, UNK_ID, Vocabulary
from tests.bundles import PRETRAINED

VOCABULARY = Vocabulary.load(PRETRAINED / "vocabulary.spm")
DOG, CAT, SMALL, CHIEN, CHAT, PETIT = range(300, 306)


def test_translations_are_told_from_what_merely_occurs_together() -> None:
    pairs = [([CHIEN, PETIT], [DOG, SMALL]), ([CHAT, PETIT], [CAT, SMALL]), ([CHIEN], [DOG])] * 3
    lexicon = build_lexicon(pairs, len(VOCABULARY), most=1, frequent=2)
    assert lexicon.likely[[CHIEN, CHAT, PETIT], 0].tolist() == [DOG, CAT, SMALL]
    assert lexicon.frequent.tolist() == [DOG, SMALL]
    assert (lexicon.likely[400] == EOS_ID).all()


def test_a_shortlist_is_translations_frequent_pieces_copies_and_the_end(tmp_path: Path) -> None:
    likely = np.full((len(VOCABULARY), 2), EOS_ID)
    likely[CHIEN] = [DOG, SMALL]
    save_lexicons(tmp_path / "s.npz", {"en": Lexicon(likely, np.array([CAT]))})
    shortlist = load_shortlist(tmp_path / "s.npz", VOCABULARY)
    tag = VOCABULARY.tag_id("en")
    assert shortlist.of([tag, CHIEN, EOS_ID]).tolist() == sorted({EOS_ID, DOG, SMALL, CAT, CHIEN})
    assert tag not in shortlist.of([tag, EOS_ID])


ROWS = st.integers(1, 5).flatmap(
    lambda width: st.lists(
        st.lists(st.integers(0, 254) | st.integers(0, 2000), min_size=width, max_size=width), min_size=1, max_size=6
    )
)


@given(ROWS, st.data())
def test_packed_rows_have_what_was_packed(rows: list[list[int]], data: st.DataObject) -> None:
    packed = PackedRows(np.array(rows, np.uint16))
    wanted = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1))
    assert packed.of(np.array(wanted)).tolist() == [each for row in wanted for each in sorted(set(rows[row]))]


def test_the_shipped_rows_take_a_byte_and_a_half_at_most_for_each_id() -> None:
    shortlist = load_shortlist(PRETRAINED / "shortlist.npz", VOCABULARY)
    for rows in shortlist._likely.values():
        assert rows.nbytes < 1.5 * len(rows.of(np.arange(len(VOCABULARY))))


def test_a_damaged_or_foreign_shortlist_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04 not really")
    with pytest.raises(BundleError, match="not a shortlist"):
        load_shortlist(tmp_path / "bad.npz", VOCABULARY)
    save_lexicons(tmp_path / "small.npz", {"en": Lexicon(np.full((7, 2), EOS_ID), np.array([4]))})
    np.savez_compressed(tmp_path / "old.npz", **{"en.likely": np.full((7, 2), EOS_ID), "en.frequent": np.array([4])})
    with pytest.raises(BundleError, match="not a shortlist"):
        load_shortlist(tmp_path / "old.npz", VOCABULARY)
    with pytest.raises(BundleError, match="another vocabulary"):
        load_shortlist(tmp_path / "small.npz", VOCABULARY)


def test_the_shipped_shortlist_has_what_the_seeds_sentences_need() -> None:
    shortlist = load_shortlist(PRETRAINED / "shortlist.npz", VOCABULARY)
    for text, target, translation in (
        ("我爱你", "en", "I love you."),
        ("Je suis étudiant.", "en", "I am a student."),
        ("I love you.", "fr", "Je t'aime."),
    ):
        found = shortlist.of(VOCABULARY.encode_source(text, target))
        assert set(VOCABULARY.encode(translation)) <= set(found.tolist())
        assert PAD_ID not in found
        assert len(found) < len(VOCABULARY) / 4


def test_without_a_lexicon_everything_but_special_tokens_may_be_needed() -> None:
    found = Shortlist({}, VOCABULARY).of([VOCABULARY.tag_id("en"), EOS_ID])
    special = {PAD_ID, BOS_ID, UNK_ID, *map(VOCABULARY.tag_id, VOCABULARY.languages), *VOCABULARY.carrier_ids}
    assert set(found.tolist()) == set(range(len(VOCABULARY))) - special


def test_a_carrier_is_needed_only_where_the_source_has_it(vocabulary: Vocabulary) -> None:
    carriers = set(vocabulary.carrier_ids)
    likely = np.full((len(vocabulary), 2), EOS_ID)
    likely[30] = [min(carriers), 40]
    lexicon = Lexicon(likely, np.array(sorted(carriers)))
    first, second, *_ = sorted(carriers)
    tag = vocabulary.tag_id("en")
    for shortlist in (Shortlist({"en": lexicon}, vocabulary), Shortlist({}, vocabulary)):
        assert not carriers & set(shortlist.of([tag, 30, EOS_ID]).tolist())
        assert carriers & set(shortlist.of([tag, second, 30, EOS_ID]).tolist()) == {second}
    assert first != second
