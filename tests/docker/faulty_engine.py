"""The process of an engine in which one sentence's step fails when SIGUSR1 comes; `faulty_service` starts it."""

from __future__ import annotations

import signal
import sys
from typing import Any

from service.engine import loop
from service.engine.decoder import opening
from service.engine.decoder.slots import Slots

broken: list[bool] = []


class FaultySlots(Slots):
    """Fails as long as the sentence to blame may be any of several, and once when it is alone."""

    def step(self, num_candidates: int) -> Any:
        """One token for every row, or an error."""
        if broken:
            if self.count == 1:
                broken.clear()
            raise RuntimeError("a step was told to fail")
        return super().step(num_candidates)


def main() -> int:
    """As the real process, with steps that can fail."""
    signal.signal(signal.SIGUSR1, lambda number, frame: broken.append(True))
    opening.Slots = FaultySlots  # type: ignore[misc]
    return loop.main()


if __name__ == "__main__":
    sys.exit(main())
