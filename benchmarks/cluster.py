"""A discrete-event simulation of replicas behind a balancer: `python -m benchmarks.scaling` asks it questions.

A replica is a processor that all its sentences share. How many it finishes in a second with n of them running follows
Gunther's Universal Scalability Law without its coherency term (Guerrilla Capacity Planning, 2007, chapter 4),
X(n) = a n / (1 + s (n - 1)): one alone is finished at the rate a, many together at a / s. Running sentences all
advance alike, as rows of one batch do, so one number a replica, how far each has come, replaces a number a sentence.
"""

from __future__ import annotations

import collections
import dataclasses
import heapq
import itertools
import random
from collections.abc import Callable, Sequence


@dataclasses.dataclass(frozen=True)
class Machine:
    """What one replica can do."""

    alone: float
    """Sentences a second with one running."""
    contention: float
    """s of the law: 0 would be twice as many for twice as many running, 1 no more than one alone."""
    rows: int = 256
    beam: int = 4
    queue_tokens: int = 8192
    tokens: float = 13.0
    """Source tokens of a sentence."""
    start: float = 10.0
    """Seconds from the wish for a replica to its first sentence."""

    def rate(self, running: int) -> float:
        """Sentences a second with so many running."""
        return self.alone * running / (1 + self.contention * (running - 1)) if running else 0.0

    @property
    def most(self) -> float:
        """Sentences a second with as many running as rows allow."""
        return self.rate(self.rows // self.beam)

    @property
    def waiting(self) -> int:
        """Sentences that may wait."""
        return int(self.queue_tokens / self.tokens)


@dataclasses.dataclass(slots=True)
class Sentence:
    """A sentence on its way."""

    came: float
    work: float
    """Relative to the mean sentence."""
    attempts: int = 0


class Replica:
    """One replica. `on_change` is called with the time of its next finished sentence whenever that changes."""

    def __init__(self, machine: Machine, now: float) -> None:
        self.machine = machine
        self.queue: collections.deque[Sentence] = collections.deque()
        self.version = 0
        self.draining = False
        self.busy = 0.0
        self._running: list[tuple[float, int, Sentence]] = []
        self._numbers = itertools.count()
        self._virtual = 0.0
        self._clock = now

    @property
    def running(self) -> int:
        """Sentences that run."""
        return len(self._running)

    @property
    def load(self) -> int:
        """Sentences that run or wait."""
        return len(self._running) + len(self.queue)

    def advance(self, now: float) -> None:
        """Let time pass. One sentence keeps half of the two engines busy, two or more all of them."""
        count = len(self._running)
        if count:
            self._virtual += (now - self._clock) * self.machine.rate(count) / count
            self.busy += (now - self._clock) * min(1.0, count / 2)
        self._clock = now

    def take(self, sentence: Sentence, now: float) -> bool:
        """Start it, let it wait, or refuse it."""
        self.advance(now)
        if len(self._running) < self.machine.rows // self.machine.beam:
            self._start(sentence)
        elif len(self.queue) < self.machine.waiting:
            self.queue.append(sentence)
        else:
            return False
        return True

    def next_finish(self) -> float | None:
        """When the next sentence is finished if nothing changes until then."""
        if not self._running:
            return None
        pace = self.machine.rate(len(self._running)) / len(self._running)
        return self._clock + max(0.0, self._running[0][0] - self._virtual) / pace

    def finish(self, now: float) -> Sentence:
        """The sentence that is finished now; one that waited takes its place."""
        self.advance(now)
        done = heapq.heappop(self._running)[2]
        if self.queue:
            self._start(self.queue.popleft())
        return done

    def abandon(self) -> list[Sentence]:
        """What it had when it died."""
        left = [entry[2] for entry in self._running] + list(self.queue)
        self._running.clear()
        self.queue.clear()
        return left

    def _start(self, sentence: Sentence) -> None:
        heapq.heappush(self._running, (self._virtual + sentence.work, next(self._numbers), sentence))


@dataclasses.dataclass
class Counts:
    """What became of the sentences."""

    came: int = 0
    refused: int = 0
    retried: int = 0
    lost: int = 0
    answers: list[tuple[float, float]] = dataclasses.field(default_factory=list)
    """When each was answered, and after how many seconds."""
    replicas: list[tuple[float, int]] = dataclasses.field(default_factory=list)
    """How many there were, ready or starting, from when on."""

    def replica_seconds(self, end: float) -> float:
        """Seconds of all replicas together."""
        ends = [time for time, _ in self.replicas[1:]] + [end]
        return sum(count * (after - time) for (time, count), after in zip(self.replicas, ends, strict=True))


class Cluster:
    """Replicas, a balancer, and time."""

    def __init__(self, machine: Machine, works: Sequence[float], choices: int = 2, seed: int = 0) -> None:
        """`choices`: the balancer sends to the least busy of so many at random; 1 is what kube-proxy does."""
        self.machine, self.choices = machine, choices
        self.ready: list[Replica] = []
        self.starting = 0
        self.now = 0.0
        self.counts = Counts()
        self.chance = random.Random(seed)
        self._mean = sum(works) / len(works)
        self._works = works
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def at(self, time: float, action: Callable[[], None]) -> None:
        """Do something then."""
        heapq.heappush(self._events, (time, next(self._numbers), action))

    def run(self, end: float) -> Counts:
        """Until then, or until nothing is left to happen."""
        while self._events and self._events[0][0] <= end:
            self.now, _, action = heapq.heappop(self._events)
            action()
        return self.counts

    def arrivals(self, rate: Callable[[float], float], highest: float, end: float) -> None:
        """Sentences at random moments, `rate` of the time many a second and never more than `highest`."""

        def come() -> None:
            if self.chance.random() * highest < rate(self.now):
                self.counts.came += 1
                self.send(Sentence(self.now, self.chance.choice(self._works) / self._mean))
            if self.now < end:
                self.at(self.now + self.chance.expovariate(highest), come)

        self.at(self.chance.expovariate(highest), come)

    def send(self, sentence: Sentence) -> None:
        """To a replica; one that is full passes it on to another, twice, as `docker/haproxy.cfg` has it."""
        for _ in range(3):
            if not self.ready:
                break
            replica = min((self.chance.choice(self.ready) for _ in range(self.choices)), key=lambda each: each.load)
            if replica.take(sentence, self.now):
                return self._expect(replica)
        self.counts.refused += 1
        return None

    def add(self, count: int = 1, delay: float | None = None) -> None:
        """Start replicas."""
        for _ in range(count):
            self.starting += 1
            self.at(self.now + (self.machine.start if delay is None else delay), self._become_ready)
        self._note()

    def drain(self, replica: Replica) -> None:
        """Send nothing more there; it ends when it has finished what it has."""
        replica.draining = True
        self.ready.remove(replica)
        self._note()

    def kill(self, replica: Replica, retry: bool = True) -> None:
        """Its sentences are tried elsewhere, or lost."""
        self.ready.remove(replica)
        replica.version += 1
        for sentence in replica.abandon():
            if retry and sentence.attempts < 3:
                sentence.attempts += 1
                self.counts.retried += 1
                self.send(sentence)
            else:
                self.counts.lost += 1
        self._note()

    @property
    def size(self) -> int:
        """Replicas that are ready or starting."""
        return len(self.ready) + self.starting

    def _become_ready(self) -> None:
        self.starting -= 1
        self.ready.append(Replica(self.machine, self.now))

    def _expect(self, replica: Replica) -> None:
        replica.version += 1
        version, time = replica.version, replica.next_finish()
        if time is not None:
            self.at(time, lambda: self._finish(replica, version))

    def _finish(self, replica: Replica, version: int) -> None:
        if version == replica.version:
            done = replica.finish(self.now)
            self.counts.answers.append((self.now, self.now - done.came))
            self._expect(replica)

    def _note(self) -> None:
        self.counts.replicas.append((self.now, self.size))
