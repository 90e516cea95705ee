"""Engines of several bundles in processes that they share."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from model.errors import BundleError
from service.engine.hosting import HostLink, Hosts
from service.engine.loading import SILENT
from service.engine.pool import Pool
from service.engine.scheduler import Bounds
from service.engine.types import Answer, EngineConfig, EngineKind, Job, SearchOptions, Setup
from tests.engine.fakes import TableDecoder
from tests.engine.test_pool import Watching

CONFIG = EngineConfig(directory=Path("/none"), hang_seconds=60)
JOB = Job((1, 4, 5), SearchOptions(beam_size=2, max_output_tokens=6))
LONG = Job((1, 4, 5), SearchOptions(beam_size=1, max_output_tokens=7, min_output_tokens=7))


class TableHost(HostLink):
    program = "tests.engine.table_host"


class Killer:
    """Kills a process when the first answer of a request has come."""

    def __init__(self, pid: int) -> None:
        self.answers = 0
        self._pid = pid

    def note_answer(self, place: int, answer: Answer) -> None:
        self.answers += 1
        if self.answers == 1:
            os.kill(self._pid, signal.SIGKILL)

    def note_partial(self, place: int, target_ids: Sequence[int]) -> None:
        pass


@contextlib.asynccontextmanager
async def hosts(count: int = 2) -> AsyncIterator[tuple[Hosts, Callable[[Path | str], Pool]]]:
    """Processes, and what makes a pool of engines in them."""
    shared = Hosts(count, TableHost)
    pools = []

    def pool(directory: Path | str) -> Pool:
        setup = Setup(EngineKind.DECODE, dataclasses.replace(CONFIG, directory=Path(directory)), 30)
        pools.append(Pool(setup, count, Bounds(512), SILENT.pool, shared.links()))
        return pools[-1]

    try:
        yield shared, pool
    finally:
        for each in pools:
            each.abort()
            await each.close()
        await shared.close()


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(120):
            await scenario()

    asyncio.run(bounded())


def best(answers: list[Answer]) -> list[tuple[int, ...]]:
    return [answer.result[0].target_ids for answer in answers]


def test_bundles_share_processes_and_each_answers_for_itself() -> None:
    async def scenario() -> None:
        async with hosts() as (shared, pool):
            first, second = pool("table-1"), pool("table-2")
            await asyncio.gather(first.start(), second.start())
            assert sorted(first.processes.pids()) == sorted(second.processes.pids()) == sorted(shared.pids())
            assert len(set(shared.pids())) == 2
            mine, other = await asyncio.gather(first.run([JOB] * 20), second.run([JOB] * 20))
            assert len(set(best(mine))) == len(set(best(other))) == 1
            for answers, seed in ((mine, 1), (other, 2)):
                decoder, ids = TableDecoder(seed=seed), best(answers)[0]
                assert (
                    answers[0].result[0].log_prob == pytest.approx(decoder.log_prob(1, (*ids, 3)[:6]), abs=1e-4) or ids
                )
            await first.close()
            assert best(await second.run([JOB])) == best(other)[:1]
            assert [len(host.engines) for host in shared._hosts[EngineKind.DECODE] if host] == [1, 1]
            third = pool("table-1")
            await third.start()
            assert best(await third.run([JOB])) == best(mine)[:1]

    run(scenario)


def test_what_is_certain_of_a_streamed_sentence_is_told() -> None:
    async def scenario() -> None:
        async with hosts(1) as (_, pool):
            engine, watcher = pool("table-1"), Watching()
            (answer,) = await engine.run([dataclasses.replace(LONG, streams=True)], watcher=watcher)
            *certain, last = watcher.said
            assert last == (0, "answered")
            assert certain
            for place, ids in certain:
                assert (place, ids) == (0, answer.result[0].target_ids[: len(ids)])

    run(scenario)


def test_a_bundle_that_cannot_be_opened_harms_no_other() -> None:
    async def scenario() -> None:
        async with hosts() as (shared, pool):
            good = pool("table-1")
            await good.start()
            before, pids = best(await good.run([JOB])), shared.pids()
            with pytest.raises(BundleError, match="the self-test of this bundle fails"):
                await pool("broken").start()
            assert best(await good.run([JOB])) == before
            assert shared.pids() == pids

    run(scenario)


def test_one_busy_bundle_does_not_starve_another() -> None:
    async def scenario() -> None:
        async with hosts(1) as (_, pool):
            busy, other = pool("table-1"), pool("table-2")
            await asyncio.gather(busy.start(), other.start())
            crowd = asyncio.create_task(busy.run([LONG] * 3000))
            while not busy.running_rows() and not crowd.done():
                await asyncio.sleep(0.001)
            for _ in range(3):
                await other.run([JOB])
            assert not crowd.done()
            assert len(await crowd) == 3000

    run(scenario)


def test_a_process_killed_while_it_opens_a_bundle_costs_no_request(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with hosts(1) as (shared, pool):
            good = pool("table-1")
            await good.start()
            before = best(await good.run([JOB]))
            slow = pool(tmp_path / "slow")
            opening = asyncio.create_task(slow.start())
            while not (tmp_path / "slow").exists():
                await asyncio.sleep(0.001)
            [doomed] = shared.pids()
            killer = Killer(doomed)
            assert len(await good.run([LONG] * 200, watcher=killer)) == 200
            assert killer.answers == 200
            assert doomed not in shared.pids()
            await opening
            assert best(await good.run([JOB])) == before
            assert len(await slow.run([JOB])) == 1

    run(scenario)
