"""The process of an engine in which sentences fail when SIGUSR1 comes; `faulty_service` starts it."""

from __future__ import annotations

import signal
import sys
from collections.abc import Mapping
from typing import Any

from service.arrays import Array
from service.engine import loop
from service.engine.decoder import runtime
from service.engine.decoder.slots import Slots

SENTENCES = 12
"""So many fail for a signal: alerts look at the share of requests."""
to_fail: list[None] = []


class FaultySlots(Slots):
    """Fails as long as the sentence to blame may be any of several, and once more when it is alone."""

    _is_trial = False

    def join(self, memory: Mapping[str, Array]) -> None:
        """As `Slots.join`. The engine's own trial sentence, which is nothing but an end token, never fails."""
        self._is_trial = memory["source_mask"].sum() == 1
        super().join(memory)

    def step(self, num_candidates: int) -> Any:
        """One token for every row, or an error."""
        if to_fail and not self._is_trial:
            if self.count == 1:
                to_fail.pop()
            raise RuntimeError("a step was told to fail")
        return super().step(num_candidates)


def main() -> int:
    """As the real process, with steps that can fail."""
    signal.signal(signal.SIGUSR1, lambda number, frame: to_fail.extend([None] * SENTENCES))
    runtime.Slots = FaultySlots  # type: ignore[misc]
    return loop.main()


if __name__ == "__main__":
    sys.exit(main())
