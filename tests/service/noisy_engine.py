"""The process of an engine that logs much, and whose steps fail as long as a long sentence is in them."""

from __future__ import annotations

import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

from service.engine import loop
from service.engine.decoder import runtime
from service.engine.decoder.slots import Slots
from service.engine.types import Ready, Setup, Steppable

LINES, LENGTH = 8, 20_000
"""Far more than a pipe takes at once."""
LONG = 25
"""Source tokens of a sentence that fails."""

_open = loop._open


class FailingSlots(Slots):
    """Fails because of long sentences."""

    def step(self, num_candidates: int) -> Any:
        """One token for every row, or an error."""
        if self._source_lengths[: self.count].max() >= LONG:
            raise RuntimeError("a step was told to fail")
        return super().step(num_candidates)


def _wait_for_the_other() -> None:
    """Until two engines are about to write."""
    folder = Path(os.environ["NOISY_FOLDER"])
    (folder / str(os.getpid())).touch()
    while len(list(folder.iterdir())) < 2:
        time.sleep(0.001)


def open_noisily(setup: Setup) -> tuple[Steppable, Ready]:
    """Open the engine, and log lines that say where they end."""
    runtime.Slots = FailingSlots  # type: ignore[misc]
    _wait_for_the_other()
    for number in range(LINES):
        # As a native library does, past all of Python; and a line that is longer than any.
        os.write(2, b"%s native %d\n" % (b"y" * 3000, number))
        logging.getLogger("noise").warning("%s end %d", "x" * LENGTH, number)
    os.write(1, b"z" * LENGTH)
    return _open(setup)


if __name__ == "__main__":
    loop._open = open_noisily
    sys.exit(loop.main())
