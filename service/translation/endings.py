"""Was the end of a sentence left out? An aligner tells from which of its pieces the translation may come.

The evidence is that of `service.engine.hmm`, for bundles whose directions are aligned by it. What counts as left out
was chosen on translations by people, whole and without their last clause: docs/quality.md has the rates.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from service.arrays import Array
    from service.text.edits import Span

FEWEST_TOKENS, FEWEST_UNMARKED_TOKENS = 14, 24
"""Of a sentence whose end is looked at: one with marks between its clauses, and one without."""
FEWEST_OF_END, OF_UNMARKED_END = 6, 10
"""Pieces of words that are the end of a sentence, if its last clause has not more."""
LEAST_COVERED, LEAST_COVERED_UNMARKED = 0.2, 0.1
"""Share of the end that the translation must come from, as the mean of its pieces: of the last clause, and of the end
of a sentence that has no marks between clauses."""

_STOPS = ".!?…。！？ "
# Marks between clauses; plain commas and colons before a space, "3,000" and "19:45" are numbers.
_MARK = re.compile(r"[;，；：、—]|[,:](?=\s)")


def may_be_left_out(source: str, tokens: int, target: str) -> bool:
    """Whether it is worth asking an aligner: a translation with as many clauses as its source has the last one, too."""
    if tokens < FEWEST_TOKENS:
        return False
    marks = len(_MARK.findall(source))
    return len(_MARK.findall(target)) < marks if marks else tokens >= FEWEST_UNMARKED_TOKENS


def is_left_out(source: str, spans: Sequence[Span], evidence: Array) -> bool:
    """Whether hardly anything of a translation comes from the end of the sentence.

    Args:
        source: the sentence.
        spans: of its pieces.
        evidence: [target pieces, source pieces], how likely two are linked.
    """
    words = [index for index, span in enumerate(spans) if any(map(str.isalnum, source[slice(*span)]))]
    last = max((match.end() for match in _MARK.finditer(source.rstrip(_STOPS))), default=None)
    size = OF_UNMARKED_END if last is None else sum(spans[index][1] > last for index in words)
    end = words[-max(size, FEWEST_OF_END) :]
    least = LEAST_COVERED_UNMARKED if last is None else LEAST_COVERED
    return bool(end) and bool(evidence.sum(axis=0).clip(max=1)[end].mean() < least)
