"""Reads, translates and writes at the same time: some chunks are under way, the first of them is written next."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, NamedTuple, Protocol

from attend.corpus.lines import MOST_LINE_BYTES, Line, LineReader
from attend.corpus.output import Place
from attend.corpus.records import Format, Record, RecordError
from attend.errors import AttendError, RequestError, UnavailableError

Translate = Callable[[Sequence[str]], Awaitable[Sequence[str | AttendError]]]
"""Translates texts; the error of one that cannot be translated is in its place."""
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Target(Protocol):
    """Where lines are written."""

    place: Place

    def write(self, content: bytes) -> None:
        """Write lines."""

    def write_error(self, error: dict[str, Any]) -> None:
        """Write down what happened to a line."""

    def commit(self, place: Place) -> None:
        """From here the work goes on if it is interrupted."""

    def finish(self) -> None:
        """All is written."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How much is done at once, and how often it is made sure of."""

    chunk_lines: int = 1024
    ahead: int = 3
    """Chunks under way beside the one that is written next."""
    commit_seconds: float = 1.0


class _Done(NamedTuple):
    """What is written for a line, with its end, and what is wrong with it."""

    written: bytes
    error: str | None


class _Chunk(NamedTuple):
    lines: Sequence[Line]
    digest: str | None
    done: asyncio.Task[list[_Done]]


async def run(
    reader: LineReader,
    format: Format,
    translate: Translate,
    target: Target,
    pace: Pace,
    note: Callable[[Place], None],
) -> None:
    """Translate what is left of an input. Cancelling it, or a failure, leaves the target where it can be gone on with.

    Args:
        reader: stands at the target's place.
        format: what lines are.
        translate: translates texts; raises `UnavailableError` if there is no use in going on.
        target: where lines go.
        pace: how much at once.
        note: is called with the place after every chunk.

    Raises:
        UnavailableError: nothing can be translated any more.
    """
    place = target.place
    committed, is_whole = time.monotonic(), True
    try:
        async with contextlib.aclosing(_under_way(reader, format, translate, pace)) as chunks:
            async for chunk in chunks:
                is_whole = False
                place = _written(target, place, chunk)
                is_whole = True
                note(place)
                if reader.is_live or time.monotonic() - committed >= pace.commit_seconds:
                    target.commit(place)
                    committed = time.monotonic()
    finally:
        if is_whole:  # else a chunk may be half written, and is cut off when the work goes on
            target.commit(place)
    target.finish()


def _written(target: Target, place: Place, chunk: _Chunk) -> Place:
    """Write a chunk that is done; returns the place behind it."""
    failed = place.failed
    done = chunk.done.result()
    target.write(b"".join(each.written for each in done))
    for number, (line, each) in enumerate(zip(chunk.lines, done, strict=True), place.lines + 1):
        if each.error is not None:
            failed += 1
            target.write_error({"line": number, "start": line.start, "error": each.error})
    lines = place.lines + len(done)
    return dataclasses.replace(place, lines=lines, failed=failed, input=chunk.lines[-1].end, digest=chunk.digest)


async def _under_way(
    reader: LineReader, format: Format, translate: Translate, pace: Pace
) -> AsyncGenerator[_Chunk, None]:
    """Chunks in order, each when it is done, while the next ones are read and translated."""
    queue: asyncio.Queue[_Chunk | None] = asyncio.Queue(pace.ahead)
    tasks: set[asyncio.Task[Any]] = set()

    async def read() -> None:
        try:
            async for lines, digest in _read_chunks(reader, pace.chunk_lines):
                task = asyncio.create_task(_translated(lines, format, translate))
                tasks.add(task)
                await queue.put(_Chunk(lines, digest, task))
        finally:
            await queue.put(None)

    reading = asyncio.create_task(read())
    try:
        while (chunk := await queue.get()) is not None:
            await asyncio.wait([chunk.done])
            tasks.discard(chunk.done)
            yield chunk
        await reading
    finally:
        for task in (reading, *tasks):
            task.cancel()
        while not queue.empty():
            queue.get_nowait()
        await asyncio.gather(reading, *tasks, return_exceptions=True)


async def _read_chunks(reader: LineReader, most_lines: int) -> AsyncIterator[tuple[Sequence[Line], str | None]]:
    """Chunks of lines, each with the digest of all up to its end."""
    if not reader.is_live:
        while lines := await asyncio.to_thread(reader.read, most_lines):
            yield lines, None
        return
    # Nobody can interrupt a thread that waits for somebody to type; a daemon does not keep the process alive.
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[tuple[Sequence[Line], str | None]] = asyncio.Queue()
    # One chunk for whoever waits, one ahead.
    room = threading.Semaphore(2)

    def pump() -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            lines: Sequence[Line] = [Line(b"", b"", 0, 0)]
            while lines:
                room.acquire()
                lines = reader.read(most_lines)
                loop.call_soon_threadsafe(queue.put_nowait, (lines, reader.digest))

    threading.Thread(target=pump, name="attend-reader", daemon=True).start()
    while (chunk := await queue.get())[0]:
        room.release()
        yield chunk


async def _translated(lines: Sequence[Line], format: Format, translate: Translate) -> list[_Done]:
    """What is written for each line."""
    records = [_read(line, format) for line in lines]
    # What occurs several times is translated once.
    texts = list(dict.fromkeys(text for each in records if isinstance(each, Record) for text in each.texts))
    said = dict(zip(texts, await _each(texts, translate), strict=True)) if texts else {}
    return [_finished(line, each, said, format) for line, each in zip(lines, records, strict=True)]


def _read(line: Line, format: Format) -> Record | bytes | str:
    """A record, or what is written for a line that names columns, or what is wrong with it."""
    if line.content is None:
        return f"is longer than {MOST_LINE_BYTES} bytes"
    try:
        if line.start:
            return format.read(line.content)
        content = line.content.removeprefix(BYTE_ORDER_MARK)
        header = format.header(content)
        return format.read(content) if header is None else header
    except RecordError as error:
        return str(error)


def _finished(line: Line, record: Record | bytes | str, said: dict[str, str | AttendError], format: Format) -> _Done:
    if isinstance(record, bytes):
        return _Done(record + line.ending, None)
    if isinstance(record, str):
        return _Done(format.failed(line.content) + line.ending, record)
    translations = []
    for text in record.texts:
        found = said[text]
        if isinstance(found, AttendError):
            return _Done(format.failed(line.content) + line.ending, str(found))
        translations.append(found)
    return _Done(record.written(translations) + line.ending, None)


async def _each(texts: Sequence[str], translate: Translate) -> Sequence[str | AttendError]:
    """The translations of texts. One with which something goes wrong leaves the others alone."""
    try:
        found = await translate(texts)
    except UnavailableError:
        raise
    except Exception as error:
        if len(texts) == 1:
            return [RequestError(str(error) or type(error).__name__)]
        middle = len(texts) // 2
        return [*await _each(texts[:middle], translate), *await _each(texts[middle:], translate)]
    for each in found:
        if isinstance(each, UnavailableError):
            raise each
    return found
