"""A process that holds the engines of several bundles: `python -m service.engine.host`, which `hosting` starts.

The socket brings pairs of an engine's number and a message: first a `Setup`, then what `service.engine.loop` reads. It
takes pairs too: what an engine says, and at last `Ended`. Bundles are opened in a thread of their own, while the
engines that are there make their steps, each in its turn.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import logging
import os
import queue
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from service.engine.hosted import Drop, Ended
from service.engine.loop import Channel, ChannelHandler, Teller, _die_with_the_service, _open, _portable
from service.engine.turns import Turns
from service.engine.types import Ready, Request, Setup, Steppable, Stop, Update, Withdraw
from service.heap import keep_one_heap

_log = logging.getLogger("service.engine.host")

_SWITCH_SECONDS = 0.0005
"""Time after which the thread that opens a bundle lets the engines go on."""


class _Hosted:
    """An engine, and what has been said of it."""

    def __init__(self, engine: Steppable) -> None:
        self.engine = engine
        self.is_stopping = False
        self._teller = Teller(engine)

    def take(self, message: object) -> None:
        match message:
            case Request() as request:
                self.engine.add(request)
                self._teller.seen = request.number
            case Withdraw(number):
                self.engine.withdraw(number)
            case Stop():
                self.is_stopping = True

    def step(self) -> Update | None:
        """One step; what is to be said then."""
        return self._teller.update(self.engine.step())


class Opener:
    """Opens bundles one after another, in a thread."""

    def __init__(self, open_engine: Callable[[Setup], tuple[Steppable, Ready]]) -> None:
        self._open_engine = open_engine
        self._wanted: queue.SimpleQueue[tuple[int, Setup]] = queue.SimpleQueue()
        self.opened: queue.SimpleQueue[tuple[int, tuple[Steppable, Ready] | Exception]] = queue.SimpleQueue()
        self.bell, self._ring = socket.socketpair()
        """Can be read when something has been opened."""
        threading.Thread(target=self._run, daemon=True).start()

    def open(self, number: int, setup: Setup) -> None:
        """Open this one too."""
        self._wanted.put((number, setup))

    def _run(self) -> None:
        while True:
            number, setup = self._wanted.get()
            result: tuple[Steppable, Ready] | Exception
            try:
                result = self._open_engine(setup)
            except Exception as error:
                result = _portable(error)
            self.opened.put((number, result))
            self._ring.send(b"!")


class SafeChannel(Channel):
    """A channel whose `send` two threads may call: the one that opens bundles logs."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._lock = threading.Lock()

    def send(self, message: object) -> None:
        """See `Channel.send`."""
        with self._lock:
            super().send(message)


class Host:
    """The engines of one process. Only its main thread calls it."""

    def __init__(self, channel: Channel, opener: Opener, socket_number: int) -> None:
        self._channel = channel
        self._opener = opener
        self._engines: dict[int, _Hosted] = {}
        self._opening: dict[int, list[object]] = {}
        """Messages for engines that are not there yet."""
        self._turns = Turns()
        self._poll = select.poll()
        self._poll.register(socket_number, select.POLLIN)
        self._poll.register(opener.bell.fileno(), select.POLLIN)
        self._bell_number = opener.bell.fileno()

    def serve(self) -> None:
        """Read, step, say, for ever.

        Raises:
            EOFError, OSError: the service is gone.
        """
        while True:
            busy = [number for number, hosted in self._engines.items() if hosted.engine.busy]
            self._read(wait=not busy)
            number = self._turns.next([each for each in busy if each in self._engines])
            if number is not None:
                self._step(number)

    def _read(self, *, wait: bool) -> None:
        ready = self._poll.poll(None if wait else 0)
        while ready:
            for descriptor, _ in ready:
                if descriptor == self._bell_number:
                    self._opener.bell.recv(1)
                    self._note_opened(*self._opener.opened.get())
                else:
                    received: Any = self._channel.receive()
                    self._take(*received)
            ready = self._poll.poll(0)

    def _take(self, number: int, message: object) -> None:
        if isinstance(message, Setup):
            self._opening[number] = []
            self._opener.open(number, message)
        elif isinstance(message, Drop):
            self._end(number, "SIGKILL")
        elif number in self._opening:
            self._opening[number].append(message)
        elif number in self._engines:
            self._engines[number].take(message)
            self._end_if_done(number)

    def _note_opened(self, number: int, result: tuple[Steppable, Ready] | Exception) -> None:
        messages = self._opening.pop(number, None)
        if messages is None:  # dropped meanwhile
            return
        if isinstance(result, Exception):
            self._channel.send((number, result))
            self._channel.send((number, Ended("exit status 1")))
            return
        engine, ready = result
        self._engines[number] = _Hosted(engine)
        self._channel.send((number, ready))
        for message in messages:
            self._take(number, message)

    def _step(self, number: int) -> None:
        hosted = self._engines[number]
        began = time.monotonic()
        try:
            update = hosted.step()
        except Exception:
            _log.critical("an engine has stopped", exc_info=True)
            self._end(number, "exit status 1")
            return
        self._turns.note(number, time.monotonic() - began)
        if update is not None:
            self._channel.send((number, update))
        self._end_if_done(number)

    def _end_if_done(self, number: int) -> None:
        hosted = self._engines[number]
        if hosted.is_stopping and not hosted.engine.busy:
            self._end(number, "exit status 0")

    def _end(self, number: int, how: str) -> None:
        was_here = self._opening.pop(number, None) is not None or self._engines.pop(number, None) is not None
        self._turns.forget(number)
        _free()
        if was_here:
            self._channel.send((number, Ended(how)))


def _free() -> None:
    """Give what an engine held back to the system."""
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)


def main(
    open_engine: Callable[[Setup], tuple[Steppable, Ready]] = _open, imports: str = "service.engine.decoder.opening"
) -> int:
    """Hold engines until the service is gone. `imports`: what opening an engine needs."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _die_with_the_service()
    keep_one_heap(for_arrays=True)
    sys.setswitchinterval(_SWITCH_SECONDS)
    descriptor = os.dup(sys.stdin.fileno())
    channel = SafeChannel(Connection(descriptor))
    try:
        setup = channel.receive()
        assert isinstance(setup, Setup)
        handler = ChannelHandler(channel)
        handler.setFormatter(logging.Formatter())
        logging.basicConfig(level=setup.log_level, handlers=[handler], force=True)
        importlib.import_module(imports)
        gc.freeze()  # what was imported stays: it need not be looked through again
        Host(channel, Opener(open_engine), descriptor).serve()
    except (EOFError, OSError):  # the service is gone
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
