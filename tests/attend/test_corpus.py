"""Corpora: one line in, one line out, in order, whatever the lines are and whenever the work is interrupted."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import os
import random
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attend.corpus.files import open_unpacked, zstd
from attend.corpus.lines import MOST_LINE_BYTES, LineReader, Part, part_of
from attend.corpus.output import Output, Place
from attend.corpus.pipeline import Pace
from attend.corpus.session import Corpus, shards_of, translate_corpus
from attend.errors import AttendError, RequestError, UnavailableError

FAILS = "cannot be translated"


@pytest.fixture(autouse=True, scope="module")
def _nothing_waits_for_the_disk() -> Iterator[None]:
    """No test here cuts the power."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("os.fsync", lambda descriptor: None)
        yield


async def shout(texts: Sequence[str]) -> list[str | AttendError]:
    """A translator that takes its time by chance, and fails at some texts."""
    await asyncio.sleep(0)
    return [RequestError(FAILS) if "☠" in text else f"«{text.upper()}»\n!" for text in texts]


def shouted(text: str) -> str:
    return f"«{text.upper()}» !"


def translated(corpus: Corpus, translate: Any = shout, chunk: int = 3, **wish: Any) -> Place:
    pace = Pace(chunk_lines=chunk, ahead=2, commit_seconds=0)
    return asyncio.run(translate_corpus(corpus, translate, wish, pace, lambda place, size: lambda place: None))


def write(path: Path, content: bytes) -> Path:
    packed = {".gz": gzip.compress, ".zst": zstd.compress}.get(path.suffix, bytes)
    path.write_bytes(packed(content))
    return path


def read(path: Path) -> bytes:
    with open_unpacked(path) as stream:
        return stream.read()


# A line may hold anything but its end; what splits lines elsewhere does not split them here.
line_texts = st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), max_size=12)
raw_lines = st.one_of(
    line_texts.map(str.encode),
    st.sampled_from([b"", b"   ", b"\xff\xfe", b"a\xe2\x80\xa8b", b"a\rb", b"caf\xc3\xa9", "☠".encode()]),
)


@st.composite
def files(draw: st.DrawFn) -> bytes:
    lines = draw(st.lists(st.tuples(raw_lines, st.sampled_from([b"\n", b"\r\n"])), max_size=12))
    last = draw(raw_lines)
    return b"".join(line + end for line, end in lines) + last


def expected_lines(content: bytes) -> tuple[bytes, list[int]]:
    """What comes out of a file of texts, said once more and simply; and the numbers of the lines that fail."""
    written, failed = [], []
    lines = content.split(b"\n")
    for number, line in enumerate(lines, 1):
        is_last = number == len(lines)
        if is_last and not line:
            break
        ending = b"" if is_last else b"\n"
        if not is_last and line.endswith(b"\r"):
            line, ending = line[:-1], b"\r\n"
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        try:
            text = line.decode()
        except UnicodeDecodeError:
            text = "☠"
        if not text.strip():
            written.append(line + ending)
        elif "☠" in text:
            written.append(ending)
            failed.append(number)
        else:
            said = shouted(text).encode().replace(b"\r\n", b" ").replace(b"\r", b" ")
            written.append(said + ending)
    return b"".join(written), failed


