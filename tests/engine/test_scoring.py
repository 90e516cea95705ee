"""Forced decoding: the queue's rules on a made-up graph, the numbers on a real one."""

from __future__ import annotations

import collections
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from model.checkpoint import Checkpoint, load_checkpoint
from model.corpus import read_tsv
from model.lexical import LexicalTable
from model.vocabulary import BOS_ID, EOS_ID, PAD_ID
from service.engine import scoring
from service.engine.decoder.opening import open_engine, open_scoring_engine
from service.engine.loading import run_here
from service.engine.scores import KINDS, AnyScoringJob, AttentionKind, ScoringJob
from service.engine.scoring import ScoringEngine
from service.engine.types import EngineConfig, Hypothesis, Job, Lane, Request, SearchOptions
from tests.bundles import PRETRAINED, ROOT, SHIPPED_BUNDLE

Array = npt.NDArray[np.generic]
TAG, FAULTY = 4, 999
SAMPLE = ROOT / "model" / "recipes" / "demo-data" / "tatoeba.tsv.gz"
CHINESE = (
    ("我爱你。", "I love you."),
    ("今天天气很好。", "The weather is fine today."),
    ("你能告诉我去车站的路吗？", "Can you tell me the way to the station?"),
)


class FakeGraph:
    """Answers with the ids it was given; fails for a batch with a faulty token."""

    vocabulary_size = 100

    def __init__(self) -> None:
        self.batches: list[dict[str, Array]] = []

    def score(self, inputs: Mapping[str, Array], attention: Sequence[AttentionKind]) -> tuple[Array, dict[str, Array]]:
        self.batches.append(dict(inputs))
        if (inputs["source_ids"] == FAULTY).any():
            raise RuntimeError("faulty")
        rows, target = inputs["labels"].shape
        source = inputs["source_ids"].shape[1]
        sizes = {"encoder": (source, source), "decoder": (target, target), "cross": (target, source)}
        weights = {kind: np.ones((rows, 2, 3, *sizes[kind]), np.float32) for kind in attention}
        return inputs["labels"].astype(np.float32), weights

    def numbers(self, source_length: int, target_length: int) -> int:
        return scoring.BATCH_NUMBERS // 4


def job(length: int = 3, word: int = 50, attention: tuple[AttentionKind, ...] = ()) -> ScoringJob:
    return ScoringJob((TAG, *[word] * (length - 2), EOS_ID), (60, 61), attention=attention)


@pytest.fixture
def graph() -> FakeGraph:
    return FakeGraph()


@pytest.fixture
def engine(graph: FakeGraph) -> ScoringEngine:
    made = ScoringEngine(lambda: graph)
    run_here(made, [job()])  # now its sizes are known
    graph.batches.clear()
    made.report()
    return made


def request(number: int, jobs: Sequence[AnyScoringJob], lane: Lane = Lane.INTERACTIVE) -> Request:
    return Request(number, lane, time.monotonic(), math.inf, jobs)


def words(batch: dict[str, Array]) -> set[int]:
    return set(batch["source_ids"][:, 1].tolist())


def test_the_graph_is_opened_by_the_first_job_that_needs_it(graph: FakeGraph) -> None:
    opened: list[FakeGraph] = []
    table = LexicalTable.__new__(LexicalTable)
    made = ScoringEngine(lambda: opened.append(graph) or graph, lexical={"zh-en": table})  # type: ignore[func-returns-value]
    made.step()
    assert opened == []
    run_here(made, [job(), job(40)])
    assert opened == [graph]


def test_inputs_begin_with_bos_and_labels_end_with_eos(engine: ScoringEngine, graph: FakeGraph) -> None:
    (score,) = run_here(engine, [ScoringJob((TAG, 50, 51, EOS_ID), (60, 61), hidden=(2,), attention=("cross",))])
    (batch,) = graph.batches
    assert batch["target_ids"][0].tolist() == [BOS_ID, 60, 61, *[PAD_ID] * 13]
    assert batch["labels"][0].tolist() == [60, 61, EOS_ID, *[PAD_ID] * 13]
    assert batch["source_ids"][0].tolist() == [TAG, 50, 51, EOS_ID, *[PAD_ID] * 12]
    assert batch["source_mask"][0].tolist() == [True, True, False, True, *[False] * 12]
    assert score.token_log_probs.tolist() == [60, 61, EOS_ID]
    assert {kind: weights.shape for kind, weights in score.attention.items()} == {"cross": (2, 3, 3, 4)}


