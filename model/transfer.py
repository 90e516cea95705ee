"""A run that begins with the weights of an earlier model, whatever vocabulary that one had."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from model.checkpoint import Checkpoint, load_checkpoint
from model.errors import CheckpointError
from model.network import EncoderDecoder
from model.vocabulary import Vocabulary


def transfer_weights(model: EncoderDecoder, vocabulary: Vocabulary, directory: Path) -> int:
    """Copy the layers of the checkpoint in `directory` into `model`, and its embedding piece by piece.

    A piece that both vocabularies have keeps its vector. Any other begins as the mean of the pieces that the earlier
    vocabulary writes it with (Gee et al. 2022, "Fast Vocabulary Transfer for Language Model Compression"); a language
    tag that is new begins as the mean of the earlier tags. Returns how many pieces both have.

    Raises:
        CheckpointError: the checkpoint cannot be read, or its layers have other shapes.
    """
    earlier = load_checkpoint(directory)
    weights = earlier.model.state_dict()
    own = model.state_dict()
    size = len(earlier.vocabulary)
    by_piece = {name for name, value in weights.items() if value.shape[:1] == (size,)}
    pieces = vocabulary.pieces(range(len(vocabulary)))
    sources = [_pieces_for(piece, earlier) for piece in pieces]
    for name in by_piece:
        weights[name] = torch.stack([weights[name][rows].mean(dim=0) for rows in sources])
    wrong = sorted(
        name for name in own.keys() | weights.keys() if name not in own.keys() & weights.keys()
        or own[name].shape != weights[name].shape
    )  # fmt: skip
    if wrong:
        raise CheckpointError(f"{directory}: the recipe describes another network; {wrong[0]} does not fit into it")
    model.load_state_dict(weights)
    return sum(earlier.vocabulary.piece_id(piece) is not None for piece in pieces)


def _pieces_for(piece: str, earlier: Checkpoint) -> Tensor:
    """Ids of the earlier vocabulary that stand for `piece`."""
    vocabulary = earlier.vocabulary
    known = vocabulary.piece_id(piece)
    if known is not None:
        return torch.tensor([known])
    if piece.startswith("<2"):
        return torch.tensor([vocabulary.tag_id(language) for language in vocabulary.languages])
    # SentencePiece itself writes a space before a text, so the piece's own mark of one is left out.
    ids = vocabulary.encode(piece.removeprefix("▁").replace("▁", " "))
    return torch.tensor(ids or [vocabulary.unknown_id])
