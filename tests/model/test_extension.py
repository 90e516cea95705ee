"""A vocabulary that only gets what it lacks."""

from __future__ import annotations

from pathlib import Path

import pytest
import sentencepiece

from model.corpus import Pair
from model.errors import VocabularyError
from model.extension import extend_vocabulary
from model.vocabulary import CARRIERS, Vocabulary, language_tag


@pytest.fixture
def earlier(demo_pairs: list[Pair], tmp_path: Path) -> Path:
    """One without carriers, with a tag for English only."""
    sentencepiece.SentencePieceTrainer.Train(
        sentence_iterator=iter([sentence for pair in demo_pairs[:500] for sentence in pair]),
        model_prefix=str(tmp_path / "earlier"), vocab_size=500, byte_fallback=True, normalization_rule_name="identity",
        remove_extra_whitespaces=False, control_symbols=[language_tag("en")], minloglevel=2,
        pad_id=0, unk_id=1, bos_id=2, eos_id=3,
    )  # fmt: skip
    return tmp_path / "earlier.model"


def test_texts_are_written_as_before_and_carriers_as_one_piece(
    earlier: Path, demo_pairs: list[Pair], tmp_path: Path
) -> None:
    before = Vocabulary.load(earlier)
    after = extend_vocabulary(earlier, tmp_path / "after.spm", ["de", "en"])
    assert len(after) == len(before) + len(CARRIERS) + 1
    assert after.pieces(range(len(before))) == before.pieces(range(len(before)))
    for pair in demo_pairs[500:800]:
        assert after.encode_batch(pair) == before.encode_batch(pair)
    assert after.carrier_ids == tuple(range(len(before), len(before) + len(CARRIERS)))
    assert after.languages == ("de", "en")
    assert after.tag_id("en") == before.tag_id("en")
    carried = f"Le {CARRIERS[3]} dort,{CARRIERS[0]}."
    assert sum(index in after.carrier_ids for index in after.encode(carried)) == 2
    assert after.decode(after.encode(carried)) == carried


def test_what_lacks_nothing_stays_as_it_is(earlier: Path, tmp_path: Path) -> None:
    once, twice = tmp_path / "once.spm", tmp_path / "twice.spm"
    extend_vocabulary(earlier, once, ["en", "fr"])
    extend_vocabulary(once, twice, ["en", "fr"])
    assert once.read_bytes() == twice.read_bytes()


def test_there_must_be_one(tmp_path: Path) -> None:
    with pytest.raises(VocabularyError, match="no such vocabulary"):
        extend_vocabulary(tmp_path / "none.spm", tmp_path / "after.spm", ["en"])
