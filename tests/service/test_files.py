"""Files: what is no text stays as it was, byte for byte; where they wait, for how long, and for whom."""

from __future__ import annotations

import asyncio
import io
import itertools
import re
import threading
import time
from pathlib import Path
from typing import Any

import docx
import httpx
import polib
import pytest
from fastapi import FastAPI
from hypothesis import given, settings
from hypothesis import strategies as st

from service.engine.types import Hypothesis, Job
from service.errors import InvalidRequestError, NotFoundError, UnavailableError
from service.files.formats import FORMATS, FileOptions, TranslatableFile, read_file
from service.files.store import FileStore
from tests.service.fakes import FakeLoader, ask, echo, make_app, running

SRT = (
    "\ufeff1\r\n00:00:01,000 --> 00:00:02,500\r\nThe cat <i>sleeps</i>\r\nin the garden.\r\n\r\n"
    "2\r\n00:00:03,000 --> 00:00:04,000 X1:40 X2:600\r\n- Who is there?\r\n- The dog.\r\n\r\n\r\n"
    "3\r\n00:00:05,000 --> 00:00:06,000\r\n{\\an8}♪ La la ♪\r\n"
)
VTT = (
    "WEBVTT - A film\n\nSTYLE\n::cue { color: red }\n\nNOTE this is no text\n\nintro\n"
    "00:01.000 --> 00:02.000 align:start line:0%\n<v Anna>Good morning.\n\n00:03.000 --> 00:04.000\nHello\nworld\n"
)
PO = """# A translator's comment
msgid ""
msgstr ""
"Content-Type: text/plain; charset=UTF-8\\n"
"Plural-Forms: nplurals=3; plural=n%3;\\n"

#. for the button
#: window.c:12
#, c-format
msgctxt "verb"
msgid "Open %s"
msgstr ""

msgid "Done"
msgstr "Fini"

msgid "%d cat"
msgid_plural "%d cats"
msgstr[0] ""
msgstr[1] ""
msgstr[2] ""

#~ msgid "Old"
#~ msgstr "Vieux"
"""
FILES = {"a.srt": SRT, "b.VTT": VTT, "c.po": PO, "d.txt": "Title\n\n  The cat sleeps.  \n"}


def parsed(name: str, source: str) -> TranslatableFile:
    return read_file(name, source.encode(), FileOptions())


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_file_with_its_own_texts_in_it_is_the_file_it_was(name: str, encoding: str) -> None:
    content = FILES[name].lstrip("\ufeff").encode(encoding)
    file = read_file(name, content, FileOptions())
    # A catalogue has a place of its own for translations.
    translations = [""] * len(file.texts) if name == "c.po" else file.texts
    if name.endswith((".srt", ".VTT")):
        assert file.written(file.texts, "en") == content
    assert file.written(translations, "en") == content


def test_the_texts_of_subtitles() -> None:
    assert parsed("a.srt", SRT).texts == [
        "The cat", "sleeps", "in the garden.", "- Who is there?", "- The dog.", "♪ La la ♪",
    ]  # fmt: skip
    assert parsed("b.vtt", VTT).texts == ["Good morning.", "Hello world"]


def test_lines_of_a_cue_are_translated_together_and_broken_again() -> None:
    file = parsed("x.srt", "1\n00:00:01,000 --> 00:00:02,000\nI went to\nthe small house.\n\n")
    assert file.texts == ["I went to the small house."]
    written = file.written(["Je suis allé à la petite maison."], "fr").decode()
    assert written == "1\n00:00:01,000 --> 00:00:02,000\nJe suis allé à la\npetite maison.\n\n"
    file = parsed("x.srt", "1\n00:00:01,000 --> 00:00:02,000\n今天天气\n很好。\n")
    assert file.texts == ["今天天气很好。"]
    assert file.written(["Hi"], "en").decode().endswith("\nHi\n")


