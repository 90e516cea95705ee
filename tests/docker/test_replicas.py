"""Three replicas behind HAProxy with `docker/haproxy.cfg`: one is killed, one stopped, one added, and every request is
answered.

Each step waits for requests to be answered, not for time to pass.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from asyncio.subprocess import Process
from collections.abc import AsyncIterator

from benchmarks.raw_http import Reply, exchange, get, hang_up_after, metrics, post
from model.corpus import read_lines
from tests.docker.support import ROOT, free_port, program, ready, running, service, until

CLIENTS = 6
SENTENCES = 3
BETWEEN = 40
"""Requests answered between two events."""
OK = 'attend_requests_total{endpoint="translate",outcome="ok"}'
CANCELLED = 'attend_requests_total{endpoint="translate",outcome="cancelled"}'


class Load:
    """Clients that ask again as soon as they were answered, and keep what they were answered."""

    def __init__(self, port: int) -> None:
        lines = [line for line in read_lines(ROOT / "benchmarks/everyday.fr.gz") if line]
        chance = random.Random(1)
        texts = [chance.sample(lines, SENTENCES) for _ in range(20)]
        self._requests = [post({"q": text, "source": "fr", "target": "en"}) for text in texts]
        self._port = port
        self._over = False
        self.replies: list[tuple[int, Reply]] = []

    async def __aenter__(self) -> Load:
        self._tasks = [asyncio.create_task(self._ask(first)) for first in range(CLIENTS)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._over = True
        await asyncio.gather(*self._tasks)

    async def more(self, count: int = BETWEEN) -> None:
        """Wait until so many further requests have been answered."""
        goal = len(self.replies) + count

        async def reached() -> bool:
            return len(self.replies) >= goal

        await until(reached)

    async def _ask(self, first: int) -> None:
        for number in itertools.count(first):
            if self._over:
                return
            which = number % len(self._requests)
            self.replies.append((which, await exchange(self._port, self._requests[which])))

    def failed(self) -> list[tuple[int, bytes]]:
        """Status and body of what was not answered with translations."""
        return [(reply.status, reply.body[:200]) for _, reply in self.replies if not is_good(reply)]

    def differing(self) -> set[int]:
        """Requests that were not always answered alike."""
        answers: dict[int, set[str]] = {}
        for which, reply in self.replies:
            if reply.status == 200:
                answers.setdefault(which, set()).add(str(reply.json()["translatedText"]))
        return {which for which, texts in answers.items() if len(texts) > 1}


def is_good(reply: Reply) -> bool:
    return reply.status == 200 and len(reply.json()["translatedText"]) == SENTENCES


@contextlib.asynccontextmanager
async def haproxy(binary: str, replicas: list[int]) -> AsyncIterator[tuple[int, int]]:
    """The proxy in front of these ports; its own, and that of its status page."""
    front, status = free_port(), free_port()
    addresses = {f"REPLICA_{number}": f"127.0.0.1:{port}" for number, port in enumerate(replicas, start=1)}
    bound = {"FRONT": f"127.0.0.1:{front}", "STATUS": f"127.0.0.1:{status}"}
    async with running(binary, "-db", "-f", str(ROOT / "docker/haproxy.cfg"), **addresses, **bound) as process:
        yield front, status
        process.terminate()
        await process.wait()


async def up(status: int) -> int:
    """How many replicas the proxy believes in."""
    lines = (await exchange(status, get("/metrics"))).body.decode().splitlines()
    marked = 'haproxy_server_status{proxy="replicas",server="replica'
    return sum(line.startswith(marked) and 'state="UP"} 1' in line for line in lines)


async def count(name: str, ports: list[int]) -> list[float]:
    """A metric of each replica."""
    return [(await metrics(port))[name] for port in ports]


def test_no_request_fails_when_a_replica_is_killed_another_stopped_and_one_added() -> None:
    async def scenario() -> None:
        binary = program("haproxy", "haproxy")
        ports = [free_port() for _ in range(4)]
        async with contextlib.AsyncExitStack() as stack:
            replicas = [await stack.enter_async_context(service(port)) for port in ports[:3]]
            front, status = await stack.enter_async_context(haproxy(binary, ports))
            await asyncio.gather(*map(ready, ports[:3]))
            await until(lambda: are_up(status, 3))
            async with Load(front) as load:
                await load.more()
                assert all(await count(OK, ports[:3]))
                await kill(replicas[0], load)
                await stop(replicas[1], load)
                await until(lambda: are_up(status, 1))
                await stack.enter_async_context(service(ports[3]))
                await ready(ports[3])
                await until(lambda: are_up(status, 2))
                await load.more()
                assert all(await count(OK, ports[2:]))
            assert load.failed() == []
            assert load.differing() == set()
            assert len(load.replies) >= 4 * BETWEEN
            await leave(front, ports[2:])

    asyncio.run(scenario())


def test_a_translated_file_is_fetched_through_the_proxy() -> None:
    """Each replica keeps its own files, so the caller has to come back to the one that has it."""

    async def scenario() -> None:
        binary = program("haproxy", "haproxy")
        ports = [free_port() for _ in range(4)]
        async with contextlib.AsyncExitStack() as stack:
            for port in ports[:2]:
                await stack.enter_async_context(service(port))
            front, status = await stack.enter_async_context(haproxy(binary, ports))
            await asyncio.gather(*map(ready, ports[:2]))
            await until(lambda: are_up(status, 2))
            for number in range(4):
                address = (await exchange(front, upload(f"{number}.\nLe chat dort."))).json()["translatedFileUrl"]
                # The proxy hands on by what name it was called.
                assert address.startswith("http://front.example/download_file/")
                path = address.removeprefix("http://front.example")
                reply = await exchange(front, get(path))
                assert (reply.status, reply.body.decode().partition(".\n")[0]) == (200, str(number))
            kept = [(await exchange(port, get(path))).status for port in ports[:2]]
            assert sorted(kept) == [200, 404]

    asyncio.run(scenario())


def upload(text: str) -> bytes:
    """A request of a file to translate, as a form."""
    parts = {"source": "fr", "target": "en", 'file"; filename="a.txt': text}
    body = "".join(
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in parts.items()
    )
    content = f"{body}--b--\r\n".encode()
    lines = ("POST /translate_file HTTP/1.1", "Host: front.example", "Connection: close",
             "Content-Type: multipart/form-data; boundary=b", f"Content-Length: {len(content)}", "", "")  # fmt: skip
    return "\r\n".join(lines).encode() + content


async def are_up(status: int, count: int) -> bool:
    return await up(status) == count


async def kill(replica: Process, load: Load) -> None:
    """As a machine that goes away: what it was doing has to be done elsewhere."""
    replica.kill()
    await replica.wait()
    await load.more()


async def stop(replica: Process, load: Load) -> None:
    """As an upgrade does: what it was doing it finishes."""
    replica.terminate()
    await load.more()
    assert await asyncio.wait_for(replica.wait(), 30) == 0


async def leave(front: int, ports: list[int]) -> None:
    """A client that hangs up on the proxy has hung up on the replica."""
    document = post({"q": ["Il fait beau aujourd'hui, n'est-ce pas ?"] * 500, "source": "fr", "target": "en"})
    before = sum(await count(CANCELLED, ports))
    await hang_up_after(front, document, 0.3)

    async def counted() -> bool:
        return sum(await count(CANCELLED, ports)) == before + 1

    await until(counted)
