"""Does this bundle, on this machine, still say what it said where it was made?"""

from __future__ import annotations

from model.bundle import Manifest, SelfTest, SpecialIds
from model.errors import BundleError
from service.engine.core import Decoder
from service.engine.search import BeamGroup
from service.engine.types import Hypothesis, SearchOptions

TOLERANCE = 0.5
"""Largest difference of a sentence's log-probability. int8 was seen to differ by 0.03 with the shipped model."""


def check_self_tests(decoder: Decoder, manifest: Manifest) -> None:
    """Translate the sentences of the manifest and compare.

    Raises:
        BundleError: other tokens, or another log-probability; one sentence for a person.
    """
    for test in manifest.self_tests:
        found = _translate(decoder, test, manifest.limits.target_tokens, manifest.special_ids)
        if found is None or found.target_ids != test.target_ids or not abs(found.log_prob - test.log_prob) <= TOLERANCE:
            raise BundleError(
                f"{manifest.name}: the self-test of this bundle fails, it gives {_shown(found)} instead of "
                f"{_shown(test)}: this machine does not compute what the one did that made the bundle"
            )


def _translate(decoder: Decoder, test: SelfTest, max_output_tokens: int, special: SpecialIds) -> Hypothesis | None:
    """The greedy translation; None if there were no usable scores."""
    group: BeamGroup[None] = BeamGroup(decoder.open_slots(1), 1, special)
    options = SearchOptions(max_output_tokens=max_output_tokens, silent_prefix=test.target_prefix)
    group.join([None], [options], decoder.encode([test.source_ids]))
    while group.rows:
        result = group.step()
        if result.finished:
            return result.finished[0][1][0]
    return None


def _shown(found: Hypothesis | SelfTest | None) -> str:
    return "nothing" if found is None else f"tokens {list(found.target_ids)} with log-probability {found.log_prob:.2f}"