TIMES = re.compile(r"^00:00:0.*$", re.MULTILINE)
CUES = st.lists(
    st.lists(
        st.text("abc é我.-<i>{}", min_size=1, max_size=12).filter(lambda line: line.strip()), min_size=1, max_size=3
    ),
    max_size=5,
)


@settings(max_examples=150, deadline=None)
@given(cues=CUES, line_break=st.sampled_from(["\n", "\r\n"]), junk=st.text("x1:->\n", max_size=20))
def test_whatever_is_written_in_cues_only_texts_change(cues: list[list[str]], line_break: str, junk: str) -> None:
    blocks = [
        f"{n}{line_break}00:00:0{n},000 --> 00:00:0{n},500{line_break}" + line_break.join(cue)
        for n, cue in enumerate(cues)
    ]
    source = (line_break * 2).join([*blocks, junk, "end"])
    file = parsed("x.srt", source)
    same = file.written(file.texts, "en").decode()
    # Where a cue was broken in another place than where lines are equally long, it may be broken there now.
    assert re.sub(r"\s+", "", same) == re.sub(r"\s+", "", source)
    assert TIMES.findall(same) == TIMES.findall(source)
    letters = [re.sub("<[^<>]*>", "", line_break.join(cue)) for cue in cues]
    assert len(file.texts) >= sum(any(map(str.isalpha, cue)) for cue in letters)


@settings(max_examples=150, deadline=None)
@given(texts=st.lists(st.text(min_size=1, max_size=40), max_size=5), translation=st.text(max_size=40))
def test_any_text_goes_through_a_catalogue(texts: list[str], translation: str) -> None:
    unique = list(dict.fromkeys(texts))
    catalogue = polib.POFile(wrapwidth=0)
    catalogue.extend(polib.POEntry(msgid=text, msgctxt=str(n)) for n, text in enumerate(unique))
    file = parsed("x.po", str(catalogue))
    # polib reads what it writes only where there is no separator of lines in it, and no character of control.
    assert file.texts == unique
    written = file.written([translation] * len(unique), "fr").decode()
    again = parsed("x.po", written)
    assert again.texts == ([] if translation else unique)


