"""The service with an engine that answers at once, with the source as its translation: what HTTP and text cost alone.

ATTEND_PORT=N python -m benchmarks.instant_service
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from service.app import create_app, load_bundle
from service.engine.loading import LoadedEngine
from service.engine.types import Hypothesis, Job, Ticket
from service.logs import configure_logging
from service.server import Server
from service.settings import load_settings


class InstantEngine:
    """An `Engine` without a model."""

    def submit(self, jobs: Sequence[Job], ticket: Ticket | None = None, *, bounded: bool = True) -> None:
        if ticket is not None:
            ticket.queued = True
        now = time.monotonic()
        for job in jobs:
            job.times.submitted = job.times.started = job.times.encoded = job.times.finished = now
            job.future.set_running_or_notify_cancel()
            echoed = job.source_ids[1:-1]
            each = (-1.0 / (len(echoed) + 1),) * (len(echoed) + 1)
            job.future.set_result((Hypothesis(echoed, -1.0, -0.1, "eos", each),))

    def check_room(self, fewest_tokens: int, most_tokens: int) -> None:
        pass

    def withdraw(self, ticket: Ticket) -> None:
        ticket.withdrawn = True

    def waiting_tokens(self) -> int:
        return 0

    def is_alive(self) -> bool:
        return True

    def close(self) -> None:
        pass

    def abort(self) -> None:
        pass


def load_without_engine(bundle: Path, /, **named: Any) -> LoadedEngine:
    """What the service loads, with its engine taken out."""
    loaded = load_bundle(bundle, **named)
    loaded.engine.close()
    return dataclasses.replace(loaded, engine=InstantEngine())


def main() -> int:
    settings = load_settings()
    configure_logging(settings.log_level, settings.log_format)
    app = create_app(settings, load_without_engine)
    Server(app, app.state.service, settings).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
