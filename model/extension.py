"""An earlier vocabulary with new pieces at its end: carriers, and tags for further languages."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from sentencepiece import sentencepiece_model_pb2

from model.vocabulary import CARRIERS, Vocabulary, language_tag


def extend_vocabulary(earlier: Path, path: Path, languages: Sequence[str]) -> Vocabulary:
    """Write the vocabulary in `earlier` to `path`, with the carriers and language tags that it lacks.

    Its pieces keep their ids and texts are written with the same ones, so a model goes on from what it knows
    (`model.transfer`) as if nothing had changed.

    Raises:
        VocabularyError: there is no vocabulary in `earlier`.
    """
    Vocabulary.load(earlier)
    model = sentencepiece_model_pb2.ModelProto.FromString(earlier.read_bytes())
    kinds = sentencepiece_model_pb2.ModelProto.SentencePiece
    known = {piece.piece for piece in model.pieces}
    wanted = [
        *((carrier, kinds.USER_DEFINED) for carrier in CARRIERS),
        *((language_tag(language), kinds.CONTROL) for language in languages),
    ]
    for piece, kind in wanted:
        if piece not in known:
            model.pieces.add(piece=piece, score=0.0, type=kind)
    model.trainer_spec.vocab_size = len(model.pieces)
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(path.name + ".partial")
    scratch.write_bytes(model.SerializeToString())
    os.replace(scratch, path)
    return Vocabulary.load(path)
