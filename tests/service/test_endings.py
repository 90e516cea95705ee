"""Sentences whose end is left out: found by which words come from where, tried again in parts, and said."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from model.bundle import AlignmentMethod
from model.lexical import load_tables
from model.vocabulary import Vocabulary
from service.arrays import Array
from service.engine.hmm import hmm_evidence
from service.engine.types import Hypothesis, Job
from service.translation.attempts import Part
from service.translation.endings import FEWEST_TOKENS, FEWEST_UNMARKED_TOKENS, is_left_out, may_be_left_out
from service.translation.judging import Judge
from tests.bundles import SHIPPED_BUNDLE
from tests.service.fakes import MANIFEST, FakeLoader, make_app, running, translate

VOCABULARY = Vocabulary.load(SHIPPED_BUNDLE / "vocabulary.spm")
TABLES = load_tables(SHIPPED_BUNDLE / "lexical.npz", VOCABULARY)
METHOD = AlignmentMethod(evidence="hmm")

# Source, its translation, and that without its last clause.
SENTENCES = [
    (
        "fr-en",
        "Il a acheté du pain au marché, puis il est rentré à la maison avec son frère.",
        "He bought bread at the market, then he went home with his brother.",
        "He bought bread at the market.",
    ),
    (
        "en-fr",
        "My sister opened the window, but the dog was already in the garden with the children.",
        "Ma sœur a ouvert la fenêtre, mais le chien était déjà dans le jardin avec les enfants.",
        "Ma sœur a ouvert la fenêtre.",
    ),
    (
        "zh-en",
        "我昨天在学校学习了三个小时，然后我们和老师一起去吃饭。",
        "Yesterday I studied for three hours at school, then we went to eat with the teacher.",
        "Yesterday I studied for three hours at school.",
    ),
    (
        "en-fr",
        "he read the book and then he washed the car and after that his brother cooked rice and fish for the children",
        "il a lu le livre puis il a lavé la voiture et après cela son frère a cuit du riz et du poisson aux enfants",
        "il a lu le livre puis il a lavé la voiture",
    ),
]


def left_out(direction: str, source: str, target: str) -> bool:
    ids = VOCABULARY.encode(source)
    evidence = hmm_evidence(ids, VOCABULARY.encode(target), TABLES[direction])
    asked = may_be_left_out(source, len(ids), target)
    return asked and is_left_out(source, VOCABULARY.encode_spans(source), evidence)


@pytest.mark.parametrize(("direction", "source", "whole", "cut"), SENTENCES)
def test_an_end_that_is_left_out_is_found_and_one_that_is_there_is_not(
    direction: str, source: str, whole: str, cut: str
) -> None:
    assert left_out(direction, source, cut)
    assert not left_out(direction, source, whole)
    # Nor where the translation is told apart by its words alone.
    assert not is_left_out(
        source,
        VOCABULARY.encode_spans(source),
        hmm_evidence(VOCABULARY.encode(source), VOCABULARY.encode(whole), TABLES[direction]),
    )


def test_who_is_asked() -> None:
    assert not may_be_left_out("a, b", FEWEST_TOKENS - 1, "a")
    assert may_be_left_out("a, b", FEWEST_TOKENS, "a")
    assert not may_be_left_out("a, b", FEWEST_TOKENS, "b, a")
    assert not may_be_left_out("a b 3,000 19:45", FEWEST_UNMARKED_TOKENS - 1, "a")
    assert may_be_left_out("a b", FEWEST_UNMARKED_TOKENS, "a, b")


def test_a_sentence_without_words_is_not_left_out() -> None:
    assert not is_left_out("… —", [(0, 1), (1, 3)], np.zeros((2, 2)))


def loader(answers: Mapping[str, str], *, by_hmm: bool = True) -> FakeLoader:
    """Writes what `answers` has for the text that it reads, else that text."""

    def answer(job: Job) -> tuple[Hypothesis, ...]:
        read = VOCABULARY.decode(job.source_ids[1:-1])
        ids = tuple(VOCABULARY.encode(answers.get(read, read)))
        return (Hypothesis(ids, -1.0, -0.1, "eos", (-1.0, *[0.0] * len(ids))),)

    alignment = {"en-fr": METHOD, "fr-en": METHOD, "zh-en": METHOD} if by_hmm else {}
    manifest = MANIFEST.model_copy(update={"alignment": alignment})
    return FakeLoader(VOCABULARY, answer=answer, lexical=TABLES, manifest=manifest)


_, SOURCE, WHOLE, CUT = SENTENCES[1]
PAIR = {"source": "en", "target": "fr"}
FIRST = "My sister opened the window,"


def test_it_is_tried_again_in_parts() -> None:
    made = loader({SOURCE: CUT})
    reply = translate(make_app(made), {"q": SOURCE, **PAIR}).json()
    read = [VOCABULARY.decode(job.source_ids[1:-1]) for job in made.engine.submitted]
    assert read[0] == SOURCE
    assert len(read) == 3
    # Both parts are in the answer: here each is its own translation.
    assert "garden with the children" in reply["translatedText"]
    assert "warnings" not in reply


def test_what_stays_incomplete_is_said() -> None:
    made = loader({SOURCE: CUT})
    body = {"q": ["The dog.", SOURCE], **PAIR, "max_output_tokens": 60}  # then no sentence is cut in parts
    reply = translate(make_app(made), body).json()
    assert reply["translatedText"] == ["The dog.", CUT]
    assert reply["warnings"] == [{"index": 1, "start": 0, "end": len(SOURCE), "warning": "incomplete"}]


@pytest.mark.parametrize(
    ("answers", "by_hmm"), [({SOURCE: WHOLE}, True), ({SOURCE: CUT}, False)], ids=["it is whole", "nothing is known"]
)
def test_nothing_else_is_tried_again(answers: Mapping[str, str], by_hmm: bool) -> None:
    made = loader(answers, by_hmm=by_hmm)
    reply = translate(make_app(made), {"q": SOURCE, **PAIR}).json()
    assert reply == {"translatedText": answers[SOURCE]}
    assert len(made.engine.submitted) == 1


def test_a_translation_does_not_fail_with_its_aligner() -> None:
    made = loader({SOURCE: CUT})
    made.lexical = {}
    assert translate(make_app(made), {"q": SOURCE, **PAIR}).json() == {"translatedText": CUT}


def test_what_the_cache_keeps_is_judged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The aligner is asked no more where the answer is not decoded again, and what is said stays the same."""
    asked: list[int] = []
    look = Judge._evidence

    async def evidence(self: Judge, parts: Sequence[Part]) -> list[Array | None]:
        asked.append(len(parts))
        return await look(self, parts)

    monkeypatch.setattr(Judge, "_evidence", evidence)
    made = loader({SOURCE: CUT})
    body = {"q": SOURCE, **PAIR, "max_output_tokens": 60}

    async def three_times() -> list[Any]:
        async with running(make_app(made, cache_bytes=1_000_000)) as client:
            return [(await client.post("/translate", json=body)).json() for _ in range(3)]

    replies = asyncio.run(three_times())
    assert asked == [1]
    assert len(made.engine.submitted) == 1
    assert replies[0]["warnings"][0]["warning"] == "incomplete"
    assert replies[1:] == replies[:1] * 2
