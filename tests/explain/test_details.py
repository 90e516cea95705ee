"""Details of sentences, from a real model: tokens, spans, scores, alignment, attention, and what is too much."""

from __future__ import annotations

import base64
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.bundle import AlignmentMethod, Manifest, read_manifest
from model.lexical import LEXICAL_FILE, load_tables
from model.vocabulary import Vocabulary
from service.engine.decoder.runtime import ScorerGraph
from service.engine.loading import run_here
from service.engine.scores import KINDS, AttentionKind
from service.engine.scoring import ScoringEngine
from service.engine.types import Answer, FinishReason, Hypothesis, Times
from service.errors import InvalidFieldError
from service.explain import details
from service.explain.attention import AttentionSelection, attention_stacks, select, to_json
from service.explain.details import DetailOptions, Inspection, SegmentDetails, Side, check_size, inspect, jobs_of
from service.text.document import Document
from service.text.reading import Reader
from tests.bundles import PRETRAINED

SOURCE, TARGET = "Je ne suis pas étudiant.", "I'm not a student."


@pytest.fixture(scope="module")
def manifest(shipped_fp32_bundle: Path) -> Manifest:
    return read_manifest(shipped_fp32_bundle)


@pytest.fixture(scope="module")
def vocabulary(shipped_fp32_bundle: Path) -> Vocabulary:
    return Vocabulary.load(shipped_fp32_bundle / "vocabulary.spm")


@pytest.fixture(scope="module")
def scorer(shipped_fp32_bundle: Path, manifest: Manifest, vocabulary: Vocabulary) -> ScoringEngine:
    open_graph = functools.partial(ScorerGraph, shipped_fp32_bundle, manifest, device="cpu", threads=2)
    return ScoringEngine(open_graph, lexical=load_tables(PRETRAINED / LEXICAL_FILE, vocabulary))


class Asker:
    """Asks for the details of sentences from French."""

    def __init__(self, scorer: ScoringEngine, manifest: Manifest, vocabulary: Vocabulary) -> None:
        self.scorer, self.manifest, self.vocabulary = scorer, manifest, vocabulary

    def inspection(
        self,
        wanted: DetailOptions,
        hypothesis: Hypothesis | None = None,
        *,
        source: str = SOURCE,
        starts: tuple[int, int] = (0, 0),
        method: AlignmentMethod | None = None,
    ) -> Inspection:
        ids = hypothesis.target_ids if hypothesis else self.vocabulary.encode(TARGET)
        return inspect(
            Side.of_source(source, starts[0], Reader("fr", self.vocabulary)),
            Side.of_target(ids, starts[1], self.vocabulary),
            hypothesis,
            pair=("fr", "en"),
            wanted=wanted,
            manifest=self.manifest.model_copy(update={"alignment": {"fr-en": method} if method else {}}),
            vocabulary=self.vocabulary,
        )

    def details(self, wanted: DetailOptions, hypothesis: Hypothesis | None = None, **how: Any) -> SegmentDetails:
        (answered,) = self.answered([self.inspection(wanted, hypothesis, **how)])
        return answered.details()

    def answered(self, inspections: Sequence[Inspection]) -> list[Inspection]:
        jobs = jobs_of(inspections)
        results = zip(jobs, run_here(self.scorer, jobs), strict=True)
        answers = {job: Answer(1, 0, result, None, Times()) for job, result in results}
        return [inspection.answered(answers) for inspection in inspections]


@pytest.fixture(scope="module")
def asker(scorer: ScoringEngine, manifest: Manifest, vocabulary: Vocabulary) -> Asker:
    return Asker(scorer, manifest, vocabulary)


def words(found: SegmentDetails, source: str = SOURCE, target: str = TARGET) -> set[tuple[str, str]]:
    assert found.alignment is not None
    return {(source[slice(*each.source)], target[slice(*each.target)]) for each in found.alignment}


def test_a_translation_from_outside_is_scored(asker: Asker) -> None:
    found = asker.details(DetailOptions())
    assert found.source_tokens == ("<2en>", "▁Je", "▁ne", "▁suis", "▁pas", "▁étudiant", ".", "</s>")
    assert found.target_tokens[0] == "▁I"
    assert found.target_tokens[-1] == "</s>"
    assert len(found.token_log_probs) == len(found.target_tokens)
    assert all(value < 0 for value in found.token_log_probs)
    assert found.log_prob == pytest.approx(sum(found.token_log_probs), abs=1e-5)
    assert found.score == pytest.approx(found.log_prob / len(found.target_tokens))
    assert (found.source_span, found.target_span) == ((0, len(SOURCE)), (0, len(TARGET)))
    assert (found.alignment, found.attention) == (None, None)


