"""A new run that begins with an earlier model's weights: layers as they are, embeddings piece by piece."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from model.checkpoint import save_checkpoint
from model.corpus import Pair
from model.errors import CheckpointError
from model.transfer import transfer_weights
from model.vocabulary import Vocabulary, train_vocabulary
from tests.model.tiny import tiny_model


@pytest.fixture
def earlier(vocabulary: Vocabulary, vocabulary_path: Path, tmp_path: Path) -> Path:
    model = tiny_model(1, vocabulary_size=len(vocabulary))
    save_checkpoint(
        tmp_path / "earlier", model.config, model.state_dict(), vocabulary_path, name="e", directions=["fr-en"],
        training={},
    )  # fmt: skip
    return tmp_path / "earlier"


@pytest.fixture
def wider(demo_pairs: list[Pair], tmp_path: Path) -> Vocabulary:
    """Other pieces of the same text, and a language more."""
    sentences = [sentence for pair in demo_pairs[:1000] for sentence in pair]
    return train_vocabulary(sentences, tmp_path / "wider.spm", size=700, languages=["de", "en", "fr"])


def test_the_same_vocabulary_gives_the_same_network(vocabulary: Vocabulary, earlier: Path) -> None:
    model = tiny_model(2, vocabulary_size=len(vocabulary))
    assert transfer_weights(model, vocabulary, earlier) == len(vocabulary)
    for name, value in tiny_model(1, vocabulary_size=len(vocabulary)).state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name


def test_new_pieces_are_the_mean_of_those_they_were_written_with(
    vocabulary: Vocabulary, wider: Vocabulary, earlier: Path
) -> None:
    model = tiny_model(2, vocabulary_size=len(wider))
    shared = transfer_weights(model, wider, earlier)
    old = tiny_model(1, vocabulary_size=len(vocabulary)).embedding.tokens.weight
    new = model.embedding.tokens.weight
    pieces = wider.pieces(range(len(wider)))
    assert shared == sum(vocabulary.piece_id(piece) is not None for piece in pieces)
    for index, piece in enumerate(pieces):
        known = vocabulary.piece_id(piece)
        if known is not None:
            assert torch.equal(new[index], old[known]), piece
        elif piece.startswith("▁") and len(piece) > 1:
            written = vocabulary.encode(piece[1:])
            assert torch.allclose(new[index], old[written].mean(dim=0)), piece
    tags = old[[vocabulary.tag_id("en"), vocabulary.tag_id("fr")]].mean(dim=0)
    assert torch.allclose(new[wider.tag_id("de")], tags)


def test_a_network_of_another_shape_is_refused(vocabulary: Vocabulary, earlier: Path) -> None:
    for changes in ({"d_model": 8}, {"encoder_layers": 1}, {"d_ff": 32}):
        with pytest.raises(CheckpointError, match="another network"):
            transfer_weights(tiny_model(2, vocabulary_size=len(vocabulary), **changes), vocabulary, earlier)