def test_a_catalogue_gets_what_it_lacks() -> None:
    file = parsed("c.po", PO)
    assert file.texts == ["Open %s", "%d cat", "%d cats"]
    written = file.written(["Ouvrir %s", "%d chat", "%d chats"], "fr").decode()
    entries = {entry.msgid: entry for entry in polib.pofile(written)}
    assert entries["Open %s"].msgstr == "Ouvrir %s"
    assert (entries["Open %s"].msgctxt, entries["Open %s"].flags, entries["Open %s"].comment) == (
        "verb",
        ["c-format"],
        "for the button",
    )
    assert entries["Done"].msgstr == "Fini"
    assert entries["%d cat"].msgstr_plural == {0: "%d chat", 1: "%d chats", 2: "%d chats"}
    kept = [line for line in PO.splitlines() if "msgstr" not in line]
    assert [line for line in written.splitlines() if "msgstr" not in line] == kept


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.pdf", b"x", "file format not supported"), ("a", b"x", "file format not supported"),
        ("a.txt", b"", "empty file"), ("a.srt", b" \n", "empty file"), ("a.txt", b"\xff\x00\xe9", "neither UTF-8 nor"),
        ("a.txt", b"caf\xe9", "neither UTF-8 nor"), ("a.po", b'msgid "a"\nmsgstr oops', "no gettext catalogue: line 2"),
        ("a.po", b'msgid "a"\nmsgstr "b', "no gettext catalogue: line 2"),
        ("a.po", b'"a"', "no gettext catalogue: line 1"),
        ("a.po", b"hello", "no gettext catalogue: line 1"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused(name: str, content: bytes, message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        read_file(name, content, FileOptions())


def upload(
    app: FastAPI, name: str, content: str | bytes, **fields: str
) -> tuple[httpx.Response, httpx.Response | None]:
    """The reply, and the file behind the address it names."""
    sent = content.encode() if isinstance(content, str) else content

    async def scenario() -> tuple[httpx.Response, httpx.Response | None]:
        async with running(app) as client:
            data = {"source": "en", "target": "fr", **fields}
            reply = await client.post("/translate_file", files={"file": (name, sent)}, data=data)
            if reply.status_code != 200:
                return reply, None
            return reply, await client.get(reply.json()["translatedFileUrl"])

    return asyncio.run(scenario())


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_translated_and_fetched(app: FastAPI, name: str) -> None:
    reply, file = upload(app, name, FILES[name].lstrip("\ufeff"))
    assert list(reply.json()) == ["translatedFileUrl"]
    assert re.fullmatch(
        rf"http://attend/download_file/[0-9a-f-]{{36}}\.{re.escape(name)}", reply.json()["translatedFileUrl"]
    )
    assert file is not None
    assert file.headers["content-disposition"] == f"attachment; filename*=UTF-8''{name}"
    # The engine gives back what it read.
    assert "cat" in file.text or "morning" in file.text


def office_file() -> bytes:
    document = docx.Document()
    paragraph = document.add_paragraph("I ")
    paragraph.add_run("love").bold = True
    paragraph.add_run(" you.")
    stream = io.BytesIO()
    document.save(stream)
    return stream.getvalue()


def test_an_office_file_is_translated_and_fetched(app: FastAPI) -> None:
    reply, file = upload(app, "é.docx", office_file())
    assert reply.status_code == 200
    assert file is not None
    runs = docx.Document(io.BytesIO(file.content)).paragraphs[0].runs
    assert [(run.text, run.bold) for run in runs] == [("I ", None), ("love", True), (" you.", None)]
    assert (
        upload(app, "a.docx", office_file()[:900])[0].json()["error"].startswith("Invalid request: the file is damaged")
    )
    assert upload(app, "a.docm", office_file())[0].json()["error"].endswith("the file holds macros; save it without")
    reply, _ = upload(app, "a.docx", office_file(), alt_texts="perhaps")
    assert (reply.status_code, reply.json()["error"]) == (422, "alt_texts must be true or false")


def test_a_file_may_be_larger_than_other_bodies_and_has_a_limit_of_its_own(loader: FakeLoader) -> None:
    app = make_app(loader, max_body_bytes=2000, max_file_bytes=100_000)
    assert upload(app, "a.docx", office_file())[0].status_code == 200
    reply, _ = upload(app, "a.docx", b"x" * 200_000)
    assert (reply.status_code, reply.json()["error"]) == (413, "the request body is larger than 100000 bytes")
    reply, _ = upload(make_app(loader, max_unpacked_bytes=2000), "a.docx", office_file())
    assert reply.json()["error"].startswith("Invalid request: the file unpacks to more than 2000 bytes")


def test_how_far_a_file_is(loader: FakeLoader) -> None:
    seen, jobs = threading.Event(), itertools.count()

    def answer(job: Job) -> tuple[Hypothesis, ...]:
        # The short part behind the long one is done; then nothing goes on until that was told.
        assert next(jobs) < 10 or seen.wait(30)
        return echo(job)

    loader.answer = answer
    app = make_app(loader)
    text = "I love you.\n" * 400 + "\nThe end."

    async def scenario() -> list[dict[str, int]]:
        async with running(app) as client:
            sending = asyncio.create_task(
                client.post("/translate_file", files={"file": ("a.txt", text.encode())},
                            data={"source": "en", "target": "fr"}, headers={"x-request-id": "mine"})
            )  # fmt: skip
            told: list[dict[str, int]] = []
            async with asyncio.timeout(60):
                while not told or told[-1]["done"] == 0:
                    reply = await client.get("/translate_file/mine")
                    told += [reply.json()] if reply.status_code == 200 else []
                    await asyncio.sleep(0.01)
            seen.set()
            assert (await sending).status_code == 200
            assert (await client.get("/translate_file/mine")).status_code == 404
            return told

    assert asyncio.run(scenario())[-1] == {"done": len("The end."), "total": len(text)}


def test_a_whole_film_is_one_document(loader: FakeLoader) -> None:
    cues = "".join(f"{n}\n00:00:01,000 --> 00:00:02,000\nI love you {n}.\n\n" for n in range(30))
    reply, file = upload(make_app(loader, max_texts=5), "film.srt", cues)
    assert reply.status_code == 200
    assert file is not None
    assert file.text == cues


def test_the_language_of_a_file_is_found_from_all_of_it(loader: FakeLoader) -> None:
    app = make_app(loader)
    text = "Boston.\nIl fait beau aujourd'hui.\nJ'aime le café et le thé."
    assert upload(app, "a.txt", text, source="auto", target="en")[0].status_code == 200
    reply, _ = upload(app, "a.txt", "Guten Morgen, wie geht es dir heute?", source="auto", target="en")
    assert (reply.status_code, reply.json()["error"]) == (
        400, "English (en) is not available as a target language from German (de)",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"data": {"source": "en", "target": "fr"}}, "Invalid request: missing file parameter"),
        ({"files": {"file": ("a.txt", b"a")}, "data": {"target": "fr"}}, "Invalid request: missing source parameter"),
        ({"files": {"file": ("a.txt", b"a")}, "data": {"source": "en"}}, "Invalid request: missing target parameter"),
        ({"files": {"file": ("a.txt", b"a")}, "data": {"source": "zz", "target": "fr"}}, "zz is not supported"),
        (
            {"files": {"file": ("a.exe", b"a")}, "data": {"source": "en", "target": "fr"}},
            "Invalid request: file format not supported",
        ),
    ],
)
def test_what_libretranslate_refuses(app: FastAPI, request_: dict[str, Any], message: str) -> None:
    reply = ask(app, "POST", "/translate_file", **request_)
    assert (reply.status_code, reply.json()["error"]) == (400, message)


