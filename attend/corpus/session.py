"""One corpus from a file or a stream to a file or a stream: what is opened, and from where the work goes on."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Literal

from attend.corpus.files import DAMAGE, open_unpacked, seek, unpacked_bytes, unpacked_name
from attend.corpus.lines import MOST_LINE_BYTES, LineReader, Part, part_of
from attend.corpus.output import Output, Place, StandardOutput
from attend.corpus.pipeline import BYTE_ORDER_MARK, Pace, Translate, run
from attend.corpus.records import Format, JsonLines, Lines, Rows
from attend.errors import RequestError

Kind = Literal["lines", "tsv", "jsonl"]
_KINDS: Mapping[str, Kind] = {".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl"}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """What is to be translated, and where to."""

    source: Path | None
    """None: standard input."""
    output: Path | None
    """None: standard output."""
    kind: Kind | None = None
    """What lines are; None: by the ending of the input's name, texts if it says nothing."""
    columns: Sequence[str] = ()
    into: Sequence[str] = ()
    """For each of `columns` the name of the column of its translations."""
    has_header: bool = True
    """Of TSV: the first line names the columns."""
    shard: tuple[int, int] = (1, 1)
    """Which of how many, from 1."""
    errors: Path | None = None
    overwrite: bool = False

    @property
    def format(self) -> Format:
        """What lines are.

        Raises:
            RequestError: the columns do not belong to it.
        """
        kind = self.kind or (_KINDS.get(unpacked_name(self.source).suffix.lower()) if self.source else None) or "lines"
        if kind == "lines":
            if self.columns:
                raise RequestError("plain lines have no columns; --as tsv or --as jsonl says that there are some")
            return Lines()
        if not self.columns:
            raise RequestError(f"which column is to be translated? --column says it, for {kind} has several")
        if kind == "jsonl":
            return JsonLines(self.columns, self.into)
        return Rows(self.columns, self.into, has_header=self.has_header)


async def translate_corpus(
    corpus: Corpus,
    translate: Translate,
    wish: Mapping[str, Any],
    pace: Pace,
    begin: Callable[[Place, int | None], Callable[[Place], None]],
) -> Place:
    """Translate a corpus, or what an earlier call left of it; returns how far it came.

    Args:
        corpus: what and where to.
        translate: translates texts.
        wish: all that decides what a translation is.
        pace: how much at once.
        begin: is called with the place where the work begins and the bytes of the input, if they are known; returns
            what is called after every chunk.

    Raises:
        RequestError: it cannot be begun, or not be gone on with.
        UnavailableError: nothing can be translated any more; the same call goes on later.
        OSError: a file cannot be read or written.
    """
    try:
        return await _translated(corpus, translate, wish, pace, begin)
    except DAMAGE as error:
        raise RequestError(f"{corpus.source or 'standard input'} is damaged: {error}") from error


async def _translated(
    corpus: Corpus,
    translate: Translate,
    wish: Mapping[str, Any],
    pace: Pace,
    begin: Callable[[Place, int | None], Callable[[Place], None]],
) -> Place:
    format = corpus.format
    part = Part() if corpus.source is None else part_of(corpus.source, *corpus.shard)
    if corpus.source is None and corpus.shard[1] > 1:
        raise RequestError("a stream cannot be divided into shards; name a file")
    with contextlib.ExitStack() as stack:
        stream = _opened(corpus.source, stack)
        if corpus.source is not None:
            _read_header(corpus.source, format)
        target = _target(corpus, wish)
        stack.callback(target.close)
        if target.place.is_complete:
            target.finish()
            return target.place
        start = target.place.input or part.start
        reader = LineReader(stream, Part(start, part.stop), is_live=corpus.source is None)
        if corpus.source is None:
            _skip_live(stream, reader, target.place, format)
        else:
            seek(stream, start)
        note = begin(dataclasses.replace(target.place, input=start), _end_of(corpus.source, part))
        await run(reader, format, translate, target, pace, note)
        return target.place


def _opened(source: Path | None, stack: contextlib.ExitStack) -> BinaryIO:
    return sys.stdin.buffer if source is None else stack.enter_context(open_unpacked(source))


def _target(corpus: Corpus, wish: Mapping[str, Any]) -> Output | StandardOutput:
    if corpus.output is None:
        return StandardOutput(sys.stdout.buffer, sys.stderr.buffer)
    whole = {
        **wish,
        "input": None if corpus.source is None else _identity(corpus.source),
        "shard": list(corpus.shard),
        "format": [type(corpus.format).__name__, list(corpus.columns), list(corpus.into), corpus.has_header],
    }
    return Output(corpus.output, corpus.errors, whole, overwrite=corpus.overwrite)


def _identity(path: Path) -> list[int]:
    """What changes when a file does."""
    found = path.stat()
    return [found.st_size, found.st_mtime_ns]


def _end_of(source: Path | None, part: Part) -> int | None:
    """Bytes of the unpacked input up to where the part ends."""
    if source is None:
        return None
    return unpacked_bytes(source) if part.stop is None else part.stop


def _read_header(source: Path, format: Format) -> None:
    """Let the format see the first line, wherever the work begins."""
    with open_unpacked(source) as stream:
        _see_first_line(stream.readline(MOST_LINE_BYTES), format)


def _see_first_line(line: bytes, format: Format) -> None:
    if line:
        format.header(line.rstrip(b"\r\n").removeprefix(BYTE_ORDER_MARK))


def _skip_live(stream: BinaryIO, reader: LineReader, place: Place, format: Format) -> None:
    """Read what an earlier call had from such a stream.

    Raises:
        RequestError: it was something else.
    """
    head = bytearray()

    def see(content: bytes) -> None:
        reader.see(content)
        if len(head) < MOST_LINE_BYTES:
            head.extend(content)

    seek(stream, place.input, see)
    if place.input:
        _see_first_line(bytes(head).partition(b"\n")[0], format)
        if reader.digest != place.digest:
            raise RequestError("the input does not begin as it did when this output was begun; --overwrite begins anew")


def shards_of(text: str) -> tuple[int, int]:
    """`2/8` as which of how many.

    Raises:
        ValueError: it is no such thing.
    """
    shard, slash, shards = text.partition("/")
    if not (slash and shard.isdecimal() and shards.isdecimal() and 1 <= int(shard) <= int(shards)):
        raise ValueError(f"{text} is no shard; 2/8 is the second of eight")
    return int(shard), int(shards)
