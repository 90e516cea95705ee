"""An engine in a thread of this process, driven by the same loop as one in a process of its own."""

from __future__ import annotations

import asyncio
import os
import queue
import threading
from collections.abc import Callable
from typing import Any

from service.engine.link import Link, Said, StartLink
from service.engine.loop import serve
from service.engine.types import Message, Ready, Setup, Steppable

OpenEngine = Callable[[Setup], Steppable]


class _Channel:
    """The engine's end."""

    def __init__(self, say: Callable[[Any], None]) -> None:
        self.messages: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._say = say
        self._next: list[Message | None] = []

    def has_message(self, *, wait: bool) -> bool:
        if not self._next:
            try:
                self._next.append(self.messages.get(block=wait))
            except queue.Empty:
                return False
        return True

    def receive(self) -> Message:
        message = self._next.pop()
        if message is None:
            raise EOFError
        return message

    def send(self, message: object) -> None:
        self._say(message)


class ThreadLink:
    """A `Link` to an engine in a thread."""

    pid = os.getpid()

    def __init__(
        self, setup: Setup, on_said: Callable[[Said], None], on_end: Callable[[str], None], open_engine: OpenEngine
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_end = on_end
        self._has_ended = False
        self._channel = _Channel(lambda said: self._call(on_said, said))
        self._thread = threading.Thread(target=self._run, args=(setup, open_engine), daemon=True)
        self._thread.start()

    def _run(self, setup: Setup, open_engine: OpenEngine) -> None:
        try:
            engine = open_engine(setup)
        except Exception as error:
            self._channel.send(error)
        else:
            self._channel.send(Ready("CPUExecutionProvider"))
            try:
                serve(self._channel, engine)  # type: ignore[arg-type]
            except EOFError:
                pass
            except Exception as error:
                self._call(self._end, f"it failed: {error}")
                return
        self._call(self._end, "exit status 0")

    def _call(self, tell: Callable[..., None], what: object) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._told, tell, what)

    def _told(self, tell: Callable[..., None], what: object) -> None:
        if not self._has_ended:
            tell(what)

    def _end(self, how: str) -> None:
        if not self._has_ended:
            self._has_ended = True
            self._on_end(how)

    def send(self, message: Message) -> None:
        self._channel.messages.put(message)

    def kill(self) -> None:
        self._channel.messages.put(None)
        self._loop.call_soon(self._end, "SIGKILL")

    def cpu_seconds(self) -> float | None:
        return None


def in_thread(open_engine: OpenEngine) -> StartLink:
    """Starts engines in threads."""

    def start(setup: Setup, on_said: Callable[[Said], None], on_end: Callable[[str], None]) -> Link:
        return ThreadLink(setup, on_said, on_end, open_engine)

    return start
