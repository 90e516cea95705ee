"""TLS with a client that checks certificates, files that are exchanged while it listens, and files that are wrong."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import trustme

from model.commands import BAD_INPUT
from service.__main__ import main
from service.server import Server
from service.settings import Settings
from tests.service.fakes import FakeLoader, make_app
from tests.service.listening import WAIT, converse, listening, until

GOOD = {"q": "好！", "source": "zh", "target": "en"}


def issue(authority: trustme.CA, folder: Path, name: str = "") -> tuple[Path, Path]:
    """The files of a certificate for 127.0.0.1, and its key."""
    folder.mkdir(exist_ok=True)
    certificate, key = folder / f"{name}certificate.pem", folder / f"{name}key.pem"
    leaf = authority.issue_cert("127.0.0.1", "localhost")
    leaf.private_key_pem.write_to_path(key)
    certificate.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
    return certificate, key


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def exchange_files(new: tuple[Path, Path], old: tuple[Path, Path]) -> None:
    for source, target in zip(new, old, strict=True):
        os.replace(shutil.copy(source, f"{target}.new"), target)


async def renewed(server: Server) -> None:
    for _ in range(2):
        await server.on_tick(0)


async def serial(port: int, context: ssl.SSLContext) -> str:
    """Of the certificate that a new connection is shown."""
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    shown = writer.get_extra_info("peercert")["serialNumber"]
    writer.close()
    await writer.wait_closed()
    return str(shown)


def test_a_client_that_checks_certificates_is_answered_and_plain_http_is_not(
    loader: FakeLoader, tmp_path: Path
) -> None:
    authority = trustme.CA()
    certificate, key = issue(authority, tmp_path)

    async def scenario() -> tuple[httpx.Response, bytes]:
        settings = Settings(port=0, tls_certificate=certificate, tls_key=key)
        async with listening(make_app(loader, port=0), settings) as (_, port, _):
            async with httpx.AsyncClient(base_url=f"https://localhost:{port}", verify=trusting(authority)) as http:
                reply = await http.post("/translate", json=GOOD)
            with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                async with httpx.AsyncClient(verify=trusting(trustme.CA())) as stranger:
                    await stranger.get(f"https://localhost:{port}/health")
            return reply, await converse(port, b"GET /health HTTP/1.1\r\nHost: attend\r\n\r\n")

    reply, plain = asyncio.run(scenario())
    assert (reply.status_code, reply.json()) == (200, {"translatedText": "好!"})
    assert b"HTTP/1.1 200" not in plain


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_new_files_are_shown_to_who_comes_next_and_wrong_ones_are_not_used(
    loader: FakeLoader, tmp_path: Path, caplog: pytest.LogCaptureFixture, version: ssl.TLSVersion
) -> None:
    authority = trustme.CA()
    files, others = issue(authority, tmp_path), issue(authority, tmp_path / "new")
    context = trusting(authority)
    context.minimum_version = context.maximum_version = version

    async def scenario() -> list[str]:
        settings = Settings(port=0, tls_certificate=files[0], tls_key=files[1])
        shown = []
        async with (
            listening(make_app(loader, port=0), settings) as (server, port, _),
            httpx.AsyncClient(base_url=f"https://127.0.0.1:{port}", verify=context) as http,
        ):
            before = (await http.get("/health")).status_code
            shown.append(await serial(port, context))
            exchange_files((others[0], files[1]), files)  # half of the pair
            await renewed(server)
            await renewed(server)
            shown.append(await serial(port, context))
            files[0].write_bytes(b"damaged")
            await renewed(server)
            shown.append(await serial(port, context))
            files[0].unlink()
            await renewed(server)
            shown.append(await serial(port, context))
            exchange_files(others, files)
            await renewed(server)
            shown.append(await serial(port, context))
            assert (before, (await http.get("/health")).status_code) == (200, 200)  # its connection is the old one
        return shown

    first, *kept, last = asyncio.run(scenario())
    assert kept == [first] * 3
    assert last != first
    said = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    reasons = ("is not the key of", "holds no certificate in PEM form", "No such file or directory")
    for line, reason in zip(said, reasons, strict=True):
        assert line.startswith("the new certificate is not used, the old one still is: ")
        assert reason in line


def damaged(authority: trustme.CA, folder: Path) -> dict[str, tuple[Path, Path, str]]:
    """Pairs of files that cannot be used, and what is said of them."""
    certificate, key = issue(authority, folder)
    _, strange = issue(authority, folder, "strange")
    empty, locked = folder / "empty.pem", folder / "locked.pem"
    empty.write_bytes(b"")
    locked.write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----\n")
    cut = folder / "cut.pem"
    cut.write_bytes(certificate.read_bytes()[:300])
    return {
        "absent": (folder / "nowhere.pem", key, "ATTEND_TLS_CERTIFICATE=*nowhere.pem: No such file or directory"),
        "absent key": (certificate, folder / "nowhere.pem", "ATTEND_TLS_KEY=*nowhere.pem: No such file or directory"),
        "folder": (folder, key, "ATTEND_TLS_CERTIFICATE=*: Is a directory"),
        "empty": (empty, key, "ATTEND_TLS_CERTIFICATE=*empty.pem holds no certificate in PEM form"),
        "no key": (certificate, certificate, "ATTEND_TLS_KEY=*certificate.pem holds no private key in PEM form"),
        "strange key": (certificate, strange, "ATTEND_TLS_KEY=*key.pem is not the key of ATTEND_TLS_CERTIFICATE=*"),
        "cut": (cut, key, "ATTEND_TLS_CERTIFICATE=*cut.pem and its key cannot be used: *"),
        "cut key": (certificate, locked, "ATTEND_TLS_CERTIFICATE=*certificate.pem and its key cannot be used: *"),
    }


def test_files_that_cannot_be_used_are_one_sentence_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, (certificate, key, sentence) in damaged(trustme.CA(), tmp_path).items():
        monkeypatch.setenv("ATTEND_TLS_CERTIFICATE", str(certificate))
        monkeypatch.setenv("ATTEND_TLS_KEY", str(key))
        assert main([]) == BAD_INPUT, name
        (line,) = capsys.readouterr().err.splitlines()
        assert re.fullmatch(".*".join(map(re.escape, sentence.split("*"))), line), line


def test_a_key_with_a_passphrase_is_not_asked_for_on_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from cryptography.hazmat.primitives import serialization as pem

    certificate, key = issue(trustme.CA(), tmp_path)
    private = pem.load_pem_private_key(key.read_bytes(), None)
    encryption = pem.BestAvailableEncryption(b"secret")
    key.write_bytes(private.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.PKCS8, encryption))
    monkeypatch.setenv("ATTEND_TLS_CERTIFICATE", str(certificate))
    monkeypatch.setenv("ATTEND_TLS_KEY", str(key))
    assert main([]) == BAD_INPUT
    assert capsys.readouterr().err == f"ATTEND_TLS_KEY={key}: the key has a passphrase, which nobody could enter\n"


def test_one_file_may_hold_both_and_a_key_alone_is_refused(tmp_path: Path, loader: FakeLoader) -> None:
    authority = trustme.CA()
    certificate, key = issue(authority, tmp_path)
    both = tmp_path / "both.pem"
    both.write_bytes(key.read_bytes() + certificate.read_bytes())

    async def scenario() -> str:
        settings = Settings(port=0, tls_certificate=both)
        async with listening(make_app(loader, port=0), settings) as (_, port, _):
            return await serial(port, trusting(authority))

    assert asyncio.run(scenario())
    with pytest.raises(ValueError, match="ATTEND_TLS_CERTIFICATE must name the certificate of ATTEND_TLS_KEY"):
        Settings(tls_key=key)


def talk(port: int, context: ssl.SSLContext, request: bytes, connected: Callable[[ssl.SSLSocket], None]) -> None:
    """Ask and read nothing until the server hangs up."""
    with socket.socket() as plain:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        plain.settimeout(WAIT)
        plain.connect(("127.0.0.1", port))
        with context.wrap_socket(plain, server_hostname="127.0.0.1") as deaf:
            deaf.sendall(request)
            connected(deaf)


@pytest.mark.parametrize("reads", ["nothing of a large answer", "all, and says nothing more"])
def test_who_does_not_read_or_ask_is_hung_up_on(loader: FakeLoader, tmp_path: Path, reads: str) -> None:
    authority = trustme.CA()
    certificate, key = issue(authority, tmp_path)
    large = next(path for path in (Path("service/web")).rglob("*.js") if path.stat().st_size > 500_000)
    path = large.relative_to("service").as_posix() if reads.startswith("nothing") else "health"
    request = f"GET /{path} HTTP/1.1\r\nHost: attend\r\n\r\n".encode()

    async def scenario() -> None:
        settings = Settings(port=0, tls_certificate=certificate, tls_key=key, write_timeout_ms=100, keep_alive_ms=100)
        async with listening(make_app(loader, port=0), settings) as (server, port, _):
            server.servers[0].sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            gone = asyncio.Event()
            loop = asyncio.get_running_loop()

            def wait(deaf: ssl.SSLSocket) -> None:
                asyncio.run_coroutine_threadsafe(gone.wait(), loop).result(WAIT)

            talking = asyncio.create_task(asyncio.to_thread(talk, port, trusting(authority), request, wait))
            await until(lambda: server.server_state.total_requests or server.server_state.connections)
            await until(lambda: not server.server_state.connections)
            gone.set()
            await talking

    asyncio.run(scenario())
