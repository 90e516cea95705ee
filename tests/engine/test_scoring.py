"""Forced decoding: the queue's rules on a made-up graph, the numbers on a real one."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from model.bundle import read_manifest
from model.checkpoint import Checkpoint, load_checkpoint
from model.corpus import read_tsv
from model.vocabulary import BOS_ID, EOS_ID, PAD_ID
from service.engine import scoring
from service.engine.jobs import EngineClosedError, Hypothesis, Job, QueueFullError, SearchOptions
from service.engine.loading import load_engine
from service.engine.records import ScorerReport
from service.engine.runtime import ScorerGraph
from service.engine.scoring import KINDS, AttentionKind, Scorer, ScoringJob
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
    """Answers with the ids it was given; stands still until it is let go; fails for a batch with a faulty token."""

    vocabulary_size = 100

    def __init__(self) -> None:
        self.batches: list[dict[str, Array]] = []
        self.go = threading.Event()
        self.called = threading.Event()

    def score(self, inputs: Mapping[str, Array], attention: Sequence[AttentionKind]) -> tuple[Array, dict[str, Array]]:
        self.batches.append(dict(inputs))
        self.called.set()
        assert self.go.wait(10)
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
def scorer(graph: FakeGraph) -> Iterator[Scorer]:
    made = Scorer(lambda: graph)
    yield made
    graph.go.set()
    made.close()


def hold(scorer: Scorer, graph: FakeGraph) -> None:
    """Keep the scorer busy with a batch of one until `graph.go` is set."""
    scorer.submit([job()])
    assert graph.called.wait(10)


def test_nothing_exists_until_somebody_asks() -> None:
    opened: list[FakeGraph] = []
    threads = threading.active_count()
    scorer = Scorer(lambda: opened.append(FakeGraph()) or opened[0])  # type: ignore[func-returns-value]
    assert (threading.active_count(), opened) == (threads, [])
    scorer.close()
    assert (threading.active_count(), opened) == (threads, [])


def test_inputs_begin_with_bos_and_labels_end_with_eos(scorer: Scorer, graph: FakeGraph) -> None:
    graph.go.set()
    asked = ScoringJob((TAG, 50, 51, EOS_ID), (60, 61), hidden=(2,), attention=("cross",))
    scorer.submit([asked])
    score = asked.future.result(10)
    (batch,) = graph.batches
    assert batch["target_ids"][0].tolist() == [BOS_ID, 60, 61, *[PAD_ID] * 13]
    assert batch["labels"][0].tolist() == [60, 61, EOS_ID, *[PAD_ID] * 13]
    assert batch["source_ids"][0].tolist() == [TAG, 50, 51, EOS_ID, *[PAD_ID] * 12]
    assert batch["source_mask"][0].tolist() == [True, True, False, True, *[False] * 12]
    assert score.token_log_probs.tolist() == [60, 61, EOS_ID]
    assert {kind: weights.shape for kind, weights in score.attention.items()} == {"cross": (2, 3, 3, 4)}


def test_jobs_of_one_shape_share_a_batch_others_do_not(scorer: Scorer, graph: FakeGraph) -> None:
    hold(scorer, graph)
    jobs = [job(3), job(17), job(16), job(3, attention=("cross",)), job(32)]
    scorer.submit(jobs)
    graph.go.set()
    for each in jobs:
        each.future.result(10)
    assert sorted(batch["source_ids"].shape for batch in graph.batches) == [(1, 16), (1, 16), (2, 16), (2, 32)]


def test_a_batch_is_bounded_in_memory(scorer: Scorer, graph: FakeGraph) -> None:
    hold(scorer, graph)
    jobs = [job() for _ in range(10)]
    scorer.submit(jobs)
    graph.go.set()
    for each in jobs:
        each.future.result(10)
    assert [len(batch["source_ids"]) for batch in graph.batches] == [1, 4, 4, 2]


def test_a_small_request_does_not_wait_for_a_large_one(scorer: Scorer, graph: FakeGraph) -> None:
    hold(scorer, graph)
    scorer.submit([job(word=70) for _ in range(20)])
    small = job(word=71)
    scorer.submit([small])
    graph.go.set()
    small.future.result(10)
    assert small.source_ids[1] in graph.batches[1]["source_ids"]


def test_a_faulty_job_fails_alone(scorer: Scorer, graph: FakeGraph) -> None:
    hold(scorer, graph)
    good, bad, other = job(), job(word=FAULTY), job()
    scorer.submit([good, bad, other])
    graph.go.set()
    with pytest.raises(RuntimeError, match="faulty"):
        bad.future.result(10)
    assert good.future.result(10).token_log_probs.tolist() == other.future.result(10).token_log_probs.tolist()


def test_a_cancelled_job_is_not_computed(scorer: Scorer, graph: FakeGraph) -> None:
    hold(scorer, graph)
    gone, kept = job(word=80), job(word=81)
    scorer.submit([gone, kept])
    assert gone.future.cancel()
    graph.go.set()
    kept.future.result(10)
    assert not any(80 in batch["source_ids"] for batch in graph.batches)
    with pytest.raises(CancelledError):
        gone.future.result(10)


def test_withdrawn_jobs_leave_the_queue_and_make_room(graph: FakeGraph) -> None:
    reports: list[ScorerReport] = []
    scorer = Scorer(lambda: graph, reports.append)
    hold(scorer, graph)
    kept = job(word=81)
    many = [kept, *(job(1000, word=80) for _ in range(scoring.WAITING_TOKENS // 1003))]
    scorer.submit(many)
    with pytest.raises(QueueFullError):
        scorer.check_room()
    scorer.withdraw(many[1:])
    scorer.check_room()
    assert scorer.waiting_tokens() == kept.tokens
    assert all(each.future.cancelled() for each in many[1:])
    graph.go.set()
    kept.future.result(10)
    scorer.withdraw(many)  # too late for one, again for the others
    scorer.close()
    assert kept.future.result(0)
    assert not any(80 in batch["source_ids"] for batch in graph.batches)
    assert sum(report.cancelled for report in reports) == len(many) - 1
    assert sum(report.scored for report in reports) == 2
    assert sum(len(report.queue_wait_seconds) for report in reports) == 2


def test_a_report_says_how_jobs_ended(graph: FakeGraph) -> None:
    reports: list[ScorerReport] = []
    scorer = Scorer(lambda: graph, reports.append)
    hold(scorer, graph)
    gone = job()
    scorer.submit([job(), job(word=FAULTY), gone])
    gone.future.cancel()
    graph.go.set()
    scorer.close()
    first, second = reports
    assert (first.scored, first.failed, first.cancelled) == (1, 0, 0)
    assert (second.scored, second.failed, second.cancelled) == (1, 1, 1)
    assert (len(second.batch_seconds), len(second.queue_wait_seconds)) == (1, 2)
    assert scorer.waiting_tokens() == 0


def test_a_full_queue_refuses(scorer: Scorer, graph: FakeGraph) -> None:
    hold(scorer, graph)
    many = [job(1000) for _ in range(scoring.WAITING_TOKENS // 1003)]
    scorer.submit(many)
    with pytest.raises(QueueFullError):
        scorer.submit([job(1000)])
    graph.go.set()
    for each in many:
        each.future.result(10)
    last = job(1000)
    scorer.submit([last])
    last.future.result(10)


def test_close_finishes_what_was_accepted_and_refuses_the_rest(graph: FakeGraph) -> None:
    scorer = Scorer(lambda: graph)
    hold(scorer, graph)
    jobs = [job(), job(40)]
    scorer.submit(jobs)
    graph.go.set()
    scorer.close()
    assert all(each.future.done() for each in jobs)
    with pytest.raises(EngineClosedError):
        scorer.submit([job()])


def test_abort_cancels_what_waits_and_refuses_the_rest(scorer: Scorer, graph: FakeGraph) -> None:
    hold(scorer, graph)
    jobs = [job(), job(40)]
    scorer.submit(jobs)
    scorer.abort()
    assert all(each.future.cancelled() for each in jobs)
    with pytest.raises(EngineClosedError):
        scorer.submit([job()])
    graph.go.set()


def test_a_graph_that_does_not_open_fails_the_jobs_that_wanted_it(graph: FakeGraph) -> None:
    graph.go.set()
    attempts = iter([OSError("gone"), graph])

    def open_graph() -> FakeGraph:
        found = next(attempts)
        if isinstance(found, OSError):
            raise found
        return found

    scorer = Scorer(open_graph)
    first, second = job(), job()
    scorer.submit([first])
    with pytest.raises(OSError, match="gone"):
        first.future.result(10)
    scorer.submit([second])
    second.future.result(10)
    scorer.close()


def open_scorer(bundle: Path) -> Scorer:
    return Scorer(functools.partial(ScorerGraph, bundle, read_manifest(bundle), device="cpu", threads=2))


def score(scorer: Scorer, jobs: Sequence[ScoringJob]) -> list[scoring.Score]:
    scorer.submit(jobs)
    return [each.future.result(60) for each in jobs]


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return load_checkpoint(PRETRAINED)


@pytest.fixture
def fp32(shipped_fp32_bundle: Path) -> Iterator[Scorer]:
    made = open_scorer(shipped_fp32_bundle)
    yield made
    made.close()


def sentences(checkpoint: Checkpoint, count: int) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Source and target ids of real pairs, from one word to three sentences in a row, in two directions."""
    pairs = [(french, english) for english, french in read_tsv(SAMPLE, 0, 1)[:count]]
    longer = [tuple(" ".join(texts) for texts in zip(*pairs[i : i + 3], strict=True)) for i in range(0, count, 3)]
    encode = checkpoint.vocabulary.encode
    return [
        (tuple(checkpoint.vocabulary.encode_source(source, "en")), tuple(encode(target)))
        for source, target in (*CHINESE, *pairs, *longer)
    ]