def test_jobs_of_one_shape_share_a_batch_others_do_not(engine: ScoringEngine, graph: FakeGraph) -> None:
    run_here(engine, [job(3), job(17), job(16), job(3, attention=("cross",)), job(32)])
    assert sorted(batch["source_ids"].shape for batch in graph.batches) == [(1, 16), (2, 16), (2, 32)]


def test_a_batch_is_bounded_in_memory(engine: ScoringEngine, graph: FakeGraph) -> None:
    run_here(engine, [job() for _ in range(10)])
    assert [len(batch["source_ids"]) for batch in graph.batches] == [4, 4, 2]


def test_a_small_request_does_not_wait_for_a_large_one(engine: ScoringEngine, graph: FakeGraph) -> None:
    engine.add(request(1, [job(word=70)] * 20, Lane.BULK))
    engine.step()
    engine.add(request(2, [job(word=71)]))
    assert 2 in {answer.number for answer in engine.step()}


def test_a_large_request_goes_on_however_many_small_ones_come(
    engine: ScoringEngine, graph: FakeGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(1_000_000))
    monkeypatch.setattr(scoring.time, "monotonic", lambda: float(next(clock)))  # every batch takes as long
    engine.add(Request(1, Lane.BULK, 0.0, math.inf, [job(word=70)] * 40))
    done = collections.Counter[int]()
    for number in range(2, 100):
        engine.add(Request(number, Lane.INTERACTIVE, 0.0, math.inf, [job(word=71)]))
        done.update(answer.number for answer in engine.step())
        if done[1] == 40:
            break
    assert done[1] == 40
    small = sum(done.values()) - 40
    assert 15 <= small <= 40  # ten batches of the large one, and twice the time for the small ones


def test_a_faulty_job_fails_alone(engine: ScoringEngine, graph: FakeGraph) -> None:
    engine.add(request(1, [job(), job(word=FAULTY), job()]))
    answers = engine.step()
    assert [answer.failure and answer.failure.message for answer in sorted(answers, key=lambda each: each.place)] == [
        None, "faulty", None,
    ]  # fmt: skip
    assert "RuntimeError: faulty" in next(answer.failure.traceback for answer in answers if answer.failure)


def test_withdrawn_jobs_are_not_computed(engine: ScoringEngine, graph: FakeGraph) -> None:
    engine.add(request(1, [job(word=80)] * 5))
    engine.add(request(2, [job(word=81)]))
    engine.withdraw(1)
    answers = engine.step()
    assert [answer.failure.kind for answer in answers if answer.number == 1] == ["cancelled"] * 5
    assert [words(batch) for batch in graph.batches] == [{81}]
    assert all(waiting.tokens == 0 for waiting in engine.waiting())


def test_a_job_that_is_late_is_not_computed(engine: ScoringEngine, graph: FakeGraph) -> None:
    engine.add(Request(1, Lane.INTERACTIVE, 0.0, time.monotonic(), [job()]))
    (answer,) = engine.step()
    assert answer.failure is not None
    assert (answer.failure.kind, graph.batches) == ("deadline", [])


def test_a_report_says_what_was_done(engine: ScoringEngine) -> None:
    engine.add(request(1, [job(), job(), job(40)]))
    while engine.busy:
        engine.step()
    report = engine.report()
    assert (len(report.batches), len(report.waits)) == (2, 3)
    assert not engine.report().batches


def test_a_graph_that_does_not_open_fails_the_jobs_that_wanted_it(graph: FakeGraph) -> None:
    attempts = iter([OSError("gone"), graph])

    def open_graph() -> FakeGraph:
        found = next(attempts)
        if isinstance(found, OSError):
            raise found
        return found

    made = ScoringEngine(open_graph)
    with pytest.raises(RuntimeError, match="gone"):
        run_here(made, [job()])
    assert run_here(made, [job()])


def open_scorer(bundle: Path) -> ScoringEngine:
    return open_scoring_engine(EngineConfig(directory=bundle, device="cpu", threads=2))[0]


def score(scorer: ScoringEngine, jobs: Sequence[ScoringJob]) -> list[scoring.Score]:
    return run_here(scorer, jobs)


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return load_checkpoint(PRETRAINED)


@pytest.fixture
def fp32(shipped_fp32_bundle: Path) -> ScoringEngine:
    return open_scorer(shipped_fp32_bundle)