def test_scores_of_a_translation_are_the_engines_and_nothing_is_scored_again(asker: Asker) -> None:
    translated = hypothesis(asker)
    found = asker.inspection(DetailOptions(), translated)
    assert found.jobs == ()
    for wanted in (DetailOptions(), DetailOptions(alignment=True, attention=AttentionSelection())):
        told = asker.details(wanted, translated)
        assert (told.log_prob, told.score, told.finish_reason) == (-1.5, -0.25, "eos")
        assert told.token_log_probs == translated.token_log_probs


def hypothesis(asker: Asker, reason: FinishReason = "eos") -> Hypothesis:
    ids = tuple(asker.vocabulary.encode(TARGET))
    each = tuple(-0.1 * place for place in range(len(ids) + (reason == "eos")))
    return Hypothesis(ids, -1.5, -0.25, reason, each)


def test_a_cut_translation_has_no_end_token(asker: Asker) -> None:
    whole = asker.details(DetailOptions(attention=AttentionSelection()), hypothesis(asker))
    cut = asker.details(DetailOptions(attention=AttentionSelection()), hypothesis(asker, "length"))
    assert cut.target_tokens == whole.target_tokens[:-1]
    assert cut.token_log_probs == whole.token_log_probs[:-1]
    assert cut.target_token_spans == whole.target_token_spans[:-1]
    assert (cut.to_json()["truncated"], whole.to_json()["truncated"]) == (True, False)
    assert np.shape(cut.attention["cross"]) == (2, 8, len(cut.target_tokens), len(cut.source_tokens))
    assert np.shape(cut.attention["decoder"]) == (2, 8, len(cut.target_tokens), len(cut.target_tokens))
    assert cut.attention["cross"][0][0] == whole.attention["cross"][0][0][:-1]


@pytest.mark.parametrize(
    "method",
    [
        None,
        AlignmentMethod(evidence="erasure", symmetrisation="intersection", diagonal=4),
        AlignmentMethod(evidence="attention", heads=tuple((1, head) for head in range(8)), symmetrisation="target"),
        AlignmentMethod(evidence="hmm", symmetrisation="intersection", diagonal=2),
    ],
)
def test_words_are_aligned_in_the_texts_of_the_request(asker: Asker, method: AlignmentMethod | None) -> None:
    found = asker.details(DetailOptions(alignment=True), method=method)
    assert ("étudiant", "student") in words(found)
    assert all(0 < each.weight <= 1 for each in found.alignment)
    moved = asker.details(DetailOptions(alignment=True), method=method, starts=(100, 200))
    for here, there in zip(found.alignment, moved.alignment, strict=True):
        assert there.source == (here.source[0] + 100, here.source[1] + 100)
        assert there.target == (here.target[0] + 200, here.target[1] + 200)
    assert moved.source_span == (100, 100 + len(SOURCE))
    assert moved.target_span == (200, 200 + len(TARGET))


def test_tokens_and_words_stand_where_they_are_in_the_texts_of_the_request(asker: Asker) -> None:
    found = asker.details(DetailOptions(alignment=True), starts=(100, 200))
    source, target = " " * 100 + SOURCE, " " * 200 + TARGET
    for tokens, spans, text in (
        (found.source_tokens[1:], found.source_token_spans[1:], source),
        (found.target_tokens, found.target_token_spans, target),
    ):
        assert [text[slice(*span)] for span in spans[:-1]] == [token.lstrip("▁") for token in tokens[:-1]]
        assert spans[-1] == (len(text), len(text)), "the end token is nowhere"
    assert found.source_token_spans[0] == (100, 100), "nor is the tag"
    assert [source[slice(*word)] for word in found.source_words] == ["Je", "ne", "suis", "pas", "étudiant", "."]
    assert found.alignment is not None
    assert {each.source for each in found.alignment} <= set(found.source_words)
    assert {each.target for each in found.alignment} <= set(found.target_words)


