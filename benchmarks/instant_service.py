"""The service with an engine that answers at once, with the source as its translation: what HTTP and text cost alone.

ATTEND_PORT=N python -m benchmarks.instant_service
"""

from __future__ import annotations

import sys
import time
import types
from collections.abc import Callable, Sequence
from typing import Any

from service.app import create_app
from service.engine.bundle import Bundle
from service.engine.jobs import Watcher
from service.engine.loading import LoadedEngine
from service.engine.types import Answer, EngineConfig, Hypothesis, Job, Observers, Ready, Times
from service.logs import configure_logging
from service.server import Server
from service.settings import load_settings


class InstantPool:
    """A pool without an engine."""

    async def run(self, jobs: Sequence[Job], *, watcher: Watcher | None = None, **how: Any) -> list[Answer]:
        now = time.monotonic()
        answers = [Answer(1, place, _echo(job), None, Times(now, now, now, now)) for place, job in enumerate(jobs)]
        for place, answer in enumerate(answers):
            if watcher is not None:
                watcher.note_answer(place, answer)
        return answers

    def check_room(self, fewest_tokens: int, most_tokens: int) -> None:
        pass

    def waiting_tokens(self) -> int:
        return 0

    def running_rows(self) -> int:
        return 0

    @property
    def processes(self) -> Any:
        return types.SimpleNamespace(pids=list)

    def is_ready(self) -> bool:
        return True

    async def close(self) -> None:
        pass

    def abort(self) -> None:
        pass


def _echo(job: Job) -> tuple[Hypothesis, ...]:
    echoed = job.source_ids[1:-1]
    each = (-1.0 / (len(echoed) + 1),) * (len(echoed) + 1)
    return (Hypothesis(echoed, -1.0, -0.1, "eos", each),)


async def load_without_engine(
    config: EngineConfig, observers: Observers, on_failure: Callable[[], None]
) -> LoadedEngine:
    """What the service loads, with its engines taken out."""
    bundle = Bundle.read(config.directory)
    pool: Any = InstantPool()
    return LoadedEngine(bundle.manifest, bundle.vocabulary, pool, pool, Ready("CPUExecutionProvider"))


def main() -> int:
    settings = load_settings()
    configure_logging(settings.log_level, settings.log_format)
    app = create_app(settings, load_without_engine)
    Server(app, app.state.service, settings).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
