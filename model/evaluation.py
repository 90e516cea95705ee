"""How good translations are: BLEU and chrF as sacrebleu computes them (Post 2018), with their signatures."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

CHARACTER_TOKENIZED = {"zh": "zh", "ja": "char"}


@dataclasses.dataclass(frozen=True, slots=True)
class Scores:
    """Corpus scores (0-100) with the signatures that make them comparable."""

    bleu: float
    chrf: float
    bleu_signature: str
    chrf_signature: str
    sentences: int

    def to_dict(self) -> dict[str, float | str | int]:
        """JSON-ready, scores rounded to hundredths."""
        return {**dataclasses.asdict(self), "bleu": round(self.bleu, 2), "chrf": round(self.chrf, 2)}


def score(hypotheses: Sequence[str], references: Sequence[str], target_language: str) -> Scores:
    """BLEU (13a, or characters for Chinese) and chrF2 of `hypotheses` against one reference each."""
    bleu = BLEU(tokenize=CHARACTER_TOKENIZED.get(target_language, "13a"))
    chrf = CHRF()
    bleu_score = bleu.corpus_score(list(hypotheses), [list(references)])
    chrf_score = chrf.corpus_score(list(hypotheses), [list(references)])
    return Scores(
        bleu_score.score,
        chrf_score.score,
        str(bleu.get_signature()),
        str(chrf.get_signature()),
        len(references),
    )


def by_length(lengths: Sequence[int], budget: int) -> Iterable[list[int]]:
    """Indices grouped, longest first, so that a group's size times its longest length stays within `budget`."""
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    group: list[int] = []
    for index in order:
        if group and (len(group) + 1) * lengths[group[0]] > budget:
            yield group
            group = []
        group.append(index)
    if group:
        yield group