@given(content=files(), chunk=st.integers(1, 5), packing=st.sampled_from(["", ".gz", ".zst"]))
@settings(max_examples=50)
def test_one_line_in_one_line_out(content: bytes, chunk: int, packing: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source, output = write(Path(folder, f"in{packing}"), content), Path(folder, f"out{packing}")
        place = translated(Corpus(source=source, output=output), chunk=chunk)
        written, failed = expected_lines(content)
        assert _without_runs(read(output)) == _without_runs(written)
        assert read(output).count(b"\n") == content.count(b"\n")
        errors = Path(folder, f"out{packing}.errors.jsonl")
        told = [json.loads(line) for line in errors.read_bytes().splitlines()] if errors.exists() else []
        assert [each["line"] for each in told] == failed
        assert place.failed == len(failed)
        for each in told:
            assert content[each["start"] - 1 : each["start"]] in (b"", b"\n")
        assert not list(Path(folder).glob("*.partial")) + list(Path(folder).glob("*.journal"))


def _without_runs(content: bytes) -> bytes:
    """Several spaces in a row as one: how breaks within a translation become spaces is not the point."""
    while b"  " in content:
        content = content.replace(b"  ", b" ")
    return content


@given(content=files(), shards=st.integers(1, 5), packing=st.sampled_from(["", ".gz"]))
@settings(max_examples=30)
def test_shards_in_a_row_are_the_whole(content: bytes, shards: int, packing: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source = write(Path(folder, f"in{packing}"), content)
        whole = Path(folder, "whole")
        translated(Corpus(source=source, output=whole))
        parts = []
        for shard in range(1, shards + 1):
            output = Path(folder, f"part{shard}")
            translated(Corpus(source=source, output=output, shard=(shard, shards)))
            parts.append(output.read_bytes())
        assert b"".join(parts) == whole.read_bytes()


class CrashError(BaseException):
    """The process is gone."""


class Fragile(Output):
    """An output whose process ends somewhere within a step, with any part of what it wrote on the disk."""

    chance = random.Random(0)
    steps_left = 0

    @classmethod
    def _step(cls) -> None:
        cls.steps_left -= 1
        if cls.steps_left < 0:
            raise CrashError

    def write(self, content: bytes) -> None:
        if Fragile.steps_left == 0:
            # Half of a chunk, past everything that buffers.
            super().write(content[: self.chance.randrange(len(content) + 1)])
            self._writer.end_member()
        self._step()
        super().write(content)

    def commit(self, place: Place) -> None:
        self._step()
        super().commit(place)

    def finish(self) -> None:
        self._step()
        with pytest.MonkeyPatch.context() as patched:
            if Fragile.steps_left == 1:  # it has its name, and the journal is still there
                patched.setattr(Path, "unlink", lambda *_, **__: self._step() or self._step())
            super().finish()

    def close(self) -> None:
        """A process that is gone tidies nothing up."""
        self._close()


@given(
    content=files(),
    crashes=st.lists(st.integers(0, 8), min_size=1, max_size=6),
    chunk=st.integers(1, 3),
    packing=st.sampled_from(["", ".gz", ".zst"]),
)
@settings(max_examples=50)
def test_whenever_it_crashes_the_result_is_the_same(
    content: bytes, crashes: list[int], chunk: int, packing: str
) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patched:
        source = write(Path(folder, "in"), content)
        whole, output = Path(folder, f"whole{packing}"), Path(folder, f"out{packing}")
        translated(Corpus(source=source, output=whole))
        patched.setattr("attend.corpus.session.Output", Fragile)
        for steps in [*crashes, 10_000]:
            Fragile.steps_left = steps
            try:
                translated(Corpus(source=source, output=output), chunk=chunk)
                break
            except CrashError:
                if output.exists():
                    assert read(output) == read(whole)
                # The system writes what it likes of what was not yet asked to be on the disk.
                partial = Path(folder, f"out{packing}.partial")
                if partial.exists():
                    with partial.open("ab") as torn:
                        torn.write(os.urandom(Fragile.chance.randrange(20)))
        assert read(output) == read(whole)
        errors = [Path(folder, f"{name}{packing}.errors.jsonl") for name in ("whole", "out")]
        told = [each.read_bytes() if each.exists() else b"" for each in errors]
        assert told[0] == told[1]


def test_an_engine_that_is_lost_ends_the_work_and_it_goes_on_later(tmp_path: Path) -> None:
    source, output = write(tmp_path / "in.txt", b"a\nb\nc\nd\ne\nf\ng\n"), tmp_path / "out.txt"
    calls = 0

    async def dying(texts: Sequence[str]) -> list[str | AttendError]:
        nonlocal calls
        calls += 1
        if calls > 2:
            raise UnavailableError("the engines cannot be started again")
        return await shout(texts)

    with pytest.raises(UnavailableError):
        translated(Corpus(source=source, output=output), dying, chunk=2)
    assert not output.exists()
    place = translated(Corpus(source=source, output=output), chunk=2)
    assert place.lines == 7
    assert output.read_text() == "".join(f"{shouted(text)}\n" for text in "abcdefg")


def test_a_text_on_which_a_translator_breaks_fails_alone(tmp_path: Path) -> None:
    async def fussy(texts: Sequence[str]) -> list[str | AttendError]:
        if "b" in texts:
            raise ValueError("b is impossible")
        return await shout(texts)

    source, output = write(tmp_path / "in.txt", b"a\nb\nc\n"), tmp_path / "out.txt"
    assert translated(Corpus(source=source, output=output), fussy, chunk=3).failed == 1
    assert output.read_text() == f"{shouted('a')}\n\n{shouted('c')}\n"
    assert json.loads((tmp_path / "out.txt.errors.jsonl").read_text())["error"] == "b is impossible"


def test_rows_keep_their_columns(tmp_path: Path) -> None:
    rows = "id\ttitle\ttext\n1\tun\tdeux\n2\ttrois\n\n3\t☠\tx\ty\n"
    source, output = write(tmp_path / "in.tsv", rows.encode()), tmp_path / "out.tsv"
    corpus = Corpus(source=source, output=output, columns=("text", "title"), into=("text_en", "title"))
    assert translated(corpus).failed == 2
    assert output.read_text().split("\n") == [
        "id\ttitle\ttext\ttext_en",
        f"1\t{shouted('un')}\tdeux\t{shouted('deux')}",
        "2\t\t\t",
        "",
        "3\t\tx\ty\t",
        "",
    ]
    told = [json.loads(line) for line in (tmp_path / "out.tsv.errors.jsonl").read_text().splitlines()]
    assert [each["line"] for each in told] == [3, 5]


def test_shards_of_rows_have_one_header(tmp_path: Path) -> None:
    rows = "text\tid\n" + "".join(f"mot {number}\t{number}\n" for number in range(20))
    source = write(tmp_path / "in.tsv", rows.encode())
    how: dict[str, Any] = {"source": source, "columns": ("text",), "into": ("text_en",)}
    translated(Corpus(**how, output=tmp_path / "whole"))
    for shard in (1, 2, 3):
        translated(Corpus(**how, output=tmp_path / f"part{shard}", shard=(shard, 3)))
    parts = [(tmp_path / f"part{shard}").read_text() for shard in (1, 2, 3)]
    assert "".join(parts) == (tmp_path / "whole").read_text()
    assert all(part.count("\n") > 2 for part in parts)


def test_rows_without_a_header_have_numbered_columns(tmp_path: Path) -> None:
    source, output = write(tmp_path / "in.tsv", b"1\tun\n2\tdeux\n"), tmp_path / "out.tsv"
    translated(Corpus(source=source, output=output, columns=("2",), into=("x",), has_header=False))
    assert output.read_text() == f"1\tun\t{shouted('un')}\n2\tdeux\t{shouted('deux')}\n"
    for columns, why in ((("text",), "numbers from 1"), ((), "which column")):
        with pytest.raises(RequestError, match=why):
            translated(Corpus(source=source, output=tmp_path / "no", columns=columns, into=columns, has_header=False))
    with pytest.raises(RequestError, match="no column 'text'; there is 1, un"):
        translated(Corpus(source=source, output=tmp_path / "no", columns=("text",), into=("x",)))
    assert not list(tmp_path.glob("no*"))


def test_objects_keep_their_spelling(tmp_path: Path) -> None:
    lines = [
        '{"id": 1e400, "text": "un", "x": {"a" :1.50}}',
        '{"text": ["un", "deux"]}  ',
        '{"text": "un", "text_en": "old"}',
        '{"id": 2}',
        "[1]",
        "{",
        "",
        '{"text": 3}',
        '{"text": "\\ud800"}',
        "[" * 100_000,
    ]
    source, output = write(tmp_path / "in.jsonl", "\n".join(lines).encode()), tmp_path / "out.jsonl"
    assert translated(Corpus(source=source, output=output, columns=("text",), into=("text_en",))).failed == 6
    written = output.read_text().split("\n")
    un, deux = json.dumps(shouted("un").replace(" !", "\n!")), json.dumps(shouted("deux").replace(" !", "\n!"))
    un, deux = (each.encode().decode("unicode_escape").replace("\n", "\\n") for each in (un, deux))
    assert written == [
        f'{{"id": 1e400, "text": "un", "x": {{"a" :1.50}}, "text_en": {un}}}',
        f'{{"text": ["un", "deux"], "text_en": [{un}, {deux}]}}',
        f'{{"text": "un", "text_en": {un}}}',
        '{"id": 2, "text_en": null}',
        "null",
        "null",
        "",
        '{"text": 3, "text_en": null}',
        "null",
        "null",
    ]


def test_a_line_without_end_does_not_fill_the_memory(tmp_path: Path) -> None:
    huge = b"x" * (MOST_LINE_BYTES * 5 // 2)
    source, output = write(tmp_path / "in.txt", b"a\n" + huge + b"\nb\n" + huge), tmp_path / "out.txt"
    place = translated(Corpus(source=source, output=output))
    assert (place.lines, place.failed) == (4, 2)
    assert output.read_text() == f"{shouted('a')}\n\n{shouted('b')}\n"
    reader = LineReader(open_unpacked(source), Part())
    largest = 0
    while reader.read(1):
        largest = max(largest, len(reader._buffer))
    assert largest <= 2 * MOST_LINE_BYTES
    reader._stream.close()


def test_what_was_begun_is_not_gone_on_with_otherwise(tmp_path: Path) -> None:
    source, output = write(tmp_path / "in.txt", b"a\nb\nc\nd\n"), tmp_path / "out.txt"

    async def stopping(texts: Sequence[str]) -> list[str | AttendError]:
        if "c" in texts:
            raise UnavailableError("stopped")
        return await shout(texts)

    def stop() -> None:
        with pytest.raises(UnavailableError):
            translated(Corpus(source=source, output=output), stopping, chunk=2, target="en")

    stop()
    with pytest.raises(RequestError, match="begun with another target"):
        translated(Corpus(source=source, output=output), target="fr")
    with pytest.raises(RequestError, match="begun with another shard"):
        translated(Corpus(source=source, output=output, shard=(1, 2)), target="en")
    os.utime(source, ns=(1, 1))
    with pytest.raises(RequestError, match="begun with another input"):
        translated(Corpus(source=source, output=output), target="en")
    (tmp_path / "out.txt.journal").write_text("{")
    with pytest.raises(RequestError, match="cannot be read"):
        translated(Corpus(source=source, output=output), target="en")
    translated(Corpus(source=source, output=output, overwrite=True), target="en")
    assert output.read_text().count("\n") == 4
    with pytest.raises(RequestError, match="exists; --overwrite"):
        translated(Corpus(source=source, output=output), target="en")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["in.txt", "out.txt"]


def test_only_one_process_writes_a_file(tmp_path: Path) -> None:
    source, output = write(tmp_path / "in.txt", b"a\n"), tmp_path / "out.txt"
    first = Output(output, None, {}, overwrite=False)
    with pytest.raises(RequestError, match="another process writes"):
        translated(Corpus(source=source, output=output))
    first.close()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["in.txt"]


def test_damaged_input_is_one_sentence(tmp_path: Path) -> None:
    for name, packed in (("in.gz", gzip.compress(b"a\n" * 1000)), ("in.zst", zstd.compress(os.urandom(1000)))):
        (tmp_path / name).write_bytes(packed[: len(packed) // 2])
        with pytest.raises(RequestError, match="is damaged"):
            translated(Corpus(source=tmp_path / name, output=tmp_path / "out"))


def test_streams_are_gone_on_with_if_they_begin_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content, output = b"un\ndeux\ntrois\nquatre\ncinq", tmp_path / "out.txt"

    async def stopping(texts: Sequence[str]) -> list[str | AttendError]:
        if "trois" in texts:
            raise UnavailableError("stopped")
        return await shout(texts)

    def piped(given: bytes, translate: Any = shout) -> None:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(given))))  # type: ignore[arg-type]
        translated(Corpus(source=None, output=output), translate, chunk=1)

    with pytest.raises(UnavailableError):
        piped(content, stopping)
    with pytest.raises(RequestError, match="does not begin as it did"):
        piped(b"one" + content[2:])
    piped(content)
    assert output.read_text() == "\n".join(shouted(text) for text in ("un", "deux", "trois", "quatre", "cinq"))


def test_parts_of_a_file_are_found_without_reading_it_all(tmp_path: Path) -> None:
    source = write(tmp_path / "in.txt", b"aaaa\nbb\ncccccc\nd\n")
    found = [part_of(source, shard, 4) for shard in (1, 2, 3, 4)]
    assert [each.start for each in found] == [0, 5, 8, 15]
    assert shards_of("2/8") == (2, 8)
    for wrong in ("0/2", "3/2", "2", "a/b", "/", "-1/2"):
        with pytest.raises(ValueError, match="is no shard"):
            shards_of(wrong)