def test_attention_has_one_column_for_each_source_token_shown_and_its_rows_sum_to_one(asker: Asker) -> None:
    found = asker.details(DetailOptions(attention=AttentionSelection()))
    source, target = len(found.source_tokens), len(found.target_tokens)
    shapes = {kind: np.shape(weights) for kind, weights in found.attention.items()}
    assert shapes == {
        "encoder": (6, 8, source, source),
        "decoder": (2, 8, target, target),
        "cross": (2, 8, target, source),
    }
    for weights in found.attention.values():
        assert np.array(weights).sum(-1) == pytest.approx(np.ones(np.shape(weights)[:-1]), abs=1e-4)
    decoder = np.array(found.attention["decoder"])
    assert not np.triu(decoder, 1).any(), "masked: nothing after"


def test_layers_heads_mean_and_encodings(asker: Asker) -> None:
    everything = np.array(asker.details(DetailOptions(attention=AttentionSelection())).attention["cross"])

    def chosen(**how: Any) -> Any:
        selection = AttentionSelection(kinds=("cross",), **how)
        found = asker.details(DetailOptions(attention=selection))
        return found.attention

    assert list(chosen()) == ["cross"]
    some = np.array(chosen(layers=(1,), heads=(3, 0))["cross"])
    assert some.tolist() == everything[[1]][:, [3, 0]].tolist()
    mean = np.array(chosen(reduce="mean")["cross"])
    assert mean == pytest.approx(everything.mean((0, 1), keepdims=True), abs=1e-5)
    packed = chosen(encoding="float16-base64")["cross"]
    assert (packed["shape"], packed["dtype"]) == (list(everything.shape), "float16")
    values = np.frombuffer(base64.b64decode(packed["data"]), "<f2").reshape(packed["shape"])
    assert values == pytest.approx(everything, abs=1e-3)


def test_the_layout_for_bertviz_is_what_its_functions_take(asker: Asker) -> None:
    found = asker.details(DetailOptions(attention=AttentionSelection(layout="bertviz")))
    assert sorted(found.attention) == [
        "cross_attention", "decoder_attention", "decoder_tokens", "encoder_attention", "encoder_tokens",
    ]  # fmt: skip
    source, target = len(found.attention["encoder_tokens"]), len(found.attention["decoder_tokens"])
    assert found.attention["decoder_tokens"] == ["<s>", *found.target_tokens[:-1]]
    assert [np.shape(layer) for layer in found.attention["cross_attention"]] == [(1, 8, target, source)] * 2
    assert [np.shape(layer) for layer in found.attention["encoder_attention"]] == [(1, 8, source, source)] * 6


def test_what_was_not_asked_for_is_absent(asker: Asker) -> None:
    names = {"source_span", "target_span", "source_tokens", "target_tokens", "log_prob", "score", "token_log_probs"}
    spans = {"source_token_spans", "target_token_spans", "source_words", "target_words"}
    always = names | spans | {"finish_reason", "truncated"}
    assert set(asker.details(DetailOptions()).to_json()) == always
    full = asker.details(DetailOptions(alignment=True, attention=AttentionSelection(kinds=("cross",)))).to_json()
    assert set(full) == always | {"alignment", "attention"}
    assert set(full["alignment"][0]) == {"source", "target", "weight"}


def test_neighbours_change_nothing(asker: Asker) -> None:
    wanted = DetailOptions(alignment=True, attention=AttentionSelection())
    texts = ["Oui.", SOURCE, "Il a dit qu'elle n'était pas venue, mais personne ne l'a cru. " * 3]
    alone = [asker.details(wanted, source=text).to_json() for text in texts]
    inspections = [asker.inspection(wanted, source=text) for text in texts]
    assert [inspection.details().to_json() for inspection in asker.answered(inspections)] == alone


@pytest.mark.parametrize(("name", "size"), [("layers", 2), ("heads", 8)])
def test_a_layer_or_head_that_is_not_there(asker: Asker, manifest: Manifest, name: str, size: int) -> None:
    wanted = DetailOptions(attention=AttentionSelection(kinds=("cross",), **{name: (0, size)}))
    with pytest.raises(InvalidFieldError, match=rf"attention\.{name}: {size} does not exist.* 0 to {size - 1}"):
        check_size([asker.inspection(wanted)], manifest)


