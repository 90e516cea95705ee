"""The service with engines that fail a sentence when SIGUSR1 comes: `python -m tests.docker.faulty_service`."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable

from service.app import create_app
from service.engine.link import ProcessLink
from service.engine.loading import LoadedEngine, load_engine
from service.engine.types import EngineConfig, Observers
from service.logs import configure_logging
from service.server import Server
from service.settings import load_settings


class FaultyLink(ProcessLink):
    """A link to an engine that can be told to fail."""

    program = "tests.docker.faulty_engine"


async def load(config: EngineConfig, observers: Observers, on_failure: Callable[[], None]) -> LoadedEngine:
    """As `load_engine`; SIGUSR1 is passed on to the engines."""
    loaded = await load_engine(config, observers, on_failure, FaultyLink)

    def break_a_step() -> None:
        for pid in loaded.pool.processes.pids():
            os.kill(pid, signal.SIGUSR1)

    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, break_a_step)
    return loaded


def main() -> None:
    """Serve until a signal comes."""
    settings = load_settings()
    configure_logging("critical", "text")
    app = create_app(settings, load)
    Server(app, app.state.service, settings).run()


if __name__ == "__main__":
    sys.exit(main())
