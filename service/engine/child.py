"""The process of an engine: `python -m service.engine.child FD`, which `service.engine.process` starts."""

from __future__ import annotations

import contextlib
import pickle
import signal
import sys
import threading
from collections.abc import Sequence
from multiprocessing.connection import Connection

from model.errors import ModelError
from service.engine.heap import keep_one_heap
from service.engine.host import EngineHost
from service.engine.loading import open_decoder
from service.engine.process import Ready, Setup
from service.engine.providers import DeviceError
from service.engine.wire import News, Stop
from service.logs import log_to_stdout


def main(arguments: Sequence[str]) -> int:
    """Load what the first message says, then serve until told to stop, or until nobody is there any more."""
    # Ctrl-C and service managers mean the whole group: who started this finishes what was accepted, and says when.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    keep_one_heap()
    connection = Connection(int(arguments[0]))
    try:
        return _serve(connection, connection.recv())
    except (EOFError, OSError):  # who started this is gone
        return 1


def _serve(connection: Connection, setup: Setup) -> int:
    log_to_stdout(setup.log_level, setup.log_formatter)
    try:
        opened = open_decoder(setup.plan)
    except (ModelError, DeviceError) as error:
        connection.send(error)
        return 1
    connection.send(Ready(opened.provider, opened.fallback))
    lock = threading.Lock()

    def say(news: News) -> None:
        data = pickle.dumps(news, pickle.HIGHEST_PROTOCOL)
        with lock, contextlib.suppress(OSError):  # nobody listens: `_take` notices, and ends this
            connection.send_bytes(data)

    host = EngineHost(opened, say)
    threading.Thread(target=_take, args=(connection, host), name="engine-orders", daemon=True).start()
    return 0 if host.join() else 1


def _take(connection: Connection, host: EngineHost) -> None:
    try:
        while True:
            host.take(connection.recv())
    except (EOFError, OSError):
        host.take(Stop(at_once=True))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
