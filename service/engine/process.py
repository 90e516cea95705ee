"""An engine in a process of its own, seen from this one.

Python's lock lets one thread run at a time: an engine beside HTTP, or beside another, waits for it (docs/decisions.md).
`service/engine/child.py` is the other end.
"""

from __future__ import annotations

import logging
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

from service.engine.providers import Device
from service.engine.wire import Message, News
from service.logs import logging_in_use

_log = logging.getLogger(__name__)

_ROOT = Path(__file__).parents[2]
_STOP_SECONDS = 10.0
"""How long a process may take to end once it has nothing left to do."""


class EnginePlan(NamedTuple):
    """What an engine runs, and how."""

    directory: Path
    device: Device
    threads: int
    max_rows: int
    cuda_graphs: bool


class Setup(NamedTuple):
    """The first message to a process: its engine, and how it logs."""

    plan: EnginePlan
    log_level: int
    log_formatter: logging.Formatter | None


class Ready(NamedTuple):
    """Its answer: the bundle is loaded and has passed its self-tests."""

    provider: str
    fallback: str | None


class EngineProcess:
    """A `Link` to an engine in a process of its own."""

    def __init__(self, plan: EnginePlan) -> None:
        """Start it; it loads while this goes on."""
        ours, theirs = socket.socketpair()
        with theirs:
            path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
            self._process = subprocess.Popen(
                [sys.executable, "-m", "service.engine.child", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": path},
            )
        self._connection = Connection(ours.detach())
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._send(Setup(plan, *logging_in_use()))

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def wait(self) -> Ready:
        """Wait until it is ready.

        Raises:
            BundleError, VocabularyError, DeviceError: as loading the bundle here would.
            RuntimeError: it ended without a word.
        """
        try:
            said: Ready | Exception = self._connection.recv()
        except (EOFError, OSError):
            raise RuntimeError(f"an engine's process ended before it was ready: {self._end()}") from None
        if isinstance(said, Exception):
            raise said
        return said

    def listen(self, note: Callable[[News], None], ended: Callable[[str], None]) -> None:
        """See `Link.listen`."""
        self._thread = threading.Thread(target=self._listen, args=(note, ended), name="engine-news", daemon=True)
        self._thread.start()

    def _listen(self, note: Callable[[News], None], ended: Callable[[str], None]) -> None:
        try:
            while True:
                note(self._connection.recv())
        except (EOFError, OSError):
            pass
        except Exception as error:  # nobody would listen any more, and nobody may wait for ever
            _log.critical("what an engine says cannot be dealt with", exc_info=error)
            self._process.kill()
        ended(self._end())

    def send(self, message: Message) -> None:
        """See `Link.send`."""
        self._send(message)

    def _send(self, message: object) -> None:
        data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
        try:
            with self._lock:
                self._connection.send_bytes(data)
        except OSError:
            pass  # it has ended; who listens is told

    def join(self) -> None:
        """See `Link.join`."""
        assert self._thread is not None
        self._thread.join()

    def kill(self) -> None:
        """See `Link.kill`."""
        self._process.kill()
        self._end()

    def _end(self) -> str:
        """How it ended, once it has."""
        try:
            status = self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        self._connection.close()
        return f"exit status {status}" if status >= 0 else signal.Signals(-status).name
