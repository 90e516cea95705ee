"""The peers of the benchmarks decode the same model: otherwise a comparison of speed says nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks.ctranslate2_model import open_translator, write_ctranslate2
from benchmarks.static_search import StaticDecoder, TorchDecoder, UnboundOnnxDecoder, decode
from model.checkpoint import Checkpoint, load_checkpoint
from model.reference_search import beam_search
from tests.bundles import PRETRAINED

TEXTS = (
    "Je suis étudiant.", "Où est la gare ?", "Elle n'a jamais dit à personne ce qui s'était passé cette nuit-là.",
    "我爱你。", "今天天气很好。", "他说她没来。",
)  # fmt: skip
LIMIT = 30


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return load_checkpoint(PRETRAINED)


def expected(checkpoint: Checkpoint, beams: int) -> list[tuple[int, ...]]:
    sources = [torch.tensor(checkpoint.vocabulary.encode_source(text, "en")) for text in TEXTS]
    return [beam_search(checkpoint.model, s, beam_size=beams, max_output_tokens=LIMIT)[0].target_ids for s in sources]


@pytest.mark.parametrize("beams", [1, 4])
def test_ctranslate2_translates_alike(checkpoint: Checkpoint, tmp_path: Path, beams: int) -> None:
    write_ctranslate2(checkpoint, tmp_path, None)
    translator = open_translator(tmp_path, compute_type="float32", workers=1, threads=1)
    pieces = checkpoint.vocabulary.pieces
    results = translator.translate_batch(
        [pieces(checkpoint.vocabulary.encode_source(text, "en")) for text in TEXTS],
        beam_size=beams, length_penalty=1.0, return_end_token=True, disable_unk=True, max_decoding_length=LIMIT,
    )  # fmt: skip
    found = [[piece for piece in result.hypotheses[0] if piece != "</s>"] for result in results]
    assert found == [pieces(ids) for ids in expected(checkpoint, beams)]


@pytest.mark.parametrize("beams", [1, 4])
@pytest.mark.parametrize("kind", ["torch", "onnx"])
def test_static_batches_translate_alike(
    checkpoint: Checkpoint, shipped_fp32_bundle: Path, kind: str, beams: int
) -> None:
    decoder: StaticDecoder = (
        TorchDecoder(checkpoint.model) if kind == "torch" else UnboundOnnxDecoder(shipped_fp32_bundle, 1)
    )
    sources = [checkpoint.vocabulary.encode_source(text, "en") for text in TEXTS]
    assert decode(decoder, sources, beams, [LIMIT] * len(sources)) == expected(checkpoint, beams)
