"""Columns of the output projection follow the sentences that come and go; results are the reference search's."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from model.bundle import VOCABULARY_FILE
from model.checkpoint import load_checkpoint
from model.reference_search import beam_search
from model.shortlist import NOTHING, load_shortlist
from model.vocabulary import Vocabulary
from service.arrays import padded
from service.engine.core import Engine
from service.engine.decoder.columns import ShortlistColumns
from service.engine.decoder.opening import open_engine
from service.engine.loading import run_here
from service.engine.types import EngineConfig, Job, SearchOptions
from tests.bundles import PRETRAINED, SHIPPED_BUNDLE

VOCABULARY, WIDTH = 3000, 4
SENTENCES = ("Je suis étudiant.", "Il fait très beau aujourd'hui.", "Tom est parti sans dire un mot.", "Merci !")


def columns_of(ids: npt.NDArray[np.int64]) -> Mapping[str, npt.NDArray[np.generic]]:
    """Weights from which the token can be read back."""
    return {"output_weights": np.tile(ids, (WIDTH, 1)).astype(np.int32), "output_scales": ids.astype(np.float32)}


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("seed", range(4))
def test_every_row_finds_its_tokens_whoever_joins_and_leaves(beams: int, seed: int) -> None:
    rng = random.Random(seed)
    columns, lists, relaid, most = ShortlistColumns(columns_of, VOCABULARY, beams), [], 0, 0
    for _ in range(120):
        if lists and rng.random() < 0.5:
            gone = sorted(rng.sample(range(len(lists)), rng.randint(1, len(lists))))
            left = [n for n in range(len(lists)) if n not in gone]
            columns.leave(np.array(left, np.int64), gone)
            lists = [lists[n] for n in left]
        else:
            # Sentences of a time share their words; the words change over time.
            start = rng.randrange(4, VOCABULARY - 900)
            before = columns.inputs(1)["output_weights"].shape[1]
            for _ in range(rng.randint(1, 3)):
                added = [
                    np.array(sorted(rng.sample(range(start, start + 900), rng.randint(1, 300))))
                    for _ in range(rng.randint(1, 5))
                ]
                columns.join(padded(added, max(map(len, added)), NOTHING))
                lists += added
            buffers = columns.inputs(1)
            assert columns.settle() or all(
                value.base is buffers[name].base for name, value in columns.inputs(1).items()
            )
            assert not columns.settle()
            after = columns.inputs(1)["output_weights"].shape[1]
            relaid, most = relaid + (after < before), max(most, after)
        inputs = columns.inputs(max(1, len(lists)))
        assert np.isneginf(inputs["output_bias"][0])
        assert not inputs["output_bias"][1:].any()
        for row in range(len(lists) * beams):
            expected = lists[row // beams]
            found = inputs["shortlist_columns"][row]
            assert inputs["shortlist_ids"][row, : len(expected)].tolist() == expected.tolist()
            assert (inputs["output_weights"][:, found[: len(expected)]] == expected).all()
            assert (inputs["output_scales"][found[: len(expected)]] == expected).all()
            assert not found[len(expected) :].any()
    assert relaid, "columns of sentences long gone were never removed"
    assert most < VOCABULARY


@pytest.fixture(scope="module")
def fp32_with_shortlist(fp32_bundle_with_shortlist: Path) -> Engine:
    config = EngineConfig(directory=fp32_bundle_with_shortlist, device="cpu", threads=1, max_rows=64)
    return open_engine(config)[0]


@pytest.mark.parametrize("beam_size", [1, 4])
def test_engine_equals_the_reference_search_among_the_shortlist(fp32_with_shortlist: Engine, beam_size: int) -> None:
    checkpoint = load_checkpoint(PRETRAINED)
    shortlist = load_shortlist(PRETRAINED / "shortlist.npz", checkpoint.vocabulary)
    sources = [tuple(checkpoint.vocabulary.encode_source(text, "en")) for text in SENTENCES]
    options = SearchOptions(beam_size=beam_size, num_hypotheses=beam_size, max_output_tokens=30)
    jobs = [Job(source, options) for source in sources]
    for hypotheses, source in zip(run_here(fp32_with_shortlist, jobs), sources, strict=True):
        wanted = beam_search(
            checkpoint.model, torch.tensor(source), beam_size=beam_size, max_output_tokens=30,
            shortlist=torch.from_numpy(shortlist.of(source)),
        )  # fmt: skip
        for found, expected in zip(hypotheses, wanted, strict=True):
            assert found.target_ids == expected.target_ids
            assert found.log_prob == pytest.approx(expected.log_prob, abs=1e-3)


@pytest.mark.parametrize("beam_size", [1, 3])
def test_an_output_begins_with_its_prefix(fp32_with_shortlist: Engine, beam_size: int) -> None:
    """Also with a piece that no shortlist would hold; then the model goes on by itself."""
    vocabulary = Vocabulary.load(SHIPPED_BUNDLE / VOCABULARY_FILE)
    rare = next(i for i in range(len(vocabulary) - 1, 0, -1) if vocabulary.pieces([i])[0].isalpha())
    prefix = (*vocabulary.encode("The young"), rare)
    source = tuple(vocabulary.encode_source("Je suis étudiant.", "en"))
    free = SearchOptions(beam_size=beam_size, num_hypotheses=beam_size, max_output_tokens=40)
    bound = SearchOptions(beam_size=beam_size, num_hypotheses=beam_size, max_output_tokens=40, target_prefix=prefix)
    jobs = [Job(source, free), Job(source, bound), Job(source, free)]
    first, forced, second = run_here(fp32_with_shortlist, jobs)
    assert first == second
    assert len(forced) == beam_size
    for hypothesis in forced:
        assert hypothesis.target_ids[: len(prefix)] == prefix
        assert len(hypothesis.target_ids) > len(prefix)
    assert forced[0].log_prob < first[0].log_prob


def test_a_prefix_of_the_free_output_changes_nothing() -> None:
    engine, _ = open_engine(EngineConfig(directory=SHIPPED_BUNDLE, device="cpu", threads=1, max_rows=64))
    vocabulary = Vocabulary.load(SHIPPED_BUNDLE / VOCABULARY_FILE)
    source = tuple(vocabulary.encode_source("Il fait très beau aujourd'hui.", "en"))
    (expected,) = run_here(engine, [Job(source, SearchOptions(max_output_tokens=40))])
    prefix = expected[0].target_ids[:3]
    assert run_here(engine, [Job(source, SearchOptions(max_output_tokens=40, target_prefix=prefix))]) == [expected]


def test_a_prefix_cannot_exceed_the_limit() -> None:
    with pytest.raises(ValueError, match="impossible search"):
        SearchOptions(silent_prefix=(5, 6), max_output_tokens=2)
    with pytest.raises(ValueError, match="impossible search"):
        SearchOptions(target_prefix=(300, 301), max_output_tokens=1)


def test_bundles_without_a_shortlist_serve_the_whole_vocabulary(shipped_fp32_bundle: Path) -> None:
    assert not (shipped_fp32_bundle / "shortlist.npz").exists()
