"""An engine as its fleet sees it: messages go in, news come out, wherever it runs."""

from __future__ import annotations

import dataclasses
import functools
import threading
from collections.abc import Callable
from concurrent.futures import Future

from service.engine.jobs import DeadlineError, EngineClosedError, Hypothesis, Job, Ticket
from service.engine.records import EngineReport
from service.engine.running import Decoder
from service.engine.scheduler import Capacity
from service.engine.wire import Answer, Failure, Message, News, Submission, Waiting, Withdrawal
from service.engine.worker import IterationEngine


@dataclasses.dataclass(frozen=True, slots=True)
class Opened:
    """A decoder that is ready to work."""

    decoder: Decoder
    capacity: Capacity
    provider: str
    """What ONNX Runtime really runs on, e.g. `CPUExecutionProvider`."""
    fallback: str | None = None
    """Why it does not run on CUDA, if that was wanted."""
    device_memory: Callable[[], int] | None = None
    """Bytes in use on the device; None on the CPU."""


@dataclasses.dataclass(slots=True)
class _Submitted:
    ticket: Ticket
    left: int
    """Jobs without an end."""


class EngineHost:
    """Runs one decoder as messages ask, and says what becomes of it."""

    def __init__(self, opened: Opened, say: Callable[[News], None]) -> None:
        """`say` is called from the engine's thread and from those that call `take`."""
        self._say = say
        self._device_memory = opened.device_memory
        self._lock = threading.Lock()
        self._seen = 0
        self._submissions: dict[int, _Submitted] = {}
        self._answers: list[Answer] = []
        self._engine = IterationEngine(opened.decoder, opened.capacity, self._report, self._turn)
        self._engine.start()

    def take(self, message: Message) -> None:
        """Do what a message asks; returns at once."""
        if isinstance(message, Submission):
            self._submit(message)
        elif isinstance(message, Withdrawal):
            with self._lock:
                known = self._submissions.get(message.number)
            if known is not None:
                self._engine.withdraw(known.ticket)
        else:
            self._engine.stop(at_once=message.at_once)

    def join(self) -> bool:
        """Wait for the end of the engine; returns whether it was asked to, and did not fail."""
        self._engine.join()
        return not self._engine.has_failed

    def _submit(self, message: Submission) -> None:
        jobs = [Job(source_ids, options) for source_ids, options in message.jobs]
        ticket = Ticket(message.deadline)
        with self._lock:
            self._submissions[message.number] = _Submitted(ticket, len(jobs))
        for place, job in enumerate(jobs):
            job.times.submitted = message.submitted
            job.future.add_done_callback(functools.partial(self._answer, message.number, place, job))
        try:
            self._engine.submit(jobs, ticket, message.lane)
        except EngineClosedError as error:
            for job in jobs:
                job.future.set_exception(error)
            self._tell()
        self._seen = max(self._seen, message.number)  # of two at once, either may come first

    def _answer(self, number: int, place: int, job: Job, future: Future[tuple[Hypothesis, ...]]) -> None:
        times = job.times
        with self._lock:
            self._answers.append(Answer(number, place, _result(future), times.started, times.encoded, times.finished))
            self._submissions[number].left -= 1
            if not self._submissions[number].left:
                del self._submissions[number]

    def _report(self, report: EngineReport) -> None:
        self._tell(report, self._device_memory() if self._device_memory else None)

    def _turn(self, admitted: bool) -> None:
        """One message for what a step has ended, not one a sentence: each wakes the fleet."""
        if admitted or self._answers:
            self._tell()

    def _tell(self, report: EngineReport | None = None, device_bytes: int | None = None) -> None:
        with self._lock:
            answers, self._answers = self._answers, []
        waiting = tuple(Waiting(lane, *of_lane) for lane, of_lane in self._engine.waiting().items())
        self._say(News(self._seen, waiting, self._engine.has_failed, answers, report, device_bytes))


class LocalLink:
    """A `Link` to an engine in this process."""

    pid = None

    def __init__(self, opened: Opened) -> None:
        self._opened = opened
        self._host: EngineHost | None = None
        self._thread: threading.Thread | None = None

    def listen(self, note: Callable[[News], None], ended: Callable[[str], None]) -> None:
        """See `Link.listen`."""
        self._host = host = EngineHost(self._opened, note)

        def watch() -> None:
            ended("it has stopped" if host.join() else "it has failed")

        self._thread = threading.Thread(target=watch, name="engine-end", daemon=True)
        self._thread.start()

    def send(self, message: Message) -> None:
        """See `Link.send`."""
        assert self._host is not None
        self._host.take(message)

    def join(self) -> None:
        """See `Link.join`."""
        assert self._thread is not None
        self._thread.join()

    def kill(self) -> None:
        """See `Link.kill`: nothing runs yet."""


def _result(future: Future[tuple[Hypothesis, ...]]) -> tuple[Hypothesis, ...] | Failure:
    if future.cancelled():
        return Failure("cancelled", "")
    error = future.exception()
    if error is None:
        return future.result()
    if isinstance(error, DeadlineError):
        return Failure("deadline", str(error))
    return Failure("closed" if isinstance(error, EngineClosedError) else "error", str(error))