def test_files_can_be_switched_off(loader: FakeLoader) -> None:
    app = make_app(loader, max_files_bytes=0)
    reply, _ = upload(app, "a.txt", "I love you.")
    assert (reply.status_code, reply.json()) == (403, {"error": "Files translation are disabled on this server."})
    told = ask(app, "GET", "/frontend/settings").json()
    assert (told["filesTranslation"], told["supportedFilesFormat"]) == (False, [])
    assert ask(make_app(loader), "GET", "/frontend/settings").json()["supportedFilesFormat"] == list(FORMATS)


@pytest.mark.parametrize(
    ("headers", "peer", "wanted"),
    [
        ({}, "127.0.0.1", "http://attend"),
        ({"x-forwarded-proto": "https", "x-forwarded-host": "t.example", "x-forwarded-prefix": "/t/"}, "127.0.0.1",
         "https://t.example/t"),
        ({"x-forwarded-proto": "https, http", "x-forwarded-host": "t.example, inner"}, "10.1.2.3", "https://t.example"),
        ({"x-forwarded-proto": "https", "x-forwarded-host": "evil.example"}, "192.0.2.7", "http://attend"),
    ],
)  # fmt: skip
def test_the_address_is_the_callers_and_only_trusted_proxies_say_it(
    loader: FakeLoader, headers: dict[str, str], peer: str, wanted: str
) -> None:
    app = make_app(loader, trusted_proxies="127.0.0.1, 10.0.0.0/8")

    async def scenario() -> str:
        async with running(app):
            transport = httpx.ASGITransport(app, client=(peer, 1))
            async with httpx.AsyncClient(transport=transport, base_url="http://attend") as client:
                reply = await client.post("/translate_file", files={"file": ("a.txt", b"I love you.")},
                                          data={"source": "en", "target": "fr"}, headers=headers)  # fmt: skip
                return str(reply.json()["translatedFileUrl"])

    assert asyncio.run(scenario()).startswith(f"{wanted}/download_file/")


