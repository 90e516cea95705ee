"""The process of an engine: `python -m service.engine.loop`, which `service.engine.link` starts.

Standard input is a socket to the service. It brings a `Setup`, then requests; it takes a `Ready` (or the exception that
kept the engine from starting), then updates and log records.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import logging.handlers
import os
import pickle
import select
import signal
import sys
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection

from service.engine.types import Answer, EngineKind, Message, Ready, Request, Setup, Steppable, Stop, Update, Withdraw
from service.heap import keep_one_heap

_log = logging.getLogger("service.engine.loop")

PARTIAL_SECONDS = 0.05
"""Time between two updates of what is certain of sentences that are streamed."""
REPORT_SECONDS = 0.25
"""Longest time between two updates while there is work."""


class Channel:
    """The engine's end of the socket. Only the engine's thread uses it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._poll = select.poll()
        self._poll.register(connection.fileno(), select.POLLIN)

    def has_message(self, *, wait: bool) -> bool:
        """Whether there is something to receive."""
        # Not `Connection.poll`, which makes a selector for every call and takes ten times as long.
        return bool(self._poll.poll(None if wait else 0))

    def receive(self) -> Message | Setup:
        """The next message.

        Raises:
            EOFError, OSError: the service is gone.
        """
        message: Message | Setup = pickle.loads(self._connection.recv_bytes())  # between processes of ours  # nosec B301
        return message

    def send(self, message: object) -> None:
        """Say something to the service."""
        self._connection.send_bytes(pickle.dumps(message, pickle.HIGHEST_PROTOCOL))


class ChannelHandler(logging.handlers.QueueHandler):
    """Logs through the service: lines of several processes in one pipe would get into each other."""

    def __init__(self, channel: Channel) -> None:
        super().__init__(channel)  # type: ignore[arg-type]  # it only needs what `enqueue` needs

    def enqueue(self, record: logging.LogRecord) -> None:
        """Send the record, whose arguments and exception `prepare` has made text."""
        self.queue.send(record)  # type: ignore[attr-defined]


def main() -> int:
    """Load what the first message says, then serve until told to stop, or until the service is gone."""
    # Ctrl-C and service managers mean the whole group: the service finishes what was accepted, and says when.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _die_with_the_service()
    keep_one_heap(for_arrays=True)
    channel = Channel(Connection(os.dup(sys.stdin.fileno())))
    try:
        setup = channel.receive()
    except (EOFError, OSError):
        return 1
    assert isinstance(setup, Setup)
    handler = ChannelHandler(channel)
    handler.setFormatter(logging.Formatter())  # the service has the form of its lines
    logging.basicConfig(level=setup.log_level, handlers=[handler], force=True)
    try:
        engine, ready = _open(setup)
    except Exception as error:
        channel.send(_portable(error))
        return 1
    gc.freeze()  # what was loaded stays: it need not be looked through again
    channel.send(ready)
    try:
        serve(channel, engine)
    except (EOFError, OSError):  # the service is gone
        return 1
    except Exception:
        _log.critical("the engine has stopped", exc_info=True)
        return 1
    return 0


_PR_SET_PDEATHSIG = 1


def _die_with_the_service() -> None:
    """On Linux, be killed when the service ends, whatever this process does then: one that is stopped reads nothing."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _open(setup: Setup) -> tuple[Steppable, Ready]:
    # Imported where a failure is told to the service; standard error may be read by nobody.
    from service.engine.decoder.opening import open_engine, open_scoring_engine

    return open_engine(setup.config) if setup.kind is EngineKind.DECODE else open_scoring_engine(setup.config)


def _portable(error: Exception) -> Exception:
    """The error, or one that says the same if it cannot be sent."""
    try:
        pickle.loads(pickle.dumps(error))  # between processes of ours  # nosec B301
        return error
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")


def serve(channel: Channel, engine: Steppable) -> None:
    """Poll, step, send.

    Raises:
        EOFError, OSError: the service is gone.
    """
    teller, is_stopping = Teller(engine), False
    while engine.busy or not is_stopping:
        while channel.has_message(wait=not (engine.busy or is_stopping)):
            match channel.receive():
                case Request() as request:
                    engine.add(request)
                    teller.seen = request.number
                case Withdraw(number):
                    engine.withdraw(number)
                case Stop():
                    is_stopping = True
                    break
        update = teller.update(engine.step())
        if update is not None:
            channel.send(update)


class Teller:
    """What is to be said of an engine's steps, and when."""

    def __init__(self, engine: Steppable) -> None:
        self.seen = 0
        """The number of the last request that was added."""
        self._engine = engine
        self._said, self._reported, self._told = engine.waiting(), 0.0, 0.0

    def update(self, answers: Sequence[Answer]) -> Update | None:
        """What is to be said after a step that had these answers; None: nothing yet."""
        engine, now = self._engine, time.monotonic()
        partials = engine.partials() if now - self._told > PARTIAL_SECONDS else ()
        if partials:
            self._told = now
        waiting = engine.waiting()
        is_due = now - self._reported > REPORT_SECONDS or not engine.busy
        if not (answers or partials or is_due or waiting != self._said):
            return None
        self._said, self._reported = waiting, now if is_due else self._reported
        return Update(self.seen, waiting, answers, engine.report() if is_due else None, partials)


if __name__ == "__main__":
    sys.exit(main())