def test_scores_and_every_attention_weight_equal_pytorch(fp32: Scorer, checkpoint: Checkpoint) -> None:
    pairs = sentences(checkpoint, 15)
    jobs = [ScoringJob(source, target, attention=KINDS) for source, target in pairs]
    for (source, target), found in zip(pairs, score(fp32, jobs), strict=True):
        log_probs, attention = pytorch(checkpoint, source, target, ())
        assert found.token_log_probs == pytest.approx(log_probs, abs=1e-4)
        for kind in KINDS:
            assert found.attention[kind].shape == attention[kind].shape
            assert np.abs(found.attention[kind] - attention[kind]).max() < 1e-4, kind


def test_a_hidden_token_is_not_seen(fp32: Scorer, checkpoint: Checkpoint) -> None:
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
    try:
        pairs = sentences(checkpoint, 60)
        alone = [score(scorer, [ScoringJob(*pair, attention=KINDS)])[0] for pair in pairs]
        together = score(scorer, [ScoringJob(*pair, attention=KINDS) for pair in pairs])
    finally:
        scorer.close()
    for one, other in zip(alone, together, strict=True):
        assert np.array_equal(one.token_log_probs, other.token_log_probs)
        assert all(np.array_equal(one.attention[kind], other.attention[kind]) for kind in KINDS)


@pytest.mark.parametrize("beam_size", [1, 4])
def test_the_engine_and_the_scorer_agree(
    fp32: Scorer, shipped_fp32_bundle: Path, checkpoint: Checkpoint, beam_size: int
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
    loaded = load_engine(bundle, device="cpu", threads=1, max_rows=64, on_report=lambda report: None)
    try:
        jobs = [Job(source, SearchOptions(beam_size=beam_size, max_output_tokens=80)) for source in sources]
        loaded.engine.submit(jobs)
        return [each.future.result(60)[0] for each in jobs]
    finally:
        loaded.engine.close()
