"""Looking inside: the search that is told is the engines' own, and the numbers are those of the scorer."""

from __future__ import annotations

import numpy as np
import pytest

from model.vocabulary import Vocabulary
from service.engine.decoder.opening import open_engine, open_scoring_engine
from service.engine.internals import NEXT_TOKENS, InternalsJob, SearchJob, SearchRecord
from service.engine.loading import run_here
from service.engine.scores import KINDS, ScoringJob
from service.engine.scoring import ScoringEngine
from service.engine.types import EngineConfig, Hypothesis, Job, SearchOptions
from tests.bundles import SHIPPED_BUNDLE

CONFIG = EngineConfig(directory=SHIPPED_BUNDLE, device="cpu", threads=1, max_rows=64)
TEXTS = ("Je ne suis pas étudiant.", "Il a dit qu'elle n'était pas venue.", "Merci.")


@pytest.fixture(scope="module")
def scorer() -> ScoringEngine:
    return open_scoring_engine(CONFIG)[0]


@pytest.fixture(scope="module")
def sources() -> list[tuple[int, ...]]:
    vocabulary = Vocabulary.load(SHIPPED_BUNDLE / "vocabulary.spm")
    before, behind = vocabulary.source_frame("fr", "en")
    return [(*before, *vocabulary.encode(text), *behind) for text in TEXTS]


def written(record: SearchRecord, step: int, rank: int) -> list[int]:
    """The tokens of a candidate and of what it continues, last to first as the record has them."""
    tokens = [record.steps[step].token_ids[rank]]
    beam = record.steps[step].origins[rank]
    for before in reversed(record.steps[:step]):
        kept = [place for place, fate in enumerate(before.fates) if fate == "kept"]
        tokens.insert(0, before.token_ids[kept[beam]])
        beam = before.origins[kept[beam]]
    return tokens


@pytest.mark.parametrize(
    "options",
    [
        SearchOptions(beam_size=1, max_output_tokens=30),
        SearchOptions(beam_size=4, num_hypotheses=4, max_output_tokens=30),
        SearchOptions(beam_size=3, num_hypotheses=3, max_output_tokens=4),
        SearchOptions(beam_size=4, num_hypotheses=2, max_output_tokens=30, no_repeat_ngram_size=1),
        SearchOptions(beam_size=2, num_hypotheses=2, max_output_tokens=30, silent_prefix=(50, 51)),
    ],
    ids=["greedy", "beam", "cut", "constrained", "prefix"],
)
def test_the_search_that_is_told_is_the_search_of_the_engines(
    scorer: ScoringEngine, sources: list[tuple[int, ...]], options: SearchOptions
) -> None:
    engine = open_engine(CONFIG)[0]
    expected = run_here(engine, [Job(source, options) for source in sources])
    records = run_here(scorer, [SearchJob(source, options) for source in sources])
    assert [record.hypotheses for record in records] == expected
    for record in records:
        for hypothesis in record.hypotheses:
            assert_told(record, hypothesis, options)
        for step in record.steps:
            assert 0 < step.fates.count("kept") <= options.beam_size
            assert list(step.log_probs) == sorted(step.log_probs, reverse=True)


def assert_told(record: SearchRecord, hypothesis: Hypothesis, options: SearchOptions) -> None:
    """Its end is among the candidates of one step, and what leads there are its tokens."""
    fate = "ended" if hypothesis.finish_reason == "eos" else "kept"
    ends = [
        (place, rank)
        for place, step in enumerate(record.steps)
        for rank, log_prob in enumerate(step.log_probs)
        if step.fates[rank] == fate and log_prob == pytest.approx(hypothesis.log_prob, abs=1e-6)
    ]
    tokens = [*options.silent_prefix, *hypothesis.target_ids]
    found = [written(record, *end)[: len(tokens)] for end in ends]
    assert tokens in found


def test_the_weights_and_probabilities_are_the_scorers(scorer: ScoringEngine, sources: list[tuple[int, ...]]) -> None:
    (hypotheses,) = run_here(open_engine(CONFIG)[0], [Job(sources[1], SearchOptions(max_output_tokens=40))])
    target = hypotheses[0].target_ids
    (score,) = run_here(scorer, [ScoringJob(sources[1], target, attention=KINDS)])
    for kind in KINDS:
        layers, heads = score.attention[kind].shape[:2]
        for layer in range(layers):
            job = InternalsJob(sources[1], target, kind, layer, layer % heads, embedding=kind == "cross")
            (inside,) = run_here(scorer, [job])
            assert np.allclose(inside.heads, score.attention[kind][layer], atol=1e-4)
            assert np.array_equal(inside.heads[job.head], inside.parts["weights"])
            assert np.allclose(inside.token_log_probs, score.token_log_probs, atol=1e-4)
            assert inside.next_ids.shape == (len(target) + 1, NEXT_TOKENS)
            best = inside.next_ids[:, 0] == np.array([*target, 3])
            assert np.allclose(inside.next_log_probs[best, 0], inside.token_log_probs[best])
            assert bool(inside.embedding) == job.embedding