def test_the_root_path_is_in_the_address(loader: FakeLoader) -> None:
    reply, file = upload(make_app(loader, root_path="/base"), "a.txt", "I love you.")
    assert reply.json()["translatedFileUrl"].startswith("http://attend/base/download_file/")
    assert file is not None
    assert file.status_code == 200


@pytest.mark.parametrize(
    "name", ["x", "../pyproject.toml", "..%2f..%2fetc%2fpasswd", "00000000-0000-0000-0000-000000000000.a.txt"]
)
def test_nothing_else_can_be_fetched(loader: FakeLoader, tmp_path: Path, name: str) -> None:
    (tmp_path / "x").write_text("secret")
    reply = ask(make_app(loader, files=tmp_path), "GET", f"/download_file/{name}")
    assert reply.status_code == 404
    assert "error" in reply.json()


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_file_is_deleted_after_its_time(tmp_path: Path, in_memory: bool) -> None:
    async def scenario() -> None:
        store = FileStore(None if in_memory else tmp_path / "new", 1000, 0.05)
        stored = await store.keep("a.txt", b"text")
        assert await store.fetch(stored) == ("a.txt", b"text")
        async with asyncio.timeout(20):
            while store._sizes or list(tmp_path.rglob("*.txt")):
                await asyncio.sleep(0.01)
        with pytest.raises(NotFoundError):
            await store.fetch(stored)

    asyncio.run(scenario())


@pytest.mark.parametrize("in_memory", [True, False])
def test_there_is_room_for_so_many_bytes_and_what_was_fetched_goes_first(tmp_path: Path, in_memory: bool) -> None:
    async def scenario() -> None:
        store = FileStore(None if in_memory else tmp_path, 1000, 60)
        first, second = await store.keep("a.txt", b"a" * 500), await store.keep("b.txt", b"b" * 500)
        with pytest.raises(UnavailableError):
            await store.keep("c.txt", b"c")
        await store.fetch(second)
        third = await store.keep("c.txt", b"c")
        assert (await store.fetch(first))[1] == b"a" * 500
        assert (await store.fetch(third))[1] == b"c"
        with pytest.raises(NotFoundError):
            await store.fetch(second)
        store.close()

    asyncio.run(scenario())


def test_several_replicas_may_share_a_directory(tmp_path: Path) -> None:
    async def scenario() -> tuple[str, bytes]:
        one, other = FileStore(tmp_path, 1000, 60), FileStore(tmp_path, 1000, 60)
        found = await other.fetch(await one.keep("a.txt", b"text"))
        one.close()
        return found

    assert asyncio.run(scenario()) == ("a.txt", b"text")


def test_what_a_process_left_is_swept_by_the_next(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = FileStore(tmp_path, 1000, 60)
        stored = await store.keep("a.txt", b"text")
        (tmp_path / "notes.txt").write_text("mine")
        store.close()
        await FileStore(tmp_path, 1000, 60).sweep()
        assert (tmp_path / stored).exists()
        import os

        os.utime(tmp_path / stored, (time.time() - 61,) * 2)
        await FileStore(tmp_path, 1000, 60).sweep()
        assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]

    asyncio.run(scenario())


@settings(max_examples=60, deadline=None)
@given(name=st.text(min_size=1, max_size=300))
def test_any_name_is_a_name_for_a_file(name: str) -> None:
    async def scenario() -> str:
        store = FileStore(None, 1000, 60)
        original, _ = await store.fetch(await store.keep(name, b""))
        store.close()
        return original

    original = asyncio.run(scenario())
    assert original
    assert len(original.encode()) <= 150
    assert not set(original) & set('/\\\0:*?"<>|\n')