def sentences(checkpoint: Checkpoint, count: int) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Source and target ids of real pairs, from one word to three sentences in a row, in two directions."""
    pairs = [(french, english) for english, french in read_tsv(SAMPLE, 0, 1)[:count]]
    longer = [tuple(" ".join(texts) for texts in zip(*pairs[i : i + 3], strict=True)) for i in range(0, count, 3)]
    encode = checkpoint.vocabulary.encode
    return [
        (tuple(checkpoint.vocabulary.encode_source(source, "en")), tuple(encode(target)))
        for source, target in (*CHINESE, *pairs, *longer)
    ]


def test_scores_and_every_attention_weight_equal_pytorch(fp32: ScoringEngine, checkpoint: Checkpoint) -> None:
    pairs = sentences(checkpoint, 15)
    jobs = [ScoringJob(source, target, attention=KINDS) for source, target in pairs]
    for (source, target), found in zip(pairs, score(fp32, jobs), strict=True):
        log_probs, attention = pytorch(checkpoint, source, target, ())
        assert found.token_log_probs == pytest.approx(log_probs, abs=1e-4)
        for kind in KINDS:
            assert found.attention[kind].shape == attention[kind].shape
            assert np.abs(found.attention[kind] - attention[kind]).max() < 1e-4, kind


def test_a_hidden_token_is_not_seen(fp32: ScoringEngine, checkpoint: Checkpoint) -> None:
    source, target = sentences(checkpoint, 3)[2]
    (found,) = score(fp32, [ScoringJob(source, target, hidden=(2, 3), attention=KINDS)])
    log_probs, attention = pytorch(checkpoint, source, target, (2, 3))
    assert found.token_log_probs == pytest.approx(log_probs, abs=1e-4)
    assert np.abs(found.attention["cross"] - attention["cross"]).max() < 1e-4
    assert not found.attention["cross"][..., [2, 3]].any()
    assert found.attention["cross"][..., [1, 4]].any()


def pytorch(
    checkpoint: Checkpoint, source: tuple[int, ...], target: tuple[int, ...], hidden: tuple[int, ...]
) -> tuple[Array, dict[str, Array]]:
    """Log-probabilities [T] and attention [L, H, rows, columns] of one forced target."""
    mask = torch.ones(1, len(source), dtype=torch.bool)
    mask[0, list(hidden)] = False
    with torch.inference_mode():
        logits, attention = checkpoint.model.with_attention(
            torch.tensor([source]), mask, torch.tensor([[BOS_ID, *target]])
        )
        logits[..., [PAD_ID, 1, BOS_ID]] = -torch.inf
        log_probs = logits[0].log_softmax(-1)[torch.arange(len(target) + 1), torch.tensor([*target, EOS_ID])]
    return log_probs.numpy(), {kind: torch.cat(getattr(attention, kind)).numpy() for kind in KINDS}


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_neighbours_change_no_bit(precision: str, shipped_fp32_bundle: Path, checkpoint: Checkpoint) -> None:
    scorer = open_scorer(shipped_fp32_bundle if precision == "fp32" else SHIPPED_BUNDLE)
    pairs = sentences(checkpoint, 60)
    alone = [score(scorer, [ScoringJob(*pair, attention=KINDS)])[0] for pair in pairs]
    together = score(scorer, [ScoringJob(*pair, attention=KINDS) for pair in pairs])
    for one, other in zip(alone, together, strict=True):
        assert np.array_equal(one.token_log_probs, other.token_log_probs)
        assert all(np.array_equal(one.attention[kind], other.attention[kind]) for kind in KINDS)


@pytest.mark.parametrize("beam_size", [1, 4])
def test_the_engine_and_the_scorer_agree(
    fp32: ScoringEngine, shipped_fp32_bundle: Path, checkpoint: Checkpoint, beam_size: int
) -> None:
    pairs = sentences(checkpoint, 30)
    hypotheses = translate(shipped_fp32_bundle, [source for source, _ in pairs], beam_size)
    jobs = [
        ScoringJob(source, hypothesis.target_ids) for (source, _), hypothesis in zip(pairs, hypotheses, strict=True)
    ]
    for hypothesis, found in zip(hypotheses, score(fp32, jobs), strict=True):
        assert hypothesis.finish_reason == "eos"
        assert found.token_log_probs == pytest.approx(np.array(hypothesis.token_log_probs), abs=1e-4)
        assert float(found.token_log_probs.sum()) == pytest.approx(hypothesis.log_prob, abs=1e-3)


def translate(bundle: Path, sources: Sequence[tuple[int, ...]], beam_size: int) -> list[Hypothesis]:
    engine, _ = open_engine(EngineConfig(directory=bundle, device="cpu", threads=1, max_rows=64))
    options = SearchOptions(beam_size=beam_size, max_output_tokens=80)
    return [hypotheses[0] for hypotheses in run_here(engine, [Job(source, options) for source in sources])]