def test_what_is_too_much_is_refused_before_it_is_computed(
    asker: Asker, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    few, some = (
        asker.inspection(DetailOptions(attention=selection))
        for selection in (None, AttentionSelection(kinds=("cross",)))
    )
    check_size([few, some], manifest)
    cells = 2 * 8 * len(some.source_tokens) * len(some.target_tokens)
    monkeypatch.setattr(details, "MAX_SENT_NUMBERS", cells - 1)
    with pytest.raises(InvalidFieldError, match=f"the reply would have {cells} attention weights"):
        check_size([some], manifest)
    averaged = DetailOptions(attention=AttentionSelection(kinds=("cross",), reduce="mean"))
    mean, other = asker.inspection(averaged), asker.inspection(averaged, source="Oui, je suis étudiant.")
    both = cells + 2 * 8 * len(other.source_tokens) * len(other.target_tokens)
    check_size([mean, other] * 7, manifest)
    monkeypatch.setattr(details, "MAX_HELD_NUMBERS", both - 1)
    with pytest.raises(InvalidFieldError, match=f"have {both} attention weights of these kinds"):
        check_size([mean, other], manifest)
    check_size([mean, mean.at(7), asker.inspection(averaged)], manifest)  # what is the same is scored once
    monkeypatch.setattr(details, "MAX_SCORED_TOKENS", few.jobs[0].tokens)
    check_size([few, asker.inspection(DetailOptions())], manifest)
    with pytest.raises(InvalidFieldError, match="tokens of scoring"):
        check_size([few, asker.inspection(DetailOptions(), source="Oui.")], manifest)


def test_alignment_by_erasure_counts_a_job_for_each_word(asker: Asker) -> None:
    inspection = asker.inspection(DetailOptions(alignment=True))
    assert [job.hidden for job in inspection.jobs] == [(), (1,), (2,), (3,), (4,), (5,), (6,)]
    assert len(asker.inspection(DetailOptions()).jobs) == 1


def test_alignment_by_hmm_needs_no_scorer_but_for_a_translation_from_outside(
    asker: Asker, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = AlignmentMethod(evidence="hmm")
    known = asker.inspection(DetailOptions(alignment=True), hypothesis(asker), method=method)
    assert known.jobs == ()
    assert ("étudiant", "student") in words(asker.answered([known])[0].details())
    assert len(asker.inspection(DetailOptions(alignment=True), method=method).jobs) == 1
    cells = len(known.source.ids) * len(known.target.ids)
    monkeypatch.setattr(details, "MAX_ALIGNED_CELLS", 2 * cells - 1)
    check_size([known], manifest)
    with pytest.raises(InvalidFieldError, match=f"takes {2 * cells} cells"):
        check_size([known, known], manifest)


def test_stacks_are_those_of_the_model(manifest: Manifest) -> None:
    assert attention_stacks(manifest) == {"encoder": (6, 8), "decoder": (2, 8), "cross": (2, 8)}


def test_selecting_copies_no_numbers_without_need() -> None:
    weights = {kind: np.ones((2, 3, 4, 5)) for kind in KINDS}
    assert select(weights, AttentionSelection())["cross"] is weights["cross"]


def place(text: str, source: str, target: str, targets: Sequence[str]) -> tuple[str, list[str]]:
    document = Document.parse(text, source, len, 1000)
    placed, spans = document.place(targets, source, target)
    assert placed == document.translate(targets, source, target)
    return placed, [placed[start:end] for start, end in spans]


def test_sentences_are_found_again_in_the_whole_text() -> None:
    text, found = place("  你好。再见。\n\n123\n好 ", "zh", "en", ["Hello.", "Bye.", "Good"])
    assert text == "  Hello. Bye.\n\n123\nGood "
    assert found == ["Hello.", "Bye.", "Good"]
    assert place("Yes. No.", "en", "zh", ["是。", ""]) == ("是。", ["是。", ""])


def test_a_network_without_layers_of_a_kind_has_no_maps_of_it() -> None:
    stacks: dict[AttentionKind, tuple[int, int]] = {"encoder": (0, 1), "decoder": (0, 1), "cross": (1, 1)}
    weights = np.ones((1, 1, 3, 2), np.float32)
    for reduce in ("none", "mean"):
        selection = AttentionSelection(reduce=reduce)
        assert selection.counts(stacks) == {"encoder": 0, "decoder": 0, "cross": 1}
        found = select(
            {"encoder": np.zeros((0, 1, 2, 2)), "decoder": np.zeros((0, 1, 3, 3)), "cross": weights}, selection
        )
        assert to_json(found, ["a", "b"], ["x", "y", "z"], selection)["encoder"] == []
        assert np.array_equal(found["cross"], weights)
    with pytest.raises(
        InvalidFieldError, match=r"layers: 0 does not exist, encoder attention of this model has no layers"
    ):
        AttentionSelection(layers=(0,)).counts(stacks)
